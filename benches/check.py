#!/usr/bin/env python3
"""Times the overdue check on databases of growing size: benches/check.py [BINARY]

Makes sample databases in a temporary folder (servers x 3 jobs x 100 backups), serves each, and asks for the check
over HTTP. Prints the median of the asked runs for each size, and how the time grows with the rows.
"""

import datetime
import json
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/duplistatus-cron"
SCHEMA = (ROOT / "tests/fixtures/application.sql").read_text()
JOBS, BACKUPS, RUNS = 3, 100, 9


def make(folder: pathlib.Path, servers: int) -> float:
    """Makes the database; gives its size in MB."""
    (folder / "data").mkdir()
    path = folder / "data/backups.db"
    database = sqlite3.connect(path)
    database.executescript(SCHEMA)
    database.execute("PRAGMA journal_mode = wal")
    now = datetime.datetime.now(datetime.timezone.utc)
    for server in range(servers):
        database.execute("INSERT INTO servers (id, name) VALUES (?, ?)", (f"s{server}", f"host-{server:04}"))
        for job in range(JOBS):
            for age in range(BACKUPS):
                date = (now - datetime.timedelta(days=age, hours=server % 20)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
                database.execute(
                    "INSERT INTO backups (id, server_id, backup_name, backup_id, date, status, duration_seconds,"
                    " main_operation, parsed_result, begin_time, end_time, messages_array)"
                    " VALUES (?, ?, ?, 'b', ?, 'Success', 60, 'Backup', 'Success', ?, ?, ?)",
                    (f"{server}-{job}-{age}", f"s{server}", f"job {job}", date, date, date, "x" * 300),
                )
    database.commit()
    database.close()
    return path.stat().st_size / 1e6


def measure(folder: pathlib.Path) -> float:
    """The median time of a check, in milliseconds."""
    service = subprocess.Popen([BINARY, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        port = next(json.loads(line)["port"] for line in service.stdout if "listening on" in line)
        times = []
        for _ in range(RUNS):
            began = time.perf_counter()
            request = urllib.request.Request(f"http://localhost:{port}/trigger/overdue-backup-check", method="POST")
            body = json.load(urllib.request.urlopen(request))
            times.append((time.perf_counter() - began) * 1000)
            assert body["success"], body
        return statistics.median(times)
    finally:
        service.terminate()
        service.wait()


first = None
for servers in (100, 300, 1000):
    with tempfile.TemporaryDirectory() as name:
        size = make(pathlib.Path(name), servers)
        took = measure(pathlib.Path(name))
    first = first or took / servers
    print(f"{servers} servers x {JOBS} x {BACKUPS} ({size:.0f} MB): {took:.1f} ms, {took / servers / first:.2f} x the time per row")
