//! How long rows are kept: the declared retention, or the application's own setting within declared bounds.

use crate::sql::sqlite::Connection;
use jiff::Timestamp;

use crate::duplistatus::settings;
use crate::run::Failure;
use crate::values::{CutoffFormat, Duration, Issue, Parameter};

/// The keys of a kind that say how long rows are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    pub retention: Option<Duration>,
    pub setting: Option<&'a str>,
    pub range: Option<[Duration; 2]>,
    pub format: CutoffFormat,
}

impl Window<'_> {
    /// Whether the keys give `:cutoff` and `:retention_days` a value.
    pub(super) fn is_declared(&self) -> bool {
        self.retention.is_some()
    }

    /// What is wrong between the keys.
    pub(super) fn check(&self) -> Vec<Issue> {
        let mut issues = Vec::new();
        if self.retention.is_none() && self.setting.is_some() {
            issues.push(Issue::error(
                "retention_setting",
                "`retention` is missing: it applies where the application has no such setting",
            ));
        }
        if let Some([least, most]) = self.range {
            if least > most {
                issues.push(Issue::error(
                    "retention_range",
                    format!("the range ends before it begins: {least} to {most}"),
                ));
            } else if let Some(retention) = self.retention.filter(|kept| !(least..=most).contains(kept)) {
                issues.push(Issue::error(
                    "retention",
                    format!("{retention} is outside `retention_range`, {least} to {most}"),
                ));
            }
        }
        issues
    }

    /// The parameters `retention_days` and `cutoff` of a run at `now`; none where no retention is declared.
    pub(super) fn parameters(
        &self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<Vec<(&'static str, Parameter)>, Failure> {
        let Some(declared) = self.retention else {
            return Ok(Vec::new());
        };
        let retention = self.of_application(connection)?.unwrap_or(declared);
        let kept = retention.signed();
        let cutoff = now
            .checked_sub(kept)
            .map_err(|_| Failure::lasting(format!("the retention of {retention} reaches back before the calendar")))?;
        Ok(vec![
            ("retention_days", Parameter::days(retention.as_days())),
            ("cutoff", self.format.write(cutoff)),
        ])
    }

    fn of_application(&self, connection: &Connection) -> Result<Option<Duration>, Failure> {
        let Some(key) = self.setting else { return Ok(None) };
        let Some(text) = settings::get(connection, key)? else {
            return Ok(None);
        };
        let days: u32 = text.trim().parse().map_err(|_| {
            Failure::lasting(format!(
                "the application's setting {key} is `{text}`, not a number of days; nothing was deleted"
            ))
        })?;
        let retention = Duration::from_days(days);
        match self.range {
            Some([least, most]) if !(least..=most).contains(&retention) => Err(Failure::lasting(format!(
                "the application's setting {key} is {days} days, outside {} to {} days; nothing was deleted",
                least.as_days(),
                most.as_days()
            ))),
            _ => Ok(Some(retention)),
        }
    }
}
