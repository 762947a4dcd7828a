//! The page: static files that hold no data of their own. It asks for a token where one is set.

use super::{Answer, Body, Context, Request};

const ICON: &str = include_str!("page/icon.svg");
/// The colours of the icon: that all is well, and that something is not.
const COLOURS: [&str; 2] = ["#1a7f37", "#cf222e"];

fn part(text: impl Into<std::borrow::Cow<'static, str>>, content_type: &'static str) -> Answer {
    Answer {
        status: 200,
        body: Body::Page(text.into(), content_type),
        is_tagged: true,
    }
}

/// `GET /`
pub(super) fn index(_context: &Context, _request: &Request, _job: &str) -> Answer {
    part(include_str!("page/index.html"), "text/html; charset=utf-8")
}

/// `GET /style.css`
pub(super) fn style(_context: &Context, _request: &Request, _job: &str) -> Answer {
    part(include_str!("page/style.css"), "text/css; charset=utf-8")
}

/// `GET /app.js`
pub(super) fn script(_context: &Context, _request: &Request, _job: &str) -> Answer {
    part(include_str!("page/app.js"), "text/javascript; charset=utf-8")
}

/// `GET /icon.svg`, with `?failing` in the other colour.
pub(super) fn icon(_context: &Context, request: &Request, _job: &str) -> Answer {
    let icon = if request.query("failing").is_some() {
        ICON.replace(COLOURS[0], COLOURS[1])
    } else {
        ICON.to_owned()
    };
    part(icon, "image/svg+xml")
}
