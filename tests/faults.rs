//! Faults around the service: files that never end, a state that is moved away or on a disk that is full, servers and
//! databases that hang, clocks that are set, readers that stall. Nothing is lost, nobody else waits, and it is told.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::receivers::Ntfy;
use crate::support::service::read_answer;
use crate::support::workplace::ONE_JOB;
use crate::support::{Service, Workplace, eventually};

fn reasons(service: &Service) -> String {
    service.health()["reasons"].to_string()
}

/// A job that writes down each time it runs.
fn ticking(id: &str, keys: &str) -> String {
    format!(
        "[jobs.{id}]\nschedule = \"* * * * * *\"\n{keys}\n[jobs.{id}.sql]\ntables = [\"ticks\"]\nstatement = \"INSERT INTO ticks VALUES (:job, :scheduled_at)\"\n"
    )
}

fn with_ticks() -> Workplace {
    let place = Workplace::new();
    place.database().execute_batch("CREATE TABLE ticks (job, at)").unwrap();
    place
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_declaration_that_becomes_a_pipe_or_never_ends_stops_nothing() {
    let place = with_ticks();
    place.write("jobs.toml", &ticking("tick", ""));
    let service = place.start();
    let file = place.file("jobs.toml");
    for replace in [
        (|file: &Path| pipe(file)) as fn(&Path),
        |file| symlink("/dev/zero", file).unwrap(),
        |file| std::fs::write(file, "include = [\"/**/*.toml\"]").unwrap(),
    ] {
        std::fs::remove_file(&file).unwrap();
        replace(&file);
        let (status, body) = service.post("/reload-config");
        assert_eq!(status, 422, "{body}");
        assert!(body.to_string().contains("jobs.toml"), "{body}");
        let ticks = place.count("ticks");
        eventually("jobs to run on", || (place.count("ticks") > ticks).then_some(()));
    }
    assert!(service.memory() < 200_000, "{} KB", service.memory());
    assert_eq!(service.terminate().code(), Some(0));
}

#[test]
fn a_secret_in_a_pipe_is_told_and_a_database_that_is_one_holds_nobody_up() {
    let place = Workplace::new();
    pipe(&place.file("pipe"));
    let target =
        "[notifications.phone.ntfy]\nurl = \"http://127.0.0.1:1\"\ntopic = \"t\"\ntoken = { file = \"pipe\" }\n";
    let (code, text) = place.validate(&format!("{target}{ONE_JOB}"));
    assert!(
        code == 2 && text.contains("pipe cannot be read: it is not a regular file"),
        "{text}"
    );
    place.write(
        "jobs.toml",
        &format!("[databases.other]\npath = \"pipe\"\n[databases.own]\npath = \"data/backups.db\"\n[defaults]\ndatabase = \"own\"\n{ONE_JOB}"),
    );
    let service = place.start();
    assert!(reasons(&service).contains("database pipe is not a regular file"));
}

#[test]
fn a_state_that_is_moved_away_runs_nothing_until_it_is_back_and_nothing_twice() {
    let place = with_ticks();
    place.write("jobs.toml", &ticking("tick", "catch_up = \"all\""));
    let service = place.start();
    eventually("the first runs", || (place.count("ticks") >= 2).then_some(()));
    let (state, aside) = (place.file("data/duplistatus-cron.db"), place.file("data/aside.db"));
    let log = |of: &Path| PathBuf::from(format!("{}-wal", of.display()));
    std::fs::rename(log(&state), log(&aside)).unwrap();
    std::fs::rename(&state, &aside).unwrap();
    eventually("that to be told", || (service.get("/health").0 == 503).then_some(()));
    assert!(reasons(&service).contains("is gone: it was deleted, moved or unmounted"));
    assert_eq!(service.post("/trigger/tick").0, 503);
    let ticks = place.count("ticks");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(place.count("ticks"), ticks);
    assert!(!state.exists());
    std::fs::rename(log(&aside), log(&state)).unwrap();
    std::fs::rename(&aside, &state).unwrap();
    eventually("it to heal by itself", || {
        (service.get("/health").0 == 200).then_some(())
    });
    eventually("what was missed", || (place.count("ticks") > ticks + 3).then_some(()));
    service.kill();
    place.start().terminate();
    let count = |query: &str| -> i64 { place.database().query_row(query, [], |row| row.get(0)).unwrap() };
    assert_eq!(
        count("SELECT count(*) - count(DISTINCT at) FROM ticks"),
        0,
        "none twice"
    );
    let gaps =
        "SELECT CAST(round((julianday(max(at)) - julianday(min(at))) * 86400) AS INTEGER) + 1 - count(*) FROM ticks";
    assert_eq!(count(gaps), 0, "none lost");
}

/// A file system of its own in a file, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn mount(place: &Workplace, name: &str, blocks: &str) -> Self {
        let image = place.file(&format!("{name}.image"));
        let folder = place.file(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let done = Command::new(program).args(arguments).output().unwrap();
            assert!(
                done.status.success(),
                "{program}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        };
        run(
            "mkfs.ext4",
            &["-q", "-b", blocks, "-O", "^has_journal", image.to_str().unwrap()],
        );
        run(
            "mount",
            &["-o", "loop", image.to_str().unwrap(), folder.to_str().unwrap()],
        );
        Self(folder)
    }

    fn remount(&self, how: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.0)
            .status();
        assert!(done.unwrap().success());
    }

    /// Has whoever writes to it wait, or go on.
    fn freeze(&self, is_frozen: bool) {
        let how = if is_frozen { "-f" } else { "-u" };
        assert!(
            Command::new("fsfreeze")
                .arg(how)
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        );
    }

    /// Leaves no room; gives what takes it.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        for size in [1 << 16, 1 << 10, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze")
            .arg("-u")
            .arg(&self.0)
            .stderr(Stdio::null())
            .status();
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_or_read_only_ends_nothing_and_heals() {
    for blocks in ["1024", "4096"] {
        let place = with_ticks();
        let disk = Disk::mount(&place, "small", blocks);
        place.write(
            "jobs.toml",
            &format!(
                "[state]\npath = \"small/state.db\"\n{}",
                ticking("tick", "max_age = \"1d\"")
            ),
        );
        let mut service = place.start();
        eventually("the first runs", || (place.count("ticks") >= 2).then_some(()));
        let ballast = disk.fill();
        // What was reserved before may last for a while.
        let began = Instant::now();
        while service.get("/health").0 == 200 {
            assert!(began.elapsed() < Duration::from_mins(1), "it is told within a minute");
            assert!(service.try_wait().is_none(), "no signal ends it");
            std::thread::sleep(Duration::from_millis(100));
            if began.elapsed() > Duration::from_secs(20) {
                break; // Its log is written over and over in its own place: it needs no room.
            }
        }
        std::fs::remove_file(ballast).unwrap();
        eventually("it to heal", || (service.get("/health").0 == 200).then_some(()));
        let ticks = place.count("ticks");
        eventually("runs to go on", || (place.count("ticks") > ticks).then_some(()));
        assert_eq!(service.terminate().code(), Some(0));
        disk.remount("ro");
        let service = place.start();
        assert_eq!(service.get("/health").0, 503);
        assert!(
            reasons(&service).contains("state database small/state.db"),
            "{}",
            reasons(&service)
        );
        disk.remount("rw");
        eventually("it to heal by itself", || {
            (service.get("/health").0 == 200).then_some(())
        });
        let ticks = place.count("ticks");
        eventually("runs to begin", || (place.count("ticks") > ticks).then_some(()));
        service.terminate();
    }
}

#[test]
fn a_start_on_disks_that_hang_answers_and_goes_on_when_they_do() {
    for (declared, told) in [
        ("[databases.own]\npath = \"small/backups.db\"\n", "small/backups.db"),
        ("[state]\npath = \"small/state.db\"\n", "small/state.db"),
        ("[state]\npath = \"small/new/state.db\"\n", "small/new/state.db"),
    ] {
        let place = with_ticks();
        let disk = Disk::mount(&place, "small", "4096");
        place.write("jobs.toml", &format!("{declared}{}", ticking("tick", "")));
        let copy = place.file("small/backups.db");
        place
            .database()
            .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
            .unwrap();
        let ticks = || -> u32 {
            let database = if told.ends_with("backups.db") {
                rusqlite::Connection::open(&copy).unwrap()
            } else {
                place.database()
            };
            database
                .query_row("SELECT count(*) FROM ticks", [], |row| row.get(0))
                .unwrap()
        };
        if !told.contains("new") {
            place.start().terminate();
        }
        disk.freeze(true);
        let service = place.start();
        // Nothing may fail before the disk goes on: the service could not even be killed.
        let is_told = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            reasons(&service).contains(told)
        });
        disk.freeze(false);
        assert!(is_told);
        let before = ticks();
        eventually("runs to begin", || (ticks() > before + 1).then_some(()));
        eventually("it to heal", || (service.get("/health").0 == 200).then_some(()));
        assert_eq!(service.terminate().code(), Some(0));
    }
}

