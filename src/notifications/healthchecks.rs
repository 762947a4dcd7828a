//! The kind `healthchecks`: pings that tell a dead man's switch of every start and end of a run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Delivery, Event, Target, Undelivered, call};
use crate::values::{Issue, Secret};

/// The keys of `healthchecks`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Healthchecks {
    url: Secret,
}

impl Target for Healthchecks {
    fn name(&self) -> &'static str {
        "healthchecks"
    }

    fn check(&self) -> Vec<Issue> {
        call::check_url(&self.url).into_iter().collect()
    }

    fn is_run_monitor(&self) -> bool {
        true
    }

    fn send(&self, delivery: &Delivery<'_>) -> Result<String, Undelivered> {
        let signal = match delivery.notification.event {
            Event::Started => "/start",
            Event::Failed | Event::Overdue => "/fail",
            Event::Succeeded | Event::Recovered => "",
            Event::Found | Event::Test => "/log",
        };
        let (path, query) = self.url.reveal().split_once('?').unzip();
        let path = path.unwrap_or_else(|| self.url.reveal()).trim_end_matches('/');
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        let url = Secret::new(format!("{path}{signal}{query}"));
        let text = delivery.notification.message.text.as_bytes();
        call::post(&url, &[("Content-Type", "text/plain; charset=utf-8")], text)?.accepted()
    }
}
