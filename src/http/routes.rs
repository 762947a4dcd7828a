//! The table of endpoints: one row each. `:job` or `:run` in a path stands for one part, given to the handler.

use super::{
    Answer, Context, Request, config, guard, health, hooks, job, metrics, outbox, overview, page, schedules, tasks, why,
};

type Handler = fn(&Context, &Request, &str) -> Answer;

struct Route {
    method: &'static str,
    path: &'static str,
    access: Access,
    handler: Handler,
}

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Who has the token, where one is set.
    Token,
    /// Anybody.
    Open,
    /// Who has signed the request, which its handler sees to.
    Signed,
}

const fn route(method: &'static str, path: &'static str, handler: Handler) -> Route {
    Route {
        method,
        path,
        access: Access::Token,
        handler,
    }
}

const fn open(path: &'static str, handler: Handler) -> Route {
    Route {
        access: Access::Open,
        ..route("GET", path, handler)
    }
}

const ROUTES: &[Route] = &[
    open("/health", health::get),
    open("/", page::index),
    open("/style.css", page::style),
    open("/app.js", page::script),
    open("/icon.svg", page::icon),
    Route {
        access: Access::Signed,
        ..route("POST", "/hooks/:job", hooks::post)
    },
    route("GET", "/metrics", metrics::get),
    route("POST", "/trigger/:job", tasks::trigger),
    route("POST", "/start/:job", tasks::start),
    route("POST", "/stop/:job", tasks::stop),
    route("POST", "/reload-config", tasks::reload),
    route("GET", "/api/overview", overview::get),
    route("GET", "/api/config", config::get),
    route("GET", "/api/outbox", outbox::get),
    route("GET", "/api/schedules", schedules::list),
    // Before the runs, whose paths a job called `executions` would share; a run is a number.
    route("GET", "/api/schedules/:job/why", why::get),
    route("GET", "/api/schedules/:job/plan", schedules::plan),
    route("GET", "/api/schedules/executions", schedules::executions),
    route("GET", "/api/schedules/executions/:run", schedules::execution),
    route("POST", "/api/schedules/executions/:run/cancel", schedules::cancel),
    route("POST", "/api/schedules/run/:job", schedules::run),
    route("GET", "/api/jobs/:job", job::get),
];

/// Answers a request; gives the path of its route, too.
pub(super) fn answer(request: &Request, context: &Context) -> (Answer, &'static str) {
    let at_path: Vec<(&Route, &str)> = ROUTES
        .iter()
        .filter_map(|route| Some((route, capture(route.path, &request.path)?)))
        .collect();
    // The server leaves the body of an answer to HEAD out by itself.
    let method = if request.method == "HEAD" {
        "GET"
    } else {
        &request.method
    };
    let found = at_path.iter().find(|(route, _)| route.method == method);
    let access = found.map_or(Access::Token, |(route, _)| route.access);
    let refused = guard::refuse(request, &context.plans.borrow().server, access == Access::Open);
    if let Some(refused) = refused.filter(|_| access != Access::Signed) {
        return (refused, found.map_or("other", |(route, _)| route.path));
    }
    match (found, at_path.first()) {
        (Some((route, job)), _) => ((route.handler)(context, request, job), route.path),
        (None, Some((route, _))) => (Answer::error(405, format!("use {} here", route.method)), route.path),
        (None, None) => (Answer::error(404, "there is no such endpoint"), "other"),
    }
}

/// What `path` has in the place of `:job`, where it has the form of `pattern`; nothing for one without.
fn capture<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((start, rest)) = pattern.split_once(':') else {
        return (pattern == path).then_some("");
    };
    let end = rest.find('/').map_or("", |at| &rest[at..]);
    path.strip_prefix(start)?
        .strip_suffix(end)
        .filter(|job| !job.is_empty() && !job.contains('/'))
}
