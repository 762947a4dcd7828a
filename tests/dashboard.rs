//! The page, in a real browser: what it shows, what stays while it is refreshed, and what it never does.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::support::browser::{Browser, ENTER, ESCAPE, LEFT, TAB, page};
use crate::support::{Service, Workplace, eventually};

/// A job that deletes, one that takes a while, one that fails, and one that is disabled.
const JOBS: &str = r#"
[jobs.tidy]
description = "Drops sessions"
schedule = "0 0 1 1 *"
[jobs.tidy.cleanup]
delete_from = "sessions"
where = "expires_at < datetime('now')"

[jobs.slow]
schedule = "0 0 1 1 *"
command = { argv = ["sh", "-c", "echo begun; sleep 4; echo done"] }

[jobs.broken]
schedule = "0 0 1 1 *"
command = { argv = ["false"] }

[jobs.quiet]
enabled = false
schedule = "0 0 1 1 *"
command = { argv = ["true"] }
"#;

/// The script that finds an element of a job's row.
fn of(job: &str, selector: &str) -> String {
    format!("[data-job='{job}'] {selector}")
}

fn button(job: &str, verb: &str) -> String {
    of(job, &format!("button[aria-label='{verb} {job}']"))
}

impl Browser {
    fn until_text(&self, selector: &str, wanted: &str) -> String {
        eventually(&format!("`{wanted}` in {selector}"), || {
            Some(self.text(selector)).filter(|text| text.contains(wanted))
        })
    }

    /// How often the page has asked for everything.
    fn refreshes(&self) -> u64 {
        let count = "return performance.getEntriesByType('resource').filter(entry => entry.name.endsWith('api/overview')).length";
        self.js(count).as_u64().unwrap()
    }

    fn after_refreshes(&self, more: u64) {
        let before = self.refreshes();
        eventually("refreshes", || (self.refreshes() >= before + more).then_some(()));
    }
}

