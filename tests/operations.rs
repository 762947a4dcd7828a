//! What operators and their tools use: figures, the command line for people, the service manager.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::postgres::Server;
use crate::support::workplace::{BINARY, printed};
use crate::support::{Service, Workplace, eventually};

const JOBS: &str = r#"
[notifications.nobody]
webhook = { url = "http://127.0.0.1:1/hook" }
[jobs.tidy]
schedule = "0 0 1 1 *"
[jobs.tidy.cleanup]
delete_from = "sessions"
where = "expires_at < datetime('now')"
[jobs.broken]
schedule = "0 0 1 1 *"
command = { argv = ["sh", "-c", "echo first; echo '\\033[31msecond'; exit 3"] }
notify = { on_failure = ["nobody"] }
[jobs.slow]
schedule = "0 0 1 1 *"
command = { argv = ["sleep", "60"] }
[jobs.often]
schedule = "* * * * * *"
command = { argv = ["true"] }
[jobs.quiet]
enabled = false
schedule = "0 0 1 1 *"
command = { argv = ["true"] }
"#;

fn place() -> Workplace {
    let place = Workplace::with_jobs(JOBS);
    place
        .database()
        .execute(
            "INSERT INTO sessions (id, created_at, expires_at) VALUES ('a', '2020-01-01', '2020-01-02')",
            [],
        )
        .unwrap();
    place
}

fn metrics(service: &Service, accept: &str) -> String {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    service.raw(request.as_bytes())
}

