#!/usr/bin/env python3
"""Measures what a run costs: jobs that are due every second claim their time, insert one row into the application's
database and record their end. Beside it, in turns, a program on robfig/cron (the engine under ofelia) that does the same.

What counts is when the row is there: each row carries the time at which it was inserted. Processor time is that of the
process, divided by its runs. Ours has its claims on the disk before it runs; the other one does not.

usage: cargo build --release --locked
       apt-get install golang-go golang-github-robfig-cron-dev golang-github-mattn-go-sqlite3-dev
       benches/cost.py [jobs] [seconds] [rounds] [another binary of ours ...]
"""
import os, sqlite3, statistics, subprocess, sys, tempfile, time

from process import cpu, rss

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OURS = os.path.join(ROOT, "target/release/duplistatus-cron")
JOBS, SECONDS, ROUNDS = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 1000), (2, 20), (3, 3)))
NOW = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def declare(folder):
    statement = f"INSERT INTO witness VALUES (:job, CAST((julianday(:scheduled_at) - 2440587.5) * 86400000 + 0.5 AS INTEGER), {NOW})"
    jobs = [f'[jobs.job-{n}]\nschedule = "* * * * * *"\nsql = {{ statement = "{statement}", tables = ["witness"] }}\n' for n in range(JOBS)]
    open(os.path.join(folder, "jobs.toml"), "w").write(f"[limits]\nmax_running = {JOBS + 1}\n" + "\n".join(jobs))


def measure(command):
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "data"))
        database = sqlite3.connect(os.path.join(folder, "data/backups.db"))
        database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE configurations (key TEXT PRIMARY KEY, value TEXT); CREATE TABLE witness (job TEXT, due INTEGER, at INTEGER)")
        database.close()
        declare(folder)
        with open(os.path.join(folder, "log"), "w") as log:
            process = subprocess.Popen(command(folder), cwd=folder, stdout=log)
            time.sleep(5 + JOBS / 3000)
            before, began = cpu(process.pid), time.time()
            time.sleep(SECONDS)
            spent, ended, memory = cpu(process.pid) - before, time.time(), rss(process.pid)
            process.terminate()
            process.wait()
        rows = sqlite3.connect(os.path.join(folder, "data/backups.db")).execute(
            "SELECT at - due FROM witness WHERE at BETWEEN ? AND ?", (began * 1000, ended * 1000)).fetchall()
        late = sorted(late for late, in rows)
        at = lambda share: late[int((len(late) - 1) * share)] if late else float("nan")
        return at(0.5), at(0.99), spent / max(len(late), 1) * 1e6, memory, len(late) / (JOBS * SECONDS)


with tempfile.TemporaryDirectory() as built:
    peer = os.path.join(built, "peer")
    subprocess.run(["go", "build", "-o", peer, "main.go"], cwd=os.path.join(ROOT, "benches/peer"), check=True,
                   env={**os.environ, "GOPATH": "/usr/share/gocode", "GO111MODULE": "off"})
    programs = {"robfig/cron": lambda folder: [peer, folder, str(JOBS)]}
    for binary in [OURS, *sys.argv[4:]]:
        programs[os.path.basename(binary)] = lambda folder, binary=binary: [binary, "--port", "0"]
    found = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, command in programs.items():
            found[name].append(measure(command))
    print(f"{JOBS} jobs every second, {SECONDS} s, medians of {ROUNDS} rounds")
    reference = [statistics.median(column) for column in zip(*found["robfig/cron"])]
    for name, rounds in found.items():
        figures = [statistics.median(column) for column in zip(*rounds)]
        shown = "  ".join(f"{label} {value:7.1f} {unit} ({value / other:4.2f})" for label, unit, value, other in zip(
            ("row p50", "p99", "processor", "memory"), ("ms", "ms", "us a run", "MB"), figures, reference))
        print(f"{name:<18} {shown}  done {figures[4]:.3f}")
