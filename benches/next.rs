//! When a job is due next: `cargo bench --bench next`.
//!
//! Prints, for each class of expression, how long finding the next time takes from a thousand instants spread over
//! eight years: the median and the worst, each instant being the best of five calls. Beside it, where Node.js is there,
//! the median of croner for JavaScript (`npm install` in benches/node first).
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that fails should say so and stop"
)]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use duplistatus_cron::{Schedule, TimeZone};
use jiff::Timestamp;

const CLASSES: &[(&str, &str, &str)] = &[
    ("every minute", "* * * * *", "UTC"),
    ("every ten seconds", "*/10 * * * * *", "UTC"),
    ("every five minutes", "*/5 * * * *", "Europe/Berlin"),
    (
        "a step, half an hour of daylight saving",
        "*/15 * * * *",
        "Australia/Lord_Howe",
    ),
    ("hourly", "0 * * * *", "UTC"),
    ("daily", "0 2 * * *", "UTC"),
    ("daily, in the hour the clock changes", "30 2 * * *", "Europe/Berlin"),
    (
        "lists and ranges",
        "0,15,30 8-18/2 1-15 JAN,JUN MON-FRI",
        "America/New_York",
    ),
    ("weekly", "0 4 * * SUN", "America/Sao_Paulo"),
    ("monthly", "0 0 1 * *", "Europe/Berlin"),
    ("last day of the month", "0 8 L * *", "Europe/Berlin"),
    ("nearest weekday", "0 8 15W * *", "Europe/Berlin"),
    ("second Monday", "0 8 * * MON#2", "Europe/Berlin"),
    ("yearly", "0 0 1 1 *", "UTC"),
    ("29 February", "0 0 29 2 *", "Pacific/Apia"),
    ("29 February on a Monday, the rarest", "0 0 29 2 +MON", "Europe/Berlin"),
];
const STARTS: i64 = 1000;
const CALLS: usize = 5;
/// 2024-01-01T00:00:00Z
const FIRST: i64 = 1_704_067_200;
/// Eight years by a thousand, in seconds, and a prime, so that no clock time is preferred.
const STEP: i64 = 252_457;

fn main() {
    let theirs = of_node();
    println!(
        "{:<42} {:>9} {:>9} {:>12}",
        "nanoseconds", "median", "worst", "croner (JS)"
    );
    for (index, (class, expression, zone)) in CLASSES.iter().enumerate() {
        let schedule = Schedule::parse(expression).unwrap();
        let zone: TimeZone = zone.parse().unwrap();
        let mut times: Vec<u128> = (0..STARTS)
            .map(|start| {
                let after = Timestamp::from_second(FIRST + start * STEP).unwrap();
                let once = |_| {
                    let began = Instant::now();
                    std::hint::black_box(schedule.next_after(std::hint::black_box(after), &zone));
                    began.elapsed().as_nanos()
                };
                (0..CALLS).map(once).min().unwrap()
            })
            .collect();
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        let theirs = theirs.get(index).map_or("-", String::as_str);
        println!("{class:<42} {median:>9} {worst:>9} {theirs:>12}");
    }
}

/// The medians of croner for JavaScript, where it is installed.
fn of_node() -> Vec<String> {
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/node");
    if !node.join("node_modules/croner").exists() {
        println!("(npm install in benches/node, and croner for JavaScript is measured beside it)");
        return Vec::new();
    }
    let classes: Vec<[&str; 2]> = CLASSES
        .iter()
        .map(|(_, expression, zone)| [*expression, *zone])
        .collect();
    let script = format!(
        "const {{ Cron }} = require('croner')
for (const [expression, timezone] of {}) {{
  let said = '-'
  try {{
    const job = new Cron(expression, {{ timezone, paused: true }})
    const times = Array.from({{ length: {STARTS} }}, (_, start) => {{
      const after = new Date(({FIRST} + start * {STEP}) * 1000)
      const once = () => {{ const began = process.hrtime.bigint(); job.nextRun(after); return Number(process.hrtime.bigint() - began) }}
      return Math.min(once(), once(), once(), once(), once())
    }}).sort((a, b) => a - b)
    said = String(times[{STARTS} / 2])
  }} catch (error) {{ said = 'refused' }}
  console.log(said)
}}",
        serde_json::to_string(&classes).unwrap()
    );
    let output = Command::new("node")
        .args(["-e", &script])
        .current_dir(&node)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}
