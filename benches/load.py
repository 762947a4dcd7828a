#!/usr/bin/env python3
"""Times loading, validating and reloading a declaration of many jobs, and what the service uses while they wait.

usage: cargo build --release --locked && benches/load.py [jobs]
"""
import os, statistics, subprocess, sys, tempfile, time

from process import cpu, rss

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(ROOT, "target/release/duplistatus-cron")
JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000


def declare(changed=""):
    jobs = [
        f'[jobs.job-{n}]\nschedule = "{n % 60} {n // 60 % 24} * * *"\njitter = "30s"\ndescription = "{changed if n == 7 else n}"\n'
        f'cleanup = {{ delete_from = "sessions", where = "expires_at < datetime(\'now\')" }}\n'
        for n in range(JOBS)
    ]
    return "\n".join(jobs)


with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "jobs.toml")
    open(path, "w").write(declare())
    times = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([BINARY, "validate"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - began) * 1000)
    print(f"load and validate {JOBS} jobs: median {statistics.median(times):.0f} ms of {len(times)}")
    service = subprocess.Popen([BINARY, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True)
    next(line for line in service.stdout if "listening on" in line)
    try:
        time.sleep(2)
        times = []
        for round in range(5):
            open(path + ".new", "w").write(declare(f"changed {round}"))
            began = time.perf_counter()
            os.rename(path + ".new", path)
            next(line for line in service.stdout if "configuration reloaded" in line)
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.5)
        print(f"reload with one changed: median {statistics.median(times):.0f} ms from the write, 250 ms of it the debounce")
        time.sleep(3)
        before = cpu(service.pid)
        time.sleep(20)
        used = cpu(service.pid) - before
        print(f"waiting: {used / 20 * 100:.2f} % of a processor, {rss(service.pid):.1f} MB")
    finally:
        service.terminate()
        service.wait()
