//! Jobs of the kind `command`: what a program is given, what is kept of what it prints, and that it ends as a whole.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::receivers::Ntfy;
use crate::support::workplace::BINARY;
use crate::support::{Service, Workplace, eventually};

/// A job that comes only when it is asked for.
fn job(id: &str, keys: &str, command: &str) -> String {
    format!("[jobs.{id}]\nschedule = \"@yearly\"\n{keys}\n[jobs.{id}.command]\n{command}\n")
}

fn started(declaration: &str) -> (Workplace, Service) {
    let place = Workplace::with_jobs(declaration);
    let service = place.start();
    (place, service)
}

/// Runs a job to its end; gives the run as the history has it.
fn run(service: &Service, job: &str) -> Value {
    service.post(&format!("/trigger/{job}"));
    service.newest(job)
}

/// Whether a process was started with `argument`.
fn runs(argument: &str) -> bool {
    let found = Command::new("pgrep").args(["-f", "--", argument]).output().unwrap();
    !found.stdout.is_empty()
}

fn gone(argument: &str) {
    eventually(&format!("{argument} to be gone"), || (!runs(argument)).then_some(()));
}

#[test]
fn a_program_is_given_what_is_declared_and_nothing_secret() {
    let place = Workplace::with_jobs(
        &(job(
            "show",
            "",
            "shell = \"cat; env | sort; pwd\"\nstdin = \"read me\\n\"\nenv = { GIVEN = \"value\", KEY = { env = \"HOLDS_KEY\" } }\ndir = \"data\"",
        ) + &job("few", "", "argv = [\"/usr/bin/env\"]\ninherit_env = [\"LANG\"]")
            + &job("none", "", "argv = [\"/usr/bin/env\"]\ninherit_env = false")),
    );
    let service = place
        .service()
        .env("CRON_TOKEN", "a-long-token-1234")
        .env("HOLDS_KEY", "k3y-of-the-job")
        .env("LANG", "C.UTF-8")
        .env("CRON_JOBS__SHOW__DESCRIPTION", "set-by-a-variable")
        .start()
        .with_token("a-long-token-1234");
    let shown = run(&service, "show");
    assert_eq!(
        (&shown["status"], &shown["message"]),
        (&json!("success"), &json!("exit code 0"))
    );
    assert_eq!(shown["statistics"], json!({ "exit_code": 0 }));
    let output = shown["output"].as_str().unwrap();
    for line in [
        "read me",
        "GIVEN=value",
        "KEY=[secret]",
        "LANG=C.UTF-8",
        "CRON_JOB=show",
        "CRON_RUN_ID=1",
        "CRON_ATTEMPT=1",
        "CRON_TRIGGER=manual",
        &format!("PWD={}", place.file("data").display()),
    ] {
        assert!(output.lines().any(|shown| shown == line), "{line}: {output}");
    }
    let scheduled = shown["scheduled_at"].as_str().unwrap();
    assert!(output.contains(&format!("CRON_SCHEDULED_AT={scheduled}")));
    for secret in [
        "CRON_TOKEN",
        "a-long-token",
        "HOLDS_KEY",
        "k3y-of-the-job",
        "set-by-a-variable",
    ] {
        assert!(!output.contains(secret), "{secret}: {output}");
        assert!(
            !service
                .log()
                .join("\n")
                .contains(&secret.replace("CRON_TOKEN", "a-long-token"))
        );
    }
    let names = |job: &str| -> Vec<String> {
        let shown = run(&service, job);
        let lines = shown["output"].as_str().unwrap().lines();
        lines.map(|line| line.split('=').next().unwrap().to_owned()).collect()
    };
    let own = [
        "CRON_ATTEMPT",
        "CRON_JOB",
        "CRON_RUN_ID",
        "CRON_SCHEDULED_AT",
        "CRON_STATE",
        "CRON_TRIGGER",
        "PWD",
    ];
    let mut few = names("few");
    few.sort();
    assert_eq!(few, [&own[..6], &["LANG"], &own[6..]].concat());
    let mut none = names("none");
    none.sort();
    assert_eq!(none, own);
}

