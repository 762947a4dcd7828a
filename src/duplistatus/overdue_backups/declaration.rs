//! The keys of `[jobs.<id>.overdue_backups]`, and what they mean.

use std::collections::BTreeMap;

use crate::sql::sqlite::Connection;
use schemars::JsonSchema;
use serde::Deserialize;

use std::any::Any;

use crate::duplistatus::declared::{Declared, Expectation, Kinds, Recipients, Rhythm};
use crate::duplistatus::frequency::Frequency;
use crate::duplistatus::{Application, backups};
use crate::notifications::Targets;
use crate::values::{Duration, ExpectationId, Issue, Pattern, Schedule, TargetId, TimeZone};

/// The keys of `[jobs.<id>.overdue_backups]`; what is left out comes from the application's settings.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverdueBackups {
    tolerance: Option<Duration>,
    frequency: Option<Frequency>,
    language: Option<Language>,
    channels: Option<Vec<TargetId>>,
    #[serde(default)]
    expect: BTreeMap<ExpectationId, Expect>,
}

/// The keys of `expect.<id>`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Expect {
    #[serde(default)]
    server: Pattern,
    #[serde(default)]
    backup: Pattern,
    schedule: Option<Schedule>,
    time_zone: Option<TimeZone>,
    interval: Option<Duration>,
    tolerance: Option<Duration>,
    enabled: Option<bool>,
    notify: Option<Vec<TargetId>>,
}

/// A language that messages can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
enum Language {
    #[serde(rename = "en-GB")]
    English,
    #[serde(rename = "de")]
    German,
    #[serde(rename = "fr")]
    French,
    #[serde(rename = "es")]
    Spanish,
    #[serde(rename = "pt-BR")]
    Portuguese,
    #[serde(rename = "zh-CN", alias = "zh-Hans")]
    Chinese,
}

impl Language {
    fn tag(self) -> &'static str {
        match self {
            Self::English => "en-GB",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Portuguese => "pt-BR",
            Self::Chinese => "zh-CN",
        }
    }
}

impl OverdueBackups {
    /// What is declared, as the check wants it; schedules without a zone are read in `zone`.
    pub(super) fn declared(&self, zone: &TimeZone, targets: &Targets) -> Declared {
        let expectations = self.expect.iter().filter_map(|(id, expect)| {
            let rhythm = match (&expect.schedule, expect.interval) {
                (Some(schedule), _) => {
                    let zone = expect.time_zone.clone().unwrap_or_else(|| zone.clone());
                    Rhythm::Schedule(schedule.clone(), zone)
                }
                (None, interval) => Rhythm::Interval(interval?),
            };
            Some(Expectation {
                id: id.clone(),
                server: expect.server.clone(),
                backup: expect.backup.clone(),
                rhythm,
                tolerance: expect.tolerance.map(Duration::signed),
                enabled: expect.enabled.unwrap_or(true),
                recipients: recipients(expect.notify.as_ref(), targets),
            })
        });
        Declared {
            tolerance: self.tolerance.map(Duration::signed),
            frequency: self.frequency,
            language: self.language.map(|language| language.tag().to_owned()),
            recipients: recipients(self.channels.as_ref(), targets),
            expectations: expectations.collect(),
        }
    }

    pub(super) fn named_targets(&self) -> Vec<(Vec<&str>, &[TargetId])> {
        let own = self.channels.iter().map(|named| (vec!["channels"], named.as_slice()));
        let expected = self
            .expect
            .iter()
            .filter_map(|(id, expect)| Some((vec!["expect", id.as_str(), "notify"], expect.notify.as_deref()?)));
        own.chain(expected).collect()
    }

    pub(super) fn check_keys(&self, database: Option<&Connection>) -> Vec<Issue> {
        let mut issues = Vec::new();
        for (id, expect) in &self.expect {
            let mut broken = |key: &str, why: &str| issues.push(Issue::error(format!("expect.{id}{key}"), why));
            match (&expect.schedule, expect.interval) {
                (None, None) => broken("", "one of `schedule` and `interval` is expected"),
                (Some(_), Some(_)) => broken(".interval", "there is a `schedule` already; one of them is expected"),
                _ => {}
            }
            if expect.time_zone.is_some() && expect.schedule.is_none() {
                broken(".time_zone", "an `interval` has no zone");
            }
        }
        let backups = database.filter(|_| !self.expect.is_empty()).map(backups::read);
        if let Some(Ok(backups)) = backups {
            let unfit = self.declared(&TimeZone::utc(), &Targets::new()).warnings(&backups);
            issues.extend(unfit.into_iter().map(|why| Issue::warning("expect", why)));
        }
        issues
    }
}

/// Who is meant by the names of targets: a `duplistatus` one stands for what the application's settings say.
fn recipients(named: Option<&Vec<TargetId>>, targets: &Targets) -> Option<Recipients> {
    let mut recipients = Recipients::default();
    for id in named? {
        let target = targets.get(id).map(|target| &**target as &dyn Any);
        if let Some(application) = target.and_then(|target| target.downcast_ref::<Application>()) {
            let Kinds { ntfy, email } = recipients.of_application;
            recipients.of_application = Kinds {
                ntfy: ntfy || application.ntfy,
                email: email || application.email,
            };
        } else {
            recipients.targets.push(id.clone());
        }
    }
    Some(recipients)
}
