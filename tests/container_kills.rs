//! A job of the kind `container_update` at whose every call that changes something, something else happens: the service is killed, the engine refuses, or the
//! connection ends. One container of the name runs, on the old image or the new one, with its volume; nothing is left over.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::support::fake_engine::{FakeEngine, Fault, NEW, OLD, Seen};
use crate::support::receivers::Ntfy;
use crate::support::{Workplace, eventually};

/// More calls than an update makes.
const MOST_CALLS: usize = 200;

/// A workplace whose job updates the container of a fake engine.
struct Site {
    place: Workplace,
    engine: FakeEngine,
    phone: Ntfy,
}

impl Site {
    fn new(is_new_well: bool, version: &'static str) -> Self {
        let site = Self {
            place: Workplace::empty(),
            engine: FakeEngine::start(is_new_well, version),
            phone: Ntfy::start(200),
        };
        let declaration = format!(
            "databases = {{}}\n[engines.docker]\nhost = \"{}\"\ncredentials = \"logins.json\"\n[notifications.phone]\nntfy = {{ url = \"http://127.0.0.1:{}\", topic = \"t\" }}\n[jobs.up]\nschedule = \"0 0 1 1 *\"\nretry = {{ max_attempts = 1 }}\n[jobs.up.container_update]\ncontainers = [\"web\"]\nsettle = \"1ms\"\nhealthy_within = \"1ms\"\nretry_bad = \"never\"\nnotify = [\"phone\"]\n",
            site.engine.host(),
            site.phone.port,
        );
        site.place.write("jobs.toml", &declaration);
        site.place.write("logins.json", "{}");
        site
    }

    /// What is there once nothing is under way: one container of each name that runs as it did, and a tag that fits.
    fn settled(&self, label: &str) -> String {
        let state = eventually(&format!("{label}: everything to be settled"), || {
            let state = self.engine.state();
            let is_well = |one: &Seen| one.is_running && one.policy == "always";
            let is_whole = state.containers.len() == 2 && state.containers.iter().all(is_well);
            (is_whole && self.open_updates() == 0).then_some(state)
        });
        let named = |name: &str| {
            let found = state.containers.iter().find(|one| one.name == name);
            found.unwrap_or_else(|| panic!("{label}: no {name}"))
        };
        let (web, side) = (named("web"), named("side"));
        assert_eq!(
            [&web.volume, &side.volume],
            ["unnamed-1", "unnamed-2"],
            "{label}: the volumes are what they were"
        );
        assert_eq!(
            side.network,
            format!("container:{}", web.id),
            "{label}: it has the network of the one that runs"
        );
        assert_eq!(side.image, OLD, "{label}: it stays on its own image");
        assert_eq!(
            state.tag.as_ref(),
            Some(&web.image),
            "{label}: the tag stands for what runs"
        );
        assert!(!state.overlapped, "{label}: the two have run at once");
        web.image.clone()
    }

    fn open_updates(&self) -> usize {
        let folder = self.place.file("data/duplistatus-cron.db-containers/updates");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|end| end == "json"))
            .count()
    }

    /// How many messages told that the container was updated, or rolled back. One that was on its way when the service was
    /// killed comes once more, and is the same.
    fn told(&self, what: &str) -> usize {
        let received = self.phone.received().into_iter();
        let of_it = received.filter(|message| message["path"].as_str().unwrap_or_default().contains(what));
        let different: BTreeSet<String> = of_it.map(|message| message.to_string()).collect();
        different.len()
    }
}

/// How many calls an update makes, in a service of its own.
fn calls(is_new_well: bool, version: &'static str) -> Vec<String> {
    let site = Site::new(is_new_well, version);
    let service = site.place.start();
    let (_, answer) = service.post("/trigger/up");
    assert_eq!(answer["success"] == true, is_new_well, "{answer}");
    assert_eq!(site.settled("undisturbed"), if is_new_well { NEW } else { OLD });
    site.engine.calls()
}

/// Whether a call changes something: between those, one moment is like any other.
fn changes(call: &str) -> bool {
    !call.starts_with("GET")
}