#[test]
fn codes_and_signals_are_told_and_only_what_may_pass_is_tried_again() {
    let (place, service) = started(
        &(job("three", "", "shell = \"echo going down >&2; exit 3\"")
            + &job("good", "", "shell = \"exit 3\"\nsuccess_codes = [0, 3]")
            + &job("killed", "", "shell = \"kill -9 $$\"")
            + &job("lost", "", "shell = \"no-such-program\"")
            + "[jobs.passes]\nschedule = \"* * * * * *\"\nretry = { max_attempts = 3, backoff = \"50ms\" }\n[jobs.passes.command]\nshell = \"echo try $CRON_ATTEMPT $CRON_TRIGGER; exit 75\"\n"),
    );
    for (job, status, message) in [
        ("three", "failed", "exit code 3: going down"),
        ("good", "success", "exit code 3"),
        ("killed", "failed", "ended by signal 9 (KILL)"),
    ] {
        let ended = run(&service, job);
        let said = if ended["error"].is_null() {
            &ended["message"]
        } else {
            &ended["error"]
        };
        assert_eq!(
            (&ended["job"], &ended["status"], said),
            (&json!(job), &json!(status), &json!(message))
        );
        assert_eq!(ended["attempts"], 1);
    }
    let lost = run(&service, "lost");
    let why = lost["error"].as_str().unwrap();
    assert!(
        why.starts_with("exit code 127 (the shell did not find a program): "),
        "{why}"
    );
    let tried = eventually("the attempts", || {
        let (_, found) = service.get("/api/schedules/executions?job=passes&status=failed&limit=1");
        let id = found["executions"][0]["id"].as_i64()?;
        Some(service.get(&format!("/api/schedules/executions/{id}")).1)
    });
    assert_eq!(tried["attempts"], 3);
    assert_eq!(tried["output"], "try 1 schedule\ntry 2 schedule\ntry 3 schedule\n");
    drop(place);
}

#[test]
fn the_whole_group_ends_at_the_deadline() {
    // What a program is asked, its children are asked, too, whatever they think of it, and stopped ones.
    let script = "trap '' TERM; sleep 86401 & (trap '' TERM; sleep 86402) & kill -STOP $! ; sleep 86403";
    let (_place, service) = started(
        &(job(
            "deaf",
            "timeout = \"1s\"",
            &format!("shell = \"{script}\"\nkill_after = \"300ms\""),
        ) + &job(
            "polite",
            "timeout = \"1s\"",
            "shell = \"trap 'echo bye; exit 0' INT; while :; do sleep 0.1; done\"\nstop_signal = \"INT\"",
        )),
    );
    let ended = run(&service, "deaf");
    assert_eq!(ended["status"], "timed_out");
    assert_eq!(ended["error"], "timed out after 1s; the program was killed");
    for sleeper in ["sleep 86401", "sleep 86402", "sleep 86403"] {
        gone(sleeper);
    }
    let ended = run(&service, "polite");
    assert_eq!(ended["error"], "timed out after 1s; the program ended on INT");
    assert_eq!(ended["output"], "bye\n");
}

#[test]
fn what_a_program_leaves_behind_is_ended_or_left_as_declared() {
    let (_place, service) = started(
        &(job("kill", "", "shell = \"sleep 86411 & echo done\"")
            + &job(
                "leave",
                "",
                "shell = \"sleep 86412 & echo done\"\nleftovers = \"leave\"",
            )),
    );
    let ended = run(&service, "kill");
    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("success"), &json!("done\n"))
    );
    gone("sleep 86411");
    let reasons = service.health()["reasons"].to_string();
    assert!(
        reasons.contains("it left 1 process behind, which was ended"),
        "{reasons}"
    );
    let ended = run(&service, "leave");
    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("success"), &json!("done\n"))
    );
    assert!(runs("sleep 86412"), "it goes on");
    Command::new("pkill").args(["-f", "sleep 86412"]).status().unwrap();
}

