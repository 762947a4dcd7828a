//! `GET /api/outbox`: the messages that wait or were abandoned, newest first.

use serde_json::json;

use super::{Answer, Context, Request};

/// How many are told.
const MOST: u32 = 100;

/// `GET /api/outbox`
pub(super) fn get(context: &Context, _request: &Request, _job: &str) -> Answer {
    match context.runtime.block_on(context.store.undelivered(MOST)) {
        Ok(messages) => Answer::ok(json!({ "messages": messages })),
        Err(error) => Answer::error(503, error.message),
    }
}
