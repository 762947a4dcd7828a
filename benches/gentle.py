#!/usr/bin/env python3
"""Measures how long an application waits while a cleanup deletes most of its audit log.

A second process inserts a row every 5 ms, as the application does (WAL, busy_timeout). Beside the service's cleanup, in
the same run, stands one plain DELETE. Prints the writer's waits, the total time and the largest write-ahead log.

usage: cargo build --release --locked && benches/gentle.py [rows]
"""
import json, multiprocessing, os, shutil, sqlite3, statistics, subprocess, sys, tempfile, threading, time, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(ROOT, "target/release/duplistatus-cron")
ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
JOBS = """
[jobs.tidy]
schedule = "@yearly"
timeout = "1h"
[jobs.tidy.cleanup]
delete_from = "audit_log"
where = "timestamp < :cutoff"
retention = "90d"
"""


def make(folder):
    os.makedirs(os.path.join(folder, "data"))
    path = os.path.join(folder, "data/backups.db")
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(open(os.path.join(ROOT, "tests/fixtures/application.sql")).read())
    database.execute("PRAGMA foreign_keys = OFF")
    database.execute(
        """WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO audit_log (timestamp, username, action, category, status, details)
        SELECT datetime('now', '-' || (400 - i * 400 / ?1) || ' days'), 'admin', 'login', 'auth', 'success', '{"address":"192.0.2.7"}' FROM n""",
        [ROWS],
    )
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


def write(path, stop, waits):
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    found = []
    while not stop.is_set():
        began = time.perf_counter()
        database.execute("INSERT INTO audit_log (timestamp, username, action, category, status) VALUES (datetime('now'), 'w', 'w', 'auth', 'success')")
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.005)
    waits.put(found)


def measure(name, path, work):
    stop, waits = multiprocessing.Event(), multiprocessing.Queue()
    writer = multiprocessing.Process(target=write, args=(path, stop, waits))
    writer.start()
    time.sleep(0.5)
    largest, done = [0], threading.Event()

    def watch():
        while not done.is_set():
            largest[0] = max(largest[0], os.path.getsize(path + "-wal"))
            time.sleep(0.005)

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.perf_counter()
    work()
    total = time.perf_counter() - began
    done.set()
    watching.join()
    stop.set()
    found = sorted(waits.get())
    writer.join()
    left = sqlite3.connect(path).execute("SELECT count(*) FROM audit_log WHERE username = 'admin'").fetchone()[0]
    p99 = found[int(len(found) * 0.99)]
    print(f"{name:<8} total {total:7.2f} s   writer p50 {statistics.median(found):6.2f} ms  p99 {p99:7.2f} ms  longest {found[-1]:8.1f} ms   WAL {largest[0] / 1e6:7.1f} MB   {left} rows left")
    return total


def main():
    folder = tempfile.mkdtemp()
    try:
        plain, ours = os.path.join(folder, "plain"), os.path.join(folder, "ours")
        path = make(plain)
        shutil.copytree(plain, ours)

        def delete():
            database = sqlite3.connect(path, timeout=30)
            database.execute("DELETE FROM audit_log WHERE timestamp < datetime('now', '-90 days')")
            database.commit()

        print(f"{ROWS} rows")
        first = measure("plain", path, delete)
        open(os.path.join(ours, "jobs.toml"), "w").write(JOBS)
        service = subprocess.Popen([BINARY, "--port", "0"], cwd=ours, stdout=subprocess.PIPE, text=True)
        port = next(json.loads(line)["port"] for line in service.stdout if "listening on" in line)

        def trigger():
            request = urllib.request.Request(f"http://localhost:{port}/trigger/tidy", method="POST")
            print("        ", json.load(urllib.request.urlopen(request))["message"])

        second = measure("service", os.path.join(ours, "data/backups.db"), trigger)
        service.terminate()
        service.wait()
        print(f"total: {second / first:.2f} times the plain one")
    finally:
        shutil.rmtree(folder)


main()
