//! A container engine that is only a model of one: names that are taken once, states, tags, restart policies. It can fail, cut off
//! or hold any call, before it does as it is told or after, which no real one does on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The image that the container has, and the one that is newer.
pub(crate) const OLD: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const NEW: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";
const OLD_DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW_DIGEST: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
/// The image's name.
const IMAGE: &str = "registry.example.org/app:stable";

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused, and nothing is done.
    Refuse,
    /// The connection ends before anything is done, or after.
    CutBefore,
    CutAfter,
    /// Whoever waits is told, and nobody is answered: before anything is done, or after.
    HoldBefore,
    HoldAfter,
}

#[derive(Clone, Debug)]
struct Container {
    name: String,
    image: String,
    body: Value,
    is_running: bool,
    /// How often it was started.
    starts: u32,
    volume: String,
}

/// What the engine has.
struct Model {
    version: &'static str,
    containers: BTreeMap<String, Container>,
    tag: Option<String>,
    has_new: bool,
    /// Whether containers of the new image are well.
    is_new_well: bool,
    made: u32,
    calls: Vec<String>,
    /// What happens to the call with this number, among those that ask or those that change something.
    fault: Option<(usize, bool, Fault)>,
    /// Whether both a container and its successor have run at once.
    overlapped: bool,
}

/// What there is on the engine.
pub(crate) struct State {
    pub containers: Vec<Seen>,
    /// What the image's name stands for.
    pub tag: Option<String>,
    /// Whether two containers have run at once.
    pub overlapped: bool,
}

/// A container as it is seen from outside.
pub(crate) struct Seen {
    pub name: String,
    pub image: String,
    pub is_running: bool,
    /// What becomes of it when it ends.
    pub policy: String,
    pub volume: String,
    pub id: String,
    /// Whose network it has.
    pub network: String,
}

/// The engine, listening.
pub(crate) struct FakeEngine {
    folder: TempDir,
    model: Arc<Mutex<Model>>,
    held: std::sync::mpsc::Receiver<()>,
}

impl FakeEngine {
    /// An engine of some version on which the container `web` runs on the old image, and `side` on its network, while its registry
    /// has a newer one.
    pub(crate) fn start(is_new_well: bool, version: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("fe").tempdir_in("/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join("d.sock")).unwrap();
        let policy = json!({ "Name": "always", "MaximumRetryCount": 0 });
        let web = json!({
            "Image": IMAGE, "Hostname": "", "Env": ["OWN=s3cret-value"], "Labels": {}, "Cmd": ["run"],
            "HostConfig": { "NetworkMode": "front", "RestartPolicy": policy, "FromTheFuture": { "deep": [1, null] } },
            "NetworkingConfig": { "EndpointsConfig": { "front": { "Aliases": ["www"] }, "back": {} } },
        });
        let side = json!({
            "Image": IMAGE, "Env": [], "Labels": {}, "Cmd": ["run"],
            "HostConfig": { "NetworkMode": format!("container:{}", id(1)), "RestartPolicy": policy },
            "NetworkingConfig": { "EndpointsConfig": {} },
        });
        let running = |name: &str, body, number: u32| {
            let container = Container {
                name: name.to_owned(),
                image: OLD.to_owned(),
                body,
                is_running: true,
                starts: 1,
                volume: format!("unnamed-{number}"),
            };
            (id(number), container)
        };
        let model = Arc::new(Mutex::new(Model {
            containers: BTreeMap::from([running("web", web, 1), running("side", side, 2)]),
            version,
            tag: Some(OLD.to_owned()),
            has_new: false,
            is_new_well,
            made: 2,
            calls: Vec::new(),
            fault: None,
            overlapped: false,
        }));
        let (tell, held) = std::sync::mpsc::channel();
        let serving = Arc::clone(&model);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), model, holding) = (stream, Arc::clone(&serving), tell.clone()) else {
                    return;
                };
                std::thread::spawn(move || serve(stream, &model, &holding));
            }
        });
        Self { folder, model, held }
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("d.sock").display())
    }

    /// What was asked so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.model.lock().unwrap().calls.clone()
    }

    /// Has something happen to the call that comes after so many others that only ask, too, or change something, too.
    pub(crate) fn at_call(&self, (number, asks): (usize, bool), fault: Fault) {
        let mut model = self.model.lock().unwrap();
        model.calls.clear();
        model.fault = Some((number, asks, fault));
    }

    pub(crate) fn without_fault(&self) {
        self.model.lock().unwrap().fault = None;
    }

    /// Waits until the call is held; false where it never comes.
    pub(crate) fn is_held(&self, patience: std::time::Duration) -> bool {
        self.held.recv_timeout(patience).is_ok()
    }

    /// What there is.
    pub(crate) fn state(&self) -> State {
        let model = self.model.lock().unwrap();
        let containers = model.containers.iter().map(|(id, container)| Seen {
            id: id.clone(),
            network: container.body["HostConfig"]["NetworkMode"].as_str().unwrap().to_owned(),
            name: container.name.clone(),
            image: container.image.clone(),
            is_running: container.is_running,
            policy: container.body["HostConfig"]["RestartPolicy"]["Name"]
                .as_str()
                .unwrap()
                .to_owned(),
            volume: container.volume.clone(),
        });
        State {
            containers: containers.collect(),
            tag: model.tag.clone(),
            overlapped: model.overlapped,
        }
    }

    /// The machine ends and comes back: what is to run runs again.
    pub(crate) fn reboot(&self) {
        let mut model = self.model.lock().unwrap();
        let is_new_well = model.is_new_well;
        for container in model.containers.values_mut() {
            let policy = container.body["HostConfig"]["RestartPolicy"]["Name"].as_str();
            let is_well = container.image == OLD || is_new_well;
            container.is_running = container.starts > 0 && policy == Some("always") && is_well;
            container.starts += u32::from(container.is_running);
        }
    }
}

