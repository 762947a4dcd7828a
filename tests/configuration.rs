//! `config`, `overrides`, `init`, included files, the last good configuration.

use serde_json::{Value, json};

use crate::support::workplace::{ONE_JOB, printed};
use crate::support::{Workplace, eventually};

fn config(place: &Workplace, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = place.command();
    command.arg("config").args(arguments).envs(variables.iter().copied());
    let (code, text) = printed(&command.output().unwrap());
    assert_eq!(code, 0, "{text}");
    text
}

#[test]
fn every_value_is_shown_with_its_source_and_what_it_won_over() {
    let place = Workplace::with_jobs(&format!(
        "[server]\nport = 1111\n[notifications.phone]\nntfy = {{ topic = \"t\", token = \"s3cret\" }}\n[notifications.chat.webhook]\nurl = \"https://x.example/s3cret\"\nheaders = {{ A = \"s3cret\", B = {{ env = \"PATH\" }} }}\n{ONE_JOB}"
    ));
    place.set(
        "cron_service",
        "{\"port\":2222,\"tasks\":{\"tidy\":{\"enabled\":false}}}",
    );
    place.set("cron_overrides", "{\"jobs\":{\"tidy\":{\"timeout\":\"5m\"}}}");
    let variables = [("CRON_PORT", "3333"), ("CRON_JOBS__TIDY__DESCRIPTION", "12345678")];
    let text = config(&place, &["--origins", "--port", "4444"], &variables);
    for (line, after) in [
        ("port = 4444", "# command line --port"),
        ("#   not 3333", "# environment CRON_PORT"),
        ("#   not 2222", "# database row configurations.cron_service"),
        ("#   not 1111", "# jobs.toml:2"),
        ("#   not 9667", "# built-in:"),
        (
            "enabled = false",
            "# database row configurations.cron_service tasks.tidy.enabled",
        ),
        ("timeout = \"5m\"", "# database row configurations.cron_overrides"),
        (
            "description = \"12345678\"",
            "# environment CRON_JOBS__TIDY__DESCRIPTION",
        ),
        ("token = \"[secret]\"", "# jobs.toml:4"),
        ("time_zone = \"UTC\"", "# built-in:"),
    ] {
        let found = text
            .lines()
            .any(|shown| shown.starts_with(line) && shown.contains(after));
        assert!(found, "{line} {after}\n{text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
    let json: Value = serde_json::from_str(&config(&place, &["--format", "json"], &variables)).unwrap();
    assert_eq!(json["server"]["port"], 3333);
    assert_eq!(json["jobs"]["tidy"]["timeout"], "5m");
    assert!(!json.to_string().contains("s3cret"));
    // What is shown is a declaration again.
    let shown = config(&place, &[], &[]);
    let other = Workplace::new();
    let (code, told) = other.validate(&shown.replace("[secret]", "https://x.example"));
    assert_eq!(code, 0, "{told}\n{shown}");
}

#[test]
fn a_declaration_may_stand_in_several_files_but_say_a_thing_once() {
    let place = Workplace::new();
    std::fs::create_dir(place.file("jobs.d")).unwrap();
    let job = |id: &str| {
        format!("[jobs.{id}]\nschedule = \"@yearly\"\ncleanup = {{ delete_from = \"sessions\", where = \"true\" }}\n")
    };
    place.write("jobs.toml", &format!("include = [\"jobs.d/*.toml\"]\n{}", job("main")));
    place.write("jobs.d/b.toml", &job("second"));
    place.write("jobs.d/a.toml", &job("first"));
    let service = place.start();
    let ids = || -> Vec<String> {
        let (_, body) = service.get("/api/schedules");
        body["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(), ["main", "first", "second"]);
    place.write("jobs.d/c.toml", &job("third"));
    eventually("the added file", || (ids().len() == 4).then_some(()));
    std::fs::remove_file(place.file("jobs.d/a.toml")).unwrap();
    eventually("the removed file", || {
        (ids() == ["main", "second", "third"]).then_some(())
    });
    place.write("jobs.d/d.toml", &format!("{}[server]\nport = 1\n", job("main")));
    let (code, text) = printed(&place.run(&["validate"]));
    assert_eq!(code, 2);
    assert!(
        text.contains("jobs.d/d.toml:1:7: jobs.main: it is also declared in jobs.toml:2:7"),
        "{text}"
    );
    service.logged("reload refused: jobs.d/d.toml:1:7: jobs.main");
    assert_eq!(ids().len(), 3);
    place.write("jobs.d/d.toml", "[jobs.x\n");
    let (_, text) = printed(&place.run(&["validate"]));
    assert!(text.contains("jobs.d/d.toml:1:"), "{text}");
}

#[test]
fn what_is_included_is_there_and_meant_once() {
    let place = Workplace::new();
    let declare = |include: &str| format!("include = {include}\n{ONE_JOB}");
    let validate = |file: &str, include: &str| {
        place.write(file, &declare(include));
        printed(&place.run(&["validate", file]))
    };
    std::fs::create_dir(place.file("jobs.d")).unwrap();
    let other = ONE_JOB.replace("jobs.tidy", "jobs.other");
    place.write("jobs.d/other.toml", &other);
    let whole = format!("\"{}/jobs.d/*.toml\"", place.path().display());
    // The declaration itself, and a file found twice, are read once.
    for include in [
        "[\"*.toml\", \"jobs.d/*.toml\"]",
        &format!("[\"jobs.d/*.toml\", {whole}]"),
        "[\"none.d/*.toml\"]",
    ] {
        let (code, text) = validate("./jobs.toml", include);
        assert_eq!(code, 0, "{include}: {text}");
    }
    for (include, why) in [
        ("\"x\"", "jobs.toml:1:11: include: a list of patterns is expected"),
        ("[1]", "jobs.toml:1:12: include.0: a string is expected"),
        ("[\"***\"]", "include.0: `***` is not a pattern of files"),
        (
            "[\"jobs.d/*.toml\", \"gone.toml\"]",
            "jobs.toml:1:29: include.1: there is no file `gone.toml`",
        ),
    ] {
        let (code, text) = validate("jobs.toml", include);
        assert!(code == 2 && text.contains(why), "{include}: {text}");
    }
    place.write("jobs.d/other.toml", &format!("include = []\n{other}"));
    let (code, text) = validate("jobs.toml", "[\"jobs.d/*.toml\"]");
    assert!(
        code == 2 && text.contains("jobs.d/other.toml:1:11: include: an included file cannot include others"),
        "{text}"
    );
    // A folder is meant as it is called, whatever patterns make of its name.
    std::fs::create_dir_all(place.file("[prod]/jobs.d")).unwrap();
    place.write("[prod]/jobs.d/other.toml", &other);
    let (code, text) = validate("[prod]/t.toml", "[\"jobs.d/*.toml\"]");
    assert!(code == 0 && text.contains("2 jobs"), "{text}");
}

#[test]
fn what_variables_gave_is_shown_as_what_it_was_taken_for() {
    let place = Workplace::with_jobs(&format!("[defaults.notify]\n{ONE_JOB}"));
    let variables = [
        ("CRON_LIMITS__MAX_RUNNING", "5"),
        ("CRON_JOBS__TIDY__ENABLED", "false"),
        ("CRON_JOBS__TIDY__DESCRIPTION", "0123"),
        ("CRON_JOBS__TIDY__SCHEDULE", "[\"0 1 * * *\", \"0 2 * * *\"]"),
    ];
    let text = config(&place, &[], &variables);
    for line in [
        "max_running = 5",
        "enabled = false",
        "description = \"0123\"",
        "schedule = [\"0 1 * * *\", \"0 2 * * *\"]",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(place.validate(&text).0, 0, "{text}");
}

#[test]
fn a_secret_put_in_the_wrong_place_is_not_shown_and_what_is_wrong_is() {
    let place = Workplace::new();
    for wrong in [
        "[notifications.p.ntfy]\ntopic = \"t\"\ntokn = \"SECRET\"\n",
        "[notifications.p]\ntoken = \"SECRET\"\nlog = {}\n",
        "[notifications]\np = \"SECRET\"\n",
        "[notification.p.ntfy]\ntok = \"SECRET\"\n",
        "[server]\ntoken = \"SECRET\"\n",
    ] {
        place.write("jobs.toml", &format!("{wrong}{ONE_JOB}"));
        for arguments in [
            ["config"].as_slice(),
            &["config", "--format", "json"],
            &["config", "--origins"],
            &["validate"],
        ] {
            let (code, text) = printed(&place.run(arguments));
            assert!(code == 2 && text.contains("jobs.toml:"), "{wrong}{text}");
            assert!(!text.contains("SECRET"), "{wrong}{text}");
        }
    }
}

#[test]
fn each_fault_of_the_row_can_be_mended_alone() {
    let place = Workplace::new();
    let run = |arguments: &[&str]| printed(&place.run(&[&["overrides"], arguments].concat()));
    place.set(
        "cron_overrides",
        r#"{"jobs":{"session-cleanup":{"enabled":"no","timeout":"bad"}}}"#,
    );
    assert_eq!(run(&["unset", "jobs.session-cleanup.timeout"]).0, 0);
    place.set(
        "cron_overrides",
        r#"{"jobs":{"session-cleanup":{"enabled":"no","timeout":"bad"}}}"#,
    );
    assert_eq!(run(&["set", "jobs.session-cleanup.enabled", "true"]).0, 0);
    for path in ["jobs.nope.enabled", "jobs.\"session-cleanup\".enabled"] {
        let (code, text) = run(&["set", path, "true"]);
        assert!(code == 2 && text.contains("is declared"), "{text}");
    }
    assert_eq!(
        place.setting("cron_overrides").as_deref(),
        Some(r#"{"jobs":{"session-cleanup":{"enabled":true,"timeout":"bad"}}}"#)
    );
}

#[test]
fn overrides_are_edited_in_the_row_and_checked_before() {
    let place = Workplace::new();
    let run = |arguments: &[&str]| printed(&place.run(&[&["overrides"], arguments].concat()));
    assert_eq!(run(&["set", "jobs.session-cleanup.enabled", "false"]).0, 0);
    assert_eq!(run(&["set", "jobs.session-cleanup.schedule", "0 3 * * *"]).0, 0);
    let row: Value = serde_json::from_str(&place.setting("cron_overrides").unwrap()).unwrap();
    assert_eq!(
        row,
        json!({"jobs": {"session-cleanup": {"enabled": false, "schedule": "0 3 * * *"}}})
    );
    let (code, text) = run(&["list"]);
    assert!(
        code == 0 && text.contains("jobs.session-cleanup.enabled = false"),
        "{text}"
    );
    for (arguments, why) in [
        (
            ["set", "jobs.session-cleanup.schedule", "61 * * * *"].as_slice(),
            "is not a cron expression",
        ),
        (
            &["set", "jobs.session-cleanup.enabeld", "false"],
            "did you mean `enabled`?",
        ),
        (&["set", "server.host", "0.0.0.0"], "nothing was changed"),
        (&["set", "jobs..x", "1"], "is not a path"),
        (&["unset", "jobs.session-cleanup.timeout"], "is not overridden"),
    ] {
        let (code, text) = run(arguments);
        assert!(code != 0 && text.contains(why), "{arguments:?}\n{text}");
        assert_eq!(
            serde_json::from_str::<Value>(&place.setting("cron_overrides").unwrap()).unwrap(),
            row
        );
    }
    assert_eq!(run(&["unset", "jobs.session-cleanup"]).0, 0);
    assert_eq!(place.setting("cron_overrides").as_deref(), Some("{}"));
    place.set("cron_overrides", "broken");
    let (code, text) = run(&["set", "jobs.session-cleanup.enabled", "false"]);
    assert!(code == 1 && text.contains("it was left unchanged"), "{text}");
}

#[test]
fn init_writes_a_declaration_and_never_over_one() {
    let place = Workplace::new();
    assert_eq!(printed(&place.run(&["init"])).0, 0);
    assert_eq!(printed(&place.run(&["validate", "--deny-warnings"])).0, 0);
    place.write("jobs.toml", "mine");
    let (code, text) = printed(&place.run(&["init"]));
    assert!(code == 1 && text.contains("jobs.toml already exists"), "{text}");
    assert_eq!(std::fs::read_to_string(place.file("jobs.toml")).unwrap(), "mine");
}

#[test]
fn the_last_good_configuration_stands_in_for_a_broken_one_where_that_is_wanted() {
    let place = Workplace::with_jobs(ONE_JOB);
    drop(place.start());
    place.write("jobs.toml", "[jobs.tidy]\nschedule = 7\n");
    assert_eq!(printed(&place.run(&["run"])).0, 2, "a broken declaration stops a start");
    let service = place.service().args(&["run", "--keep-last-good"]).start();
    let health = service.health();
    assert_eq!(health["status"], "degraded");
    assert!(
        health["reasons"]
            .to_string()
            .contains("the last good configuration is in force"),
        "{health}"
    );
    assert_eq!(service.post("/trigger/tidy").1["success"], true);
    place.write("jobs.toml", &ONE_JOB.replace("tidy", "other"));
    eventually("the mended file", || {
        (service.post("/trigger/other").0 == 200).then_some(())
    });
    eventually("a good health", || (service.health()["status"] == "ok").then_some(()));
}

#[test]
fn a_thousand_edits_leave_the_last_good_one_in_force() {
    let place = Workplace::new();
    let good = |number: usize| {
        format!(
            "[jobs.ticks]\nschedule = \"* * * * * *\"\nsql = {{ tables = [\"sessions\"], statement = \"DELETE FROM sessions WHERE false\" }}\n[jobs.tidy]\nschedule = \"@yearly\"\ndescription = \"{number}\"\ncleanup = {{ delete_from = \"sessions\", where = \"true\" }}\n"
        )
    };
    place.write("jobs.toml", &good(0));
    let service = place.start();
    let (mut number, mut memory_before) = (1_u64, 0);
    for edit in 0..1000 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let text = good(edit);
        match (number >> 33) % 6 {
            0 => place.write("jobs.toml", &text),
            1 => place.write("jobs.toml", &text[..text.len() / 2]),
            2 => place.write("jobs.toml", "[jobs.ticks]\nschedule = 7\n"),
            3 => {
                place.write("next.toml", &text);
                std::fs::rename(place.file("next.toml"), place.file("jobs.toml")).unwrap();
            }
            4 => {
                let _ = std::fs::remove_file(place.file("jobs.toml"));
                place.write("jobs.toml", &text);
            }
            _ => {
                place.write("target.toml", &text);
                let _ = std::fs::remove_file(place.file("jobs.toml"));
                std::os::unix::fs::symlink(place.file("target.toml"), place.file("jobs.toml")).unwrap();
            }
        }
        if edit % 10 == 0 {
            service.post("/reload-config"); // Whatever the file holds just then.
        }
        if edit == 300 {
            memory_before = service.memory();
        }
        std::thread::sleep(std::time::Duration::from_millis(6));
    }
    let _ = std::fs::remove_file(place.file("jobs.toml"));
    place.write("jobs.toml", &good(1000));
    eventually("the last edit", || {
        let (_, body) = service.get("/api/schedules");
        (body["jobs"][1]["description"] == "1000").then_some(())
    });
    let grown = service.memory().saturating_sub(memory_before);
    assert!(grown < 8_000, "{grown} KB more after another 700 edits");
    let gaps: Option<i64> = place.in_state(
        "SELECT max(scheduled_at) / 1000 - min(scheduled_at) / 1000 + 1 - count(*) FROM runs WHERE job = 'ticks'",
        |row| row.get(0),
    );
    assert_eq!(gaps, Some(0), "every second is in the ledger once");
}

#[test]
fn whatever_a_declaration_or_a_row_says_there_is_a_plan_or_a_problem() {
    use duplistatus_cron::{File, Problem, Severity, Sources, load};
    use proptest::test_runner::{Config, TestRunner};
    let (good, bad) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let place = Workplace::new();
    let shipped = include_str!("../jobs.toml");
    let lines: Vec<&str> = shipped.lines().collect();
    let mut runner = TestRunner::new(Config {
        cases: 300,
        ..Config::default()
    });
    let edits = proptest::collection::vec((0..lines.len(), 0..6_u8, "[ -~äß]{0,12}"), 1..6);
    runner
        .run(&edits, |edits| {
            let mut text: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            for (index, what, junk) in edits {
                match what {
                    0 => text[index].clear(),
                    1 => text[index].push_str(&junk),
                    2 => text[index] = junk,
                    3 => text[index] = text[index].replace("# ", ""),
                    4 => text[index] = text[index].replace('"', &junk),
                    _ => text[index] = format!("{} = {junk}", text[index].split('=').next().unwrap_or_default()),
                }
            }
            place.write("fuzz.toml", &text.join("\n"));
            let sources = Sources {
                file: File::Path(place.file("fuzz.toml")),
                ..Sources::default()
            };
            match load(&sources) {
                Ok(loaded) => {
                    good.set(good.get() + 1);
                    proptest::prop_assert!(
                        !loaded
                            .problems
                            .iter()
                            .any(|problem| problem.severity == Severity::Error)
                    );
                }
                Err(problems) => {
                    bad.set(bad.get() + 1);
                    // Each says what is wrong, and one at least where in the file.
                    proptest::prop_assert!(problems.0.iter().all(|problem| !problem.message.is_empty()));
                    let is_placed = |problem: &Problem| problem.severity.is_error() && problem.place.is_some();
                    proptest::prop_assert!(problems.0.iter().any(is_placed), "{}", problems);
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(
        good.get() > 0 && bad.get() > 0,
        "{} good, {} bad",
        good.get(),
        bad.get()
    );
}

#[test]
fn whatever_the_rows_say_the_service_has_a_plan() {
    use duplistatus_cron::{Sources, load};
    use proptest::test_runner::{Config, TestRunner};
    let place = Workplace::new();
    place.write(
        "jobs.toml",
        &format!(
            "[databases.duplistatus]\npath = '{}'\n{ONE_JOB}",
            place.file("data/backups.db").display()
        ),
    );
    let sources = Sources {
        file: duplistatus_cron::File::Path(place.file("jobs.toml")),
        ..Sources::default()
    };
    let mut runner = TestRunner::new(Config {
        cases: 200,
        ..Config::default()
    });
    let word = "[a-z_.]{0,10}|tidy|jobs|tasks|port|schedule|enabled|cleanup|defaults";
    let value = "null|true|-?[0-9]{1,9}|\"[ -!#-~]{0,12}\"|\\[\\]|\\{\\}";
    let rows = (word, word, word, value, "[{}:\",0-9a-z]{0,20}");
    runner
        .run(&rows, |(first, second, third, value, junk)| {
            let nested = format!("{{\"{first}\":{{\"{second}\":{{\"{third}\":{value}}}}}}}");
            for row in [nested, junk] {
                place.set("cron_overrides", &row);
                place.set("cron_service", &row);
                proptest::prop_assert!(load(&sources).is_ok(), "{row}");
            }
            Ok(())
        })
        .unwrap();
}
