#!/usr/bin/env python3
"""Measures how late runs begin when many jobs are due every second, ledger and history on; beside it node-cron and
croner for JavaScript on the same schedule, in the same run.

Each job looks for rows to delete in a small table, and finds none. Lateness is what the ledger says: begun minus due;
"done" is the same for the end of each run, its work included. For the others it is the time their function is called
minus the full second; they do no work and keep no ledger.

usage: cargo build --release --locked && benches/lateness.py [jobs] [seconds]      (npm install in benches/node first)
"""
import json, os, sqlite3, subprocess, sys, tempfile, time

from process import rss

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(ROOT, "target/release/duplistatus-cron")
JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 60


def show(name, late, wanted, memory):
    late.sort()
    p99 = late[int(len(late) * 0.99)] if late else float("nan")
    print(f"{name:<18} p50 {late[len(late) // 2]:7.1f} ms  p99 {p99:7.1f} ms  runs {len(late)} of {wanted}  memory {memory:.0f} MB")


def ours():
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "data"))
        database = sqlite3.connect(os.path.join(folder, "data/backups.db"))
        database.executescript("PRAGMA journal_mode = WAL; CREATE TABLE configurations (key TEXT PRIMARY KEY, value TEXT); CREATE TABLE t (id INTEGER PRIMARY KEY)")
        database.close()
        kind = 'cleanup = { delete_from = "t", where = "id < 0" }'
        jobs = [f'[jobs.j{n}]\nschedule = "* * * * * *"\n{kind}\n' for n in range(JOBS)]
        limits = f"[limits]\nmax_running = {JOBS + 1}\n"
        open(os.path.join(folder, "jobs.toml"), "w").write(limits + "\n".join(jobs))
        log = open(os.path.join(folder, "log"), "w")
        service = subprocess.Popen([BINARY, "--port", "0"], cwd=folder, stdout=log)
        time.sleep(SECONDS + 5)
        memory = rss(service.pid)
        service.terminate()
        service.wait()
        state = sqlite3.connect(os.path.join(folder, "data/duplistatus-cron.db"))
        first, = state.execute("SELECT min(scheduled_at) FROM runs").fetchone()
        window = (first + 2000, first + 2000 + SECONDS * 1000)
        rows = state.execute("SELECT started_at - scheduled_at, finished_at - scheduled_at, status FROM runs WHERE scheduled_at >= ? AND scheduled_at < ?", window).fetchall()
        show("duplistatus-cron", [late for late, _, status in rows if status != "skipped"], JOBS * SECONDS, memory)
        show("  done", [done for _, done, status in rows if status != "skipped"], JOBS * SECONDS, memory)
        skipped = sum(status == "skipped" for _, _, status in rows)
        print(f"{'':<18} recorded as skipped: {skipped}, in no ledger: {JOBS * SECONDS - len(rows)}")


def node(name, script):
    folder = os.path.join(ROOT, "benches/node")
    if not os.path.isdir(os.path.join(folder, "node_modules", name)):
        print(f"{name:<18} is not installed; npm install in benches/node")
        return
    script = script + f"""
const start = Math.ceil(Date.now() / 1000) * 1000 + 2000, end = start + {SECONDS} * 1000, late = []
function note() {{ const now = Date.now(); if (now >= start && now < end + 900) late.push(now - Math.floor(now / 1000) * 1000) }}
for (let n = 0; n < {JOBS}; n++) make(note)
setTimeout(() => {{ process.stdout.write(JSON.stringify([late, process.memoryUsage().rss / 1e6]), () => process.exit()) }}, end - Date.now() + 1500)
"""
    output = subprocess.run(["node", "-e", script], cwd=folder, capture_output=True, text=True).stdout
    late, memory = json.loads(output.strip().splitlines()[-1])
    show(name, late, JOBS * SECONDS, memory)


print(f"{JOBS} jobs every second, {SECONDS} s")
ours()
node("node-cron", "const cron = require('node-cron'); const make = f => cron.schedule('* * * * * *', f);")
node("croner", "const { Cron } = require('croner'); const make = f => new Cron('* * * * * *', f);")