#[test]
fn a_claim_is_on_the_disk_before_its_run_begins() {
    let place = with_ticks();
    place.write("jobs.toml", &ticking("tick", "enabled = false"));
    let service = place.start();
    let trace = place.file("trace");
    let mut tracer = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync,pwrite64", "-o"])
        .arg(&trace)
        .args(["-p", &service.pid().to_string()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(service.post("/trigger/tick").0, 200);
    let _ = Command::new("kill").args(["-INT", &tracer.id().to_string()]).status();
    tracer.wait().unwrap();
    let calls = std::fs::read_to_string(&trace).unwrap();
    let at = |call: &str, file: &str| {
        let is_it = |line: &&str| line.contains(call) && line.contains(file);
        calls
            .lines()
            .position(|line| is_it(&line))
            .unwrap_or_else(|| panic!("{call} {file}\n{calls}"))
    };
    let claimed = at("pwrite64(", "duplistatus-cron.db-wal");
    let synced = at("sync(", "duplistatus-cron.db-wal");
    let ran = at("pwrite64(", "backups.db-wal");
    assert!(claimed < synced && synced < ran, "{calls}");
}

#[test]
fn a_locked_database_holds_up_no_other_and_whoever_waits_is_queued() {
    let place = with_ticks();
    for name in ["locked.db", "free.db"] {
        let database = rusqlite::Connection::open(place.file(name)).unwrap();
        database.execute_batch("CREATE TABLE ticks (job, at)").unwrap();
    }
    let mut declared = "[databases.locked]\npath = \"locked.db\"\nbusy_timeout = \"1m\"\n[databases.free]\npath = \"free.db\"\n[defaults]\ndatabase = \"free\"\n".to_owned();
    for number in 0..70 {
        declared += &ticking(
            &format!("waits-{number}"),
            "database = \"locked\"\nenabled = false\ntimeout = \"2s\"\nretry = { max_attempts = 1 }",
        );
    }
    declared += &ticking("free", "");
    place.write("jobs.toml", &declared);
    let service = place.start();
    let lock = rusqlite::Connection::open(place.file("locked.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    for number in 0..70 {
        assert_eq!(service.post(&format!("/trigger/waits-{number}?wait=false")).0, 202);
    }
    let of = |status: &str| service.get(&format!("/api/schedules/executions?status={status}")).1["total"].clone();
    eventually("as many to run as there are threads", || {
        (of("running").as_i64()? <= 17).then_some(())
    });
    assert!(of("queued").as_i64().unwrap() >= 50, "{}", of("queued"));
    let free = rusqlite::Connection::open(place.file("free.db")).unwrap();
    let ticks = || -> i64 {
        free.query_row("SELECT count(*) FROM ticks", [], |row| row.get(0))
            .unwrap()
    };
    let before = ticks();
    eventually("the free database to be worked on", || (ticks() > before).then_some(()));
    assert_eq!(service.post("/reload-config").0, 200);
    // Longer than their timeout: it does not begin while they wait for their turn.
    std::thread::sleep(Duration::from_secs(3));
    drop(lock);
    eventually("those that waited", || {
        (of("queued") == 0 && of("running").as_i64()? <= 1).then_some(())
    });
    let timed_out = of("timed_out").as_i64().unwrap();
    assert!(
        timed_out < 70,
        "those that waited have their time: {timed_out} timed out"
    );
    let done = service.get("/api/schedules/executions?status=success&job=waits-69").1;
    assert_eq!(done["total"], 1, "{done}");
}

#[test]
fn runs_that_wait_survive_a_kill() {
    let place = with_ticks();
    let slow = "DELETE FROM sessions WHERE id IN (SELECT count(*) FROM json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') a, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') b)";
    let slow = format!(
        "[jobs.slow]\nschedule = \"* * * * * *\"\ngroup = \"one\"\nconcurrency_policy = \"queue\"\n[jobs.slow.sql]\ntables = [\"sessions\"]\nstatement = \"{slow}\"\n"
    );
    let waits = ticking(
        "waits",
        "group = \"one\"\nconcurrency_policy = \"queue\"\ncatch_up = \"all\"",
    );
    let declared = format!("[groups.one]\nmax_running = 1\n{slow}{waits}");
    place.write("jobs.toml", &declared);
    let service = place.start();
    let queued = |service: &Service| service.get("/api/schedules/executions?job=waits&status=queued").1;
    let waiting = eventually("a run that waits", || {
        let found = queued(&service);
        (found["total"].as_i64()? > 0).then(|| found["executions"][0].clone())
    });
    assert_eq!(waiting["started_at"], Value::Null);
    service.kill();
    let declared = declared.replace("[jobs.slow]\n", "[jobs.slow]\nenabled = false\n");
    place.write("jobs.toml", &declared);
    let service = place.start();
    eventually("the run that waited", || {
        let found = service.get("/api/schedules/executions?job=waits&limit=1000").1;
        let is_it = |run: &&Value| run["id"] == waiting["id"] && run["status"] == "success";
        found["executions"].as_array()?.iter().find(is_it).map(|_| ())
    });
}

#[test]
fn whoever_is_slow_or_has_left_keeps_nobody_from_health() {
    let place = Workplace::new();
    let lock = place.database();
    place.write(
        "jobs.toml",
        &format!(
            "[databases.duplistatus]\npath = \"data/backups.db\"\nbusy_timeout = \"1m\"\n{}",
            ONE_JOB.replace(
                "[jobs.tidy]",
                "[jobs.tidy]\nconcurrency_policy = \"allow\"\nmax_running = 100"
            )
        ),
    );
    let service = place.start();
    lock.execute_batch("INSERT INTO sessions SELECT value, 0, '2000-01-01' FROM json_each('[1,2,3]')")
        .ok();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    // From here on there is something that the engine last knew, however slow the machine is.
    eventually("the first answer", || (service.get("/health").0 == 200).then_some(()));
    let answers = || {
        let began = Instant::now();
        let (status, body) = service.get("/health");
        assert_eq!(status, 200, "{body}");
        assert!(body["isRunning"] == true);
        began.elapsed()
    };
    let host = format!("Host: localhost:{}\r\n", service.port);
    for _ in 0..40 {
        let mut caller = service.connect();
        let request = format!("POST /trigger/tidy HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n");
        caller.write_all(request.as_bytes()).unwrap();
        drop(caller);
    }
    answers();
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut caller = service.connect();
        let _ = caller.write_all(b"GET /health HTTP/1.1\r\nHost: ");
        slow.push(caller);
        if slow.len() % 20 == 0 {
            answers();
        }
    }
    // Not only for monitors: the places of those who left are free.
    eventually("another request to be answered", || {
        (service.get("/api/schedules").0 == 200).then_some(())
    });
}

#[test]
fn a_reader_of_the_log_that_stalls_stops_nothing() {
    let place = with_ticks();
    let jobs: String = (0..40).map(|number| ticking(&format!("tick-{number}"), "")).collect();
    place.write("jobs.toml", &jobs);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = place
        .service()
        .args(&["--port", &port.to_string()])
        .into_command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A pipe holds 64 KB: hundreds of lines, which are there in a few seconds.
    eventually("more to be logged than a pipe holds", || {
        (place.count("ticks") > 400).then_some(())
    });
    let mut asking = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        asking,
        "GET /health HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let (_, health) = read_answer(&mut asking).unwrap();
    assert_eq!(health["isRunning"], true, "{health}");
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    eventually("it to end", || child.try_wait().unwrap());
}

#[test]
fn a_mail_server_that_never_ends_is_given_up_and_holds_up_no_other_target() {
    let drips = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = drips.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in drips.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                while client.write_all(b"2").is_ok() {
                    std::thread::sleep(Duration::from_millis(500));
                }
            });
        }
    });
    let ntfy = Ntfy::start(200);
    let place = Workplace::with_jobs(&format!(
        "[notifications.mail.email]\nhost = \"127.0.0.1\"\nport = {port}\nprotection = \"plain\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\", \"c@example.org\"]\n[notifications.phone.ntfy]\nurl = \"http://127.0.0.1:{}\"\ntopic = \"t\"\n[jobs.fails]\nschedule = \"@yearly\"\nnotify = {{ on_failure = [\"mail\", \"phone\"] }}\ncleanup = {{ delete_from = \"nowhere\", where = \"true\" }}\n",
        ntfy.port
    ));
    let service = place.start();
    service.post("/trigger/fails");
    eventually("the other target", || (ntfy.received().len() == 1).then_some(()));
    std::thread::sleep(Duration::from_secs(25));
    service.logged("it took longer than 40 s");
    assert_eq!(service.health()["outbox"], json!({ "pending": 2, "dead": 0 }));
}

