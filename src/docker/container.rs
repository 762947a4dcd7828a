//! A container, as the engine tells all of it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// How long a container may take to stop unless it says otherwise.
const STOP: u64 = 10;
/// The engine's own rules of a health check, where a check leaves them out.
const INTERVAL: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;

/// A container as it was found; nothing of what the engine told is lost.
#[derive(Clone, Debug)]
pub(crate) struct Container(Value);

/// What a container's health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It has none.
    Unchecked,
    Starting,
    Healthy,
    Unhealthy,
}

/// The beginning of an id, by which people know it.
pub(crate) fn short(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..12).unwrap_or(id)
}

impl Container {
    /// What the engine told of a container; none where that lacks what every container has.
    pub(super) fn new(found: Value) -> Option<Self> {
        let has = |key: &str| found[key].as_str().is_some_and(|text| !text.is_empty());
        let is_whole = ["Id", "Name", "Image"].iter().all(|key| has(key));
        let has_tables = ["State", "Config", "HostConfig"]
            .iter()
            .all(|key| found[key].is_object());
        (is_whole && has_tables).then_some(Self(found))
    }

    /// The same of what was kept.
    pub(crate) fn kept(found: &Value) -> Option<Self> {
        Self::new(found.clone())
    }

    pub(crate) fn json(&self) -> &Value {
        &self.0
    }

    /// The values of a list; of none, where there is no such list.
    pub(crate) fn list(&self, pointer: &str) -> impl Iterator<Item = &Value> {
        self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
    }

    /// The entries of a table; of none, where there is no such table.
    pub(crate) fn table(&self, pointer: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0.pointer(pointer).and_then(Value::as_object).into_iter().flatten()
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        self.text("/Id")
    }

    /// Its name, without the slash that the engine puts before it.
    pub(crate) fn name(&self) -> &str {
        self.text("/Name").trim_start_matches('/')
    }

    /// The id of its image.
    pub(crate) fn image(&self) -> &str {
        self.text("/Image")
    }

    /// The image as it was asked for.
    pub(crate) fn asked_image(&self) -> &str {
        self.text("/Config/Image")
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.0["Config"]["Labels"][name].as_str()
    }

    /// The word for what it does: running, exited, paused, …
    pub(crate) fn status(&self) -> &str {
        self.text("/State/Status")
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0["State"]["Running"] == true
    }

    /// Whether it has ever run.
    pub(crate) fn has_started(&self) -> bool {
        self.is_running() || self.started_at().is_some_and(|at| at > Timestamp::UNIX_EPOCH)
    }

    pub(crate) fn started_at(&self) -> Option<Timestamp> {
        self.text("/State/StartedAt").parse().ok()
    }

    pub(crate) fn created_at(&self) -> Option<Timestamp> {
        self.text("/Created").parse().ok()
    }

    /// How often its restart policy has started it again.
    pub(crate) fn restarts(&self) -> u64 {
        self.0["RestartCount"].as_u64().unwrap_or(0)
    }

    pub(crate) fn exit_code(&self) -> i64 {
        self.0["State"]["ExitCode"].as_i64().unwrap_or(0)
    }

    /// Why it could not be started or has ended, in the engine's words.
    pub(crate) fn error(&self) -> &str {
        self.text("/State/Error")
    }

    pub(crate) fn health(&self) -> Health {
        match self.text("/State/Health/Status") {
            "starting" => Health::Starting,
            "healthy" => Health::Healthy,
            "unhealthy" => Health::Unhealthy,
            _ => Health::Unchecked,
        }
    }

    /// What its last health check has printed.
    pub(crate) fn health_output(&self) -> Option<&str> {
        let last = self.0.pointer("/State/Health/Log")?.as_array()?.last()?;
        last["Output"].as_str().map(str::trim).filter(|said| !said.is_empty())
    }

    pub(crate) fn has_terminal(&self) -> bool {
        self.0["Config"]["Tty"] == true
    }

