//! Container engines as Debian packages them, each with a registry, a data folder and a socket of its own; and images that are
//! made of busybox. An engine is shared by the tests that run at the same time, and gone with the last of them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::git::Running;

/// A release of Debian whose engine is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Release {
    /// That of this machine: Docker 20.10 (API 1.41) on Debian 12.
    Own,
    /// Debian 13, in a folder that tests/run makes: Docker 26.1 (API 1.45).
    Trixie,
}

/// The folder of Debian 13.
const TRIXIE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/trixie");
/// What every image runs: a program that tells its version, and ends when it is asked to.
const APP: &str = "#!/bin/sh
trap 'exit 0' TERM
echo \"version $VERSION\"
while :; do sleep 0.1; done
";

pub(crate) struct DockerEngine {
    folder: TempDir,
    engine: Child,
    /// Gone with the engine.
    _registry: Running,
    /// Where the registry listens.
    pub port: u16,
}

impl DockerEngine {
    /// The engine of a release that is running, or a new one.
    pub(crate) fn of(release: Release) -> Arc<Self> {
        static RUNNING: Mutex<BTreeMap<Release, Weak<DockerEngine>>> = Mutex::new(BTreeMap::new());
        let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(engine) = running.get(&release).and_then(Weak::upgrade) {
            return engine;
        }
        let engine = Arc::new(Self::start(release));
        running.insert(release, Arc::downgrade(&engine));
        engine
    }

    fn start(release: Release) -> Self {
        // Paths of sockets must be short, and those of a folder that is another root, there as well.
        let folder = tempfile::Builder::new().prefix("dk").tempdir_in("/tmp").unwrap();
        make_root(&folder.path().join("root"));
        let port = free_port();
        let registry = start_registry(folder.path(), port, "");
        let engine = start_engine(release, folder.path());
        let engine = Self {
            folder,
            engine,
            _registry: registry,
            port,
        };
        eventually("the container engine to answer", || {
            engine.try_docker(&["version"]).ok()
        });
        engine
    }

    /// Where it is reached.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("d.sock").display())
    }

    fn client(&self) -> Command {
        let mut command = Command::new("docker");
        command
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_CONFIG", self.folder.path().join("client"));
        command
    }

    /// What docker says to some arguments, or why it refuses.
    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let said = self.client().args(arguments).output().unwrap();
        if said.status.success() {
            Ok(String::from_utf8(said.stdout).unwrap().trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&said.stderr).into_owned())
        }
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments)
            .unwrap_or_else(|why| panic!("docker {arguments:?}: {why}"))
    }

    /// Everything that the engine tells of a container.
    pub(crate) fn inspect(&self, name: &str) -> Value {
        let found: Value = serde_json::from_str(&self.docker(&["inspect", "--type", "container", name])).unwrap();
        found[0].clone()
    }

    /// The name of an image in its registry.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Makes an image of `changes`, as a Dockerfile says them, without publishing it.
    pub(crate) fn make(&self, name: &str, changes: &[&str]) -> String {
        let image = self.image(name);
        let mut command = self.client();
        command.arg("import");
        for change in changes {
            command.args(["--change", change]);
        }
        let tar = self
            .folder
            .path()
            .join(format!("{}.tar", name.replace(['/', ':'], "-")));
        let root = self.folder.path().join("root");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(root)
            .arg("-cf")
            .arg(&tar)
            .arg(".")
            .status();
        assert!(packed.unwrap().success());
        let said = command.arg(&tar).arg(&image).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        image
    }

    /// Publishes an image: the registry has it, and the engine has forgotten that it made it.
    pub(crate) fn publish(&self, name: &str, changes: &[&str]) -> String {
        let image = self.make(name, changes);
        self.docker(&["push", &image]);
        image
    }

    /// Publishes a version of an image that runs and is well; the engine's own name stands for what it did.
    pub(crate) fn publish_next(&self, name: &str, changes: &[&str]) {
        let image = self.image(name);
        let id = || self.try_docker(&["image", "inspect", "-f", "{{.Id}}", &image]).ok();
        let before = id();
        self.publish(name, changes);
        let new = id().unwrap();
        if let Some(before) = before {
            self.docker(&["tag", &before, &image]);
        }
        self.docker(&["rmi", "-f", &new]);
    }

    /// Runs a container of an image, and gives its id.
    pub(crate) fn run(&self, name: &str, image: &str, arguments: &[&str]) -> String {
        let start = ["run", "-d", "--name", name];
        self.docker(&[&start, arguments, &[image]].concat())
    }
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        let all = self.try_docker(&["ps", "-aq"]).unwrap_or_default();
        let all: Vec<&str> = all.lines().collect();
        if !all.is_empty() {
            let _ = self.try_docker(&[&["rm", "-f"], all.as_slice()].concat());
        }
        let _ = Command::new("kill").arg(self.engine.id().to_string()).status();
        let _ = self.engine.wait();
        // What a folder is mounted in cannot be removed.
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let own = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|place| Path::new(place).starts_with(self.folder.path()));
        for place in own {
            let _ = Command::new("umount").arg("-l").arg(place).status();
        }
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn make_root(root: &Path) {
    for folder in ["bin", "tmp", "etc", "run"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists());
    std::fs::copy(
        busybox.expect("busybox-static is missing; tests/run installs it"),
        root.join("bin/busybox"),
    )
    .unwrap();
    for name in [
        "sh", "sleep", "cat", "true", "false", "echo", "httpd", "wget", "touch", "ls", "test",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    std::fs::write(root.join("bin/app"), APP).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(root.join("bin/app"), executable).unwrap();
}

/// A registry that keeps its images in `folder`; `auth` is what its configuration says of that.
pub(crate) fn start_registry(folder: &Path, port: u16, auth: &str) -> Running {
    let configuration = folder.join(format!("registry-{port}.yml"));
    let images = folder.join(format!("images-{port}"));
    let text = format!(
        "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }}, delete: {{ enabled: true }} }}\nhttp: {{ addr: \"127.0.0.1:{port}\" }}\n{auth}",
        images.display()
    );
    std::fs::write(&configuration, text).unwrap();
    let registry = Command::new("docker-registry")
        .arg("serve")
        .arg(configuration)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("docker-registry is missing; tests/run installs it");
    let registry = Running(registry);
    eventually("the registry to listen", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    registry
}

fn start_engine(release: Release, folder: &Path) -> Child {
    let (data, run) = (folder.join("data"), folder.join("exec"));
    let arguments = format!(
        "dockerd --data-root {} --exec-root {} -H unix://{} -p {} --storage-driver vfs --bridge none --iptables=false --ip6tables=false --shutdown-timeout 2",
        data.display(),
        run.display(),
        folder.join("d.sock").display(),
        folder.join("d.pid").display(),
    );
    // In a view of the mounts of its own, so that what it mounts is gone with it.
    let script = match release {
        Release::Own => format!("exec {arguments}"),
        Release::Trixie => {
            assert!(
                Path::new(TRIXIE).join("usr/sbin/dockerd").exists(),
                "Debian 13's engine is missing; tests/run makes it"
            );
            let folder = folder.display();
            format!(
                "mount --bind {TRIXIE} {TRIXIE}; for part in proc sys dev; do mount --rbind /$part {TRIXIE}/$part; done; mkdir -p {TRIXIE}{folder}; mount --bind {folder} {TRIXIE}{folder}; cd {TRIXIE}; mkdir -p .old; pivot_root . .old; umount -l .old; exec chroot . {arguments}"
            )
        }
    };
    let log = std::fs::File::create(folder.join("engine.log")).unwrap();
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("dockerd is missing; tests/run installs it")
}