#[test]
fn programs_end_with_the_service() {
    let grace = "[server]\nshutdown_grace = \"200ms\"\n";
    let deaf = "shell = \"trap '' TERM; sleep 86421\"\nkill_after = \"1h\"";
    let error = "SELECT status || ': ' || error FROM runs";
    for (timeout, expected) in [
        (
            "1h",
            "interrupted: the service stopped during this run; the program was killed",
        ),
        // It has been asked to end already, and has an hour left.
        ("1s", "timed_out: timed out after 1s; the program was killed"),
    ] {
        let (place, service) = started(&(job("long", &format!("timeout = \"{timeout}\""), deaf) + grace));
        service.post("/trigger/long?wait=false");
        eventually("it to run", || runs("sleep 86421").then_some(()));
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(service.terminate().code(), Some(0));
        gone("sleep 86421");
        let said: Option<String> = place.in_state(error, |row| row.get(0));
        assert_eq!(said.as_deref(), Some(expected));
    }
    let (_place, mut service) = started(&job("long", "", deaf));
    service.post("/trigger/long?wait=false");
    eventually("it to run", || runs("sleep 86421").then_some(()));
    service.signal("TERM");
    std::thread::sleep(Duration::from_secs(1));
    service.signal("TERM");
    assert_eq!(service.wait().code(), Some(130), "at once");
    gone("sleep 86421");
}

#[test]
fn programs_that_a_kill_leaves_behind_end_before_others_begin() {
    let (place, service) = started(&job(
        "long",
        "on_interrupt = \"rerun\"",
        "shell = \"trap '' TERM; sleep 86431\"",
    ));
    service.post("/trigger/long?wait=false");
    let count = || {
        let found = Command::new("pgrep").args(["-cf", "^sleep 86431"]).output().unwrap();
        String::from_utf8_lossy(&found.stdout).trim().to_owned()
    };
    eventually("it to run", || (count() == "1").then_some(()));
    service.kill();
    assert_eq!(count(), "1", "it goes on");
    let service = place.start();
    service.logged("ended 1 program that an earlier process had left running");
    eventually("the run that repeats it", || {
        (service.get("/api/schedules/executions?status=running").1["total"] == 1).then_some(())
    });
    eventually("one program", || (count() == "1").then_some(()));
    assert_eq!(service.terminate().code(), Some(0));
    gone("sleep 86431");
}

#[test]
fn much_output_costs_neither_memory_nor_the_log() {
    let secret = "s3cr3t-0f-th3-j0b";
    let place = Workplace::with_jobs(
        &(job(
            "much",
            "",
            "shell = \"echo first; yes 'a line of output that is repeated again and again' | head -c 30000000; echo; echo last\"\nenv = { KEY = { env = \"KEY\" } }",
        ) + &job(
            "dribble",
            "",
            "shell = \"printf s3cr3t-; sleep 0.3; printf '0f-th3-j0b\\n'; printf %s \\\"$KEY\\\" | base64; printf %s \\\"x:$KEY\\\" | base64\"\nenv = { KEY = { env = \"KEY\" } }",
        ) + &job(
            "silent",
            "",
            "shell = \"echo unheard\"\noutput = { log = false, keep = \"1KiB\" }",
        )),
    );
    let service = place.service().env("KEY", secret).start();
    let before = service.memory_kb("VmRSS");
    let ended = run(&service, "much");
    let output = ended["output"].as_str().unwrap();
    assert!(output.starts_with("first\n") && output.ends_with("last\n") && output.contains("bytes left out]"));
    assert!(output.len() < 70_000, "{}", output.len());
    assert!(service.log().len() < 3000, "{} lines", service.log().len());
    service.logged("more output came than is logged");
    let more = service.memory_kb("VmHWM").saturating_sub(before);
    assert!(more < 12_000, "{more} KB more");
    let output = run(&service, "dribble")["output"].as_str().unwrap().to_owned();
    assert!(output.starts_with("[secret]\n[secret]"), "{output}");
    assert!(!output.contains("M2NyM3Q") && !output.contains("s3cr3t"), "{output}");
    let log = service.log().join("\n");
    assert!(!log.contains(secret) && !log.contains("0f-th3-j0b"), "{log}");
    assert_eq!(run(&service, "silent")["output"], "unheard\n");
    assert!(!service.log().join("\n").contains("unheard"));
}

