//! Messages about overdue backups when something is in the way: a channel that fails, a key that does not fit, an
//! entry that cannot be read, a kill at any moment.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::receivers::{GuardedSmtp, Ntfy, Smtp};
use crate::support::{Service, Workplace, eventually};

const CHECK: &str = "/trigger/overdue-backup-check";

/// A place with one backup that is overdue, told by ntfy and, where there is a server, by mail.
fn place(ntfy_port: u16, smtp_port: Option<u16>) -> Workplace {
    let place = Workplace::new();
    let mut scenario = json!({
        "configurations": { "ntfy_config": {"url": format!("http://127.0.0.1:{ntfy_port}"), "topic": "t", "accessToken": "secret-token"} },
        "servers": [{"id": "s", "name": "db", "alias": "", "note": "", "server_url": ""}],
        "backups": [["s", "Daily", "2026-11-01T08:00:00.000Z"]],
        "audit_log": [],
    });
    if let Some(port) = smtp_port {
        let smtp = json!({"host": "127.0.0.1", "port": port, "connectionType": "plain", "mailto": "ops@x.example",
            "fromAddress": "dup@x.example", "requireAuth": false});
        scenario["configurations"]["smtp_config"] = smtp;
    }
    place.fill(&scenario);
    place
}

fn sent(service: &Service) -> Value {
    let (status, body) = service.post(CHECK);
    assert_eq!((status, &body["success"]), (200, &json!(true)), "{body}");
    body["statistics"]["notificationsSent"].clone()
}

fn stamps(place: &Workplace) -> Value {
    serde_json::from_str(&place.setting("overdue_notifications").unwrap()).unwrap()
}

#[test]
fn one_channel_that_fails_neither_loses_nor_repeats_the_others_messages() {
    let (ntfy, smtp) = (Ntfy::start(500), Smtp::start());
    let place = place(ntfy.port, Some(smtp.port));
    let service = place.start();
    assert_eq!(sent(&service), 1, "the mail was delivered");
    assert_eq!(
        (sent(&service), sent(&service)),
        (json!(0), json!(0)),
        "and is not sent again"
    );
    assert_eq!(service.health()["outbox"], json!({ "pending": 1, "dead": 0 }));
    assert_eq!(smtp.received().len(), 1);
    ntfy.answer_with(200, "");
    let service = place.with_state_changed(
        service,
        "UPDATE outbox SET next_attempt_at = 0 WHERE status = 'pending'",
    );
    eventually("the message that waited", || {
        (service.health()["outbox"]["pending"] == 0).then_some(())
    });
    let tried = ntfy.received();
    assert_eq!(tried.last(), tried.first(), "each attempt is the same message");
    assert_eq!(smtp.received().len(), 1);
    assert_eq!(tried[0]["authorization"], "Bearer secret-token");
    assert!(!service.log().join("\n").contains("secret-token"));
}

#[test]
fn whatever_a_server_does_the_message_waits_and_nothing_is_stamped() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let resetting = TcpListener::bind("127.0.0.1:0").unwrap();
    let resetting_port = resetting.local_addr().unwrap().port();
    std::thread::spawn(move || resetting.incoming().for_each(drop));
    // One that takes the connection and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging_port = hanging.local_addr().unwrap().port();
    let failing: Vec<Ntfy> = [429, 500, 404, 302].map(Ntfy::start).into_iter().collect();
    for port in failing
        .iter()
        .map(|ntfy| ntfy.port)
        .chain([refusing, resetting_port, hanging_port])
    {
        let place = place(port, None);
        let service = place.start();
        assert_eq!(sent(&service), 0);
        assert_eq!(stamps(&place), json!({}));
        assert_eq!(service.health()["outbox"], json!({ "pending": 1, "dead": 0 }));
        let action: String = place
            .database()
            .query_row("SELECT action FROM audit_log", [], |row| row.get(0))
            .unwrap();
        assert_eq!(action, "notification_failed");
    }
}

