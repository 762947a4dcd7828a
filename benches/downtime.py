"""How long a web server in a container is away while it is updated: by this program, by docker-compose, and by hand (docker stop,
rm, run), side by side on one engine. Needs root, docker.io, docker-registry, busybox-static and docker-compose.

    benches/downtime.py [updates]        BINARY names another build than target/release/duplistatus-cron
"""
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 10
BINARY = os.path.abspath(os.environ.get("BINARY", "target/release/duplistatus-cron"))
FOLDER = tempfile.mkdtemp(prefix="dt", dir="/tmp")
STARTED = []
# Ends as soon as it is asked to, as a web server does.
SERVER = '["/bin/busybox","httpd","-f","-p","%d","-h","/www"]'


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(*arguments, **more):
    log = open(f"{FOLDER}/{os.path.basename(arguments[0])}.log", "a")
    STARTED.append(subprocess.Popen(arguments, stdout=log, stderr=log, **more))


def docker(*arguments):
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def until(what, found):
    for _ in range(3000):
        try:
            if found():
                return
        except Exception:  # It is not there yet.
            pass
        time.sleep(0.01)
    sys.exit(f"waited in vain for {what}")


def publish(image, version, port):
    """Has the registry hold a new version, of which the engine's own name knows nothing."""
    before = subprocess.run(["docker", "image", "inspect", "-f", "{{.Id}}", image], capture_output=True, text=True).stdout.strip()
    docker("import", "--change", f"ENV VERSION={version}", "--change", "CMD " + SERVER % port, f"{FOLDER}/root.tar", image)
    docker("push", image)
    if before:
        docker("tag", before, image)


class Witness(threading.Thread):
    """Asks for the page all the time, and measures for how long it is not given."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.last, self.longest, self.ends = port, time.monotonic(), 0.0, False

    def run(self):
        while not self.ends:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=1).read()
                now = time.monotonic()
                self.longest, self.last = max(self.longest, now - self.last), now
            except OSError:
                pass
            time.sleep(0.002)


def measured(port, update):
    """How long the page is away in one update, in milliseconds."""
    witness = Witness(port)
    witness.start()
    time.sleep(0.3)
    update()
    until("the page", lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).status == 200)
    time.sleep(0.3)
    witness.ends = True
    witness.join()
    return witness.longest * 1000


def by_hand(name, image, port):
    docker("run", "-d", "--name", name, "--network", "host", image)

    def update():
        docker("pull", image)
        docker("stop", name)
        docker("rm", name)
        docker("run", "-d", "--name", name, "--network", "host", image)

    return update


def by_compose(name, image, port):
    os.mkdir(f"{FOLDER}/{name}")
    with open(f"{FOLDER}/{name}/docker-compose.yml", "w") as file:
        json.dump({"version": "3", "services": {"web": {"image": image, "network_mode": "host"}}}, file)

    def compose(*arguments):
        subprocess.run(["docker-compose", *arguments], check=True, capture_output=True, cwd=f"{FOLDER}/{name}")

    compose("up", "-d")

    def update():
        compose("pull")
        compose("up", "-d")

    return update


def by_us(name, image, port):
    docker("run", "-d", "--name", name, "--network", "host", image)
    os.mkdir(f"{FOLDER}/{name}")
    own = free_port()
    with open(f"{FOLDER}/{name}/jobs.toml", "w") as file:
        file.write(f"""databases = {{}}
[engines.docker]
host = "{os.environ['DOCKER_HOST']}"
[jobs.up]
schedule = "@yearly"
[jobs.up.container_update]
containers = ["{name}"]
settle = "1s"
""")
    start(BINARY, "run", "--port", str(own), cwd=f"{FOLDER}/{name}")
    until("the service", lambda: urllib.request.urlopen(f"http://127.0.0.1:{own}/health").status == 200)

    def update():
        request = urllib.request.Request(f"http://127.0.0.1:{own}/trigger/up", method="POST")
        answer = json.load(urllib.request.urlopen(request))
        assert answer["statistics"]["updated"] == 1, answer

    return update


def main():
    os.makedirs(f"{FOLDER}/root/bin")
    os.makedirs(f"{FOLDER}/root/www")
    subprocess.run(["cp", "/bin/busybox", f"{FOLDER}/root/bin/busybox"], check=True)
    with open(f"{FOLDER}/root/www/index.html", "w") as file:
        file.write("here\n")
    subprocess.run(["tar", "-C", f"{FOLDER}/root", "-cf", f"{FOLDER}/root.tar", "."], check=True)
    registry = free_port()
    with open(f"{FOLDER}/registry.yml", "w") as file:
        file.write(f"version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {FOLDER}/images }} }}\nhttp: {{ addr: '127.0.0.1:{registry}' }}\n")
    start("docker-registry", "serve", f"{FOLDER}/registry.yml")
    os.environ.update(DOCKER_HOST=f"unix://{FOLDER}/d.sock", HOME=FOLDER)
    start("unshare", "--mount", "--propagation", "private", "dockerd", "--data-root", f"{FOLDER}/data", "--exec-root", f"{FOLDER}/exec", "-H", os.environ["DOCKER_HOST"], "-p", f"{FOLDER}/d.pid",
          "--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false", "--shutdown-timeout", "2")
    until("the engine", lambda: docker("version"))
    ways = {}
    for number, (label, way) in enumerate([("by hand", by_hand), ("docker-compose", by_compose), ("duplistatus-cron", by_us)]):
        image, port = f"127.0.0.1:{registry}/web{number}:stable", free_port()
        publish(image, 0, port)
        ways[label] = (image, port, way(f"web{number}", image, port), [])
        until(label, lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).status == 200)
    for version in range(1, UPDATES + 1):
        for image, port, update, away in ways.values():
            publish(image, version, port)
            away.append(measured(port, update))
    plain = statistics.median(ways["by hand"][3])
    for label, (_, _, _, away) in ways.items():
        median = statistics.median(away)
        print(f"{label:18} away {median:6.0f} ms in the median, {max(away):6.0f} ms at most ({median / plain:.2f} of by hand)")


try:
    main()
finally:
    if "DOCKER_HOST" in os.environ:
        left = subprocess.run(["docker", "ps", "-aq"], capture_output=True, text=True).stdout.split()
        subprocess.run(["docker", "rm", "-f", *left], capture_output=True) if left else None
    for process in reversed(STARTED):
        process.terminate()
        process.wait()
    subprocess.run(["rm", "-rf", FOLDER])