#[test]
fn a_waiting_message_goes_out_whatever_the_clock_is_set_to() {
    for change in ["+4d", "-1d", "-20000d"] {
        let ntfy = Ntfy::start(500);
        let place = Workplace::with_jobs(&format!(
            "[notifications.phone.ntfy]\nurl = \"http://127.0.0.1:{}\"\ntopic = \"t\"\n[jobs.fails]\nschedule = \"@yearly\"\nnotify = {{ on_failure = [\"phone\"] }}\ncleanup = {{ delete_from = \"nowhere\", where = \"true\" }}\n[jobs.fresh]\nschedule = \"@yearly\"\nmax_age = \"2d\"\n{}\n",
            ntfy.port, "cleanup = { delete_from = \"sessions\", where = \"true\", max_share = 1.0 }"
        ));
        let offset = place.file("offset");
        std::fs::write(&offset, "+0").unwrap();
        let service = place
            .service()
            .at("2026-11-20 12:00:00")
            .env("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .without("FAKETIME")
            .start();
        service.post("/trigger/fails");
        service.post("/trigger/fresh");
        eventually("the first attempt", || (ntfy.received().len() == 1).then_some(()));
        std::fs::write(&offset, change).unwrap();
        ntfy.answer_with(200, "");
        std::thread::sleep(Duration::from_secs(35));
        eventually("the second attempt", || (ntfy.received().len() == 2).then_some(()));
        let health = service.health();
        assert_eq!(health["outbox"], json!({ "pending": 0, "dead": 0 }), "{change}");
        let fresh = |health: &Value| !health["reasons"].to_string().contains("max_age");
        assert!(fresh(&health), "{change}: {health}");
        service.terminate();
        let service = place
            .service()
            .at("2026-11-20 12:00:00")
            .env("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap())
            .without("FAKETIME")
            .start();
        assert!(
            fresh(&service.health()),
            "{change}, after a restart: {}",
            service.health()
        );
    }
}
