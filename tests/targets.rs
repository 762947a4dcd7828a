//! Declared notification targets, and what is told of a job's failures by them.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::receivers::{Ntfy, Smtp};
use crate::support::workplace::printed;
use crate::support::{Service, Workplace, eventually};

/// A job that fails while the table `things` is missing, told as `notify` says.
fn place(targets: &str, notify: &str) -> Workplace {
    Workplace::with_jobs(&format!(
        "{targets}\n[jobs.tidy]\nschedule = \"0 0 1 1 *\"\nnotify = {{ {notify} }}\n\
             cleanup = {{ delete_from = \"things\", where = \"true\" }}\n"
    ))
}

fn run(service: &Service) -> Value {
    service.post("/trigger/tidy").1["success"].clone()
}

/// Has the job succeed from now on.
fn mend(place: &Workplace) {
    place
        .database()
        .execute_batch("CREATE TABLE IF NOT EXISTS things (id)")
        .unwrap();
}

/// What a server got once there are `count` requests and no message waits.
fn got(service: &Service, server: &Ntfy, count: usize) -> Vec<Value> {
    eventually("every message", || {
        (service.health()["outbox"]["pending"] == 0 && server.in_order().len() >= count).then_some(())
    });
    server.in_order()
}

#[test]
fn a_failure_is_told_once_and_so_is_the_recovery() {
    let server = Ntfy::start(200);
    let target = format!(
        "[notifications.ops]\nntfy = {{ url = \"http://127.0.0.1:{}\", topic = \"ops\" }}",
        server.port
    );
    let place = place(&target, "on_failure = [\"ops\"], on_recovery = [\"ops\"]");
    let service = place.start();
    assert_eq!((run(&service), run(&service)), (json!(false), json!(false)));
    let first = got(&service, &server, 1);
    assert_eq!(first.len(), 1, "the second failure has the same cause: {first:?}");
    assert!(
        first[0]["path"]
            .as_str()
            .unwrap()
            .starts_with("/ops?title=tidy+failed&priority=high"),
        "{first:?}"
    );
    assert!(
        first[0]["body"]
            .as_str()
            .unwrap()
            .contains("the database has no table `things`")
    );
    let service = {
        drop(service);
        place.start()
    };
    run(&service);
    mend(&place);
    assert_eq!((run(&service), run(&service)), (json!(true), json!(true)));
    let told = got(&service, &server, 2);
    assert_eq!(told.len(), 2, "not told again after a restart: {told:?}");
    assert!(
        told[1]["body"]
            .as_str()
            .unwrap()
            .contains("It had failed 3 times since"),
        "{told:?}"
    );
}

