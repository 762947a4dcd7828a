//! Reloads: by hand, by SIGHUP, by a changed file; whole or not at all.

use serde_json::{Value, json};

use crate::support::workplace::ONE_JOB;
use crate::support::{Service, Workplace, eventually};

fn ids(service: &Service) -> Vec<String> {
    let jobs = service.get("/api/schedules").1["jobs"].clone();
    jobs.as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap().to_owned())
        .collect()
}

const SECOND_JOB: &str = r#"
[jobs.second]
schedule = "0 0 2 2 *"
[jobs.second.cleanup]
delete_from = "sessions"
where = "false"
"#;

#[test]
fn an_edit_of_the_database_applies_after_reload_config() {
    let place = Workplace::new();
    place.set(
        "cron_service",
        r#"{"port":1,"tasks":{"audit-log-cleanup":{"cronExpression":"0 2 * * *","enabled":true}}}"#,
    );
    let service = place.start();
    place.set(
        "cron_service",
        &json!({"port": service.port, "tasks": {"audit-log-cleanup": {"cronExpression": "0 3 * * *", "enabled": true}, "session-cleanup": {"enabled": false}}}).to_string(),
    );
    let (status, body) = service.post("/reload-config");
    assert_eq!(status, 200);
    assert_eq!(body["message"], "Configuration reloaded successfully");
    assert_eq!(body["changed"], json!(["audit-log-cleanup", "session-cleanup"]));
    assert_eq!(
        body["changes"],
        json!({"audit-log-cleanup": ["schedule"], "session-cleanup": ["enabled"]})
    );
    assert_eq!((&body["added"], &body["removed"]), (&json!([]), &json!([])));
    assert_eq!(
        service.health()["activeTasks"],
        json!(["overdue-backup-check", "audit-log-cleanup"])
    );
}

#[test]
fn a_bad_expression_in_the_row_leaves_the_others_running() {
    let place = Workplace::new();
    let service = place.start();
    let before = service.health()["nextRunTimes"].clone();
    place.set(
        "cron_service",
        r#"{"tasks":{"audit-log-cleanup":{"cronExpression":"bad","enabled":true}}}"#,
    );
    let (status, body) = service.post("/reload-config");
    assert_eq!(status, 200);
    let problem = &body["problems"]
        .as_array()
        .unwrap()
        .iter()
        .find(|problem| problem["severity"] == "ignored")
        .unwrap();
    assert_eq!(problem["source"], "database row configurations.cron_service");
    assert_eq!(problem["path"], "tasks.audit-log-cleanup.cronExpression");
    let health = service.health();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["nextRunTimes"], before);
}

#[test]
fn a_refused_file_changes_nothing_and_is_told_until_it_is_mended() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.start();
    place.write("jobs.toml", "[jobs.tidy]\nschedule = \"x\"\n");
    let (status, body) = service.post("/reload-config");
    assert_eq!(status, 422);
    assert_eq!(body["problems"].as_array().unwrap().len(), 2, "{body}");
    assert_eq!(ids(&service), ["tidy"]);
    let health = service.health();
    assert_eq!(
        (&health["status"], &health["config"]["lastReload"]["applied"]),
        (&json!("degraded"), &json!(false))
    );
    place.write("jobs.toml", &format!("{ONE_JOB}{SECOND_JOB}"));
    let added = eventually("the mended file to apply", || {
        (ids(&service).len() == 2).then(|| service.health())
    });
    assert_eq!(added["status"], "ok");
    assert_eq!(added["config"]["lastReload"]["cause"], "file");
}

#[test]
fn a_changed_file_applies_by_itself_however_it_is_changed() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.start();
    let both = format!("{ONE_JOB}{SECOND_JOB}");
    let expect = |count: usize, how: &str| eventually(how, || (ids(&service).len() == count).then_some(()));
    place.write("jobs.toml", &both);
    expect(2, "written in place");
    place.write("jobs.toml.new", ONE_JOB);
    std::fs::rename(place.file("jobs.toml.new"), place.file("jobs.toml")).unwrap();
    expect(1, "renamed over");
    std::fs::remove_file(place.file("jobs.toml")).unwrap();
    place.write("jobs.toml", &both);
    expect(2, "deleted and made again");
    std::fs::read(place.file("jobs.toml")).unwrap();
    let reloads = || {
        service
            .log()
            .iter()
            .filter(|line| line.contains("configuration reloaded"))
            .count()
    };
    eventually("the last of them to be told", || (reloads() >= 3).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(700));
    let before = reloads();
    place.write("other.txt", "a file beside it");
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(reloads(), before, "reading it, or a file beside it, reloads nothing");
}

