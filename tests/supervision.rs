//! The files beside the program that keep it running.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::{Workplace, eventually};

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

struct Supervisor(Child);

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Supervisor {
    fn start(place: &Workplace, arguments: &[&str]) -> Self {
        let command = place.command();
        let path = command.get_program().to_owned();
        let mut shell = Command::new("sh");
        shell
            .arg(example("duplistatus-cron.sh"))
            .args(arguments)
            .current_dir(place.path());
        shell
            .env("DUPLISTATUS_CRON", path)
            .env_remove("PORT")
            .env_remove("CRON_PORT");
        Self(shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// The service it runs now, other than `not`.
    fn service(&self, not: Option<u32>) -> u32 {
        eventually("the supervised service", || {
            let output = Command::new("pgrep")
                .args(["-P", &self.0.id().to_string(), "-x", "duplistatus-cro"])
                .output()
                .ok()?;
            let pid = String::from_utf8(output.stdout).ok()?.lines().next()?.parse().ok()?;
            (Some(pid) != not).then_some(pid)
        })
    }

    fn end(&mut self) -> Option<i32> {
        eventually("the supervisor to end", || self.0.try_wait().unwrap()).code()
    }
}

fn signal(name: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([name, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_killed_service_is_started_again_and_its_run_closed() {
    let place = Workplace::with_jobs(
        "[jobs.endless]\nschedule = \"* * * * * *\"\n[jobs.endless.sql]\ntables = [\"sessions\"]\n\
         statement = \"DELETE FROM sessions WHERE id IN (SELECT count(*) FROM json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') a, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') b, json_each('['||rtrim(replace(hex(zeroblob(5000)),'0','1,'),',')||']') c)\"\n",
    );
    let mut supervisor = Supervisor::start(&place, &["--port", "0"]);
    let first = supervisor.service(None);
    let count = |status: &str| -> Option<i64> {
        place.in_state(&format!("SELECT count(*) FROM runs WHERE status = '{status}'"), |row| {
            row.get(0)
        })
    };
    eventually("a run under way", || (count("running")? > 0).then_some(()));
    signal("-KILL", first);
    let second = supervisor.service(Some(first));
    eventually("the run to be closed", || (count("interrupted")? > 0).then_some(()));
    signal("-TERM", supervisor.0.id());
    assert_eq!(supervisor.end(), Some(0));
    assert!(
        !Command::new("kill")
            .args(["-0", &second.to_string()])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success(),
        "the service is gone too"
    );
}

#[test]
fn a_declaration_that_is_no_good_is_not_tried_again() {
    let place = Workplace::with_jobs("[broken");
    assert_eq!(Supervisor::start(&place, &[]).end(), Some(2));
}

#[test]
fn the_systemd_unit_is_sound() {
    let unit = example("duplistatus-cron.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    for line in ["Type=notify", "Restart=always", "RestartPreventExitStatus=2"] {
        assert!(text.contains(line), "{line}");
    }
    // It wants the program to exist.
    let place = Workplace::empty();
    let installed = text.replace("/usr/bin/duplistatus-cron", crate::support::workplace::BINARY);
    place.write("duplistatus-cron.service", &installed);
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(place.file("duplistatus-cron.service"))
        .output()
        .expect("systemd-analyze is missing; tests/run installs it");
    let told = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("duplistatus-cron.service"))
        .collect();
    assert!(output.status.success() && about_ours.is_empty(), "{told}");
}