fn id(number: u32) -> String {
    format!("{number:08x}").repeat(8)
}

fn serve(mut stream: UnixStream, model: &Mutex<Model>, hold: &std::sync::mpsc::Sender<()>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() || line.is_empty() {
        return;
    }
    let (method, target) = line.split_once(' ').unwrap();
    let target = target.split(' ').next().unwrap().to_owned();
    let method = method.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let fault = {
        let mut model = model.lock().unwrap();
        model.calls.push(format!("{method} {target}"));
        // How often a container is looked at depends on how fast the machine is; what changes something comes in one order.
        let asks = method == "GET";
        let is_same = |call: &&String| call.starts_with("GET") == asks;
        let number = model.calls.iter().filter(is_same).count() - 1;
        let is_it = |(at, of_asking, _): &(usize, bool, Fault)| *at == number && *of_asking == asks;
        let fault = model.fault.filter(is_it).map(|(.., fault)| fault);
        if fault.is_some() {
            model.fault = None;
        }
        fault
    };
    let wait = || {
        let _ = hold.send(());
        // Until whoever has asked is gone, or for long.
        let _ = stream.set_read_timeout(Some(std::time::Duration::from_secs(20)));
        let _ = (&stream).read(&mut [0]);
    };
    match fault {
        Some(Fault::CutBefore) => return,
        Some(Fault::HoldBefore) => return wait(),
        _ => {}
    }
    let (status, answer) = if fault == Some(Fault::Refuse) {
        (500, json!({ "message": "no, for a test" }))
    } else {
        model.lock().unwrap().answer(&method, &target, body)
    };
    match fault {
        Some(Fault::CutAfter) => return,
        Some(Fault::HoldAfter) => wait(),
        _ => {}
    }
    let text = if answer.is_null() || method == "HEAD" {
        String::new()
    } else {
        answer.to_string()
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
}

fn refused(status: u16, why: &str) -> (u16, Value) {
    (status, json!({ "message": why }))
}

impl Model {
    fn answer(&mut self, method: &str, target: &str, body: Value) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix(&format!("/v{}", self.version)).unwrap_or(path);
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["version"]) => (
                200,
                json!({ "ApiVersion": self.version, "MinAPIVersion": "1.24", "Version": "26", "Os": "linux", "Arch": "amd64" }),
            ),
            ("GET", ["info"]) => (200, json!({ "ID": "fake", "Name": "host" })),
            ("GET", ["distribution", ..]) => (200, json!({ "Descriptor": { "digest": NEW_DIGEST }, "Platforms": [] })),
            ("GET", ["images", name @ .., "json"]) => self.image(&name.join("/")),
            ("POST", ["images", "create"]) => {
                self.has_new = true;
                (200, json!({ "status": "pulled" }))
            }
            ("POST", ["images", image, "tag"]) => {
                self.tag = Some((*image).to_owned());
                (201, Value::Null)
            }
            ("DELETE", ["images", ..]) => (409, json!({ "message": "in use" })),
            ("GET", ["containers", "json"]) => {
                let list = self.containers.iter().map(|(id, container)| {
                    json!({ "Id": id, "Names": [format!("/{}", container.name)], "ImageID": container.image, "Labels": {}, "State": "" })
                });
                (200, list.collect())
            }
            ("POST", ["containers", "create"]) => self.create(&query["name"], body),
            ("POST", ["networks", network, "connect"]) => {
                let container = self.containers.get_mut(body["Container"].as_str().unwrap()).unwrap();
                container.body["NetworkingConfig"]["EndpointsConfig"][*network] = body["EndpointConfig"].clone();
                (200, Value::Null)
            }
            (_, ["containers", name, rest @ ..]) => self.of_container(method, name, rest, &query, &body),
            _ => refused(404, "no such call"),
        }
    }

    fn image(&self, name: &str) -> (u16, Value) {
        let id = match name {
            OLD | NEW => name,
            IMAGE => self.tag.as_deref().unwrap_or_default(),
            by_digest if by_digest.ends_with(NEW_DIGEST) => NEW,
            _ => "",
        };
        let (digest, version) = match id {
            OLD => (OLD_DIGEST, "1"),
            NEW if self.has_new => (NEW_DIGEST, "2"),
            _ => return refused(404, "no such image"),
        };
        let config = json!({ "Env": [format!("VERSION={version}")], "Cmd": ["run"], "Volumes": { "/data": {} } });
        let digest = format!("registry.example.org/app@{digest}");
        (
            200,
            json!({ "Id": id, "Os": "linux", "Architecture": "amd64", "RepoDigests": [digest], "Config": config }),
        )
    }

    fn create(&mut self, name: &str, body: Value) -> (u16, Value) {
        if self.containers.values().any(|container| container.name == name) {
            return refused(409, "the name is taken");
        }
        self.made += 1;
        let volume = body.pointer("/HostConfig/Mounts/0/Source").and_then(Value::as_str);
        let container = Container {
            name: name.to_owned(),
            image: self.tag.clone().unwrap(),
            volume: volume.map_or_else(|| format!("unnamed-{}", self.made), str::to_owned),
            body,
            is_running: false,
            starts: 0,
        };
        self.containers.insert(id(self.made), container);
        (201, json!({ "Id": id(self.made), "Warnings": [] }))
    }

    fn of_container(
        &mut self,
        method: &str,
        name: &str,
        rest: &[&str],
        query: &BTreeMap<String, String>,
        body: &Value,
    ) -> (u16, Value) {
        let found = self
            .containers
            .iter()
            .find(|(id, container)| *id == name || container.name == name);
        let Some(id) = found.map(|(id, _)| id.clone()) else {
            return refused(404, "no such container");
        };
        let is_taken = |wanted: &str| self.containers.values().any(|container| container.name == wanted);
        if rest == ["rename"] && is_taken(&query["name"]) {
            return refused(409, "the name is taken");
        }
        let is_well = self.is_new_well;
        let own = of(&self.containers[&id].name);
        let mut others = self
            .containers
            .iter()
            .filter(|(other, container)| **other != id && of(&container.name) == own);
        let others = others.any(|(_, container)| container.is_running);
        let container = self.containers.get_mut(&id).unwrap();
        match (method, rest) {
            ("GET", ["json"]) => return (200, container.told(&id)),
            ("GET", ["changes"]) => return (200, json!([])),
            ("GET", ["logs"]) => return (200, json!("log")),
            ("POST", ["start"]) => {
                container.is_running = container.image == OLD || is_well;
                container.starts += 1;
                self.overlapped |= others;
            }
            ("POST", ["stop"]) => container.is_running = false,
            ("POST", ["rename"]) => container.name.clone_from(&query["name"]),
            ("POST", ["update"]) => {
                container.body["HostConfig"]["RestartPolicy"] = body["RestartPolicy"].clone();
                return (200, json!({ "Warnings": [] }));
            }
            ("DELETE", []) => drop(self.containers.remove(&id)),
            _ => return refused(404, "no such call"),
        }
        (204, Value::Null)
    }
}