/// What promtool says of a text given to its standard input.
fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut tool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing; tests/run installs it");
    std::io::Write::write_all(&mut tool.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn figures_count_from_nothing_and_prometheus_likes_them() {
    let place = place();
    let service = place.start();
    let before = metrics(&service, "*/*");
    for line in [
        "duplistatus_cron_runs_total{job=\"broken\",trigger=\"schedule\",status=\"failed\"} 0\n",
        "duplistatus_cron_skipped_total{job=\"slow\",reason=\"overlap\"} 0\n",
        "duplistatus_cron_job_active{job=\"quiet\"} 0\n",
        "duplistatus_cron_config_last_reload_successful 1\n",
        "duplistatus_cron_database_up{database=\"duplistatus\"} 1\n",
    ] {
        assert!(before.contains(line), "{line} in {before}");
    }
    service.post("/trigger/tidy");
    service.post("/trigger/broken");
    service.get("/nowhere");
    eventually("a run by schedule and a message that failed", || {
        let now = metrics(&service, "*/*");
        let is_there = now.contains("notifications_total{channel=\"nobody\",result=\"failed\"} 1")
            && !now.contains("run_lateness_seconds_count 0");
        is_there.then_some(())
    });
    let after = metrics(&service, "*/*");
    let (head, text) = after.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    for line in [
        "duplistatus_cron_runs_total{job=\"tidy\",trigger=\"manual\",status=\"success\"} 1\n",
        "duplistatus_cron_runs_total{job=\"broken\",trigger=\"manual\",status=\"failed\"} 1\n",
        "duplistatus_cron_rows_deleted_total{job=\"tidy\"} 1\n",
        "duplistatus_cron_run_duration_seconds_bucket{kind=\"cleanup\",le=\"+Inf\"} 1\n",
        "duplistatus_cron_job_failing{job=\"broken\"} 1\n",
        "duplistatus_cron_outbox_pending 1\n",
        "duplistatus_cron_http_requests_total{route=\"/trigger/:job\",code=\"200\"} 2\n",
        "duplistatus_cron_http_requests_total{route=\"other\",code=\"404\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(text.contains("duplistatus_cron_build_info{version=\"0.2.0\",revision=\""));
    let (is_good, said) = promtool(&["check", "metrics"], text);
    assert!(is_good && said.is_empty(), "{said}");

    let open = metrics(&service, "application/openmetrics-text; version=1.0.0");
    assert!(open.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE duplistatus_cron_runs counter\n"));
    assert!(!text.contains("# EOF") && open.contains("le=\"1.0\""));

    // A job that is gone is not told of any more.
    place.write("jobs.toml", &JOBS.replace("[jobs.slow]", "[jobs.other]"));
    assert_eq!(service.post("/reload-config").0, 200);
    let reloaded = metrics(&service, "*/*");
    assert!(
        !reloaded.contains("job=\"slow\"") && reloaded.contains("job=\"other\""),
        "{reloaded}"
    );
}

#[test]
fn the_alert_rules_are_good_and_name_figures_that_are_there() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/alerts.yml");
    let (is_good, said) = promtool(&["check", "rules", rules], "");
    assert!(is_good && said.contains("SUCCESS: 6 rules found"), "{said}");
    // Of replicas, a service tells that may have others.
    let server = Server::shared();
    let url = server.url("postgres", &server.database());
    let place = place();
    place.write("jobs.toml", &format!("[state]\nurl = \"{url}\"\n{JOBS}"));
    let service = place.start();
    let known = eventually("it to lead", || {
        let known = metrics(&service, "*/*");
        known.contains("duplistatus_cron_leader 1").then_some(known)
    });
    let rules = std::fs::read_to_string(rules).unwrap();
    let named: Vec<&str> = rules
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("duplistatus_cron_"))
        .collect();
    assert!(!named.is_empty());
    for name in named {
        assert!(known.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn people_see_jobs_and_runs_as_tables() {
    let place = place();
    let service = place.start();
    let port = service.port.to_string();
    let client = |arguments: &[&str]| printed(&place.run(&[arguments, &["--port", &port]].concat()));
    for job in ["tidy", "broken"] {
        service.post(&format!("/trigger/{job}"));
    }
    let (code, text) = client(&["status"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(code, 0, "{text}");
    assert!(
        lines[0].starts_with("JOB") && lines[0].contains("STATE") && lines[0].contains("LEFT"),
        "{text}"
    );
    assert!(
        lines[1].starts_with("broken") && lines[1].contains("failing") && lines[1].contains("exit code 3"),
        "{text}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("quiet") && line.contains("disabled")),
        "{text}"
    );
    assert!(
        text.contains("The service is degraded") && !text.contains('\u{1b}'),
        "{text}"
    );
    let json: Value = serde_json::from_str(&client(&["status", "--format", "json"]).1).unwrap();
    assert_eq!(json["status"], "degraded");

    let (code, text) = client(&["history", "broken", "--status", "failed", "-n", "5"]);
    assert!(
        code == 0 && text.lines().count() == 2 && text.contains("manual"),
        "{text}"
    );
    let (_, runs) = service.get("/api/schedules/executions?job=broken");
    let run = runs["executions"][0]["id"].to_string();
    let (code, text) = client(&["history", "--run", &run]);
    assert!(
        code == 0 && text.contains("  first\n  ␛[31msecond") && text.contains("exit code 3"),
        "{text}"
    );
    assert_eq!(client(&["history", "--run", "999999"]).0, 1);
    assert_eq!(client(&["history", "--status", "odd"]).0, 2);

    let (_, begun) = service.post("/trigger/slow?wait=false");
    let slow = begun["runId"].to_string();
    let (code, text) = client(&["status"]);
    assert!(
        code == 0
            && text
                .lines()
                .any(|line| line.starts_with("slow") && line.contains("running")),
        "{text}"
    );
    assert_eq!(client(&["cancel", &slow]).0, 0);
    eventually("its end", || {
        (service.newest("slow")["status"] == "interrupted").then_some(())
    });
    let (code, text) = client(&["cancel", &slow]);
    assert!(code == 1 && text.contains("is over"), "{text}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let place = place();
    let service = place.start();
    service.post("/trigger/broken");
    let on_a_terminal = |variable: &str| {
        let command = format!("{variable} TERM=xterm {BINARY} status --port {}", service.port);
        let output = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .current_dir(place.path())
            .output()
            .expect("script is missing; it belongs to every Debian");
        printed(&output).1
    };
    assert!(on_a_terminal("").contains("\u{1b}[31mfailing\u{1b}[0m"));
    let plain = on_a_terminal("NO_COLOR=1");
    assert!(plain.contains("failing") && !plain.contains('\u{1b}'), "{plain}");
}

#[test]
fn clients_go_where_they_are_told_and_print_json_for_programs() {
    let place = place();
    let service = place.service().env("CRON_TOKEN", "t").start();
    let elsewhere = Workplace::empty();
    let url = format!("http://127.0.0.1:{}/", service.port);
    let client = |arguments: &[&str]| {
        let mut command = elsewhere.command();
        printed(
            &command
                .env("CRON_TOKEN", "t")
                .args(arguments)
                .args(["--url", &url])
                .output()
                .unwrap(),
        )
    };
    for arguments in [
        &["status"][..],
        &["history"],
        &["trigger", "tidy"],
        &["trigger", "tidy", "--follow"],
        &["why", "tidy"],
        &["stop", "tidy"],
        &["start", "tidy"],
        &["reload"],
        &["health"],
    ] {
        let (code, text) = client(&[arguments, &["--format", "json"]].concat());
        let body: Result<Value, _> = serde_json::from_str(&text);
        assert!(
            code == 0 && body.is_ok_and(|body| body.is_object()),
            "{arguments:?}: {code} {text}"
        );
    }
    let (code, text) = client(&["config", "--running", "--origins"]);
    assert!(
        code == 0 && text.contains("jobs.toml:") && text.contains("[jobs.tidy.cleanup]"),
        "{text}"
    );
    let (code, text) = printed(&elsewhere.run(&["status", "--url", "localhost:1"]));
    assert!(code == 2 && text.contains("does not begin with http://"), "{text}");
    let (code, text) = printed(&elsewhere.run(&["status", "--url", "http://127.0.0.1:1"]));
    assert!(
        code == 3 && text.contains("cannot be reached: Connection refused"),
        "{text}"
    );
}

#[test]
fn packagers_get_completions_a_manual_and_a_version_with_its_commit() {
    let place = Workplace::empty();
    for (shell, has) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef duplistatus-cron"),
        ("fish", "complete -c"),
    ] {
        let (code, text) = printed(&place.run(&["completions", shell]));
        assert!(code == 0 && text.contains(has) && text.contains("validate"), "{shell}");
    }
    let (code, text) = printed(&place.run(&["man"]));
    assert!(
        code == 0 && text.contains(".TH duplistatus-cron 1") && text.contains("CRON_PORT"),
        "{text}"
    );
    let (code, text) = printed(&place.run(&["--version"]));
    assert!(code == 0 && text.starts_with("duplistatus-cron 0.2.0"), "{text}");
    if std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists() {
        let commit = text.trim().rsplit_once('(').unwrap().1.trim_end_matches(')');
        assert!(
            commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{text}"
        );
    }
    let (code, text) = printed(&place.run(&["init", "--minimal"]));
    assert_eq!(code, 0, "{text}");
    assert_eq!(printed(&place.run(&["validate", "jobs.toml"])).0, 0);
    assert!(
        std::fs::read_to_string(place.file("jobs.toml"))
            .unwrap()
            .lines()
            .count()
            < 10
    );
}

#[test]
fn the_log_is_as_wanted_and_holds_numbers() {
    let place = place();
    let service = place.start();
    service.post("/trigger/broken");
    let line: Value = serde_json::from_str(&service.logged("exit code 3")).unwrap();
    assert!(line["run"].is_u64() && line["duration_ms"].is_u64(), "{line}");
    assert_eq!(
        (&line["trigger"], &line["status"], &line["level"]),
        (&json!("manual"), &json!("failed"), &json!("ERROR"))
    );
    place.write(
        "jobs.toml",
        &JOBS.replace("where = \"expires_at", "where = \"1 = 1 AND expires_at"),
    );
    service.post("/reload-config");
    let line: Value = serde_json::from_str(&service.logged("configuration reloaded")).unwrap();
    assert_eq!(line["changed"], "tidy (action)");
    drop(service);

    // The option wins over the file, and so does the variable: the service says where it listens, in JSON.
    place.write(
        "jobs.toml",
        &format!("[log]\nlevel = \"error\"\nformat = \"text\"\n{JOBS}"),
    );
    let service = place
        .service()
        .env("CRON_LOG__FORMAT", "json")
        .args(&["--log-level", "info"])
        .start();
    service.logged("listening on");
    drop(service);
    let (code, text) = place.validate("[log]\nlevel = \"loud\"\n");
    assert!(
        code == 2 && text.contains("`loud` is not one of error, warn, info, debug"),
        "{text}"
    );
}

#[test]
fn the_service_manager_is_told_how_the_service_is() {
    let place = place();
    let socket = UnixDatagram::bind(place.file("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let path = place.file("notify");
    let service = place
        .service()
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "1000000")
        .start();
    let told = |wanted: &str| {
        let mut seen = Vec::new();
        for _ in 0..100 {
            let mut text = [0; 1024];
            let length = socket
                .recv(&mut text)
                .unwrap_or_else(|_| panic!("{wanted} was not told: {seen:?}"));
            let text = String::from_utf8(text[..length].to_vec()).unwrap();
            if text.contains(wanted) {
                return text;
            }
            seen.push(text);
        }
        panic!("{wanted} was not told: {seen:?}");
    };
    told("READY=1");
    let status = told("STATUS=");
    assert!(
        status.contains("5 jobs, ") && status.contains("next: often at ") && status.contains("WATCHDOG=1"),
        "{status}"
    );
    // It is told again and again, as long as the engine answers.
    told("WATCHDOG=1");
    service.signal("HUP");
    let reloading = told("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    told("READY=1");
    service.signal("TERM");
    told("STOPPING=1");
    drop(service);

    // One whose socket is in no folder.
    let name = format!("duplistatus-cron-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let service = place.service().env("NOTIFY_SOCKET", &format!("@{name}")).start();
    let mut text = [0; 1024];
    let length = socket.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"READY=1");
    // It is nothing to the programs of jobs.
    place.write(
        "jobs.toml",
        "[jobs.env]\nschedule = \"0 0 1 1 *\"\ncommand = { argv = [\"env\"] }\n",
    );
    service.post("/reload-config");
    service.post("/trigger/env");
    let output = service.newest("env")["output"].as_str().unwrap().to_owned();
    assert!(
        output.contains("PATH=") && !output.contains("NOTIFY_SOCKET"),
        "{output}"
    );
}

#[test]
fn a_database_that_is_away_is_down_for_those_who_only_ask_for_figures() {
    let place = Workplace::empty();
    place.write("jobs.toml", JOBS);
    let service = place.start();
    eventually("the figure", || {
        metrics(&service, "*/*")
            .contains("database_up{database=\"duplistatus\"} 0\n")
            .then_some(())
    });
    // And whose jobs use none is not told of one.
    place.write(
        "jobs.toml",
        "[jobs.plain]\nschedule = \"0 0 1 1 *\"\ncommand = { argv = [\"true\"] }\n",
    );
    service.post("/reload-config");
    assert_eq!(service.health()["status"], "ok", "{}", service.health());
    assert!(!metrics(&service, "*/*").contains("database_up{"));
    // One that is declared is missed, though no job uses it.
    place.write("jobs.toml", "[databases.own]\npath = \"nowhere.db\"\n[jobs.plain]\nschedule = \"0 0 1 1 *\"\ncommand = { argv = [\"true\"] }\n");
    service.post("/reload-config");
    eventually("the health", || {
        (service.health()["status"] == "degraded").then_some(())
    });
    assert!(service.health()["reasons"].to_string().contains("nowhere.db"));
}

#[test]
fn the_unit_is_closed_to_all_that_it_does_not_need() {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager", "--threshold=20"])
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/examples/duplistatus-cron.service"
        ))
        .output()
        .expect("systemd-analyze is missing; tests/run installs it");
    let (code, text) = printed(&output);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Overall exposure level"), "{text}");
}

#[test]
fn the_image_is_built_from_what_it_is_given() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = Workplace::empty();
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    assert_eq!(ignored.lines().next(), Some("*"));
    for name in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        let to = given.file(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .arg(root.join(name))
            .arg(&to)
            .status()
            .unwrap();
        assert!(copied.success(), "{name}");
    }
    // Every file that the manifest names is there, and what the sources take in.
    let cargo = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(given.path())
            .output()
            .unwrap();
        printed(&output)
    };
    let (code, text) = cargo(&[
        "metadata",
        "--offline",
        "--locked",
        "--no-deps",
        "--format-version",
        "1",
    ]);
    assert_eq!(code, 0, "{text}");
    for taken in ["jobs.toml", "examples/minimal.toml"] {
        assert!(given.file(taken).exists(), "{taken}");
    }
}

/// A root folder with Debian 13, which `tests/run` has made.
const TRIXIE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/trixie");

#[test]
fn the_package_installs_and_goes_again() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"));
    let built = Command::new("packaging/deb")
        .arg(BINARY)
        .current_dir(root)
        .output()
        .unwrap();
    let (code, text) = printed(&built);
    assert_eq!(code, 0, "{text}");
    let package = text.lines().last().unwrap().to_owned();
    let there = format!("{TRIXIE}/tmp/duplistatus-cron.deb");
    std::fs::copy(&package, &there).unwrap();
    let inside = |script: &str| {
        let output = Command::new("chroot")
            .args([TRIXIE, "sh", "-ec", script])
            .output()
            .unwrap();
        printed(&output)
    };
    let (code, text) = inside("dpkg -i /tmp/duplistatus-cron.deb 2>&1");
    assert_eq!(code, 0, "{text}");
    let (code, text) = inside(
        "duplistatus-cron --version; duplistatus-cron validate /etc/duplistatus-cron/jobs.toml; id duplistatus-cron
         test -s /usr/share/man/man1/duplistatus-cron.1.gz
         test -s /usr/share/bash-completion/completions/duplistatus-cron
         test -s /usr/share/zsh/vendor-completions/_duplistatus-cron
         test -s /usr/share/fish/vendor_completions.d/duplistatus-cron.fish
         test -s /usr/share/doc/duplistatus-cron/examples/git-sync.toml
         test -s /usr/lib/systemd/system/duplistatus-cron.service
         grep -q /etc/duplistatus-cron/jobs.toml /var/lib/dpkg/info/duplistatus-cron.conffiles",
    );
    assert!(code == 0 && text.contains("duplistatus-cron 0.2.0"), "{text}");
    // What an administrator has changed outlasts the package.
    let (code, text) = inside(
        "echo '# mine' >> /etc/duplistatus-cron/jobs.toml; dpkg -r duplistatus-cron 2>&1; grep -q mine /etc/duplistatus-cron/jobs.toml
         dpkg -P duplistatus-cron 2>&1; test ! -e /etc/duplistatus-cron/jobs.toml; test ! -e /usr/bin/duplistatus-cron; rm /tmp/duplistatus-cron.deb",
    );
    assert_eq!(code, 0, "{text}");
}