#[test]
fn every_view_shows_what_it_should_and_asks_nobody_else() {
    let place = Workplace::with_jobs(JOBS);
    let service = place.start();
    service.post("/trigger/broken");
    service.post("/trigger/tidy");
    let browser = Browser::at(&service, "");
    browser.until_text("#sentence", "1 of 4 jobs is failing.");
    assert_eq!(browser.js("return document.title"), "(1) overview – duplistatus-cron");
    let order = browser.js("return [...document.querySelectorAll('[data-job]')].map(row => row.dataset.job)");
    // What fails comes first, what does not run comes last.
    assert_eq!(order, json!(["broken", "slow", "tidy", "quiet"]));
    for (selector, expected) in [
        (of("broken", ".state"), "✕ failing"),
        (of("broken", "td small"), "exit code 1"),
        (of("tidy", ".state"), "✓ ok"),
        (of("tidy", "td:nth-of-type(2) span"), "at 00:00 on the 1st in January"),
        (of("tidy", "code"), "0 0 1 1 * (UTC)"),
        (of("quiet", ".state"), "◼ disabled"),
    ] {
        assert!(
            browser.text(&selector).contains(expected),
            "{selector}: {}",
            browser.text(&selector)
        );
    }
    for (job, verbs) in [("tidy", ["Run", "Stop"]), ("quiet", ["Run", "Start"])] {
        let shown = browser.js(&format!(
            "return [...document.querySelectorAll(\"[data-job='{job}'] button\")].filter(button => !button.hidden).map(button => button.textContent)"
        ));
        assert_eq!(shown, json!(verbs));
    }
    assert_eq!(browser.js("return document.querySelector(\"[data-job='tidy'] .strip a\").getAttribute('aria-label').includes('success after')"), true);

    browser.open(&page(&service, "#/jobs/tidy"));
    browser.until_text("#plan", "rows of sessions");
    browser.until_text("#times", "-01-01 00:00:00 UTC");
    let from_the_file = browser.js("return [...document.querySelectorAll('#settings tr')].map(row => row.textContent).filter(text => text.includes('schedule') && text.includes('jobs.toml:4')).length");
    assert_eq!(from_the_file, 1, "{}", browser.text("#settings"));
    browser.until(
        "its history",
        "return document.querySelectorAll('#history tbody tr').length == 1",
    );

    browser.open(&page(&service, "#/service"));
    browser.until_text("#facts", "jobs.toml");
    browser.until_text("#databases", "data/backups.db");

    browser.open(&page(&service, "#/runs"));
    browser.until(
        "the runs",
        "return document.querySelectorAll('#history tbody tr').length == 2",
    );
    browser.click("#history summary");
    browser.until_text("#history pre", "Deleted");
    let elsewhere = "return performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith(location.origin)).length";
    assert_eq!(browser.js(elsewhere), 0);
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn what_programs_and_rows_say_is_shown_as_text() {
    let evil = "<img src=x onerror=\\\"document.title='taken'\\\">";
    let place = Workplace::with_jobs(&format!(
        "[jobs.evil]\ndescription = \"{evil}\"\nschedule = \"0 0 1 1 *\"\ncommand = {{ argv = [\"sh\", \"-c\", \"cat evil; cat evil >&2; exit 1\"] }}\n"
    ));
    place.write(
        "evil",
        "<img src=x onerror=\"document.title='taken'\">\n<script>document.title='taken'</script>",
    );
    let service = place.start();
    service.post("/trigger/evil");
    let browser = Browser::at(&service, "");
    for view in ["", "#/jobs/evil", "#/runs", "#/runs/1"] {
        browser.open(&page(&service, view));
        browser.after_refreshes(1);
    }
    browser.until_text("#history pre", "<script>");
    assert_eq!(
        browser.js("return document.querySelectorAll('img, main script').length"),
        0
    );
    assert!(browser.text(&of("evil", "small")).contains("<img src=x"));
    assert_ne!(browser.js("return document.title"), "taken");
    assert_eq!(browser.console(), Vec::<String>::new());
    // An address of nothing is no service that is away.
    browser.open(&page(&service, "?odd#/jobs/%"));
    browser.until_text("#why", "no job");
    assert_eq!(browser.js("return document.querySelector('#lost').hidden"), true);
}

#[test]
fn nothing_a_person_uses_is_lost_while_data_change() {
    let place = Workplace::with_jobs(&JOBS.replace("sleep 4", "sleep 30"));
    let service = place.start();
    for job in ["broken", "tidy"] {
        service.post(&format!("/trigger/{job}"));
    }
    service.post("/trigger/slow?wait=false");
    let change = || drop(service.post("/trigger/tidy"));
    let browser = Browser::at(&service, "#/runs");
    browser.until(
        "the runs",
        "return document.querySelectorAll('#history tbody tr').length == 3",
    );
    browser.js(
        "const row = document.querySelector(\"#history tr[data-key='1']\"); row.querySelector('summary').click()
         document.body.style.minHeight = '3000px'; scrollTo(0, 120)
         const field = document.querySelector('#filter [name=job]'); field.focus(); field.value = 'half ty'
         getSelection().selectAllChildren(row.cells[1])",
    );
    for _ in 0..3 {
        change();
        browser.after_refreshes(1);
    }
    browser.until(
        "the new runs",
        "return document.querySelectorAll('#history tbody tr').length == 6",
    );
    let kept = browser.js(
        "return [document.querySelector(\"#history tr[data-key='1'] details\").open, Math.abs(scrollY - 120) < 60, document.querySelector('#filter [name=job]').value, String(getSelection())]",
    );
    assert_eq!(kept, json!([true, true, "half ty", "broken"]));

    // A row that has the focus neither loses it nor moves; a dialog stays open.
    browser.open(&page(&service, "#/"));
    browser.until("the row", "return document.querySelector(\"[data-job='tidy']\")");
    browser.js(&format!(
        "document.querySelector(\"{}\").focus()",
        button("quiet", "Start")
    ));
    browser.click(&button("tidy", "Run"));
    browser.until("the dialog", "return document.querySelector('dialog').open");
    let places = "return [...document.querySelectorAll('[data-job]')].map(row => row.dataset.job)";
    let before = browser.js(places);
    for _ in 0..3 {
        service.post("/trigger/broken");
        change();
        browser.after_refreshes(1);
    }
    assert_eq!(
        browser.js("return [document.querySelector('dialog').open, document.activeElement.textContent]"),
        json!([true, "Cancel"])
    );
    browser.press(ESCAPE);
    let focused = browser.until(
        "the focus back",
        "return document.activeElement.getAttribute('aria-label')",
    );
    assert_eq!(focused, "Run tidy");
    assert_eq!(browser.js(places), before);
}

#[test]
fn a_job_is_run_with_the_keyboard_alone() {
    let place = Workplace::with_jobs(&format!(
        "{JOBS}[jobs.long]\nschedule = \"0 0 1 1 *\"\ncommand = {{ argv = [\"sleep\", \"60\"] }}\n"
    ));
    let service = place.start();
    let browser = Browser::at(&service, "");
    let focus = |label: &str| {
        for _ in 0..60 {
            browser.press(TAB);
            if browser.js("return document.activeElement.getAttribute('aria-label')") == label {
                return;
            }
        }
        panic!("{label} cannot be reached");
    };
    browser.press(TAB);
    assert_eq!(
        browser.js("return document.activeElement.textContent"),
        "Skip to the content"
    );
    browser.press(ENTER);
    assert_eq!(
        browser.js("return [document.activeElement.id, location.hash]"),
        json!(["main", ""])
    );
    focus("Run slow");
    browser.press(ENTER);
    browser.until("the dialog", "return document.querySelector('dialog').open");
    assert_eq!(browser.js("return document.activeElement.textContent"), "Cancel");
    browser.press(ESCAPE);
    browser.until("its end", "return !document.querySelector('dialog').open");
    assert_eq!(service.get("/api/schedules/executions").1["total"], 0);
    assert_eq!(
        browser.js("return document.activeElement.getAttribute('aria-label')"),
        "Run slow"
    );
    browser.press(ENTER);
    browser.until("the dialog", "return document.querySelector('dialog').open");
    browser.press(TAB);
    assert_eq!(browser.js("return document.activeElement.textContent"), "Run");
    browser.press(ENTER);
    browser.until_text(&of("slow", ".state"), "running");
    browser.until_text(&of("slow", ".note"), "Run 1 has begun.");
    browser.until(
        "progress",
        "return !document.querySelector(\"[data-job='slow'] progress\").hidden",
    );
    // A second one is refused, and that is told where the button is.
    service.post("/trigger/slow?wait=false");
    browser.js("document.querySelector(\"button[aria-label='Run slow']\").click()");
    browser.until("the dialog", "return document.querySelector('dialog').open");
    browser.click("#verb");
    browser.until_text(&of("slow", ".note"), "already running");
    let announced = browser.until_text("#said", "Run 1: success after");
    assert_eq!(browser.text(&of("slow", ".note")), announced);
    // The strip is one stop, and the arrows walk it.
    service.post("/trigger/slow");
    browser.until(
        "two runs",
        "return document.querySelectorAll(\"[data-job='slow'] .strip a\").length == 2",
    );
    assert_eq!(
        browser.js("return document.querySelectorAll(\"[data-job='slow'] .strip [tabindex='0']\").length"),
        1
    );
    browser.js("document.querySelector(\"[data-job='slow'] .strip a:last-child\").focus()");
    browser.press(LEFT);
    assert_eq!(
        browser.js("return document.activeElement.getAttribute('href')"),
        "#/runs/1"
    );
    service.post("/trigger/long?wait=false");
    browser.until_text(&of("long", ".state"), "running");
    // And a run that is not wanted is ended.
    browser.click(&button("long", "End run"));
    browser.until("the dialog", "return document.querySelector('dialog').open");
    browser.click("#verb");
    browser.until_text(&of("long", "td:nth-of-type(4) span"), "interrupted");
    assert_eq!(service.newest("long")["status"], "interrupted");
    assert_eq!(service.health()["status"], "ok", "nothing has failed");
}

#[test]
fn a_stop_outlasts_the_page() {
    let place = Workplace::with_jobs(JOBS);
    let service = place.start();
    let browser = Browser::at(&service, "");
    browser.click(&button("tidy", "Stop"));
    browser.until("the dialog", "return document.querySelector('dialog').open");
    assert_eq!(browser.text("#verb"), "Stop");
    browser.click("#sure [autofocus]");
    assert_eq!(service.get("/api/schedules").1["jobs"][0]["active"], true);
    browser.click(&button("tidy", "Stop"));
    browser.until("the dialog", "return document.querySelector('dialog').open");
    browser.click("#verb");
    browser.until_text(&of("tidy", ".state"), "stopped");
    browser.until_text(&of("tidy", ".note"), "stopped");
    // The focus goes on to the button in its place.
    browser.until(
        "the focus on Start",
        "return document.activeElement.getAttribute('aria-label') == 'Start tidy'",
    );
    browser.reload();
    browser.until_text(&of("tidy", ".state"), "stopped");
    browser.click(&button("tidy", "Start"));
    browser.until_text(&of("tidy", ".state"), "not run yet");
    assert_eq!(service.get("/api/schedules").1["jobs"][0]["active"], true);
}

#[test]
fn a_token_is_asked_for_once_in_a_tab() {
    let place = Workplace::with_jobs(JOBS);
    let service = place.service().env("CRON_TOKEN", "a secret token").start();
    let browser = Browser::new();
    let asked = "return !document.querySelector('#ask').hidden && document.querySelector('main').hidden";
    let give = |token: &str| {
        browser.until("the form", asked);
        browser.click("#token");
        browser.press(token);
        browser.press(ENTER);
    };
    browser.open(&page(&service, ""));
    give("\u{201c}odd\u{201d}");
    browser.until_text("#rejected", "ASCII");
    give("wrong");
    browser.until_text("#rejected", "The token was rejected.");
    give("a secret token");
    browser.until("the page", "return !document.querySelector('main').hidden");
    browser.reload();
    browser.until("the page", "return !document.querySelector('main').hidden");
    assert_eq!(
        browser.js("return [document.cookie, localStorage.length, document.querySelector('#token').type]"),
        json!(["", 0, "password"])
    );
    browser.new_tab();
    browser.open(&page(&service, ""));
    browser.until("the form", asked);
    give("a secret token");
    browser.until("the page", "return !document.querySelector('main').hidden");
    let port = service.port.to_string();
    service.terminate();
    let _service = place
        .service()
        .port_as_declared()
        .args(&["--port", &port])
        .env("CRON_TOKEN", "another-token")
        .start();
    browser.until("the form", asked);
    assert_eq!(browser.js("return sessionStorage.getItem('token')"), Value::Null);
}

#[test]
fn a_service_that_is_away_is_told_and_comes_back() {
    let place = Workplace::with_jobs(JOBS);
    let service = place.start();
    let port = service.port.to_string();
    let browser = Browser::at(&service, "");
    let is_lost =
        "return !document.querySelector('#lost').hidden && document.querySelector('main').classList.contains('stale')";
    service.terminate();
    browser.until("the banner", is_lost);
    assert!(
        browser
            .text("#lost")
            .contains("The service does not answer. What is shown is from")
    );
    let service = place.service().port_as_declared().args(&["--port", &port]).start();
    browser.until(
        "its end",
        "return document.querySelector('#lost').hidden && !document.querySelector('main').classList.contains('stale')",
    );

    // Of answers that come out of order, the one that was asked for last counts.
    browser.js(
        "const real = fetch; let held = null
         window.fetch = (path, how) => path !== 'api/overview' || held ? real(path, how)
             : held = real(path, how).then(answer => new Promise(resolve => setTimeout(() => { window.came = true; resolve(answer) }, 3000)))
         document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))",
    );
    service.post("/stop/tidy");
    browser.js("document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))");
    browser.until_text(&of("tidy", ".state"), "stopped");
    browser.until("the older answer", "return window.came");
    std::thread::sleep(Duration::from_millis(300));
    assert!(browser.text(&of("tidy", ".state")).contains("stopped"));
}

