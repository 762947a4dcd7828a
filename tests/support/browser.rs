//! Debian's Chromium without a window, steered over the `WebDriver` protocol.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::git::Running;
use super::{Service, eventually};

/// Keys, as `WebDriver` writes them.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const LEFT: &str = "\u{e012}";

/// A browser with one tab.
pub(crate) struct Browser {
    driver: Running,
    session: String,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1200,900",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        // Two drivers that start at once may choose the same port, and a browser on a busy machine may give up.
        let (driver, session) = eventually("a browser", || {
            let (driver, port) = start_driver()?;
            let address = format!("http://127.0.0.1:{port}/session");
            let begun = try_call("POST", &address, &wanted).ok()?;
            Some((driver, format!("{address}/{}", begun["sessionId"].as_str()?)))
        });
        Self { driver, session }
    }

    /// One that shows a view of the page, once that has something to show.
    pub(crate) fn at(service: &Service, view: &str) -> Self {
        let browser = Self::new();
        browser.open(&page(service, view));
        browser.until("the page", "return !document.querySelector('main').hidden");
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        call(method, &format!("{}{path}", self.session), body)
    }

    pub(crate) fn open(&self, address: &str) {
        self.ask("POST", "/url", &json!({ "url": address }));
    }

    pub(crate) fn reload(&self) {
        self.ask("POST", "/refresh", &json!({}));
    }

    pub(crate) fn back(&self) {
        self.ask("POST", "/back", &json!({}));
    }

    /// What a script returns.
    pub(crate) fn js(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What a script gives to its last argument.
    pub(crate) fn js_later(&self, script: &str) -> Value {
        self.ask("POST", "/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns something.
    pub(crate) fn until(&self, what: &str, script: &str) -> Value {
        eventually(what, || {
            let found = self.js(script);
            let is_nothing = found.is_null() || found == false || found == 0 || found == "";
            (!is_nothing).then_some(found)
        })
    }

    /// The text of the first element that a selector finds.
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.textContent ?? ''", json!(selector));
        self.js(&script).as_str().unwrap().to_owned()
    }

    /// Clicks as a person does, on what is shown.
    pub(crate) fn click(&self, selector: &str) {
        let found = self.ask(
            "POST",
            "/element",
            &json!({ "using": "css selector", "value": selector }),
        );
        let id = found
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned();
        self.ask("POST", &format!("/element/{id}/click"), &json!({}));
    }

    pub(crate) fn press(&self, keys: &str) {
        let steps: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        self.ask(
            "POST",
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keys", "actions": steps }] }),
        );
    }

    /// A command of the browser's own protocol.
    pub(crate) fn command(&self, name: &str, parameters: &Value) {
        self.ask(
            "POST",
            "/goog/cdp/execute",
            &json!({ "cmd": name, "params": parameters }),
        );
    }

    /// What the browser's console holds since the last look, refused scripts and styles among it.
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Opens another tab and goes there.
    pub(crate) fn new_tab(&self) {
        let tab = self.ask("POST", "/window/new", &json!({ "type": "tab" }));
        self.ask("POST", "/window", &json!({ "handle": tab["handle"] }));
    }

    /// What the tab shows, as a PNG file in Base64.
    pub(crate) fn picture(&self) -> String {
        self.ask("GET", "/screenshot", &Value::Null)
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn start_driver() -> Option<(Running, String)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("chromedriver is missing; tests/run installs it");
    let said = BufReader::new(driver.stdout.take().unwrap()).lines();
    let driver = Running(driver);
    let port = said.map_while(Result::ok).find_map(|line| {
        Some(
            line.split_once("successfully on port ")?
                .1
                .trim_end_matches('.')
                .to_owned(),
        )
    })?;
    Some((driver, port))
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It takes its folder along; the driver's group goes with the driver.
        let _ = ureq::delete(&self.session).call();
        let _ = &self.driver;
    }
}

/// The address of a view of a service's page.
pub(crate) fn page(service: &Service, view: &str) -> String {
    format!("http://127.0.0.1:{}/{view}", service.port)
}

fn call(method: &str, address: &str, body: &Value) -> Value {
    try_call(method, address, body).unwrap_or_else(|why| panic!("{address}: {why}"))
}

fn try_call(method: &str, address: &str, body: &Value) -> Result<Value, Value> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let answered = if method == "GET" {
        agent.get(address).call()
    } else {
        agent
            .post(address)
            .header("Content-Type", "application/json")
            .send(body.to_string())
    };
    let mut answer = answered.unwrap();
    let text = answer
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string()
        .unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    if answer["value"]["error"].is_null() {
        Ok(answer["value"].clone())
    } else {
        Err(answer["value"]["message"].clone())
    }
}
