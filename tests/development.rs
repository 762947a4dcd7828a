//! `--dev`: the service becomes its own newer build.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::workplace::BINARY;
use crate::support::{Workplace, eventually};

/// A service that is developed: a copy of the program, which can be put in another's place.
struct Developed {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Drop for Developed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Developed {
    fn start(place: &Workplace) -> Self {
        build(place, &std::fs::read(BINARY).unwrap());
        let mut child = Command::new(place.file("program"))
            .args(["--dev", "--port", "0"])
            .current_dir(place.path())
            .env_remove("PORT")
            .env_remove("CRON_PORT")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, output) = (Arc::clone(&log), BufReader::new(child.stdout.take().unwrap()));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { child, log }
    }

    /// Waits until so many lines of the log hold `text`.
    fn logs(&self, text: &str, times: usize) {
        eventually(&format!("{times} times `{text}` in the log"), || {
            let found = self
                .log
                .lock()
                .unwrap()
                .iter()
                .filter(|line| line.contains(text))
                .count();
            (found == times).then_some(())
        });
    }
}

/// Puts a new program in the place of the old one, as compilers do.
fn build(place: &Workplace, program: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let built = place.file("program.new");
    std::fs::write(&built, program).unwrap();
    std::fs::set_permissions(&built, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(built, place.file("program")).unwrap();
}

#[test]
fn a_service_that_was_rebuilt_is_followed_by_its_newer_build() {
    let place = Workplace::new();
    let mut service = Developed::start(&place);
    service.logs("listening on", 1);
    build(&place, &std::fs::read(BINARY).unwrap());
    service.logs("was rebuilt; the new build takes over", 1);
    service.logs("listening on", 2);
    assert!(service.child.try_wait().unwrap().is_none(), "it is the same process");
}