    /// What becomes of it once it has ended.
    pub(crate) fn restart_policy(&self) -> &Value {
        &self.0["HostConfig"]["RestartPolicy"]
    }

    /// Whether nothing starts it again.
    pub(crate) fn stays_ended(&self) -> bool {
        matches!(self.restart_policy()["Name"].as_str(), None | Some("" | "no"))
    }

    pub(crate) fn is_removed_at_its_end(&self) -> bool {
        self.0["HostConfig"]["AutoRemove"] == true
    }

    /// How long it may take to stop; one that may take for ever has a day.
    pub(crate) fn stops_within(&self) -> Duration {
        const DAY: Duration = Duration::from_hours(24);
        let own = self.0["Config"]["StopTimeout"].as_i64().unwrap_or(STOP.cast_signed());
        u64::try_from(own).map_or(DAY, |seconds| Duration::from_secs(seconds).min(DAY))
    }

    /// How long its health check may take to decide, by its own rules; none where it has no check.
    pub(crate) fn decides_within(&self) -> Option<Duration> {
        let check = self.0["Config"]["Healthcheck"].as_object()?;
        let words = check.get("Test").and_then(Value::as_array)?;
        if words.is_empty() || words[0] == "NONE" {
            return None;
        }
        let own = |key: &str, otherwise: Duration| match check.get(key).and_then(Value::as_u64) {
            None | Some(0) => otherwise,
            Some(nanoseconds) => Duration::from_nanos(nanoseconds),
        };
        let retries = check
            .get("Retries")
            .and_then(Value::as_u64)
            .filter(|retries| *retries > 0);
        let retries = retries
            .and_then(|retries| u32::try_from(retries).ok())
            .unwrap_or(RETRIES);
        let each = own("Interval", INTERVAL).saturating_add(own("Timeout", INTERVAL));
        Some(own("StartPeriod", Duration::ZERO).saturating_add(each.saturating_mul(retries)))
    }

    /// The id of the container whose network it is in, where it has none of its own.
    pub(crate) fn network_provider(&self) -> Option<&str> {
        self.text("/HostConfig/NetworkMode").strip_prefix("container:")
    }

    /// The containers that it shares a namespace with, by the keys that say so, as their ids were then.
    pub(crate) fn providers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = ["NetworkMode", "PidMode", "IpcMode"];
        keys.into_iter().filter_map(|key| {
            let provider = self.0["HostConfig"][key].as_str()?.strip_prefix("container:")?;
            Some((key, provider))
        })
    }

    /// The values that its variables have, which may be secrets.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &str> {
        let values = self
            .list("/Config/Env")
            .filter_map(|variable| Some(variable.as_str()?.split_once('=')?.1));
        // What is shorter is a word that may stand anywhere, and is none to the redactor either.
        values.filter(|value| value.len() >= 5)
    }
}

/// An instant as files know it that were written as whole seconds.
pub(crate) fn without_nanoseconds(at: Timestamp) -> bool {
    at.subsec_nanosecond() == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_health_check_decides_by_its_own_rules_or_the_engines() {
        let within = |check: Value| {
            let found = json!({ "Id": "a", "Name": "/a", "Image": "b", "State": {}, "HostConfig": {}, "Config": { "Healthcheck": check } });
            Container::new(found)
                .unwrap()
                .decides_within()
                .map(|time| time.as_secs())
        };
        assert_eq!(within(Value::Null), None);
        assert_eq!(within(json!({ "Test": ["NONE"] })), None);
        assert_eq!(within(json!({ "Test": ["CMD", "x"] })), Some(180));
        let own = json!({ "Test": ["CMD", "x"], "Interval": 1_000_000_000, "Timeout": 2_000_000_000, "StartPeriod": 5_000_000_000_u64, "Retries": 2 });
        assert_eq!(within(own), Some(11));
    }
}