#[test]
fn a_server_that_asks_to_wait_is_left_alone_for_so_long() {
    let ntfy = Ntfy::start(429);
    ntfy.answer_with(429, "Retry-After: 1800\r\n");
    let place = place(ntfy.port, None);
    let service = place.start();
    sent(&service);
    let (asked, next): (i64, i64) = place
        .in_state("SELECT created_at, next_attempt_at FROM outbox", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert!((1_800_000..1_900_000).contains(&(next - asked)), "{} ms", next - asked);
}

#[test]
fn with_no_channel_nothing_is_stamped_or_counted() {
    let place = place(1, None);
    place.set(
        "backup_settings",
        r#"{"s:Daily":{"expectedInterval":"1D","overdueBackupCheckEnabled":true,"ntfyEnabled":false,"time":""}}"#,
    );
    let service = place.start();
    let (_, body) = service.post(CHECK);
    assert_eq!(
        body["statistics"],
        json!({"totalBackupConfigs": 1, "checkedBackups": 1, "overdueBackupsFound": 1, "notificationsSent": 0})
    );
    assert_eq!(stamps(&place), json!({}));
}

#[test]
fn a_key_that_does_not_fit_is_told_and_the_other_channel_goes_on() {
    let sealed = "07:090909090909090909090909:8ee5e8ae015a4a2ad9eb5b702dac44e0:bac6";
    for (key, why) in [
        (None, "cannot be read"),
        (Some(&b"wrong"[..]), "does not fit the stored credentials"),
    ] {
        let ntfy = Ntfy::start(200);
        let place = place(ntfy.port, None);
        let smtp =
            json!({"host": "127.0.0.1", "port": 1, "username": sealed, "password": sealed, "mailto": "o@x.example"});
        place.set("smtp_config", &smtp.to_string());
        if let Some(key) = key {
            std::fs::write(place.file("data/.duplistatus.key"), key).unwrap();
        }
        let service = place.start();
        assert_eq!(sent(&service), 1);
        let reasons = service.health()["reasons"].to_string();
        assert!(
            reasons.contains("mail cannot be sent: the master key data/.duplistatus.key") && reasons.contains(why),
            "{reasons}"
        );
        assert!(!reasons.contains("bac6"), "{reasons}");
    }
}

#[test]
fn what_cannot_be_read_is_told_by_name_and_everything_else_is_checked() {
    let ntfy = Ntfy::start(200);
    let place = place(ntfy.port, None);
    place.fill(&json!({
        "configurations": {}, "audit_log": [], "servers": [],
        "backups": [["s", "No date", "yesterday"], ["s", "No interval", "2026-11-01T08:00:00.000Z"], ["s", "No table", "2026-11-01T08:00:00.000Z"]],
    }));
    place.set(
        "backup_settings",
        r#"{"s:No interval":{"expectedInterval":"often","overdueBackupCheckEnabled":true},"s:No table":7}"#,
    );
    let service = place.start();
    let (_, body) = service.post(CHECK);
    let message = body["message"].as_str().unwrap();
    for name in [
        "No date of db: the date of its newest backup is `yesterday`",
        "No interval of db: Invalid interval format: often",
        "s:No table: its entry",
    ] {
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(body["statistics"]["notificationsSent"], 1, "{body}");
    assert!(
        service.health()["reasons"]
            .to_string()
            .contains("Invalid interval format: often")
    );
    place.set("backup_settings", "broken");
    let (_, body) = service.post(CHECK);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("backup_settings is not a JSON object"),
        "{body}"
    );
    assert_eq!(
        place.setting("backup_settings").as_deref(),
        Some("broken"),
        "it is left for whoever can mend it"
    );
}

#[test]
fn a_kill_at_any_moment_loses_no_message() {
    let ntfy = Ntfy::start(200);
    for round in 0..25_u64 {
        let before = ntfy.received().len();
        let place = place(ntfy.port, None);
        let service = place.start();
        let asked = service.post(&format!("{CHECK}?wait=false"));
        assert_eq!(asked.0, 202);
        std::thread::sleep(std::time::Duration::from_micros(round * 700));
        service.kill();
        if place.file("data/duplistatus-cron.db").exists() {
            // The lease of whoever was killed is over at once, not in a minute.
            let _ = place
                .state()
                .execute("UPDATE outbox SET next_attempt_at = 0 WHERE status = 'pending'", []);
        }
        let service = place.start();
        service.post(CHECK);
        let received = ntfy.received().len() - before;
        assert!(
            (1..=2).contains(&received),
            "round {round}: {received} messages; two only if one was on the wire"
        );
        assert!(
            stamps(&place)["s:Daily"]["lastNotificationSent"].is_string(),
            "round {round}"
        );
        service.post(CHECK);
        assert_eq!(
            ntfy.received().len() - before,
            received,
            "round {round}: nothing more comes"
        );
    }
}

#[test]
fn an_unknown_time_zone_is_a_problem() {
    let place = Workplace::new();
    let output = place
        .command()
        .arg("validate")
        .env("TZ", "Mars/Olympus")
        .output()
        .unwrap();
    let (code, text) = crate::support::workplace::printed(&output);
    assert_eq!(code, 2);
    assert!(
        text.contains("environment: TZ: `Mars/Olympus` is not a time zone"),
        "{text}"
    );
}

#[test]
fn what_is_declared_wins_over_the_applications_settings() {
    let ntfy = Ntfy::start(200);
    let place = place(ntfy.port, None);
    place.set("overdue_tolerance", "1h");
    place.set("notification_frequency", "every_day");
    let declare = |keys: &str| {
        place.write(
            "jobs.toml",
            &format!("[jobs.overdue-backup-check]\nschedule = \"@daily\"\noverdue_backups = {{ {keys} }}\n"),
        );
    };
    declare("tolerance = \"520w\"");
    let service = place.start();
    assert_eq!(service.post(CHECK).1["statistics"]["overdueBackupsFound"], 0);
    declare("tolerance = \"45m\", frequency = \"1h\", language = \"de\"");
    assert_eq!(service.post("/reload-config").0, 200);
    assert_eq!(sent(&service), 1);
    assert!(
        ntfy.received()[0]["body"]
            .as_str()
            .unwrap()
            .contains("Letzte: 01.11.26, "),
        "{:?}",
        ntfy.received()
    );
    assert!(ntfy.received()[0]["body"].as_str().unwrap().contains("Toleranz 45 Min"));
    assert_eq!(sent(&service), 0, "told a moment ago");
    let mut told = stamps(&place);
    let stamp = told["s:Daily"]["lastNotificationSent"].as_str().unwrap().to_owned();
    told["s:Daily"]["lastNotificationSent"] = (stamp.parse::<jiff::Timestamp>().unwrap()
        - jiff::SignedDuration::from_mins(61))
    .to_string()
    .into();
    place.set("overdue_notifications", &told.to_string());
    assert_eq!(sent(&service), 1, "told again after an hour");
    declare("frequency = \"often\", language = \"tlh\", color = 1");
    let (_, body) = service.post("/reload-config");
    let problems = body["problems"].to_string();
    for expected in [
        "`often` is not a frequency",
        "`tlh` is not one of en-GB, de, fr, es, pt-BR",
        "unknown key `color`",
    ] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
}

/// `dup@x.example` and `hünter2`, sealed as the application does under the bytes 0 to 31.
const SEALED_NAME: &str = "27b19decea1aa2e7f3168dac3fc34fe8be753be5ce140264346aad278a121499:8f5bd113c94d103f537eef16:\
    cfeaea31f0ca14137c68041738dfa9e7:6881a3ab639b29e7c88d05250b";
const SEALED_PASSWORD: &str = "e784e26884877d8f9b9fe20a1d32bf3e8152061966602217c87685736fa6e4c7:c959264aa733eaf263d42da4:\
    dc130ffd784c7fa337fa934309aeae7c:3206e67245920c33";

/// A place that tells by mail alone, with sealed credentials.
fn place_with_mail(connection_type: &str, port: u16) -> Workplace {
    let place = place(1, None);
    place.set(
        "backup_settings",
        r#"{"s:Daily":{"expectedInterval":"1D","overdueBackupCheckEnabled":true,"ntfyEnabled":false}}"#,
    );
    std::fs::write(place.file("data/.duplistatus.key"), (0..32).collect::<Vec<u8>>()).unwrap();
    let smtp = json!({"host": "127.0.0.1", "port": port, "connectionType": connection_type, "username": SEALED_NAME,
        "password": SEALED_PASSWORD, "mailto": "ops@x.example", "senderName": "Bäckups"});
    place.set("smtp_config", &smtp.to_string());
    place
}

#[test]
fn mail_goes_over_starttls_and_tls_with_the_stored_login() {
    for (connection_type, mode) in [("starttls", "starttls"), ("ssl", "tls")] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = GuardedSmtp::start(folder.path(), mode, "dup@x.example", "hünter2");
        let place = place_with_mail(connection_type, server.port);
        let service = place.start();
        assert_eq!(sent(&service), 1, "{mode}: {:?}", service.log());
        let mail = server.mail();
        assert_eq!(
            (&mail["name"], &mail["tls"]),
            (&json!("dup@x.example"), &json!(true)),
            "{mode}"
        );
        assert_eq!(
            (&mail["from"], &mail["to"]),
            (&json!("dup@x.example"), &json!(["ops@x.example"]))
        );
        assert!(
            mail["text"].as_str().unwrap().contains("@duplistatus-cron>"),
            "a Message-ID: {mail}"
        );
    }
}

