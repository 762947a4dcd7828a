//! The kind `healthchecks`: pings that tell a dead man's switch of every start and end of a run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Undelivered;
use super::call;
use super::letter::{Event, Parcel};
use crate::values::Secret;

/// The keys of `healthchecks`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Healthchecks {
    url: Secret,
}

impl Healthchecks {
    pub(super) fn flaws(&self) -> Vec<(&'static str, String)> {
        call::flaw(&self.url).map(|why| ("url", why)).into_iter().collect()
    }

    pub(super) fn send(&self, parcel: &Parcel<'_>) -> Result<String, Undelivered> {
        let signal = match parcel.envelope.event {
            Event::Started => "/start",
            Event::Failed | Event::Overdue => "/fail",
            Event::Succeeded | Event::Recovered => "",
            Event::Test => "/log",
        };
        let (path, query) = self.url.reveal().split_once('?').unzip();
        let path = path.unwrap_or_else(|| self.url.reveal()).trim_end_matches('/');
        let query = query.map_or_else(String::new, |query| format!("?{query}"));
        let url = Secret::new(format!("{path}{signal}{query}"));
        let text = parcel.envelope.message.text.as_bytes();
        call::post(&url, &[("Content-Type", "text/plain; charset=utf-8")], text)?.accepted()
    }
}
