//! Jobs of the kind `container_update` on real engines: one that takes a single network at create, one that takes them all.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::docker::{DockerEngine, Release};
use crate::support::receivers::Ntfy;
use crate::support::{Service, Workplace, eventually};

/// A well image, in some version.
fn version(number: u32) -> [String; 2] {
    [r#"CMD ["/bin/app"]"#.to_owned(), format!("ENV VERSION={number}")]
}

/// A workplace, an engine, and whoever is told.
struct Site {
    place: Workplace,
    engine: std::sync::Arc<DockerEngine>,
    phone: Ntfy,
    /// What tells this test's containers from others of the same engine.
    name: String,
}

impl Site {
    fn new(name: &str, release: Release) -> Self {
        Self {
            place: Workplace::empty(),
            engine: DockerEngine::of(release),
            phone: Ntfy::start(200),
            name: format!("{name}-{}", format!("{release:?}").to_lowercase()),
        }
    }

    /// The name of an image of this test in the engine's registry.
    fn image(&self) -> String {
        format!("{}:stable", self.name)
    }

    fn publish(&self, changes: &[&str]) -> String {
        self.engine.publish(&self.image(), changes)
    }

    fn publish_version(&self, number: u32) -> String {
        self.publish(&version(number).each_ref().map(String::as_str))
    }

    /// Publishes another version, of which the engine has not heard.
    fn publish_next(&self, changes: &[&str]) {
        self.engine.publish_next(&self.image(), changes);
    }

    fn publish_next_version(&self, number: u32, changes: &[&str]) {
        let version = version(number);
        let all: Vec<&str> = version
            .iter()
            .map(String::as_str)
            .chain(changes.iter().copied())
            .collect();
        self.publish_next(&all);
    }

    /// Starts a service whose job `up` has these keys.
    fn serve(&self, keys: &str) -> Service {
        self.declare(keys);
        self.place.start()
    }

    fn declare(&self, keys: &str) {
        let declaration = format!(
            "databases = {{}}\n[engines.docker]\nhost = \"{}\"\ncredentials = \"config.json\"\n[notifications.phone]\nntfy = {{ url = \"http://127.0.0.1:{}\", topic = \"t\" }}\n[jobs.up]\nschedule = \"0 0 1 1 *\"\nretry = {{ max_attempts = 1 }}\n[jobs.up.container_update]\ncontainers = [\"{}*\"]\nsettle = \"1s\"\nhealthy_within = \"1s\"\nnotify = [\"phone\"]\n{keys}\n",
            self.engine.host(),
            self.phone.port,
            self.name,
        );
        self.place.write("jobs.toml", &declaration);
        if !self.place.file("config.json").exists() {
            self.place.write("config.json", "{}");
        }
    }

    /// The titles of what was told, once there are so many.
    fn told(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} messages"), || {
            let received = self.phone.received();
            (received.len() >= count).then(|| received.iter().map(title).collect())
        })
    }

    /// What the containers of this test are called.
    fn containers(&self) -> Vec<String> {
        let filter = format!("name={}", self.name);
        let names = self
            .engine
            .docker(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
        let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    fn version_of(&self, container: &str) -> String {
        let variables = &self.engine.inspect(container)["Config"]["Env"];
        let mut variables = variables.as_array().unwrap().iter().filter_map(Value::as_str);
        variables
            .find_map(|variable| variable.strip_prefix("VERSION="))
            .unwrap()
            .to_owned()
    }
}

/// Has the job run, and gives what became of it.
fn update(service: &Service) -> Value {
    service.post("/trigger/up").1
}

/// The title of a message.
fn title(message: &Value) -> String {
    let (_, title) = message["path"].as_str().unwrap().split_once("title=").unwrap();
    title.split('&').next().unwrap().replace('+', " ").replace("%3A", ":")
}

/// The result of one container of a run.
fn result<'a>(answer: &'a Value, name: &str) -> (&'a str, &'a str) {
    let containers = answer["statistics"]["containers"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    let found = containers
        .iter()
        .find(|container| container["name"] == name)
        .unwrap_or_else(|| panic!("{name}: {answer}"));
    (found["result"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

/// What an engine tells of a container, without what another one has for itself, and what follows the image: the oracle of an
/// update.
fn lasting(found: &Value) -> Value {
    let mut found = found.clone();
    let id = found["Id"].as_str().unwrap()[..12].to_owned();
    let remove = |table: &mut Value, keys: &[&str]| {
        for key in keys {
            table.as_object_mut().unwrap().remove(*key);
        }
    };
    remove(
        &mut found,
        &["Id", "Created", "State", "Image", "RestartCount", "ExecIDs"],
    );
    remove(
        &mut found,
        &["ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "GraphDriver"],
    );
    remove(&mut found["Config"], &["Env", "ExposedPorts", "Volumes"]);
    remove(&mut found["Config"]["Labels"], &["of.image"]);
    if found["Config"]["Hostname"] == id.as_str() {
        remove(&mut found["Config"], &["Hostname"]);
    }
    // Where volumes without a name are mounted by the names they got, that is told here.
    remove(&mut found["HostConfig"], &["Mounts"]);
    let mounts = found["Mounts"].as_array().unwrap().iter();
    let mut mounts: Vec<Value> = mounts
        .map(|mount| json!([mount["Destination"], mount["Name"], mount["RW"]]))
        .collect();
    mounts.retain(|mount| mount[0] != "/more");
    mounts.sort_by_key(ToString::to_string);
    found["Mounts"] = mounts.into();
    let generated = [
        "SandboxID",
        "SandboxKey",
        "EndpointID",
        "Ports",
        "MacAddress",
        "IPAddress",
    ];
    remove(&mut found["NetworkSettings"], &generated);
    for (_, network) in found["NetworkSettings"]["Networks"].as_object_mut().unwrap() {
        remove(network, &["EndpointID", "NetworkID", "MacAddress"]);
        for key in ["Aliases", "DNSNames"] {
            let names = network[key].as_array().cloned().unwrap_or_default();
            network[key] = names.into_iter().filter(|name| *name != id.as_str()).collect();
        }
    }
    without_empty(&mut found);
    found
}

/// What is empty is the same as what is absent.
fn without_empty(value: &mut Value) {
    match value {
        Value::Object(table) => table.values_mut().for_each(without_empty),
        Value::Array(list) => list.iter_mut().for_each(without_empty),
        _ => {}
    }
    let is_empty = matches!(value, Value::Object(table) if table.is_empty()) || *value == json!([]);
    if is_empty {
        *value = Value::Null;
    }
}

/// Makes a test of each scenario on each engine.
macro_rules! on_each_engine {
    ($($name:ident)*) => {
        mod own {
            $(#[test] fn $name() { super::$name(super::Release::Own); })*
        }
        mod trixie {
            $(#[test] fn $name() { super::$name(super::Release::Trixie); })*
        }
    };
}

on_each_engine! {
    an_update_leaves_everything_but_the_image_as_it_was
    what_is_current_stays_and_is_asked_for_once
    what_ends_or_is_unhealthy_is_rolled_back
    a_failed_sibling_keeps_the_image_from_the_others
    those_on_its_network_are_made_anew_with_it
    gates_are_kept_and_told
    verify_keeps_images_out
    a_registry_may_want_a_password_or_be_away
    an_index_that_is_new_alone_changes_nothing
    news_are_told_once_and_an_age_is_waited_for
    a_service_that_ends_in_the_window_leaves_it_as_it_was
    a_service_that_is_killed_in_the_window_goes_on
    what_compose_relies_on_stays
}

fn an_update_leaves_everything_but_the_image_as_it_was(release: Release) {
    let site = Site::new("whole", release);
    let changes = |version: &str, more: &str, port: &str| {
        let (env, label) = (format!("ENV VERSION={version}"), format!("LABEL of.image={version}"));
        [
            r#"CMD ["/bin/app"]"#.to_owned(),
            env,
            label,
            format!("EXPOSE {port}"),
            format!("VOLUME /{more}"),
        ]
    };
    let image = site.publish(&changes("1", "data", "81").each_ref().map(String::as_str));
    let web = run_with_everything(&site, &image);
    let before = site.engine.inspect(&web);
    site.publish_next(&changes("2", "more", "82").each_ref().map(String::as_str));
    let service = site.serve("");
    let plan = String::from_utf8(site.place.run(&["plan", "up"]).stdout).unwrap();
    for line in [
        "would be updated",
        "variable SECRET",
        "follows the image: ",
        "label of.image",
        "once it is pulled",
    ] {
        assert!(plan.contains(line), "{line} in {plan}");
    }
    assert!(!plan.contains("s3cret"), "{plan}");
    assert_eq!(
        site.engine.inspect(&web)["State"]["StartedAt"],
        before["State"]["StartedAt"],
        "a plan changes nothing"
    );

    let answer = update(&service);
    assert_eq!(result(&answer, &web).0, "updated", "{answer}");
    let after = site.engine.inspect(&web);
    assert_eq!(lasting(&after), lasting(&before));
    let variables = after["Config"]["Env"].to_string();
    assert!(
        variables.contains("SECRET=s3cret-value") && variables.contains("VERSION=2"),
        "{variables}"
    );
    assert_eq!(after["Config"]["Labels"]["of.image"], "2");
    assert!(after["Config"]["ExposedPorts"].get("81/tcp").is_none(), "{after}");
    assert_eq!(site.containers(), [web.as_str()]);
    for place in ["/data", "/unnamed"] {
        site.engine
            .docker(&["exec", &web, "test", "-f", &format!("{place}/kept")]);
    }
    assert_eq!(site.told(1), [format!("{web}: updated")]);
    let shown = service.newest("up").to_string() + &service.log().join("\n");
    assert!(!shown.contains("s3cret"), "{shown}");

    // The next run finds nothing to do, and says so.
    let answer = update(&service);
    assert_eq!(result(&answer, &web).0, "current", "{answer}");
    assert_eq!(site.engine.inspect(&web)["Id"], after["Id"]);
    assert_eq!(site.told(1).len(), 1);
}

/// Runs a container that says something of everything, and gives its name.
fn run_with_everything(site: &Site, image: &str) -> String {
    let (front, back) = (format!("{}-front", site.name), format!("{}-back", site.name));
    let subnet = if site.name.ends_with("own") { "10.61" } else { "10.62" };
    for (network, number) in [(&front, 0), (&back, 1)] {
        let subnet = format!("{subnet}.{number}.0/24");
        site.engine.docker(&["network", "create", "--subnet", &subnet, network]);
    }
    let published = format!("127.0.0.1:{}:80", crate::support::docker::free_port());
    let web = format!("{}-web", site.name);
    let said = "-v named:/named:ro --mount type=volume,dst=/unnamed --tmpfs /scratch --cap-drop MKNOD --memory 64m --init \
                --restart unless-stopped --ulimit nofile=512 --add-host h:10.0.0.1 --log-opt max-size=1m --stop-timeout 3 \
                --read-only --hostname mine --sysctl net.ipv4.ip_forward=0 --health-cmd true --health-interval 1s \
                -e SECRET=s3cret-value -l mine=1 --network-alias www";
    let address = format!("{subnet}.0.7");
    let own = ["--network", &front, "--ip", &address, "-p", &published];
    let said: Vec<&str> = said.split_whitespace().chain(own).collect();
    site.engine.run(&web, image, &said);
    site.engine
        .docker(&["network", "connect", "--alias", "inner", &back, &web]);
    for place in ["/data", "/unnamed"] {
        site.engine.docker(&["exec", &web, "touch", &format!("{place}/kept")]);
    }
    eventually("it to be healthy", || {
        (site.engine.inspect(&web)["State"]["Health"]["Status"] == "healthy").then_some(())
    });
    web
}

fn what_is_current_stays_and_is_asked_for_once(release: Release) {
    let site = Site::new("current", release);
    let image = site.publish_version(1);
    let names = ["a", "b", "c"].map(|end| format!("{}-{end}", site.name));
    let ids = names.each_ref().map(|name| site.engine.run(name, &image, &[]));
    let service = site.serve("");
    let answer = update(&service);
    for name in &names {
        assert_eq!(result(&answer, name), ("current", ""));
    }
    assert_eq!(answer["statistics"]["checked"], 3);
    assert_eq!(
        ids,
        names
            .each_ref()
            .map(|name| site.engine.inspect(name)["Id"].as_str().unwrap().to_owned())
    );
    assert!(site.phone.received().is_empty());
}

fn what_ends_or_is_unhealthy_is_rolled_back(release: Release) {
    for (kind, changes, why) in [
        ("dies", &[r#"CMD ["/bin/false"]"#][..], "exit code 1"),
        (
            "loops",
            &[r#"CMD ["/bin/sh", "-c", "echo oops; exit 3"]"#][..],
            "exit code",
        ),
        ("missing", &[r#"CMD ["/bin/no-such-program"]"#][..], "did not start"),
        (
            "sick",
            &[
                r#"CMD ["/bin/app"]"#,
                "ENV VERSION=2",
                r#"HEALTHCHECK --interval=200ms --retries=2 CMD ["/bin/sh", "-c", "echo its-sickness; exit 1"]"#,
            ][..],
            "unhealthy",
        ),
    ] {
        let site = Site::new(kind, release);
        let image = site.publish_version(1);
        let restart = if kind == "loops" { "always" } else { "no" };
        let id = site.engine.run(&site.name, &image, &["--restart", restart]);
        let before = site.engine.inspect(&site.name);
        let old_image = site.engine.docker(&["image", "inspect", "-f", "{{.Id}}", &image]);
        site.publish_next(changes);
        let service = site.serve("");
        let answer = update(&service);
        let (verdict, reason) = result(&answer, &site.name);
        assert_eq!(
            (verdict, answer["success"].as_bool()),
            ("rolled back", Some(false)),
            "{answer}"
        );
        assert!(reason.contains(why), "{kind}: {reason}");
        let after = site.engine.inspect(&site.name);
        assert_eq!(
            (after["Id"].as_str(), &after["State"]["Running"]),
            (Some(id.as_str()), &json!(true))
        );
        assert_eq!(after["HostConfig"], before["HostConfig"]);
        assert_eq!(
            site.engine.docker(&["image", "inspect", "-f", "{{.Id}}", &image]),
            old_image,
            "the tag is back"
        );
        assert_eq!(site.containers(), [site.name.as_str()]);
        assert_eq!(site.told(1), [format!("{}: update rolled back", site.name)]);
        if kind == "sick" {
            let told = site.phone.received();
            let text = told[0]["body"].as_str().unwrap();
            assert!(text.contains("its-sickness") && text.contains("version 2"), "{text}");
        }
        // It is not tried again, by a new service either.
        service.terminate();
        let service = site.place.start();
        let answer = update(&service);
        assert_eq!(result(&answer, &site.name).0, "bad", "{answer}");
        assert!(
            answer["success"] == true && site.phone.received().len() == 1,
            "{answer}"
        );
    }
}

fn a_failed_sibling_keeps_the_image_from_the_others(release: Release) {
    let site = Site::new("twins", release);
    let image = site.publish_version(1);
    let names = ["a", "b"].map(|end| format!("{}-{end}", site.name));
    let ids = names.each_ref().map(|name| site.engine.run(name, &image, &[]));
    site.publish_next(&[r#"CMD ["/bin/false"]"#]);
    let service = site.serve("remove_old_image = true");
    let answer = update(&service);
    assert_eq!(result(&answer, &names[0]).0, "rolled back", "{answer}");
    let (verdict, why) = result(&answer, &names[1]);
    assert_eq!(verdict, "skipped", "{answer}");
    assert!(why.contains("was rolled back from the same image"), "{why}");
    assert_eq!(
        ids,
        names
            .each_ref()
            .map(|name| site.engine.inspect(name)["Id"].as_str().unwrap().to_owned())
    );
    // A good one reaches both, and the old image is gone once nobody has it.
    let old = site.engine.docker(&["image", "inspect", "-f", "{{.Id}}", &image]);
    site.publish_next_version(3, &[]);
    let answer = update(&service);
    assert_eq!(answer["statistics"]["updated"], 2, "{answer}");
    assert_eq!(names.each_ref().map(|name| site.version_of(name)), ["3", "3"]);
    assert!(
        site.engine.try_docker(&["image", "inspect", &old]).is_err(),
        "the old image is removed"
    );
    // What is used, or has another name, stays.
    site.engine.docker(&["tag", &image, "kept:1"]);
    let old = site.engine.docker(&["image", "inspect", "-f", "{{.Id}}", &image]);
    site.publish_next_version(4, &[]);
    let answer = update(&service);
    assert_eq!(answer["statistics"]["updated"], 2, "{answer}");
    site.engine.docker(&["image", "inspect", &old]);
    site.engine.docker(&["rmi", "kept:1"]);
}

fn those_on_its_network_are_made_anew_with_it(release: Release) {
    let site = Site::new("vpn", release);
    let image = site.publish_version(1);
    let other = site.engine.publish(
        &format!("{}-other:1", site.name),
        &[r#"CMD ["/bin/app"]"#, "ENV VERSION=other"],
    );
    let (provider, dependent) = (
        format!("{}-provider", site.name),
        format!("vpnuser-{release:?}").to_lowercase(),
    );
    site.engine.run(&provider, &image, &["--network", "host"]);
    site.engine.run(
        &dependent,
        &other,
        &[
            "--network",
            &format!("container:{provider}"),
            "-e",
            "OWN=1",
            "-v",
            "/kept",
        ],
    );
    site.engine.docker(&["exec", &dependent, "touch", "/kept/file"]);
    let before = [&provider, &dependent].map(|name| site.engine.inspect(name));
    site.publish_next_version(2, &[]);
    let service = site.serve("");
    let plan = String::from_utf8(site.place.run(&["plan", "up"]).stdout).unwrap();
    assert!(
        plan.contains(&format!("recreated with it, and down for as long: {dependent}")),
        "{plan}"
    );
    let answer = update(&service);
    assert_eq!(result(&answer, &provider).0, "updated", "{answer}");
    let after = [&provider, &dependent].map(|name| site.engine.inspect(name));
    assert_eq!(
        after[1]["HostConfig"]["NetworkMode"],
        format!("container:{}", after[0]["Id"].as_str().unwrap())
    );
    assert_eq!(after[1]["Image"], before[1]["Image"], "on its own image");
    assert_eq!(after[1]["State"]["Running"], true);
    assert_eq!(site.version_of(&provider), "2");
    site.engine.docker(&["exec", &dependent, "test", "-f", "/kept/file"]);
    // Rolled back, both are the ones they were.
    site.publish_next(&[r#"CMD ["/bin/false"]"#]);
    let answer = update(&service);
    assert_eq!(result(&answer, &provider).0, "rolled back", "{answer}");
    for (name, was) in [&provider, &dependent].iter().zip(&after) {
        let now = site.engine.inspect(name);
        assert_eq!(
            (&now["Id"], &now["State"]["Running"]),
            (&was["Id"], &json!(true)),
            "{name}"
        );
        assert_eq!(now["HostConfig"], was["HostConfig"]);
    }
    // Where they may not be, nothing is touched.
    site.publish_next_version(3, &[]);
    site.declare("dependents = \"refuse\"");
    service.post("/reload-config");
    let answer = update(&service);
    let (verdict, why) = result(&answer, &provider);
    assert!(verdict == "skipped" && why.contains(&dependent), "{answer}");
    site.engine.docker(&["rm", "-f", &dependent]);
}

fn gates_are_kept_and_told(release: Release) {
    let site = Site::new("gates", release);
    let image = site.publish_version(1);
    let name = |end: &str| format!("{}-{end}", site.name);
    site.engine.run(&name("rm"), &image, &["--rm"]);
    site.engine
        .run(&name("label"), &image, &["-l", "duplistatus-cron.update=false"]);
    site.engine.run(&name("paused"), &image, &[]);
    site.engine.docker(&["pause", &name("paused")]);
    site.engine.docker(&["create", "--name", &name("created"), &image]);
    let id = site.engine.docker(&["image", "inspect", "-f", "{{.Id}}", &image]);
    site.engine.run(&name("id"), &id, &[]);
    let built = site.engine.make(
        &format!("{}-built:1", site.name),
        &[r#"CMD ["/bin/app"]"#, "ENV VERSION=built"],
    );
    site.engine.run(&name("built"), &built, &[]);
    let digest = site
        .engine
        .docker(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &image]);
    site.engine.run(&name("pinned"), &digest, &[]);
    site.engine.run(&name("injected"), &image, &[]);
    site.engine.docker(&["rm", "-f", &name("injected")]);
    site.engine.docker(&["create", "--name", &name("injected"), &image]);
    inject(&site, &name("injected"));
    site.engine.docker(&["start", &name("injected")]);
    site.engine.run(&name("linked"), &image, &["--network", "none"]);
    let leftover = format!("{}_old_0123456789ab", name("x"));
    site.engine.run(&leftover, &image, &[]);
    let all: Vec<Value> = site
        .containers()
        .iter()
        .map(|name| site.engine.inspect(name)["Id"].clone())
        .collect();
    site.publish_next_version(2, &[]);
    let service = site.serve(&format!("exclude = [\"{}\"]", name("linked")));
    let answer = update(&service);
    for (end, verdict, why) in [
        ("rm", "skipped", "--rm"),
        ("label", "skipped", "its label says so"),
        ("paused", "skipped", "paused"),
        ("created", "skipped", "not running (created)"),
        ("id", "skipped", "by id"),
        ("built", "skipped", "built here"),
        ("pinned", "skipped", "pinned by digest"),
        ("injected", "skipped", "/secret-file"),
    ] {
        let (found, reason) = result(&answer, &name(end));
        assert!(found == verdict && reason.contains(why), "{end}: {found}: {reason}");
    }
    assert_eq!(answer["success"], true, "{answer}");
    assert!(service.logged("left over").contains(&leftover));
    let now: Vec<Value> = site
        .containers()
        .iter()
        .map(|name| site.engine.inspect(name)["Id"].clone())
        .collect();
    assert_eq!(now, all, "nothing was touched");
    site.engine.docker(&["unpause", &name("paused")]);
}

/// Puts a file into a container that has not run, as compose does.
fn inject(site: &Site, container: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret-file");
    std::fs::write(&file, "x").unwrap();
    // An archive has whole seconds.
    let created = site.engine.docker(&["inspect", "-f", "{{.Created}}", container]);
    let at = format!("{}Z", created.split('.').next().unwrap());
    let set = std::process::Command::new("touch")
        .args(["-d", &at])
        .arg(&file)
        .status();
    assert!(set.unwrap().success());
    site.engine
        .docker(&["cp", "-a", file.to_str().unwrap(), &format!("{container}:/secret-file")]);
}

fn verify_keeps_images_out(release: Release) {
    for (block, script, verdict, why) in [
        ("failure", "exit 3", "blocked", "exit code 3"),
        ("failure", "exit 0", "updated", ""),
        ("failure", "sleep 20", "blocked", "did not end within 1s"),
        (
            "critical",
            r#"echo scanning >&2; echo '{"critical":0,"high":7}'"#,
            "updated",
            "",
        ),
        (
            "critical_high",
            r#"echo '{"critical":0,"high":7}'; exit 1"#,
            "blocked",
            "7 high",
        ),
        ("any", "echo fine", "blocked", "no numbers"),
        (
            "more_than_current",
            r#"case $1 in {old}) echo '{"critical":1}';; *) echo '{"critical":2}';; esac"#,
            "blocked",
            "it has 2 critical",
        ),
        ("more_than_current", r#"echo '{"critical":2}'"#, "updated", ""),
        ("never", "exit 3", "updated", ""),
    ] {
        let site = Site::new("scan", release);
        let image = site.publish_version(1);
        site.engine.run(&site.name, &image, &[]);
        let digest = site
            .engine
            .docker(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &image]);
        let old = digest.split_once('@').unwrap().1;
        site.publish_next_version(2, &[]);
        site.place.write("scan.sh", &script.replace("{old}", old));
        let scan = site.place.file("scan.sh");
        let timeout = if script.starts_with("sleep") { "1s" } else { "40s" };
        let keys = format!(
            r#"verify = {{ argv = ["/bin/sh", "{}", "{{digest}}", "{{container}}", "{{platform}}"], timeout = "{timeout}", block = "{block}" }}"#,
            scan.display()
        );
        let service = site.serve(&keys);
        for _ in 0..2 {
            let answer = update(&service);
            let (found, reason) = result(&answer, &site.name);
            assert!(found == verdict && reason.contains(why), "{block} {script}: {answer}");
            if verdict == "updated" {
                break;
            }
            assert_eq!(answer["success"], true);
        }
        assert_eq!(
            site.version_of(&site.name),
            if verdict == "updated" { "2" } else { "1" }
        );
        let told = if verdict == "updated" {
            "updated"
        } else {
            "update blocked"
        };
        assert_eq!(site.told(1), [format!("{}: {told}", site.name)], "once");
        site.engine.docker(&["rm", "-f", &site.name]);
    }
}

fn a_registry_may_want_a_password_or_be_away(release: Release) {
    let site = Site::new("private", release);
    let folder = tempfile::tempdir().unwrap();
    let port = crate::support::docker::free_port();
    let hashed = std::process::Command::new("htpasswd")
        .args(["-Bbn", "me", "p?ss>w~rd-x"])
        .output()
        .expect("apache2-utils is missing; tests/run installs it");
    std::fs::write(folder.path().join("users"), hashed.stdout).unwrap();
    let auth = format!(
        "auth: {{ htpasswd: {{ realm: x, path: {} }} }}\n",
        folder.path().join("users").display()
    );
    let registry = crate::support::docker::start_registry(folder.path(), port, &auth);
    let host = format!("127.0.0.1:{port}");
    site.engine.docker(&["login", "-u", "me", "-p", "p?ss>w~rd-x", &host]);
    let image = format!("{host}/app:1");
    let push = |number: u32| {
        let made = site
            .engine
            .make(&site.image(), &version(number).each_ref().map(String::as_str));
        site.engine.docker(&["tag", &made, &image]);
        site.engine.docker(&["push", &image]);
        site.engine.docker(&["rmi", &made]);
    };
    push(1);
    site.engine.run(&site.name, &image, &[]);
    let old = site.engine.docker(&["image", "inspect", "-f", "{{.Id}}", &image]);
    push(2);
    site.engine.docker(&["rmi", &image]);
    site.engine.docker(&["tag", &old, &image]);
    let service = site.serve("");
    // Nobody has logged in: that is told, and comes again.
    let answer = update(&service);
    let (verdict, why) = result(&answer, &site.name);
    assert!(
        verdict == "undecided" && why.contains("no credential is kept for it"),
        "{answer}"
    );
    assert_eq!(answer["success"], false);
    let both = STANDARD.encode("me:p?ss>w~rd-x");
    site.place.write(
        "config.json",
        &json!({ "auths": { host.clone(): { "auth": both } } }).to_string(),
    );
    let answer = update(&service);
    assert_eq!(result(&answer, &site.name).0, "updated", "{answer}");
    drop(registry);
    let answer = update(&service);
    let (verdict, why) = result(&answer, &site.name);
    assert!(verdict == "undecided" && why.contains("refused"), "{answer}");
    assert_eq!(site.version_of(&site.name), "2");
    let shown = service.newest("up").to_string() + &service.log().join("\n");
    assert!(!shown.contains("p?ss>w~rd-x") && !shown.contains(&both), "{shown}");
}

fn an_index_that_is_new_alone_changes_nothing(release: Release) {
    let site = Site::new("index", release);
    let image = site.publish_version(1);
    let id = site.engine.run(&site.name, &image, &[]);
    let before = site
        .engine
        .docker(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &image]);
    let digest = before.split_once('@').unwrap().1;
    let (_, manifest) = registry_call(
        &site,
        "GET",
        &format!("/v2/{}/manifests/{digest}", site.name),
        "application/vnd.docker.distribution.manifest.v2+json",
        "",
    );
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": [{ "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": manifest.len(), "digest": digest, "platform": { "architecture": "amd64", "os": "linux" } }],
    });
    let (status, said) = registry_call(
        &site,
        "PUT",
        &format!("/v2/{}/manifests/stable", site.name),
        "application/vnd.docker.distribution.manifest.list.v2+json",
        &index.to_string(),
    );
    assert_eq!(status, 201, "{said}");
    let service = site.serve("");
    let answer = update(&service);
    let (verdict, why) = result(&answer, &site.name);
    assert!(
        verdict == "current" && why.contains("another digest for the same image"),
        "{answer}"
    );
    let answer = update(&service);
    assert_eq!(result(&answer, &site.name), ("current", ""), "{answer}");
    assert_eq!(site.engine.inspect(&site.name)["Id"], id.as_str());
    assert!(site.phone.received().is_empty());
}

/// Asks the registry itself.
fn registry_call(site: &Site, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", site.engine.port)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {kind}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn news_are_told_once_and_an_age_is_waited_for(release: Release) {
    let site = Site::new("news", release);
    let image = site.publish_version(1);
    let id = site.engine.run(&site.name, &image, &[]);
    site.publish_next_version(2, &[]);
    let service = site.serve("action = \"tell\"");
    for _ in 0..2 {
        let answer = update(&service);
        assert_eq!(result(&answer, &site.name).0, "found", "{answer}");
    }
    assert_eq!(site.told(1), [format!("{}: a newer image", site.name)]);
    let images = || {
        site.engine.docker(&[
            "images",
            "-q",
            "--no-trunc",
            "--filter",
            &format!("reference={}", image.replace(":stable", "")),
        ])
    };
    let one = images();
    site.declare("action = \"pull\"");
    service.post("/reload-config");
    let answer = update(&service);
    assert_eq!(result(&answer, &site.name).0, "pulled", "{answer}");
    assert_ne!(images(), one, "it is here");
    assert_eq!(site.engine.inspect(&site.name)["Id"], id.as_str());
    site.declare("min_age = \"3s\"");
    service.post("/reload-config");
    let answer = update(&service);
    let (verdict, why) = result(&answer, &site.name);
    let is_young = verdict == "held" && why.contains("used from");
    assert!(is_young || verdict == "updated", "{answer}");
    eventually("it to be old enough", || {
        (result(&update(&service), &site.name).0 == "current").then_some(())
    });
    assert_eq!(site.version_of(&site.name), "2");
    assert_eq!(site.told(2).len(), 2, "found, and updated");
}

/// Has a run reach the moment in which nobody knows yet whether the new container is well.
fn in_the_window(site: &Site, service: &Service) {
    let (_, answer) = service.post("/trigger/up?wait=false");
    assert!(answer["runId"].is_number(), "{answer}");
    eventually("the new container to run", || {
        (site.version_of_running() == Some("2".to_owned())).then_some(())
    });
}

impl Site {
    fn version_of_running(&self) -> Option<String> {
        let found: Value = serde_json::from_str(
            &self
                .engine
                .try_docker(&["inspect", "--type", "container", &self.name])
                .ok()?,
        )
        .ok()?;
        let is_running = found[0]["State"]["Running"] == true;
        is_running.then(|| self.version_of(&self.name))
    }
}

fn a_service_that_ends_in_the_window_leaves_it_as_it_was(release: Release) {
    let site = Site::new("sigterm", release);
    let image = site.publish_version(1);
    let id = site.engine.run(&site.name, &image, &["--restart", "always"]);
    let before = site.engine.inspect(&site.name);
    site.publish_next_version(2, &[]);
    site.long_settle();
    let service = site.place.start();
    in_the_window(&site, &service);
    assert!(service.terminate().success());
    let after = site.engine.inspect(&site.name);
    assert_eq!(
        (after["Id"].as_str(), &after["State"]["Running"]),
        (Some(id.as_str()), &json!(true))
    );
    assert_eq!(after["HostConfig"], before["HostConfig"]);
    assert_eq!(site.containers(), [site.name.as_str()]);
    // That is not the image's fault: it is tried again.
    site.declare("");
    let service = site.place.start();
    assert_eq!(service.newest("up")["status"], "interrupted");
    let answer = update(&service);
    assert_eq!(result(&answer, &site.name).0, "updated", "{answer}");
}

impl Site {
    /// Declares that a container must run for long before it is well.
    fn long_settle(&self) {
        self.declare("");
        let text = std::fs::read_to_string(self.place.file("jobs.toml")).unwrap();
        self.place
            .write("jobs.toml", &text.replace("settle = \"1s\"", "settle = \"5s\""));
    }
}

fn a_service_that_is_killed_in_the_window_goes_on(release: Release) {
    for (name, changes, is_well) in [
        ("killed", &[r#"CMD ["/bin/app"]"#, "ENV VERSION=2"][..], true),
        (
            "killedbad",
            &[r#"CMD ["/bin/sh", "-c", "sleep 4; exit 1"]"#, "ENV VERSION=2"][..],
            false,
        ),
    ] {
        let site = Site::new(name, release);
        let image = site.publish_version(1);
        let id = site
            .engine
            .run(&site.name, &image, &["--restart", "always", "-v", "/data"]);
        let volume = site.engine.inspect(&site.name)["Mounts"][0]["Name"].clone();
        site.publish_next(changes);
        site.long_settle();
        let service = site.place.start();
        in_the_window(&site, &service);
        service.kill();
        let service = site.place.start();
        eventually("it to be settled", || {
            (site.containers() == [site.name.as_str()]).then_some(())
        });
        // Where the new one had ended before anybody looked, nobody knows why.
        let told = site.told(1);
        let titles = ["updated", "update rolled back", "update undone, to be tried again"];
        let titles = if is_well { &titles[..1] } else { &titles[1..] };
        let is_told = titles
            .iter()
            .any(|title| told.contains(&format!("{}: {title}", site.name)));
        assert!(is_told, "{told:?} {:?}", service.log());
        let after = site.engine.inspect(&site.name);
        assert_eq!(after["Id"] == id.as_str(), !is_well);
        assert_eq!(
            (&after["State"]["Running"], &after["Mounts"][0]["Name"]),
            (&json!(true), &volume)
        );
        assert_eq!(after["HostConfig"]["RestartPolicy"]["Name"], "always");
        let updates = site.place.file("data/duplistatus-cron.db-containers/updates");
        eventually("the update to be closed", || {
            std::fs::read_dir(&updates).unwrap().next().is_none().then_some(())
        });
    }
}

fn what_compose_relies_on_stays(release: Release) {
    let site = Site::new("compose", release);
    let image = site.publish_version(1);
    let id = site.engine.docker(&["image", "inspect", "-f", "{{.Id}}", &image]);
    let project = format!("com.docker.compose.project={}", site.name);
    let (db, web) = (format!("{}-db", site.name), format!("{}-web", site.name));
    let mark = format!("com.docker.compose.image={id}");
    site.engine.run(
        &db,
        &image,
        &[
            "-l",
            &project,
            "-l",
            "com.docker.compose.service=db",
            "-l",
            &mark,
            "-l",
            "com.docker.compose.config-hash=abc",
        ],
    );
    site.engine.run(
        &web,
        &image,
        &[
            "-l",
            &project,
            "-l",
            "com.docker.compose.service=web",
            "-l",
            "com.docker.compose.depends_on=db:service_started:true",
        ],
    );
    let began = site.engine.inspect(&web)["State"]["StartedAt"].clone();
    site.publish_next_version(2, &[]);
    let service = site.serve(&format!("project = \"{}\"\nexclude = [\"{web}\"]", site.name));
    let answer = update(&service);
    assert_eq!(result(&answer, &db).0, "updated", "{answer}");
    let after = site.engine.inspect(&db);
    let labels = &after["Config"]["Labels"];
    assert_eq!(labels["com.docker.compose.image"], after["Image"]);
    assert_eq!(
        (
            &labels["com.docker.compose.config-hash"],
            &labels["com.docker.compose.service"]
        ),
        (&json!("abc"), &json!("db"))
    );
    assert_ne!(
        site.engine.inspect(&web)["State"]["StartedAt"],
        began,
        "what depends on it was restarted"
    );
}