#[test]
fn a_hidden_tab_asks_nothing_and_eight_tabs_all_load() {
    let place = Workplace::with_jobs(&JOBS.replace("sleep 4", "sleep 60"));
    let service = place.start();
    service.post("/trigger/slow?wait=false");
    let browser = Browser::at(&service, "");
    let hide = |hidden: bool| {
        browser.js(&format!(
            "Object.defineProperty(document, 'hidden', {{ get: () => {hidden}, configurable: true }}); document.dispatchEvent(new Event('visibilitychange', {{ bubbles: true }}))"
        ));
    };
    hide(true);
    // One may be on its way, for as long as the machine takes.
    let before = eventually("the last answer", || {
        let seen = browser.refreshes();
        std::thread::sleep(Duration::from_secs(3));
        (browser.refreshes() == seen).then_some(seen)
    });
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(browser.refreshes(), before);
    hide(false);
    eventually("a refresh", || (browser.refreshes() > before).then_some(()));
    // A run under way is worth a look every two seconds.
    browser.after_refreshes(2);
    for _ in 0..7 {
        browser.new_tab();
        browser.open(&page(&service, ""));
        browser.until("the jobs", "return document.querySelectorAll('[data-job]').length == 4");
    }
}

#[test]
fn times_are_told_in_three_zones_by_the_clock_of_the_service() {
    let place = Workplace::with_jobs(
        "[jobs.nightly]\nschedule = \"30 2 * * *\"\ntime_zone = \"Europe/Berlin\"\n[jobs.nightly.cleanup]\ndelete_from = \"sessions\"\nwhere = \"expires_at < datetime('now')\"\n",
    );
    // Months from the browser's clock, two nights before Berlin's clocks go forward.
    let service = place.service().at("2026-03-27 12:00:00").start();
    let browser = Browser::new();
    browser.command("Emulation.setTimezoneOverride", &json!({ "timezoneId": "Asia/Tokyo" }));
    browser.open(&page(&service, "#/jobs/nightly"));
    let shown = browser.until(
        "the times",
        "const found = [...document.querySelectorAll('#times li')].map(item => item.textContent); return found.length && found",
    );
    let (_, known) = service.get("/api/jobs/nightly");
    let expected: Vec<String> = known["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| {
            let at: Timestamp = at.as_str().unwrap().parse().unwrap();
            let zones = ["Asia/Tokyo", "Europe/Berlin", "UTC"];
            let told = zones.map(|zone| {
                let there = at.to_zoned(TimeZone::get(zone).unwrap());
                format!("{} {zone}", there.strftime("%Y-%m-%d %H:%M:%S"))
            });
            told.join(" = ")
        })
        .collect();
    assert_eq!(shown, json!(expected));
    assert!(
        expected[1].contains("2026-03-29 03:00:00 Europe/Berlin"),
        "{expected:?}"
    );
    browser.until_text(&of("nightly", "time span"), "in 13 h ");
    browser.until_text(&of("nightly", "time small"), "2026-03-28 10:30:00 Asia/Tokyo");
    for (choice, expected) in [
        ("job", "2026-03-28 02:30:00 Europe/Berlin"),
        ("UTC", "2026-03-28 01:30:00 UTC"),
    ] {
        browser.js(&format!(
            "const zone = document.querySelector('#zone'); zone.value = '{choice}'; zone.dispatchEvent(new Event('change'))"
        ));
        browser.until_text(&of("nightly", "time small"), expected);
    }
    browser.reload();
    browser.until_text(&of("nightly", "time small"), "2026-03-28 01:30:00 UTC");
}

