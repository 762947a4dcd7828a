//! A job of the kind `git_sync` whose service is killed at every step: the tree is whole, and nothing is deployed more than once
//! more.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use crate::support::git::Origin;
use crate::support::{Service, Workplace};

/// The files of each commit.
const FILES: usize = 20;
/// How often it is killed at moments that no call of git marks.
const OTHER_KILLS: usize = 15;

#[test]
fn releases_are_whole_wherever_the_service_is_killed_before_a_call_of_git() {
    Killed::new("releases", "before").at_every_step();
}

#[test]
fn releases_are_whole_wherever_the_service_is_killed_after_a_call_of_git() {
    Killed::new("releases", "after").at_every_step();
}

#[test]
fn files_in_place_are_finished_wherever_the_service_is_killed_before_a_call_of_git() {
    Killed::new("in_place", "before").at_every_step();
}

#[test]
fn files_in_place_are_finished_wherever_the_service_is_killed_after_a_call_of_git() {
    Killed::new("in_place", "after").at_every_step();
}

#[test]
fn a_kill_at_any_other_moment_does_as_little() {
    for layout in ["releases", "in_place"] {
        let mut killed = Killed::new(layout, "before");
        for number in 0..OTHER_KILLS {
            let service = killed.changed();
            let pause = Duration::from_millis(7 * number as u64);
            let mut stream = asked(&service);
            std::thread::sleep(pause);
            service.kill();
            let _ = stream.read_to_end(&mut Vec::new());
            killed.is_finished(&format!("{layout} after {pause:?}"));
        }
    }
}

/// What a shell finds under a name.
fn program(name: &str) -> String {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

/// Asks for a run, and waits for nothing.
fn asked(service: &Service) -> std::net::TcpStream {
    let mut stream = service.connect();
    stream
        .write_all(b"POST /trigger/app HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    stream
}

/// A workplace in which each call of git is a step, and kills the service if it is the one that was chosen: before it does as it
/// is told, or after.
struct Killed {
    place: Workplace,
    origin: Origin,
    layout: &'static str,
    when: &'static str,
    version: usize,
    commit: String,
    deployed_before: usize,
}

impl Killed {
    fn new(layout: &'static str, when: &'static str) -> Self {
        let place = Workplace::empty();
        let folder = place.path().display().to_string();
        let script = format!(
            "#!/bin/sh\nn=$(cat {folder}/count); echo $((n + 1)) > {folder}/count\n\
             if [ $n = $(cat {folder}/before) ]; then kill -9 $(cat {folder}/pid); exit 1; fi\n\
             {} \"$@\"; code=$?\n\
             if [ $n = $(cat {folder}/after) ]; then kill -9 $(cat {folder}/pid); fi\nexit $code\n",
            program("git")
        );
        std::fs::create_dir(place.file("bin")).unwrap();
        place.write("bin/git", &script);
        std::fs::set_permissions(place.file("bin/git"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let origin = Origin::new(&[("first", "")]);
        // Both programs of the job are steps as well.
        place.write(
            "jobs.toml",
            &format!(
                "[jobs.app]\nschedule = \"@yearly\"\n[jobs.app.git_sync]\nurl = \"{}\"\nbranch = \"main\"\nfolder = \"out\"\n\
                 layout = \"{layout}\"\ncheck = {{ shell = \"git --version\" }}\n\
                 deploy = {{ shell = \"git --version; echo $CRON_GIT_COMMIT >> {folder}/deployed; git --version\" }}\n",
                origin.path().display()
            ),
        );
        Self {
            place,
            origin,
            layout,
            when,
            version: 0,
            commit: String::new(),
            deployed_before: 0,
        }
    }

    fn at_every_step(&mut self) {
        for step in 0.. {
            let service = self.changed();
            self.choose(Some(step));
            let mut answer = String::new();
            let _ = asked(&service).read_to_string(&mut answer);
            if answer.contains("\"success\":true") {
                assert!(step > 15, "{step} steps");
                return;
            }
            self.choose(None);
            // It has ended as it was killed, or told that it was not well and is ended here.
            service.kill();
            self.is_finished(&format!("{} {} step {step}", self.layout, self.when));
        }
    }

    /// Changes every file, and starts a service that is to find it.
    fn changed(&mut self) -> Service {
        self.version += 1;
        let files: Vec<(String, String)> = (0..FILES).map(|number| (name(number), text(self.version))).collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        self.commit = self.origin.commit(&files);
        self.deployed_before = self.deployed().len();
        self.choose(None);
        let service = self.start();
        self.place.write("pid", &service.pid().to_string());
        service
    }

    fn start(&self) -> Service {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.place.file("bin").display());
        self.place.service().env("PATH", &path).start()
    }

    /// Chooses the step that kills.
    fn choose(&self, step: Option<usize>) {
        let number = |chosen: bool| {
            step.filter(|_| chosen)
                .map_or_else(|| "-1".to_owned(), |step| step.to_string())
        };
        self.place.write("before", &number(self.when == "before"));
        self.place.write("after", &number(self.when == "after"));
        self.place.write("count", "0");
    }

    fn deployed(&self) -> Vec<String> {
        let lines = std::fs::read_to_string(self.place.file("deployed")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    /// What the files show, each once.
    fn shown(&self) -> BTreeSet<String> {
        let tree = self.place.file(if self.layout == "releases" {
            "out/current"
        } else {
            "out"
        });
        let read = |number| std::fs::read_to_string(tree.join(name(number))).unwrap_or_default();
        (0..FILES).map(read).collect()
    }

    /// Checks what a killed service has left, and that one more run puts everything in order.
    fn is_finished(&self, what: &str) {
        // Files in place change one by one.
        assert!(
            self.layout == "in_place" || self.shown().len() == 1,
            "{what}: the tree is of several commits"
        );
        let service = self.start();
        let (_, done) = service.post("/trigger/app");
        assert_eq!(done["success"], true, "{what}: {done}");
        assert_eq!(self.shown(), BTreeSet::from([text(self.version)]), "{what}");
        let deployed = self.deployed().split_off(self.deployed_before);
        assert!(deployed.iter().all(|commit| *commit == self.commit), "{what}");
        assert!((1..=2).contains(&deployed.len()), "{what}: {deployed:?}");
        assert_eq!(
            service.post("/trigger/app").1["statistics"]["deployed"],
            false,
            "{what}"
        );
        let releases = std::fs::read_dir(self.place.file("out/releases"))
            .into_iter()
            .flatten()
            .flatten();
        let names: Vec<String> = releases
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        assert!(names.iter().all(|name| !name.starts_with('.')), "{what}: {names:?}");
        service.terminate();
    }
}

fn name(number: usize) -> String {
    format!("d{}/f{number}", number % 3)
}

fn text(version: usize) -> String {
    version.to_string().repeat(5000)
}
