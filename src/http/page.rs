//! `GET /`: a page that shows how the service is. It holds no data of its own, and asks for a token where one is set.

use super::{Answer, Context, Request};

/// `GET /`
pub(super) fn get(_context: &Context, _request: &Request, _job: &str) -> Answer {
    Answer::ok(include_str!("page.html").into())
}