#[test]
fn filters_stand_in_the_address() {
    let place = Workplace::with_jobs(JOBS);
    let service = place.start();
    for job in ["broken", "tidy", "tidy"] {
        service.post(&format!("/trigger/{job}"));
    }
    let browser = Browser::at(&service, "#/runs");
    let rows = |count: u32| format!("return document.querySelectorAll('#history tbody tr').length == {count}");
    browser.until("all", &rows(3));
    browser.js("document.querySelector('#filter [name=status]').value = 'success'");
    browser.click("#filter button");
    browser.until("those that went well", &rows(2));
    assert_eq!(browser.js("return location.hash"), "#/runs?status=success");
    browser.until_text("#total", "2 runs");
    browser.open(&page(&service, "?elsewhere#/runs?job=broken&status=failed"));
    browser.until("the one that failed", &rows(1));
    assert_eq!(
        browser.js("return document.querySelector('#filter [name=job]').value"),
        "broken"
    );
    browser.js("location.hash = '#/runs?job=tidy'");
    browser.until("the other two", &rows(2));
    browser.back();
    browser.until("the one that failed", &rows(1));
    // A late answer of a view that was left changes nothing.
    browser.js(
        "const real = fetch
         window.fetch = (path, how) => path.endsWith('executions/1')
             ? real(path, how).then(answer => new Promise(resolve => setTimeout(() => { window.came = true; resolve(answer) }, 1000))) : real(path, how)
         location.hash = '#/runs/1'",
    );
    browser.js("location.hash = '#/runs'");
    browser.until("all", &rows(3));
    browser.until("the late answer", "return window.came");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(browser.js(&rows(3)), true);
    browser.open(&page(&service, "?nobody#/runs?job=nobody"));
    browser.until_text("#total", "0 runs");
}