/// The container whose successor or predecessor a name is of.
fn of(name: &str) -> String {
    name.split('_').next().unwrap().to_owned()
}

impl Container {
    /// What an engine tells of it.
    fn told(&self, id: &str) -> Value {
        let mut config = self.body.as_object().unwrap().clone();
        let mut host = config.remove("HostConfig").unwrap();
        let networks = config.remove("NetworkingConfig").unwrap()["EndpointsConfig"].clone();
        let version = if self.image == OLD { "1" } else { "2" };
        let mut variables = config["Env"].as_array().unwrap().clone();
        variables.push(json!(format!("VERSION={version}")));
        config.insert("Env".to_owned(), variables.into());
        config.insert("Cmd".to_owned(), json!(["run"]));
        config.insert("Volumes".to_owned(), json!({ "/data": {} }));
        config.insert("Hostname".to_owned(), id[..12].into());
        host["Links"] = Value::Null;
        let mut told = Map::new();
        for (name, settings) in networks.as_object().unwrap() {
            let mut settings = settings.clone();
            let mut aliases = settings["Aliases"].as_array().cloned().unwrap_or_default();
            aliases.push(json!(&id[..12]));
            settings["Aliases"] = aliases.into();
            told.insert(name.clone(), settings);
        }
        let started = if self.starts == 0 {
            "0001-01-01T00:00:00Z".to_owned()
        } else {
            format!("2026-11-22T05:16:{:02}Z", self.starts.min(59))
        };
        json!({
            "Id": id, "Name": format!("/{}", self.name), "Image": self.image, "Created": "2026-11-22T05:00:00Z", "RestartCount": 0,
            "State": { "Status": if self.is_running { "running" } else { "exited" }, "Running": self.is_running, "StartedAt": started, "ExitCode": 1 },
            "Config": config, "HostConfig": host, "NetworkSettings": { "Networks": told },
            "Mounts": [{ "Type": "volume", "Name": self.volume, "Destination": "/data", "RW": true }],
        })
    }
}
