#!/usr/bin/env python3
"""A soak: the service for an hour, with a fault at random every few seconds, and a witness outside that counts at the end.

Jobs of every kind run each second or minute. Faults: kills, orderly restarts, power cuts (the state's disk goes on from
what was on the device), a disk that is full, a locked database, receivers that fail or hang, clocks that are set, edits of
the declaration, good and bad, callers that leave, a reader of the log that stalls.

The witness: no time ran twice but those a power cut may repeat (there are none), none is missing that is not recorded as
skipped or interrupted, each finding was told, and twice only with the same id after a kill; memory, threads and
descriptors at the end are what they were after a minute.

usage, as root (it mounts a disk of its own): cargo build --release --locked && benches/soak.py [minutes] [seed]
"""
import collections, glob, http.server, json, os, random, shutil, signal, socket, sqlite3, subprocess, sys, tempfile, threading, time
import urllib.error, urllib.request
from datetime import datetime, timezone

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("BINARY", os.path.join(ROOT, "target/release/duplistatus-cron"))
MINUTES = float(sys.argv[1]) if len(sys.argv) > 1 else 60
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
rng = random.Random(SEED)
print(f"seed {SEED}, {MINUTES:g} minutes", flush=True)


class Receiver(http.server.BaseHTTPRequestHandler):
    mode, got, lock = "good", collections.defaultdict(list), threading.Lock()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        mode = Receiver.mode
        if mode == "hangs":
            time.sleep(15)
        if mode == "fails" or mode == "hangs":
            self.send_response(500)
        else:
            message = json.loads(body)
            with Receiver.lock:
                Receiver.got[(message["event"], message["message"].split("\n")[0])].append(message["id"])
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Soak:
    def __init__(self, folder):
        self.folder, self.process, self.stalls = folder, None, False
        self.image, self.disk = f"{folder}/state.image", f"{folder}/state"
        self.offset, self.odd, self.faults = f"{folder}/offset", [], collections.Counter()
        self.kills = self.findings = 0
        os.makedirs(f"{folder}/data")
        os.makedirs(self.disk)
        subprocess.run(["truncate", "-s", "24M", self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.disk], check=True)
        open(self.offset, "w").write("+0")
        self.app = sqlite3.connect(f"{folder}/data/backups.db", isolation_level=None, check_same_thread=False, timeout=30)
        self.app.executescript("""PRAGMA journal_mode = WAL; CREATE TABLE configurations (key TEXT PRIMARY KEY, value TEXT);
            CREATE TABLE servers (id TEXT PRIMARY KEY, name TEXT, alias TEXT, note TEXT, server_url TEXT);
            CREATE TABLE backups (id TEXT PRIMARY KEY, server_id TEXT, backup_name TEXT, backup_id TEXT, date TEXT);
            CREATE TABLE audit_log (id INTEGER PRIMARY KEY, timestamp TEXT, user_id TEXT, username TEXT, action TEXT, category TEXT,
                target_type TEXT, target_id TEXT, details TEXT, ip_address TEXT, user_agent TEXT, status TEXT, error_message TEXT);
            CREATE TABLE sessions (id INTEGER PRIMARY KEY, at INTEGER); CREATE INDEX sessions_at ON sessions (at);
            CREATE TABLE ticks (job TEXT, at TEXT); CREATE TABLE findings (name TEXT)""")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.declare()

    def declare(self, more=""):
        tick = lambda name, keys: (f'[jobs.{name}]\nschedule = "* * * * * *"\n{keys}\n[jobs.{name}.sql]\ntables = ["ticks"]\n'
                                   'statement = "INSERT INTO ticks VALUES (:job, :scheduled_at)"\n')
        text = f"""[server]
port = {self.port}
[state]
path = "state/state.db"
[defaults]
catch_up = "all"
[notifications.hook.webhook]
url = "http://127.0.0.1:{self.server.server_port}/"
[groups.one]
max_running = 1
[jobs.clean]
schedule = "*/5 * * * * *"
cleanup = {{ delete_from = "sessions", where = "at < :cutoff", retention = "10s", cutoff_format = "unix", max_share = 1.0 }}
[jobs.overdue]
schedule = "*/10 * * * * *"
overdue_backups = {{}}
[jobs.finds]
schedule = "*/2 * * * * *"
catch_up = "none"
[jobs.finds.alert]
query = "SELECT name FROM findings"
tables = ["findings"]
key = "name"
message = "{{name}}"
notify = ["hook"]
""" + tick("tick", 'max_age = "1h"') + tick("turn-a", 'group = "one"') + tick("turn-b", 'group = "one"')
        with open(f"{self.folder}/jobs.new", "w") as file:
            file.write(text + more)
        os.replace(f"{self.folder}/jobs.new", f"{self.folder}/jobs.toml")

    def start(self):
        env = {**os.environ, "LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": self.offset, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.process = subprocess.Popen([BINARY], cwd=self.folder, env=env, stdout=subprocess.PIPE)
        threading.Thread(target=self.read_log, args=(self.process,), daemon=True).start()

    def read_log(self, process):
        with open(f"{self.folder}/log", "ab") as log:
            for line in process.stdout:
                while self.stalls and process.poll() is None:
                    time.sleep(0.1)
                log.write(line)

    def call(self, method, path, timeout=10):
        request = urllib.request.Request(f"http://localhost:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except Exception as error:
            return 0, str(error)

    def find(self):
        self.findings += 1
        self.app.execute("INSERT INTO findings VALUES (?)", [f"finding {self.findings}"])

    # The faults.
    def kill(self):
        self.kills += 1
        self.process.kill()
        self.process.wait()
        time.sleep(rng.uniform(0, 4))
        self.start()

    def restart(self):
        self.process.terminate()
        assert self.process.wait(30) == 0, "an orderly end"
        time.sleep(rng.uniform(0, 4))
        self.start()

    def power_cut(self):
        self.kills += 1
        # Nothing may happen between what the device holds and the end.
        self.process.send_signal(signal.SIGSTOP)
        shutil.copyfile(self.image, f"{self.folder}/cut.image")
        self.process.kill()
        self.process.wait()
        subprocess.run(["umount", self.disk], check=True)
        os.replace(f"{self.folder}/cut.image", self.image)
        subprocess.run(["e2fsck", "-fy", self.image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "loop", self.image, self.disk], check=True)
        self.start()

    def full_disk(self):
        ballast = f"{self.disk}/ballast"
        with open(ballast, "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 10, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    pass
        time.sleep(rng.uniform(5, 20))
        assert self.process.poll() is None, "a full disk ended the service"
        os.remove(ballast)

    def locked_database(self):
        lock = sqlite3.connect(f"{self.folder}/data/backups.db", isolation_level=None, timeout=30)
        lock.execute("BEGIN IMMEDIATE")
        time.sleep(rng.uniform(1, 4))
        lock.execute("ROLLBACK")
        lock.close()

    def receiver(self):
        Receiver.mode = rng.choice(["fails", "hangs"])
        time.sleep(rng.uniform(3, 15))
        Receiver.mode = "good"

    def clock(self):
        began = time.time()
        open(self.offset, "w").write(rng.choice(["+4d", "-1d", "-20000d"]))
        time.sleep(rng.uniform(3, 20))
        if rng.random() < 0.3:
            self.kill()
            time.sleep(3)
        open(self.offset, "w").write("+0")
        # The service notices within half a minute.
        self.odd.append((began - 40, time.time() + 40))

    def edit(self):
        self.declare(rng.choice(["# a comment\n", "\n[jobs.tick]\n", "[jobs.more]\nschedule = \"@yearly\"\ncleanup = { delete_from = \"sessions\", where = \"at < 0\" }\n"]))
        time.sleep(rng.uniform(1, 3))
        self.declare()

    def callers(self):
        for _ in range(60):
            try:
                caller = socket.create_connection(("127.0.0.1", self.port), 1)
                caller.send(rng.choice([b"POST /trigger/clean HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /hea", b"x" * 9000]))
                caller.close()
            except OSError:
                pass

    def reader(self):
        self.stalls = True
        time.sleep(rng.uniform(3, 10))
        self.stalls = False

    def figures(self):
        pid = self.process.pid
        status = open(f"/proc/{pid}/status").read()
        field = lambda name: int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])
        return field("VmRSS") // 1000, field("Threads"), len(os.listdir(f"/proc/{pid}/fd"))

    def run(self):
        self.start()
        end, self.slowest = time.time() + MINUTES * 60, 0.0
        while time.time() < end:
            fault = rng.choice([self.kill, self.restart, self.power_cut, self.full_disk, self.locked_database, self.receiver,
                                self.clock, self.edit, self.callers, self.reader])
            self.faults[fault.__name__] += 1
            threading.Thread(target=self.watch, daemon=True).start()
            self.find()
            self.app.executemany("INSERT INTO sessions (at) VALUES (?)", [(int(time.time()),)] * 50)
            fault()
            time.sleep(rng.uniform(2, 10))

    def watch(self):
        time.sleep(2)
        began = time.time()
        status, _ = self.call("GET", "/health", 60)
        if status:
            self.slowest = max(self.slowest, time.time() - began)

    def settle(self):
        time.sleep(70)
        self.restart()
        time.sleep(60)
        return self.figures()

    def judge(self, figures):
        failures = []
        for job in ("tick", "turn-a", "turn-b"):
            rows = collections.Counter(at for at, in self.app.execute("SELECT at FROM ticks WHERE job = ?", [job]))
            twice = [at for at, count in rows.items() if count > 1]
            told, offset = {}, 0
            while True:
                _, page = self.call("GET", f"/api/schedules/executions?job={job}&limit=1000&offset={offset}")
                told.update((run["scheduled_at"], run["status"]) for run in page["executions"] if run["trigger"] != "manual")
                offset += 1000
                if offset >= page["total"]:
                    break
            first, last = (int(at(set(rows) | set(told))) for at in (lambda all: min(map(seconds, normal(all))), lambda all: max(map(seconds, normal(all)))))
            ran = {int(seconds(at)) for at in rows}
            known = {int(seconds(at)) for at in told}
            is_odd = lambda at: any(began <= at <= ended for began, ended in self.odd)
            lost = [at for at in range(first, last) if at not in ran and at not in known and not is_odd(at)]
            gone = [at for at, status in told.items() if status == "success" and at not in rows]
            print(f"{job}: {len(rows)} times, twice {len(twice)}, in no record {len(lost)}, recorded as done and not {len(gone)}, "
                  f"statuses {dict(collections.Counter(told.values()))}")
            failures += [f"{job} {at} twice" for at in twice[:5]] + [f"{job} {at} lost" for at in lost[:5]] + [f"{job} {at} not done" for at in gone[:5]]
        told = {message: ids for (event, message), ids in Receiver.got.items() if event == "failed" and message.startswith("finding")}
        missing = [f"finding {number}" for number in range(1, self.findings + 1) if f"finding {number}" not in told]
        again = {message: ids for message, ids in told.items() if len(ids) > 1}
        others = {message: ids for message, ids in again.items() if len(set(ids)) > 1}
        print(f"findings: {self.findings}, not told {len(missing)}, told again with the same id {len(again) - len(others)}, with another {len(others)}; kills {self.kills}")
        failures += [f"{message} not told" for message in missing[:5]] + [f"{message} told as {ids}" for message, ids in list(others.items())[:5]]
        failures += [] if sum(len(ids) - 1 for ids in again.values()) <= self.kills else ["more repetitions than kills"]
        print(f"faults: {dict(self.faults)}")
        print(f"longest answer of /health: {self.slowest:.2f} s; at the end memory {figures[0]} MB, threads {figures[1]}, descriptors {figures[2]}")
        return failures


def seconds(at):
    return datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone(timezone.utc).timestamp()


def normal(times):
    """Those of the clock as it is, not as it was set."""
    now = time.time()
    return [at for at in times if now - MINUTES * 60 - 600 < seconds(at) < now + 60]


with tempfile.TemporaryDirectory() as folder:
    soak = Soak(folder)
    try:
        soak.run()
        failures = soak.judge(soak.settle())
        if failures:
            shutil.copyfile(f"{folder}/log", "/tmp/soak.log")
    finally:
        if soak.process:
            soak.process.kill()
            soak.process.wait()
        subprocess.run(["umount", "-l", soak.disk])
for failure in failures:
    print(f"FAILED: {failure}")
sys.exit(bool(failures))