#[test]
fn a_login_that_is_refused_and_a_server_without_tls_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let guarded = GuardedSmtp::start(folder.path(), "starttls", "dup@x.example", "another");
    let plain = Smtp::start();
    for port in [guarded.port, plain.port] {
        let place = place_with_mail("starttls", port);
        let service = place.start();
        assert_eq!(sent(&service), 0);
        let told = service.logged("not delivered: the mail server 127.0.0.1");
        assert!(!told.contains("hünter2"), "{told}");
        assert_eq!(stamps(&place), json!({}));
    }
    assert!(
        plain.received().is_empty(),
        "nothing is sent without TLS where TLS is asked for"
    );
}

#[test]
fn a_mail_server_that_refuses_the_recipient_or_hangs_up_is_told_and_tried_again() {
    for (fault, why) in [("RCPT", "no such user"), ("DATA", "did not accept the mail")] {
        let (server, place) = (Smtp::with_fault(fault), Workplace::new());
        place.fill(&json!({
            "configurations": { "smtp_config": {"host": "127.0.0.1", "port": server.port, "connectionType": "plain",
                "mailto": "ops@x.example", "fromAddress": "dup@x.example", "requireAuth": false} },
            "servers": [{"id": "s", "name": "db", "alias": "", "note": "", "server_url": ""}],
            "backups": [["s", "Daily", "2026-11-01T08:00:00.000Z"]], "audit_log": [],
        }));
        place.set(
            "backup_settings",
            r#"{"s:Daily":{"expectedInterval":"1D","overdueBackupCheckEnabled":true,"ntfyEnabled":false}}"#,
        );
        let service = place.start();
        assert_eq!(sent(&service), 0, "{fault}");
        service.logged(why);
        assert_eq!(
            service.health()["outbox"],
            json!({ "pending": 1, "dead": 0 }),
            "{fault}"
        );
        assert_eq!(stamps(&place), json!({}));
    }
}

