#!/usr/bin/env python3
"""Times the page in Debian's Chromium with 1,000 jobs and 100,000 runs, and watches the memory of service and page.

usage: cargo build --release --locked && benches/page.py [minutes]
"""
import json, os, re, sqlite3, statistics, subprocess, sys, tempfile, time, urllib.request

from process import rss

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.environ.get("BINARY", os.path.join(ROOT, "target/release/duplistatus-cron"))
MINUTES = float(sys.argv[1]) if len(sys.argv) > 1 else 10
JOBS, RUNS = 1000, 100_000

for part in ("index.html", "style.css", "app.js", "icon.svg"):
    print(f"{part}: {os.path.getsize(os.path.join(ROOT, 'src/http/page', part))} bytes")


def call(method, address, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    return json.load(urllib.request.urlopen(request))["value"]


class Browser:
    def __init__(self):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        port = next(re.search(r"on port (\d+)\.", line)[1] for line in self.driver.stdout if "successfully" in line)
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        base = f"http://127.0.0.1:{port}/session"
        self.session = f"{base}/{call('POST', base, wanted)['sessionId']}"

    def open(self, address):
        call("POST", f"{self.session}/url", {"url": address})

    def js(self, script):
        return call("POST", f"{self.session}/execute/sync", {"script": script, "args": []})

    def cdp(self, command, **parameters):
        return call("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def end(self):
        call("DELETE", self.session)
        self.driver.terminate()


with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "jobs.toml"), "w") as file:
        for n in range(JOBS):
            file.write(f'[jobs.job-{n}]\nschedule = "{n % 60} * * * *"\ncommand = {{ argv = ["true"] }}\n')

    def start():
        service = subprocess.Popen([BINARY, "--port", "0", "--log-format", "json", "--log-level", "info"], cwd=folder, stdout=subprocess.PIPE, text=True)
        line = next(line for line in service.stdout if "listening on" in line)
        return service, f"http://127.0.0.1:{json.loads(line)['port']}"

    # The state is made by the service, and filled while it is away.
    service, base = start()
    time.sleep(2)
    service.terminate()
    service.wait()
    state = sqlite3.connect(os.path.join(folder, "data/duplistatus-cron.db"))
    now = int(time.time() * 1000)
    rows = ((f"job-{n % JOBS}", "manual", "failed" if n % 37 == 0 else "success", now - (RUNS - n) * 1000, "done", 1) for n in range(RUNS))
    state.executemany(
        'INSERT INTO runs (job, "trigger", status, scheduled_at, started_at, finished_at, message, attempts) VALUES (?1, ?2, ?3, ?4, ?4, ?4 + 1200, ?5, ?6)', rows
    )
    state.commit()
    state.close()
    service, base = start()
    browser = Browser()
    try:
        firsts, refreshes, fetched = [], [], []
        for round in range(7):
            browser.open(f"{base}/?{round}#/")
            while not browser.js("return document.querySelectorAll('[data-job]').length"):
                time.sleep(0.02)
            paint = browser.js("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
            table = browser.js("return performance.getEntriesByType('element')[0]?.startTime ?? 0")
            fetched.append(browser.js("return performance.getEntriesByType('resource').find(entry => entry.name.includes('overview')).duration"))
            firsts.append(paint)
            took = call("POST", f"{browser.session}/execute/async", {"args": [], "script": """
                const done = arguments[0], began = performance.now(), row = document.querySelector('[data-job]')
                let asked = performance.getEntriesByType('resource').length
                new PerformanceObserver(list => { const entry = list.getEntries().find(entry => entry.name.includes('overview'))
                  if (entry) requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0)) }).observe({ type: 'resource' })
                document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))"""})
            refreshes.append(took)
        print(f"first paint: median {statistics.median(firsts):.0f} ms of {len(firsts)}; the overview took {statistics.median(fetched):.0f} ms")
        print(f"refresh, to the next frame: median {statistics.median(refreshes):.0f} ms")
        with urllib.request.urlopen(f"{base}/api/overview") as answer:
            print(f"overview: {len(answer.read())} bytes")
        browser.cdp("Performance.enable")

        def heap():
            browser.cdp("HeapProfiler.collectGarbage")
            metrics = {metric["name"]: metric["value"] for metric in browser.cdp("Performance.getMetrics")["metrics"]}
            return metrics["JSHeapUsedSize"] / 1e6, int(metrics["Nodes"])

        print(f"at first: service {rss(service.pid):.1f} MB, page {heap()[0]:.1f} MB and {heap()[1]} nodes")
        end = time.time() + MINUTES * 60
        while time.time() < end:
            time.sleep(min(5, max(0.1, end - time.time())))
            urllib.request.urlopen(urllib.request.Request(f"{base}/trigger/job-{int(time.time()) % JOBS}", method="POST")).read()
        print(f"after {MINUTES:g} min: service {rss(service.pid):.1f} MB, page {heap()[0]:.1f} MB and {heap()[1]} nodes")
    finally:
        browser.end()
        service.terminate()
        service.wait()