#[test]
fn every_kind_of_target_is_told() {
    let (ntfy, webhook, pings, smtp) = (Ntfy::start(200), Ntfy::start(200), Ntfy::start(200), Smtp::start());
    let place = place(
        &format!(
            "[notifications.log]\nlog = {{ level = \"warn\" }}\n\
             [notifications.phone]\nntfy = {{ url = \"http://127.0.0.1:{}\", topic = \"p\", token = {{ env = \"PHONE_TOKEN\" }} }}\n\
             [notifications.chat.webhook]\nurl = {{ file = \"hook.url\" }}\nheaders = {{ X-Key = \"k\" }}\nsecret = \"s\"\nbody = {{ text = \"{{title}}: {{message}}\", deep = [\"{{job}}\", 7] }}\n\
             [notifications.team]\nemail = {{ host = \"127.0.0.1\", port = {}, protection = \"plain\", from = \"Cron <cron@x.example>\", to = [\"a@x.example\", \"b@x.example\"] }}\n\
             [notifications.dog]\nhealthchecks = {{ url = \"http://127.0.0.1:{}/ping/uuid\" }}\n",
            ntfy.port, smtp.port, pings.port
        ),
        "on_failure = [\"log\", \"phone\", \"chat\", \"team\", \"dog\"], on_success = [\"phone\"]",
    );
    place.write("hook.url", &format!("http://127.0.0.1:{}/hook\n", webhook.port));
    let service = place.service().env("PHONE_TOKEN", "t0ken").start();
    run(&service);
    assert_eq!(got(&service, &ntfy, 1)[0]["authorization"], "Bearer t0ken");
    service.logged("tidy failed: the database has no table `things`");
    let hook = &webhook.in_order()[0];
    let body: Value = serde_json::from_str(hook["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["deep"], json!(["tidy", 7]));
    assert_eq!(body["text"], "tidy failed: the database has no table `things`");
    assert_eq!((&hook["path"], &hook["x-key"]), (&json!("/hook"), &json!("k")));
    assert!(hook["x-signature-256"].as_str().unwrap().starts_with("sha256="));
    let mails = smtp.received();
    assert_eq!(mails.len(), 2, "one for each recipient: {mails:?}");
    let mail = &mails[0];
    assert_eq!(
        (&mail["from"], &mail["subject"]),
        (&json!("Cron <cron@x.example>"), &json!("tidy failed"))
    );
    mend(&place);
    run(&service);
    assert_eq!(got(&service, &ntfy, 2).len(), 2, "the success");
    // A start that could not be told before the end gives way to it.
    let paths: Vec<Value> = got(&service, &pings, 2)
        .iter()
        .map(|ping| ping["path"].clone())
        .collect();
    assert!(
        paths.contains(&json!("/ping/uuid/fail")) && paths.last() == Some(&json!("/ping/uuid")),
        "{paths:?}"
    );
    let log = service.log().join("\n");
    assert!(!log.contains("t0ken") && !log.contains("/hook"), "{log}");
    let state: String = place
        .in_state("SELECT group_concat(notification) FROM outbox", |row| row.get(0))
        .unwrap();
    assert!(!state.contains("t0ken") && !state.contains("/hook"), "{state}");
}

#[test]
fn one_target_that_is_down_holds_up_no_other() {
    let (good, bad) = (Ntfy::start(200), Ntfy::start(500));
    let target =
        |name: &str, port: u16| format!("[notifications.{name}]\nwebhook = {{ url = \"http://127.0.0.1:{port}\" }}\n");
    let place = place(
        &(target("good", good.port) + &target("bad", bad.port)),
        "on_failure = [\"bad\", \"good\"]",
    );
    let service = place.start();
    run(&service);
    eventually("the good one", || (good.in_order().len() == 1).then_some(()));
    eventually("the bad one", || (bad.in_order().len() == 1).then_some(()));
    let first: Value = serde_json::from_str(good.in_order()[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["job"]), (&json!("failed"), &json!("tidy")));
    bad.answer_with(200, "");
    let service = place.with_state_changed(
        service,
        "UPDATE outbox SET next_attempt_at = 0 WHERE status = 'pending'",
    );
    eventually("the message that waited", || {
        (service.health()["outbox"]["pending"] == 0).then_some(())
    });
    assert_eq!((good.in_order().len(), bad.in_order().len()), (1, 2));
}

#[test]
fn one_target_that_hangs_holds_up_no_other() {
    let (good, hanging) = (Ntfy::start(200), TcpListener::bind("127.0.0.1:0").unwrap());
    let target =
        |name: &str, port: u16| format!("[notifications.{name}]\nwebhook = {{ url = \"http://127.0.0.1:{port}\" }}\n");
    let place = place(
        &(target("hanging", hanging.local_addr().unwrap().port()) + &target("good", good.port)),
        "on_failure = [\"hanging\", \"good\"]",
    );
    let service = place.start();
    run(&service);
    // The connection is taken, and never answered; that the declaration is read again meanwhile changes nothing.
    let _taken = hanging.accept().unwrap();
    mend(&place);
    let (status, body) = service.post("/reload-config");
    assert_eq!(status, 200, "{body}");
    eventually("the good one", || (good.in_order().len() == 1).then_some(()));
    let over: Option<i64> = place.in_state("SELECT count(*) FROM outbox WHERE last_error IS NOT NULL", |row| {
        row.get(0)
    });
    assert_eq!(over, Some(0), "the other attempt is still under way");
}

#[test]
fn a_run_that_a_kill_cuts_off_is_told() {
    let server = Ntfy::start(200);
    let place = Workplace::new();
    let target = format!(
        "[notifications.ops]\nwebhook = {{ url = \"http://127.0.0.1:{}\" }}\n[defaults.notify]\non_failure = [\"ops\"]\n",
        server.port
    );
    let endless = "DELETE FROM sessions WHERE id = (SELECT count(*) FROM json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') a, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') b, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') c)";
    let job = format!(
        "[jobs.tidy]\nschedule = \"@yearly\"\nsql = {{ statement = \"{endless}\", tables = [\"sessions\"] }}\n"
    );
    place.write("jobs.toml", &(target + &job));
    let service = place.start();
    service.post("/trigger/tidy?wait=false");
    service.kill();
    let service = place.start();
    let told = got(&service, &server, 1);
    assert!(
        told[0]["body"]
            .as_str()
            .unwrap()
            .contains("the service ended during this run"),
        "{told:?}"
    );
}

#[test]
fn a_target_can_be_tried() {
    let (good, bad) = (Ntfy::start(200), Ntfy::start(403));
    let place = place(
        &format!(
            "[notifications.good]\nntfy = {{ url = \"http://127.0.0.1:{}\", topic = \"t\" }}\n[notifications.bad]\nwebhook = {{ url = \"http://127.0.0.1:{}/s3cret\" }}\n\
             [notifications.gone]\nwebhook = {{ url = \"http://127.0.0.1:1/s3cret\" }}\n[notifications.log]\nlog = {{}}\n",
            good.port, bad.port
        ),
        "",
    );
    for (target, code, said) in [
        ("good", 0, "good: 200 OK {\"id\":\"x\"}"),
        ("bad", 1, "bad: the server answered 403 Forbidden {\"error\":\"no\"}"),
        ("gone", 1, "gone: the server cannot be reached"),
        ("log", 0, "log: written to the log"),
        (
            "none",
            2,
            "no target `none` is declared; declared targets: bad, gone, good, log",
        ),
    ] {
        let (exit, text) = printed(&place.run(&["notify", "test", target]));
        assert_eq!(exit, code, "{target}: {text}");
        assert!(text.contains(said) && !text.contains("s3cret"), "{target}: {text}");
    }
    assert_eq!(good.in_order().len(), 1);
}

#[test]
fn targets_that_are_no_good_are_told_by_key_and_never_show_a_secret() {
    let (code, text) = Workplace::new().validate(
        "[notifications.a]\nlog = {}\nntfy = { topic = \"t\" }\n[notifications.b]\n[notifications.c]\nwebhook = { url = \"s3cret\", headers = { \"X Y\" = \"s3cret\\n\" }, body = { a = \"{titel}\" } }\n\
         [notifications.d]\nntfy = { topic = \"\", token = { env = \"NO_SUCH_VARIABLE\" } }\n[notifications.e]\nemail = { host = \"\", from = \"x\", to = [] , protection = \"plain\", password = \"s3cret\" }\n\
         [notifications.f]\nhealthchecks = { url = { file = \"no.file\" } }\n[notifications.g]\npager = {}\n\
         [defaults.notify]\non_failure = [\"zz\"]\n[jobs.tidy]\nschedule = \"@daily\"\nnotify = { on_success = [\"a\", \"yy\"] }\ncleanup = { delete_from = \"sessions\", where = \"true\" }\n",
    );
    assert_eq!(code, 2);
    for problem in [
        "notifications.a.ntfy: the target has more than one kind: log, ntfy",
        "notifications.b: the target has no kind; exactly one of log, ntfy, email, webhook, healthchecks, duplistatus",
        "notifications.c.webhook.url: an address that begins with https:// or http:// is expected",
        "notifications.c.webhook.headers: `X Y` is not a header",
        "notifications.c.webhook.body: `titel` is not a field of a message",
        "notifications.d.ntfy.token: the variable NO_SUCH_VARIABLE is not set",
        "notifications.e.email.from: `x` is not an email address",
        "notifications.e.email.to: it names no recipient",
        "notifications.e.email.protection: a password is not sent over an unencrypted connection",
        "notifications.f.healthchecks.url: no.file cannot be read",
        "notifications.g.pager: unknown key `pager`",
        "defaults.notify.on_failure: no target `zz` is declared; declared targets: a, b, c, d, e, f, g",
        "jobs.tidy.notify.on_success: no target `yy` is declared",
    ] {
        assert!(text.contains(problem), "{problem}\n{text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_secret_in_the_wrong_place_or_in_an_answer_is_not_shown() {
    let echo = Ntfy::start(404);
    let place = place(
        &format!(
            "[notifications.ops]\nwebhook = {{ url = \"http://127.0.0.1:{}/PATHSECRET\", headers = {{ Authorization = \"Bearer HEADERSECRET\" }} }}",
            echo.port
        ),
        "on_failure = [\"ops\"]",
    );
    echo.answer_body(404, "Cannot POST /PATHSECRET with Bearer HEADERSECRET");
    let service = place.start();
    run(&service);
    service.logged("the server answered 404");
    let (_, tried) = printed(&place.run(&["notify", "test", "ops"]));
    assert!(tried.contains("Cannot POST /[secret] with Bearer [secret]"), "{tried}");
    assert!(!service.log().join("\n").contains("SECRET"));
    let kept: String = place
        .in_state("SELECT group_concat(last_error) FROM outbox", |row| row.get(0))
        .unwrap();
    assert!(!kept.contains("SECRET"), "{kept}");
    for wrong in ["headers = \"SECRET\"", "secret = 99887766", "url = [\"SECRET\"]"] {
        let (code, text) = place.validate(&format!("[notifications.ops.webhook]\nurl2 = \"x\"\n{wrong}\n"));
        assert!(
            code == 2 && !text.contains("SECRET") && !text.contains("99887766"),
            "{text}"
        );
    }
}

#[test]
fn pings_that_could_not_be_sent_give_way_to_newer_ones() {
    let dog = Ntfy::start(503);
    let target = format!(
        "[notifications.dog]\nhealthchecks = {{ url = \"http://127.0.0.1:{}/p?create=1\" }}",
        dog.port
    );
    let place = place(&target, "on_failure = [\"dog\"]");
    let service = place.start();
    run(&service);
    eventually("the failure", || {
        dog.in_order()
            .iter()
            .any(|ping| ping["path"] == "/p/fail?create=1")
            .then_some(())
    });
    dog.answer_with(200, "");
    mend(&place);
    run(&service);
    // How many come depends on which pings of a start gave way to those of its end.
    let before = eventually("the success", || {
        let pings = got(&service, &dog, 1);
        (pings.last().unwrap()["path"] == "/p?create=1").then_some(pings)
    });
    let service = place.with_state_changed(service, "UPDATE outbox SET next_attempt_at = 0");
    run(&service);
    let after = got(&service, &dog, before.len() + 1);
    assert!(
        after[before.len()..]
            .iter()
            .all(|ping| !ping["path"].as_str().unwrap().contains("fail")),
        "{after:?}"
    );
}