#[test]
fn a_backup_whose_stamp_was_dropped_is_told_again_each_time() {
    let ntfy = Ntfy::start(200);
    let place = place(ntfy.port, None);
    let service = place.start();
    assert_eq!((sent(&service), sent(&service)), (json!(1), json!(0)));
    let first = stamps(&place);
    for time in 2..5 {
        place.set("overdue_notifications", "{}");
        assert_eq!((sent(&service), sent(&service)), (json!(1), json!(0)), "time {time}");
        assert_eq!(ntfy.received().len(), time);
    }
    // A database that is restored has an old stamp: with "every day", it is due again, and told once.
    place.set("notification_frequency", "every_day");
    let mut old = first;
    old["s:Daily"]["lastNotificationSent"] = "2026-11-02T08:00:00.000Z".into();
    for time in 5..7 {
        place.set("overdue_notifications", &old.to_string());
        assert_eq!((sent(&service), sent(&service)), (json!(1), json!(0)), "time {time}");
        assert_eq!(ntfy.received().len(), time);
    }
}

#[test]
fn a_stamp_carries_the_time_of_the_check_however_long_the_delivery_took() {
    let ntfy = Ntfy::start(500);
    let place = place(ntfy.port, None);
    place.set("notification_frequency", "every_day");
    place.set(
        "cron_service",
        r#"{"tasks":{"overdue-backup-check":{"enabled":false}}}"#,
    );
    // Nobody is reached at the first check; the second finds the message waiting.
    let service = place.service().at("2026-11-20 06:00:00").start();
    assert_eq!(sent(&service), 0);
    service.terminate();
    ntfy.answer_with(200, "");
    let mut told = Vec::new();
    for day in 21..24 {
        for hour in [6, 8, 10, 12] {
            let service = place.service().at(&format!("2026-11-{day} {hour:02}:00:{day}")).start();
            if sent(&service) == 1 {
                told.push(hour);
            }
            let stamp = stamps(&place)["s:Daily"]["lastNotificationSent"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(stamp.starts_with(&format!("2026-11-{day}T06:00:")), "{stamp}");
            service.terminate();
        }
    }
    assert_eq!(told, [6, 6, 6]);
}

#[test]
fn a_failure_that_could_not_be_told_is_told_before_the_recovery() {
    let ntfy = Ntfy::start(500);
    let place = Workplace::with_jobs(&format!(
        "[notifications.phone]\nntfy = {{ url = \"http://127.0.0.1:{}\", topic = \"t\" }}\n[jobs.tidy]\nschedule = \"@yearly\"\nnotify = {{ on_failure = [\"phone\"], on_recovery = [\"phone\"] }}\ncleanup = {{ delete_from = \"things\", where = \"true\" }}\n",
        ntfy.port
    ));
    let service = place.start();
    service.post("/trigger/tidy");
    eventually("the first attempt", || (!ntfy.received().is_empty()).then_some(()));
    place.database().execute_batch("CREATE TABLE things (id)").unwrap();
    service.post("/trigger/tidy");
    assert_eq!(service.health()["outbox"]["pending"], 2);
    ntfy.answer_with(200, "");
    let service = place.with_state_changed(service, "UPDATE outbox SET next_attempt_at = 0");
    eventually("both to be told", || {
        (service.health()["outbox"]["pending"] == 0).then_some(())
    });
    let titles: Vec<String> = ntfy
        .in_order()
        .iter()
        .map(|request| request["path"].as_str().unwrap().to_owned())
        .collect();
    let (first, rest) = titles.split_first().unwrap();
    let last: Vec<&String> = rest.iter().rev().take(2).collect();
    assert!(
        first.contains("tidy+failed") && last[1].contains("tidy+failed") && last[0].contains("has+recovered"),
        "{titles:?}"
    );
}
