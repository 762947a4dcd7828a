//! Nothing that is kept or said holds a secret of the declaration.

use std::os::unix::fs::PermissionsExt;

use crate::support::receivers::Ntfy;
use crate::support::{Workplace, eventually};

const SECRETS: &[&str] = &[
    "s3cret-token",
    "s3cret-path",
    "s3cret-query",
    "s3cret-user",
    "s3cret-old",
];

fn declaration(port: u16) -> String {
    declared(port, port)
}

fn declared(port: u16, hook: u16) -> String {
    format!(
        "# token = \"s3cret-old\"\n[notifications.phone]\nntfy = {{ url = \"http://127.0.0.1:{port}\", topic = \"t\", token = \"s3cret-token\" }}\n\
         [notifications.hook]\nwebhook = {{ url = \"http://s3cret-user:pw@127.0.0.1:{hook}/s3cret-path?key=s3cret-query\" }}\n\
         [jobs.tidy]\nschedule = \"@yearly\"\nnotify = {{ on_failure = [\"phone\", \"hook\"] }}\ncleanup = {{ delete_from = \"things\", where = \"true\" }}\n"
    )
}

/// Everything that the service has written below its folder but the declaration itself.
fn written(place: &Workplace) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(place.file("data")).unwrap() {
        all.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    all
}

fn holds(all: &[u8], secret: &str) -> bool {
    all.windows(secret.len()).any(|window| window == secret.as_bytes())
}

#[test]
fn neither_the_state_nor_the_log_nor_an_answer_holds_a_secret_that_a_server_repeats() {
    let (phone, hook) = (Ntfy::start(500), Ntfy::start(500));
    phone.answer_body(500, r#"{"error":"s3cret-token; Bearer czNjcmV0LXRva2Vu"}"#);
    hook.answer_body(
        500,
        r#"{"error":"/s3cret-path?key=s3cret-query; s3cret-user:pw; Basic czNjcmV0LXVzZXI6cHc="}"#,
    );
    let place = Workplace::with_jobs(&declared(phone.port, hook.port));
    let service = place.start();
    service.post("/trigger/tidy");
    eventually("both to be put off", || {
        let tried: Option<i64> = place.in_state("SELECT count(*) FROM outbox WHERE last_error IS NOT NULL", |row| {
            row.get(0)
        });
        (tried == Some(2)).then_some(())
    });
    service.post("/reload-config");
    let said = [
        service.log().join("\n"),
        service.health().to_string(),
        service.get("/api/config").1.to_string(),
        service.get("/api/schedules/executions").1.to_string(),
    ]
    .concat();
    let all = [written(&place), said.into_bytes()].concat();
    for secret in SECRETS.iter().chain(&["czNjcmV0LXRva2Vu", "czNjcmV0LXVzZXI6cHc"]) {
        assert!(!holds(&all, secret), "{secret}");
    }
    service.terminate();
    let all = written(&place);
    for secret in SECRETS {
        assert!(!holds(&all, secret), "{secret}");
    }
}

#[test]
fn our_files_are_their_owners_alone() {
    let place = Workplace::new();
    let service = place.start();
    service.post("/trigger/session-cleanup");
    let ours = || -> Vec<(String, u32)> {
        let entries = std::fs::read_dir(place.file("data")).unwrap().map(Result::unwrap);
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("duplistatus-cron"));
        ours.map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.metadata().unwrap().permissions().mode() & 0o777,
            )
        })
        .collect()
    };
    assert!(
        ours().len() > 1 && ours().iter().all(|(_, mode)| *mode == 0o600),
        "{:?}",
        ours()
    );
    service.terminate();
    // What an earlier version left open to others is closed.
    let file = place.file("data/duplistatus-cron.db");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _service = place.start();
    assert!(ours().iter().all(|(_, mode)| *mode == 0o600), "{:?}", ours());
}

#[test]
fn messages_to_a_target_whose_secret_was_not_kept_wait_until_the_declaration_is_mended() {
    let server = Ntfy::start(200);
    let place = Workplace::with_jobs(&declaration(server.port));
    place.start().terminate();
    place.write("jobs.toml", "broken");
    let service = place.service().args(&["run", "--keep-last-good"]).start();
    service.logged("its secrets are not kept with the last good configuration");
    service.post("/trigger/tidy");
    assert_eq!(service.health()["outbox"]["pending"], 2);
    place.write("jobs.toml", &declaration(server.port));
    eventually("the mended declaration", || {
        let reasons = service.health()["reasons"].to_string();
        (!reasons.contains("last good")).then_some(())
    });
    let service = place.with_state_changed(service, "UPDATE outbox SET next_attempt_at = 0");
    eventually("both to be told", || {
        (service.health()["outbox"]["pending"] == 0).then_some(())
    });
    assert_eq!(server.received().len(), 2);
}
