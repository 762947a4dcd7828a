#!/usr/bin/env python3
"""Measures the service on PostgreSQL: a server of its own, with Debian's defaults and fsync on.

- `cleanup`: half of a table goes while another session updates a row of it every 5 ms; beside it one plain DELETE. Prints
  the longest wait of the writer and the total time.
- `lateness`: jobs that are due each second, with the state on the server, ledger and history on.
- `memory`: the service with one job and nothing to do, its state in a file and on the server.

usage: cargo build --release --locked && pip install 'psycopg[binary]' && benches/postgres.py [rows] [jobs] [seconds]
"""
import contextlib, glob, json, os, socket, statistics, subprocess, sys, tempfile, threading, time, urllib.request

import psycopg

from process import rss

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(ROOT, "target/release/duplistatus-cron")
ROWS, JOBS, SECONDS = [int(number) for number in (sys.argv[1:] + ["2000000", "1000", "60"][len(sys.argv) - 1:])]
BINARIES = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
OWNER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def server():
    """Gives the address of a database."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        if OWNER:
            subprocess.run(["chown", "postgres", folder], check=True)
        data, port = os.path.join(folder, "data"), free_port()
        subprocess.run([*OWNER, f"{BINARIES}/initdb", "--auth=trust", "--username=postgres", "-D", data], check=True, stdout=subprocess.DEVNULL)
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        options = [option for setting in settings for option in ("-c", setting)]
        running = subprocess.Popen([*OWNER, f"{BINARIES}/postgres", "-D", data, *options], stderr=subprocess.DEVNULL)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            while True:
                try:
                    psycopg.connect(url).close()
                    break
                except psycopg.OperationalError:
                    time.sleep(0.1)
            yield url
        finally:
            running.terminate()
            running.wait()


@contextlib.contextmanager
def service(declaration):
    """Runs the service; gives its process and a way to call it."""
    with tempfile.TemporaryDirectory() as folder:
        open(os.path.join(folder, "jobs.toml"), "w").write(declaration)
        port = free_port()
        running = subprocess.Popen([BINARY, "--port", str(port)], cwd=folder, stdout=subprocess.DEVNULL)

        def call(method, path):
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
            return json.load(urllib.request.urlopen(request, timeout=3600))

        for _ in range(200):
            try:
                call("GET", "/health")
                break
            except OSError:
                time.sleep(0.05)
        try:
            yield running, call
        finally:
            running.terminate()
            running.wait()


def fill(url):
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS metrics")
        database.execute("CREATE TABLE metrics (id bigint PRIMARY KEY, at timestamptz, value float8, note text)")
        database.execute("CREATE INDEX ON metrics (at)")
        database.execute(f"INSERT INTO metrics SELECT n, now() - interval '60 days' + n * interval '60 days' / {ROWS}, n, repeat('x', 60) FROM generate_series(1, {ROWS}) n")
        database.execute("VACUUM ANALYZE metrics")
        database.execute("CHECKPOINT")


def beside_a_writer(url, work):
    stop, waits = threading.Event(), []

    def write():
        with psycopg.connect(url, autocommit=True) as database:
            number = ROWS
            while not stop.is_set():
                began = time.perf_counter()
                database.execute("UPDATE metrics SET value = value + 1 WHERE id = %s", [number])
                waits.append((time.perf_counter() - began) * 1000)
                number = number - 1 if number > ROWS * 0.9 else ROWS
                time.sleep(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(1)
    waits.clear()
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    stop.set()
    writer.join()
    return took, waits


def cleanup(url):
    declaration = f"""
[databases.app]
url = "{url}"
[jobs.tidy]
schedule = "@yearly"
timeout = "1h"
[jobs.tidy.cleanup]
delete_from = "metrics"
where = "at < :cutoff"
retention = "30d"
"""

    def plain():
        with psycopg.connect(url, autocommit=True) as database:
            database.execute("DELETE FROM metrics WHERE at < now() - interval '30 days'")

    def ours():
        with service(declaration) as (_, call):
            result = call("POST", "/trigger/tidy")
            assert result["success"], result

    for name, work in [("one plain DELETE", plain), ("duplistatus-cron", ours)] * 2:
        fill(url)
        took, waits = beside_a_writer(url, work)
        waits.sort()
        print(f"{name:<18} {took:6.1f} s  writer: p50 {statistics.median(waits):6.2f} ms  p99 {waits[int(len(waits) * 0.99)]:6.1f} ms  longest {waits[-1]:7.1f} ms")


def lateness(url):
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("CREATE TABLE t (id int)")
    with tempfile.TemporaryDirectory() as folder:
        import sqlite3

        path = os.path.join(folder, "app.db")
        sqlite3.connect(path).executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY)").close()
        jobs = [f'[jobs.j{n}]\nschedule = "* * * * * *"\ncleanup = {{ delete_from = "t", where = "id < 0" }}\n' for n in range(JOBS)]
        declaration = f'[state]\nurl = "{url}"\n[databases.app]\npath = "{path}"\n[limits]\nmax_running = {JOBS + 1}\n' + "\n".join(jobs)
        with service(declaration) as (running, _):
            time.sleep(SECONDS + 5)
            memory = rss(running.pid)
    with psycopg.connect(url) as database:
        first, = database.execute("SELECT min(scheduled_at) FROM duplistatus_cron.runs").fetchone()
        rows = database.execute(
            "SELECT started_at - scheduled_at, finished_at - scheduled_at, status FROM duplistatus_cron.runs WHERE scheduled_at >= %s AND scheduled_at < %s",
            [first + 2000, first + 2000 + SECONDS * 1000],
        ).fetchall()
    for name, column in [("begun", 0), ("done", 1)]:
        late = sorted(row[column] for row in rows if row[2] != "skipped" and row[column] is not None)
        print(f"{name:<18} p50 {late[len(late) // 2]:6.0f} ms  p99 {late[int(len(late) * 0.99)]:6.0f} ms  runs {len(late)} of {JOBS * SECONDS}  memory {memory:.0f} MB")


def memory(url):
    job = '[jobs.a]\nschedule = "@yearly"\ncommand = { argv = ["true"] }\n'
    for name, state in [("in a file", ""), ("on the server", f'[state]\nurl = "{url}"\nschema = "idle"\n')]:
        with service(state + job) as (running, _):
            time.sleep(20)
            print(f"{name:<18} {rss(running.pid):.1f} MB")


with server() as url:
    print("Memory, idle:")
    memory(url)
    print(f"Cleanup of {ROWS // 2} rows of {ROWS}:")
    cleanup(url)
    print(f"{JOBS} jobs each second, the state on the server:")
    lateness(url)