/// Kills the service at every call that changes something of an update, has it start again, and looks what there is.
fn killed_at_every_call(is_new_well: bool, fault: Fault, reboots: bool) {
    // Where nobody reboots, networks are joined one by one.
    let version = if reboots { "1.45" } else { "1.41" };
    let calls = calls(is_new_well, version);
    assert!((15..MOST_CALLS).contains(&calls.len()), "{calls:?}");
    let changing = calls.iter().filter(|call| changes(call)).enumerate();
    several_at_once(changing, |(number, call)| {
        let label = format!("killed {fault:?} {number} ({call})");
        let site = Site::new(is_new_well, version);
        let service = site.place.start();
        site.engine.at_call((number, false), fault);
        let mut stream = service.connect();
        let request = b"POST /trigger/up HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).unwrap();
        let is_held = site.engine.is_held(Duration::from_secs(30));
        assert!(is_held, "{label}: the call never came");
        service.kill();
        if reboots {
            site.engine.reboot();
        }
        let service = site.place.start();
        site.settled(&label);
        // Whatever that was, the next run gets on, and nothing is told twice.
        let (_, answer) = service.post("/trigger/up");
        let image = site.settled(&label);
        assert_eq!(image, if is_new_well { NEW } else { OLD }, "{label}: {answer}");
        let word = if is_new_well { "updated" } else { "rolled" };
        eventually(&format!("{label}: a message"), || (site.told(word) > 0).then_some(()));
        assert!(site.told("updated") <= 1, "{label}: {:?}", site.phone.received());
    });
}

/// Tries each case; most of the time of one is spent on waiting.
fn several_at_once<C: Send>(cases: impl IntoIterator<Item = C>, case: impl Fn(C) + Sync) {
    let cases = Mutex::new(cases.into_iter().collect::<Vec<C>>());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().unwrap().pop();
                    let Some(next) = next else { return };
                    case(next);
                }
            });
        }
    });
}

#[test]
fn a_kill_before_any_call_of_a_good_update_loses_nothing() {
    killed_at_every_call(true, Fault::HoldBefore, false);
}

#[test]
fn a_kill_after_any_call_of_a_good_update_loses_nothing() {
    killed_at_every_call(true, Fault::HoldAfter, false);
}

#[test]
fn a_kill_before_any_call_of_a_bad_update_loses_nothing() {
    killed_at_every_call(false, Fault::HoldBefore, false);
}

#[test]
fn a_kill_after_any_call_of_a_bad_update_loses_nothing() {
    killed_at_every_call(false, Fault::HoldAfter, false);
}

#[test]
fn a_reboot_after_any_call_of_an_update_loses_nothing() {
    killed_at_every_call(true, Fault::HoldAfter, true);
    killed_at_every_call(false, Fault::HoldAfter, true);
}

/// Has something go wrong at the calls of an update, and looks what there is after the next run.
fn broken_at_every_call(is_new_well: bool) {
    let calls = calls(is_new_well, "1.45");
    let of_kind = |asks: bool| calls.iter().filter(move |call| changes(call) != asks).enumerate();
    // What is only asked is refused or not.
    let asking = of_kind(true).map(|(number, call)| ((number, true), call, Fault::Refuse));
    let changing = of_kind(false).flat_map(|(number, call)| {
        let faults = [Fault::Refuse, Fault::CutBefore, Fault::CutAfter];
        faults.map(|fault| ((number, false), call, fault))
    });
    several_at_once(asking.chain(changing), |(number, call, fault)| {
        let label = format!("{fault:?} {number:?} ({call})");
        let site = Site::new(is_new_well, "1.45");
        let service = site.place.start();
        site.engine.at_call(number, fault);
        let (_, answer) = service.post("/trigger/up");
        assert!(answer.is_object(), "{label}: {answer}");
        site.engine.without_fault();
        // What could not be put back at once is by the next run.
        let (_, answer) = service.post("/trigger/up");
        let image = site.settled(&label);
        let is_known_bad = answer["statistics"]["containers"][0]["result"] == "bad";
        assert!(image == NEW || !is_new_well || is_known_bad, "{label}: {answer}");
    });
}

#[test]
fn an_engine_that_refuses_or_breaks_off_any_call_of_a_good_update_leaves_one_container_that_runs() {
    broken_at_every_call(true);
}

#[test]
fn an_engine_that_refuses_or_breaks_off_any_call_of_a_bad_update_leaves_one_container_that_runs() {
    broken_at_every_call(false);
}

#[test]
fn secrets_of_a_container_are_in_no_log_and_no_history() {
    let site = Site::new(false, "1.45");
    let service = site.place.start();
    service.post("/trigger/up");
    let shown: Vec<String> = [service.newest("up").to_string()]
        .into_iter()
        .chain(service.log())
        .collect();
    assert!(!shown.iter().any(|line| line.contains("s3cret-value")), "{shown:?}");
    let told: Vec<Value> = site.phone.received();
    assert!(!format!("{told:?}").contains("s3cret-value"));
}
