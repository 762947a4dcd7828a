#!/usr/bin/env python3
"""Measures how long an application waits while a cleanup deletes most of its audit log.

A second process inserts a row every 5 ms, as the application does (WAL, busy_timeout). Two orders of rows: by time, as a
log is written, and scattered, where what goes stands between what stays. Beside the service's cleanup, in the same run,
stand one plain DELETE and the loop people write by hand (DELETE ... LIMIT 5000, then a pause of 10 ms). Prints the
writer's waits, the total time and the largest write-ahead log.

usage: cargo build --release --locked && benches/gentle.py [rows]
"""
import json, multiprocessing, os, shutil, sqlite3, statistics, subprocess, sys, tempfile, threading, time, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(ROOT, "target/release/duplistatus-cron")
ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
OLD = "timestamp < datetime('now', '-90 days')"
# A number for the i-th row from 0 up to the number of rows: its place in time.
ORDERS = {"in order of time": "i", "scattered": "(i * 7919) % ?1"}
JOBS = """
[jobs.tidy]
schedule = "@yearly"
timeout = "1h"
[jobs.tidy.cleanup]
delete_from = "audit_log"
where = "timestamp < :cutoff"
retention = "90d"
"""


def make(folder, place):
    os.makedirs(os.path.join(folder, "data"))
    path = os.path.join(folder, "data/backups.db")
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(open(os.path.join(ROOT, "tests/fixtures/application.sql")).read())
    database.execute("PRAGMA foreign_keys = OFF")
    database.execute(
        f"""WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO audit_log (timestamp, username, action, category, status, details)
        SELECT datetime('now', '-' || (400 - {place} * 400 / ?1) || ' days'), 'admin', 'login', 'auth', 'success', '{{"address":"192.0.2.7"}}' FROM n""",
        [ROWS],
    )
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def write(path, stop, waits):
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    found = []
    while not stop.is_set():
        began = time.perf_counter()
        database.execute("INSERT INTO audit_log (timestamp, username, action, category, status) VALUES (datetime('now'), 'w', 'w', 'auth', 'success')")
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.005)
    waits.put(found)


def measure(name, folder, work):
    path = os.path.join(folder, "data/backups.db")
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
    work(path)
    total = time.perf_counter() - began
    done.set()
    watching.join()
    stop.set()
    found = sorted(waits.get())
    writer.join()
    left = sqlite3.connect(path).execute("SELECT count(*) FROM audit_log WHERE username = 'admin'").fetchone()[0]
    p99 = found[int(len(found) * 0.99)]
    print(f"  {name:<8} total {total:7.2f} s   writer p50 {statistics.median(found):6.2f} ms  p99 {p99:7.2f} ms  longest {found[-1]:8.1f} ms   WAL {largest[0] / 1e6:7.1f} MB   {left} rows left", flush=True)
    return total, found[-1]


def plain(path):
    database = sqlite3.connect(path, timeout=30)
    database.execute(f"DELETE FROM audit_log WHERE {OLD}")
    database.commit()


def by_hand(path):
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    while database.execute(f"DELETE FROM audit_log WHERE rowid IN (SELECT rowid FROM audit_log WHERE {OLD} LIMIT 5000)").rowcount:
        time.sleep(0.01)


def by_service(folder):
    open(os.path.join(folder, "jobs.toml"), "w").write(JOBS)
    service = subprocess.Popen([BINARY, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True)
    port = next(json.loads(line)["port"] for line in service.stdout if "listening on" in line)

    def trigger(path):
        request = urllib.request.Request(f"http://localhost:{port}/trigger/tidy", method="POST")
        print("          ", json.load(urllib.request.urlopen(request, timeout=3600))["message"])

    found = measure("service", folder, trigger)
    service.terminate()
    service.wait()
    return found


def main():
    top = tempfile.mkdtemp()
    try:
        for order, place in ORDERS.items():
            folders = {name: os.path.join(top, order, name) for name in ("plain", "by hand", "service")}
            make(folders["plain"], place)
            for name in ("by hand", "service"):
                shutil.copytree(folders["plain"], folders[name])
            print(f"{ROWS} rows, {order}", flush=True)
            plain_total, plain_longest = measure("plain", folders["plain"], plain)
            measure("by hand", folders["by hand"], by_hand)
            total, longest = by_service(folders["service"])
            print(f"  service: {total / plain_total:.2f} times the plain DELETE; longest wait 1/{plain_longest / longest:.0f} of its")
            shutil.rmtree(os.path.join(top, order))
    finally:
        shutil.rmtree(top)


main()