#[test]
fn it_fits_small_and_large_and_has_no_barrier_that_axe_finds() {
    let place = Workplace::with_jobs(JOBS);
    let service = place.start();
    for job in ["broken", "tidy"] {
        service.post(&format!("/trigger/{job}"));
    }
    let axe = std::fs::read_to_string("target/axe/node_modules/axe-core/axe.min.js")
        .expect("axe-core is missing; tests/run installs it");
    let browser = Browser::at(&service, "");
    browser.command("Page.setBypassCSP", &json!({ "enabled": true }));
    // The last but one is 1200 px at a zoom of 200 %.
    let schemes: [(&str, &str, u32); 5] = [
        ("prefers-color-scheme", "light", 1200),
        ("prefers-color-scheme", "dark", 320),
        ("forced-colors", "active", 700),
        ("prefers-color-scheme", "light", 600),
        ("prefers-reduced-motion", "reduce", 320),
    ];
    for (feature, value, width) in schemes {
        browser.command(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false }),
        );
        browser.command(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": feature, "value": value }] }),
        );
        for view in ["#/", "#/jobs/tidy", "#/runs", "#/service"] {
            browser.open(&page(&service, &format!("?{feature}{value}{width}{view}")));
            browser.until(
                "the view",
                "return !document.querySelector('main').hidden && document.querySelectorAll('tbody tr').length",
            );
            let overflow = "return document.documentElement.scrollWidth - innerWidth";
            assert!(browser.js(overflow).as_i64().unwrap() <= 0, "{view} at {width} px");
            browser.js(&axe);
            let found = browser.js_later(
                "const done = arguments[arguments.length - 1]
                 axe.run(document, { resultTypes: ['violations'] }).then(found => done(found.violations.map(one => one.id + ': ' + one.nodes.map(node => node.html).slice(0, 3))))",
            );
            assert_eq!(found, json!([]), "{view} {feature} {value}");
        }
    }
    browser.open(&page(&service, "?dialog#/"));
    browser.until("the row", "return document.querySelector(\"[data-job='tidy']\")");
    browser.click(&button("tidy", "Run"));
    browser.until("the dialog", "return document.querySelector('dialog').open");
    browser.js(&axe);
    let found = browser.js_later(
        "const done = arguments[0]; axe.run('dialog').then(found => done(found.violations.map(one => one.id)))",
    );
    assert_eq!(found, json!([]));
}