#[test]
fn sighup_reloads() {
    let place = Workplace::new();
    let service = place.start();
    place.set("cron_overrides", r#"{"jobs":{"session-cleanup":{"enabled":false}}}"#);
    service.signal("HUP");
    eventually("the override to apply", || {
        let health = service.health();
        (health["config"]["lastReload"]["cause"] == "SIGHUP" && !health["activeTasks"].to_string().contains("session"))
            .then_some(())
    });
}

#[test]
fn a_run_under_way_goes_on_and_what_cannot_change_is_named() {
    let place = Workplace::new();
    let slow = "[jobs.slow]\nschedule = \"0 0 1 1 *\"\n[jobs.slow.sql]\ntables = [\"sessions\"]\nmessage = \"first\"\n\
        statement = \"DELETE FROM sessions WHERE id IN (SELECT count(*) FROM json_each('['||rtrim(replace(hex(zeroblob(866)),'0','1,'),',')||']') a, json_each('['||rtrim(replace(hex(zeroblob(866)),'0','1,'),',')||']') b)\"\n";
    place.write("jobs.toml", slow);
    let service = place.start();
    service.post("/trigger/slow?wait=false");
    place.write(
        "jobs.toml",
        &format!(
            "{}[server]\nhost = \"127.0.0.1\"\n[state]\npath = \"data/other.db\"\n",
            slow.replace("first", "second")
        ),
    );
    let (status, body) = service.post("/reload-config");
    assert_eq!((status, &body["changes"]), (200, &json!({"slow": ["action"]})));
    let named: Vec<&Value> = body["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| &problem["path"])
        .collect();
    assert_eq!(named, ["server.host", "state.path"]);
    let finished = eventually("the run to end", || {
        let run = service.get("/api/schedules/executions").1["executions"][0].clone();
        (run["status"] != "running").then_some(run)
    });
    assert_eq!(
        finished["message"], "first",
        "it finished under the declaration it started with: {finished}"
    );
    assert_eq!(service.post("/trigger/slow").1["message"], "second");
    assert!(!place.file("data/other.db").exists());
}

#[test]
fn a_database_that_is_away_for_a_while_keeps_its_overrides_in_force() {
    let place = Workplace::with_jobs(ONE_JOB);
    place.set("cron_service", r#"{"tasks":{"tidy":{"enabled":false}}}"#);
    let service = place.start();
    std::fs::rename(place.file("data/backups.db"), place.file("data/away.db")).unwrap();
    place.write("jobs.toml", &format!("{ONE_JOB}{SECOND_JOB}"));
    eventually("the changed file to apply", || (ids(&service).len() == 2).then_some(()));
    assert_eq!(
        service.health()["activeTasks"],
        json!(["second"]),
        "what the application switched off stays so"
    );
}

#[test]
fn a_file_cut_short_takes_no_job_away_by_itself() {
    let place = Workplace::with_jobs(ONE_JOB);
    let service = place.start();
    place.write("jobs.toml", "");
    service.logged("the file no longer declares any job");
    assert_eq!(ids(&service), ["tidy"]);
    assert_eq!(service.post("/reload-config").0, 200);
    assert_eq!(ids(&service), Vec::<String>::new(), "asked for by hand, it is meant");
}

#[test]
fn a_file_that_appears_takes_the_place_of_the_built_in_one() {
    let place = Workplace::new();
    let service = place.start();
    place.write("jobs.toml", ONE_JOB);
    eventually("the new file to apply", || (ids(&service) == ["tidy"]).then_some(()));
    assert_eq!(service.health()["config"]["source"], "jobs.toml");
}

#[test]
fn a_job_an_operator_started_stays_active_when_something_else_of_it_changes() {
    let place = Workplace::new();
    let disabled = ONE_JOB.replace("[jobs.tidy]", "[jobs.tidy]\nenabled = false");
    place.write("jobs.toml", &disabled);
    let service = place.start();
    service.post("/start/tidy");
    place.write(
        "jobs.toml",
        &disabled.replace("enabled = false", "enabled = false\ntimeout = \"1m\""),
    );
    service.logged("configuration reloaded");
    assert_eq!(service.health()["activeTasks"], json!(["tidy"]));
}

#[test]
fn a_port_that_cannot_be_told_now_is_told_later() {
    let place = Workplace::new();
    place.set("cron_service", r#"{"port":1,"big":12345678901234567890123}"#);
    let writer = place.database();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let service = place.start();
    service.logged("could not yet write port");
    assert_eq!(service.health()["status"], "degraded");
    writer.execute_batch("ROLLBACK").unwrap();
    eventually("the port to be told", || {
        place
            .setting("cron_service")?
            .contains(&format!("\"port\":{}", service.port))
            .then_some(())
    });
    assert!(
        place
            .setting("cron_service")
            .unwrap()
            .contains("12345678901234567890123"),
        "nothing else changes"
    );
    eventually("health to be well", || {
        (service.health()["status"] == "ok").then_some(())
    });
}