#[test]
fn a_program_runs_as_someone_else_with_their_groups() {
    let (place, service) = started(
        &(job(
            "other",
            "",
            "shell = \"id -un; id -Gn; nice; umask; echo $HOME; touch made\"\nuser = \"daemon\"\nnice = 7\numask = \"027\"\ndir = \"open\"",
        ) + &job("nobody", "", "argv = [\"id\"]\nuser = \"no-such-user\"")),
    );
    let open = place.file("open");
    std::fs::create_dir(&open).unwrap();
    assert!(Command::new("chmod").arg("0777").arg(&open).status().unwrap().success());
    assert!(
        Command::new("chmod")
            .arg("0755")
            .arg(place.path())
            .status()
            .unwrap()
            .success()
    );
    let groups = Command::new("id").args(["-Gn", "daemon"]).output().unwrap();
    let ended = run(&service, "other");
    let expected = format!(
        "daemon\n{}7\n0027\n/usr/sbin\n",
        String::from_utf8_lossy(&groups.stdout)
    );
    assert_eq!(ended["output"], expected, "{ended}");
    let ended = run(&service, "nobody");
    assert_eq!(ended["error"], "there is no user `no-such-user` on this system");
}

#[test]
fn as_the_first_process_of_a_container_it_leaves_no_zombies_and_takes_no_status() {
    let place = Workplace::new();
    // Orphans by the dozen, beside programs whose codes count.
    let orphans = "for n in 1 2 3 4 5 6 7 8; do (sleep 0.1 & ) ; done; exit 0";
    place.write(
        "jobs.toml",
        &(job(
            "orphans",
            "",
            &format!("shell = \"setsid sh -c '{orphans}'; exit 5\"\nsuccess_codes = [5]"),
        )),
    );
    let mut first = Command::new("unshare");
    first.args(["--pid", "--fork", "--kill-child", "--mount-proc", BINARY, "--port", "0"]);
    first.current_dir(place.path());
    let service = Service::of(first);
    for _ in 0..20 {
        assert_eq!(run(&service, "orphans")["message"], "exit code 5");
    }
    let zombies = || {
        let found = Command::new("ps").args(["-eo", "stat,ppid,comm"]).output().unwrap();
        let text = String::from_utf8_lossy(&found.stdout).into_owned();
        text.lines()
            .filter(|line| line.starts_with('Z') && line.contains("sleep"))
            .count()
    };
    eventually("no zombie", || (zombies() == 0).then_some(()));
    // The one that is asked is the first process itself, a child of the one that made its room.
    let asked = Command::new("pkill")
        .args(["-TERM", "-P", &service.pid().to_string()])
        .status();
    assert!(asked.unwrap().success());
    let mut service = service;
    assert_eq!(service.wait().code(), Some(0), "it ends when it is asked to");
}

#[test]
fn what_cannot_be_run_is_told_before_and_when_it_is() {
    let place = Workplace::new();
    for (command, error) in [
        ("argv = [\"ls\"]\nshell = \"ls\"", "declare `argv` or `shell`, not both"),
        ("nice = 3", "declare what to run"),
        ("argv = []", "the program is missing"),
        ("argv = [\"ls\"]\nretry_codes = [0]", "0 is one of `success_codes`"),
        (
            "argv = [\"ls\"]\nenv = { CRON_JOB = \"x\" }",
            "CRON_JOB is set by the service itself",
        ),
        (
            "argv = [\"ls\"]\nenv = { \"A=B\" = \"x\" }",
            "`A=B` cannot be the name of a variable",
        ),
        ("argv = [\"ls\"]\nstop_signal = \"TREM\"", "did you mean `TERM`"),
        ("argv = [\"ls\"]\numask = \"9\"", "`9` is not a umask"),
        (
            "argv = [\"ls\"]\ninherit_env = \"PATH\"",
            "true, false or a list of names of variables",
        ),
        (
            "argv = [\"ls\"]\noutput = { keep = \"2GiB\" }",
            "at most 1MiB is kept of a run",
        ),
    ] {
        let (code, text) = place.validate(&job("j", "", command));
        assert!(code == 2 && text.contains(error), "{command}: {text}");
    }
    for (command, warning) in [
        (
            "argv = [\"no-such-program\"]",
            "the program `no-such-program` was not found in PATH",
        ),
        ("argv = [\"ls\"]\ndir = \"none\"", "cannot be used: it does not exist"),
        (
            "argv = [\"ls\"]\nuser = \"no-such-user\"",
            "there is no user `no-such-user` on this system",
        ),
    ] {
        let declaration = job("j", "", command);
        let (code, text) = place.validate(&declaration);
        assert!(code == 0 && text.contains(warning), "{command}: {text}");
        place.write("jobs.toml", &declaration);
        let planned = place.run(&["plan", "j"]);
        assert_eq!(planned.status.code(), Some(1));
        let said = [planned.stdout, planned.stderr].concat();
        assert!(String::from_utf8_lossy(&said).contains(warning));
    }
    let (code, text) = place.validate(&job("j", "", "argv = [\"ls\", \"-l\"]"));
    assert!(code == 0 && !text.contains("warning:"), "{text}");
    place.write("jobs.toml", &job("j", "", "argv = [\"ls\", \"-l\"]"));
    let planned = place.run(&["plan", "j"]);
    let text = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(
        planned.status.success() && text.contains("would run /usr/bin/ls with [\"ls\", \"-l\"]"),
        "{text}"
    );
}

