//! `GET /metrics`: figures in the text format of Prometheus.

use std::fmt::Write;

use super::{Answer, Context, Request};
use crate::engine::Command;
use crate::engine::command::{JobReport, Report};

/// `GET /metrics`
pub(super) fn get(context: &Context, _request: &Request, _job: &str) -> Answer {
    match context.ask(|reply| Command::Report { reply }) {
        Some(report) => Answer::ok(write(&report).into()),
        None => Answer::stuck(),
    }
}

/// One figure of every job.
type Figure = fn(&JobReport) -> Option<f64>;

fn write(report: &Report) -> String {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count, far below what a float holds exactly"
    )]
    let count = |number: i64| number as f64;
    let mut text = String::new();
    let mut single = |name: &str, help: &str, value: f64| {
        text.push_str(&format_head(name, help));
        let _ = writeln!(text, "duplistatus_cron_{name} {value}");
    };
    let uptime = report.at.duration_since(report.started_at).as_secs();
    single("uptime_seconds", "Since the service started", count(uptime));
    single(
        "outbox_pending",
        "Messages waiting to be delivered",
        count(report.outbox.pending),
    );
    single("outbox_dead", "Messages abandoned", count(report.outbox.dead));
    single(
        "state_ok",
        "Whether the state can be written",
        f64::from(u8::from(report.state_error.is_none())),
    );
    let of_jobs: [(&str, &str, Figure); 6] = [
        ("job_active", "Whether the job runs on its schedule", |job| {
            Some(f64::from(u8::from(job.active)))
        }),
        ("job_running", "Whether a run is in progress", |job| {
            Some(f64::from(u8::from(job.running)))
        }),
        ("job_waiting", "Runs queued", |job| Some(f64::from(job.waiting))),
        ("job_failing", "Whether the last run failed", |job| {
            Some(f64::from(u8::from(job.last.error.is_some())))
        }),
        ("job_last_success_timestamp_seconds", "When it last succeeded", |job| {
            job.last.succeeded_at.map(|at| at.as_duration().as_secs_f64())
        }),
        ("job_next_run_timestamp_seconds", "When it is due next", |job| {
            job.next_run.map(|at| at.as_duration().as_secs_f64())
        }),
    ];
    for (name, help, figure) in of_jobs {
        text.push_str(&format_head(name, help));
        for job in &report.jobs {
            if let Some(value) = figure(job) {
                // Ids need no escape.
                let _ = writeln!(text, "duplistatus_cron_{name}{{job=\"{}\"}} {value}", job.id);
            }
        }
    }
    text
}

fn format_head(name: &str, help: &str) -> String {
    format!("# HELP duplistatus_cron_{name} {help}\n# TYPE duplistatus_cron_{name} gauge\n")
}
