//! Who may ask: no page that a user visits, and, where a token is set, only its holder.

use crate::support::{Workplace, workplace::printed};

#[test]
fn a_post_of_another_site_or_by_another_name_is_refused() {
    let place = Workplace::new();
    let service = place.start();
    for headers in [
        &[("Origin", "https://evil.example")][..],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Host", "evil.example")],
    ] {
        let (status, body) = service.call("POST", "/trigger/session-cleanup", headers);
        assert_eq!(status, 403, "{headers:?}: {body}");
    }
    assert_eq!(service.call("GET", "/health", &[("Host", "evil.example")]).0, 403);
    assert_eq!(service.post("/trigger/session-cleanup").0, 200);
    assert_eq!(
        service.get("/api/schedules/executions").1["total"],
        1,
        "only the last one ran"
    );
}

#[test]
fn with_a_token_all_but_health_needs_it() {
    let place = Workplace::new();
    let service = place.service().env("CRON_TOKEN", "correct horse").start();
    assert_eq!(service.get("/health").0, 200);
    let with = |token: &str| {
        service
            .call(
                "POST",
                "/trigger/session-cleanup",
                &[("Authorization", &format!("Bearer {token}"))],
            )
            .0
    };
    assert_eq!(
        (
            service.post("/trigger/session-cleanup").0,
            with("wrong"),
            with("correct horse")
        ),
        (401, 401, 200)
    );
    assert_eq!(service.get("/api/schedules").0, 401);
    assert!(
        !service.log().join("\n").contains("correct horse"),
        "the token stays out of the log"
    );
}

#[test]
fn a_token_file_does_the_same_and_is_read_again_at_a_reload() {
    let place = Workplace::new();
    place.write("token", "first\n");
    place.write("jobs.toml", "[server]\ntoken_file = \"token\"\n");
    let service = place.start();
    let reload = |token: &str| {
        service
            .call(
                "POST",
                "/reload-config",
                &[("Authorization", &format!("Bearer {token}"))],
            )
            .0
    };
    assert_eq!(reload("second"), 401);
    place.write("token", "second\n");
    assert_eq!((reload("first"), reload("first"), reload("second")), (200, 401, 200));
}

#[test]
fn a_host_that_others_reach_needs_a_token() {
    let place = Workplace::new();
    let open = "[server]\nhost = \"0.0.0.0\"\n";
    let (code, text) = place.validate(open);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("jobs.toml:2:8: server.host: `0.0.0.0` can be reached from other machines"),
        "{text}"
    );
    assert_eq!(place.validate(&format!("{open}allow_anonymous = true\n")).0, 0);
    let guarded = place
        .command()
        .args(["validate"])
        .env("CRON_TOKEN", "t")
        .output()
        .unwrap();
    assert_eq!(printed(&guarded).0, 0);
}

#[test]
fn a_reload_cannot_open_a_service_that_others_reach() {
    let place = Workplace::new();
    place.write("token", "t");
    place.write("jobs.toml", "[server]\nhost = \"0.0.0.0\"\ntoken_file = \"token\"\n");
    let service = place.start();
    place.write("jobs.toml", "[server]\nhost = \"localhost\"\n");
    service.logged("configuration reloaded");
    let (status, body) = service.post("/reload-config");
    assert_eq!(status, 401, "the token stays with the host: {body}");
}

#[test]
fn a_token_that_is_none_is_a_problem() {
    let place = Workplace::new();
    for token in ["", "  ", "sécret"] {
        let (code, text) = printed(
            &place
                .command()
                .arg("validate")
                .env("CRON_TOKEN", token)
                .output()
                .unwrap(),
        );
        assert_eq!(code, 2, "{token:?}");
        assert!(text.contains("environment: CRON_TOKEN: it is not a token"), "{text}");
        assert!(token.trim().is_empty() || !text.contains(token), "{text}");
    }
}