#[test]
fn old_output_is_cut_and_goes_with_its_run() {
    let (place, service) = started(&job("big", "", "shell = \"seq 1 2000\""));
    for _ in 0..23 {
        run(&service, "big");
    }
    let sizes: Option<String> = place.in_state(
        "SELECT group_concat(length(text), ' ') FROM (SELECT text FROM outputs ORDER BY run)",
        |row| row.get(0),
    );
    let sizes: Vec<usize> = sizes.unwrap().split(' ').map(|size| size.parse().unwrap()).collect();
    assert_eq!(sizes.iter().filter(|size| **size > 8000).count(), 20);
    assert!(sizes[..3].iter().all(|size| *size < 1100), "{sizes:?}");
    let (_, first) = service.get("/api/schedules/executions/1");
    assert!(first["output"].as_str().unwrap().ends_with("2000\n"));
    assert_eq!(service.get("/api/schedules/executions/99").0, 404);
    assert_eq!(service.get("/api/schedules/executions/x").0, 404);
    let service = place.with_state_changed(service, "DELETE FROM runs WHERE id < 10");
    service.terminate();
    assert_eq!(
        place.in_state("SELECT count(*) FROM outputs", |row| row.get(0)),
        Some(14)
    );
}

#[test]
fn what_holds_for_every_kind_holds_for_programs() {
    let ntfy = Ntfy::start(200);
    let place = Workplace::new();
    let target = format!(
        "[notifications.phone.ntfy]\nurl = \"http://127.0.0.1:{}\"\ntopic = \"t\"\n",
        ntfy.port
    );
    let turn = |id: &str| job(id, "group = \"one\"", "shell = \"sleep 0.3\"").replace("@yearly", "* * * * * *");
    place.write(
        "jobs.toml",
        &(target
            + &job(
                "fails",
                "notify = { on_failure = [\"phone\"] }",
                "shell = \"echo going down; exit 3\"",
            )
            + &turn("first")
            + &turn("second")
            + "[jobs.hourly]\nschedule = \"0 * * * *\"\ncommand = { argv = [\"true\"] }\n"),
    );
    let service = place.service().at("2026-11-20 12:30:00").start();
    run(&service, "fails");
    let told = eventually("the message", || ntfy.in_order().first().cloned());
    assert!(told.to_string().contains("exit code 3: going down"), "{told}");
    let count = |filter: &str| service.get(&format!("/api/schedules/executions?{filter}")).1["total"].as_i64();
    eventually("one to wait for the other", || {
        (count("status=queued")? > 0).then_some(())
    });
    for turn in ["first", "second"] {
        eventually("both to run", || {
            (count(&format!("status=success&job={turn}"))? > 0).then_some(())
        });
    }
    assert!(count("status=running") <= Some(1), "they take turns");
    service.kill();
    let service = place.service().at("2026-11-20 13:30:00").start();
    let caught_up = eventually("the missed time", || {
        let (_, found) = service.get("/api/schedules/executions?job=hourly&trigger=catch_up&status=success");
        found["executions"].as_array()?.first().cloned()
    });
    assert_eq!(caught_up["scheduled_at"], "2026-11-20T13:00:00.000Z");
    let why = service.get("/api/schedules/hourly/why").1.to_string();
    assert!(why.contains("exit code 0"), "{why}");
    let simulated = place.run(&["simulate", "--from", "2026-11-20T12:00:00Z", "--for", "3h"]);
    let text = String::from_utf8_lossy(&simulated.stdout).into_owned();
    assert!(text.contains("hourly"), "{text}");
}