/// Passes connections on below a path, as a proxy does that takes the path away.
fn proxy_below(path: &'static str, service: &Service) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), service.port);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || pass_on(client, to, path));
        }
    });
    port
}

fn pass_on(mut client: TcpStream, to: u16, path: &str) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    // Requests of the page have no body. What is outside of the path is another application's.
    let inside = head.replacen(&format!(" {path}/"), " /", 1);
    if inside == head {
        client
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .ok()?;
        return None;
    }
    let inside: Vec<&str> = inside
        .split("\r\n")
        .filter(|line| !line.to_lowercase().starts_with("connection:"))
        .collect();
    let mut server = TcpStream::connect(("127.0.0.1", to)).ok()?;
    server.write_all(inside.join("\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    // The whole of it, as one that buffers does.
    server.read_to_end(&mut answer).ok()?;
    client.write_all(&answer).ok()
}

#[test]
fn it_works_below_a_path_of_a_proxy() {
    let place = Workplace::with_jobs(JOBS);
    let service = place.start();
    let port = proxy_below("/cron", &service);
    let browser = Browser::new();
    browser.open(&format!("http://127.0.0.1:{port}/cron/"));
    browser.until("the jobs", "return document.querySelectorAll('[data-job]').length == 4");
    browser.click(&button("tidy", "Run"));
    browser.until("the dialog", "return document.querySelector('dialog').open");
    browser.click("#verb");
    browser.until_text(&of("tidy", ".note"), "Run 1: success");
    browser.click("nav a[href='#/service']");
    browser.until_text("#facts", "jobs.toml");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn answers_say_what_may_be_done_with_them() {
    let place = Workplace::with_jobs(JOBS);
    let service = place.service().env("CRON_TOKEN", "t").start();
    let head = |path: &str, more: &str| {
        let answer = service
            .raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n{more}\r\n").as_bytes());
        answer.split("\r\n\r\n").next().unwrap().to_owned()
    };
    for path in [
        "/",
        "/app.js",
        "/style.css",
        "/icon.svg?failing",
        "/api/overview",
        "/health",
        "/metrics",
    ] {
        let found = head(path, "");
        for expected in [
            "HTTP/1.1 200",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Cross-Origin-Opener-Policy: same-origin",
            "Cross-Origin-Resource-Policy: same-origin",
            "X-Frame-Options: DENY",
            "frame-ancestors 'none'",
        ] {
            assert!(found.contains(expected), "{path}: {expected} in {found}");
        }
        assert!(!found.contains("Access-Control"), "{found}");
    }
    assert!(head("/", "").contains("require-trusted-types-for 'script'"));
    for path in ["/", "/api/overview"] {
        let found = head(path, "");
        let tag = found.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
        assert!(
            head(path, &format!("If-None-Match: {tag}\r\n")).contains("304"),
            "{path}"
        );
        assert!(head(path, "If-None-Match: \"another\"\r\n").contains("200"), "{path}");
    }
    // The page holds no data, and so needs no token; what it asks for does.
    let bare = |path: &str| service.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    assert!(bare("/").starts_with("HTTP/1.1 200") && bare("/app.js").starts_with("HTTP/1.1 200"));
    assert!(bare("/api/overview").starts_with("HTTP/1.1 401") && bare("/api/outbox").starts_with("HTTP/1.1 401"));
    let without_script = bare("/");
    assert!(without_script.contains("<noscript>") && without_script.contains("duplistatus-cron status"));
}

/// Makes the pictures of the README, and keeps them with `PICTURES=write`.
#[test]
fn the_pictures_can_be_made() {
    let running = "[jobs.vacuum]\nschedule = \"0 4 * * 0\"\ndescription = \"Gives free pages back\"\ncommand = { argv = [\"sleep\", \"60\"] }\n";
    let jobs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/jobs.toml")).unwrap();
    let failing = "[jobs.upload]\nschedule = \"30 3 * * *\"\ndescription = \"Copies the backup away\"\ncommand = { argv = [\"sh\", \"-c\", \"echo no route to host; exit 1\"] }\n";
    let place = Workplace::with_jobs(&format!("{jobs}\n{running}{failing}"));
    let service = place.start();
    for job in [
        "session-cleanup",
        "session-cleanup",
        "audit-log-cleanup",
        "overdue-backup-check",
        "upload",
    ] {
        service.post(&format!("/trigger/{job}"));
    }
    service.post("/trigger/vacuum?wait=false");
    let browser = Browser::at(&service, "");
    browser.command(
        "Emulation.setDeviceMetricsOverride",
        &json!({ "width": 1200, "height": 720, "deviceScaleFactor": 1, "mobile": false }),
    );
    browser.until_text(&of("vacuum", ".state"), "running");
    keep_picture("overview", &browser);
    browser.open(&page(&service, "#/jobs/session-cleanup"));
    browser.until_text("#plan", "rows of sessions");
    keep_picture("job", &browser);
}

fn keep_picture(name: &str, browser: &Browser) {
    let picture = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, browser.picture()).unwrap();
    assert!(
        picture.starts_with(b"\x89PNG") && picture.len() > 10_000,
        "{} bytes",
        picture.len()
    );
    #[expect(clippy::disallowed_methods, reason = "a person asks for it")]
    let is_kept = std::env::var("PICTURES").is_ok_and(|what| what == "write");
    if is_kept {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pictures");
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(format!("{folder}/{name}.png"), picture).unwrap();
    }
}
