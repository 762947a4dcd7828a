//! `GET /metrics`: figures in the text format of Prometheus, or in `OpenMetrics` for those who ask for it.

use std::fmt::{Display, Write};

use jiff::Timestamp;

use super::{Answer, Body, Context, Request, health};
use crate::config::Job;
use crate::engine::command::{JobReport, Report};
use crate::engine::{Replicas, Seen};
use crate::state::{Skip, Status, Trigger};
use crate::values::{COMMIT, Histogram, VERSION, counters};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How runs end that began.
const ENDS: [Status; 4] = [Status::Success, Status::Failed, Status::TimedOut, Status::Interrupted];
/// What runs of every job can be started by.
const TRIGGERS: [Trigger; 3] = [Trigger::Schedule, Trigger::CatchUp, Trigger::Manual];

/// `GET /metrics`
pub(super) fn get(context: &Context, request: &Request, _job: &str) -> Answer {
    // The databases are looked at, too.
    let Some(report) = health::look(context).report else {
        return Answer::stuck();
    };
    let is_open = request
        .header("Accept")
        .is_some_and(|wanted| wanted.contains("application/openmetrics-text"));
    let mut page = Page {
        text: String::new(),
        is_open,
    };
    of_the_service(&mut page, &report, context);
    let seen = context.replicas.as_ref().map(Replicas::seen);
    // Whoever is alone leads.
    let leads = seen.as_ref().is_none_or(|seen| seen.is_leading);
    page.gauge("leader", "Whether this replica leads", u8::from(leads));
    if let Some(seen) = &seen {
        of_replicas(&mut page, seen);
    }
    // Every replica would tell the same of them.
    if leads {
        of_jobs(&mut page, &report);
    }
    counted(&mut page, &report, context);
    if is_open {
        page.text.push_str("# EOF\n");
    }
    Answer {
        status: 200,
        body: Body::Text(page.text, if is_open { OPEN_METRICS } else { PROMETHEUS }),
        is_tagged: false,
    }
}

/// The page as it is written.
struct Page {
    text: String,
    is_open: bool,
}

impl Page {
    /// Begins a family of figures; a counter's name ends with `_total`.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let family = if self.is_open {
            name.trim_end_matches("_total")
        } else {
            name
        };
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}");
    }

    /// Writes a figure; ids and the words of closed lists need no escape in labels.
    fn figure(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        let name = format!("duplistatus_cron_{name}");
        self.family(&name, "gauge", help);
        self.figure(&name, &[], value);
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let (buckets, total) = histogram.cumulative();
        let bounds = buckets.iter().map(|(bound, count)| (format!("{bound:?}"), *count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), total)]) {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.figure(&format!("{name}_bucket"), &labels, count);
        }
        self.figure(&format!("{name}_sum"), labels, histogram.sum);
        self.figure(&format!("{name}_count"), labels, total);
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn of_the_service(page: &mut Page, report: &Report, context: &Context) {
    let name = "duplistatus_cron_build_info";
    page.family(name, "gauge", "The version that runs, always 1");
    page.figure(name, &[("version", VERSION), ("revision", COMMIT)], 1);
    page.family("process_start_time_seconds", "gauge", "When the process started");
    page.figure("process_start_time_seconds", &[], seconds(report.started_at));
    page.gauge(
        "outbox_pending",
        "Messages waiting to be delivered",
        report.outbox.pending,
    );
    page.gauge("outbox_dead", "Messages abandoned", report.outbox.dead);
    if let Some(oldest) = report.outbox.oldest {
        let help = "When the oldest message that waits was posted";
        page.gauge("outbox_oldest_timestamp_seconds", help, seconds(oldest));
    }
    let is_well = u8::from(report.state_error.is_none());
    page.gauge("state_ok", "Whether the state can be used", is_well);
    let was_applied = report.config.last_reload.as_ref().is_none_or(|last| last.applied);
    let help = "Whether the last reload of the configuration was applied";
    page.gauge("config_last_reload_successful", help, u8::from(was_applied));
    let help = "When the configuration in force was loaded";
    let loaded_at = seconds(report.config.loaded_at);
    page.gauge("config_last_reload_success_timestamp_seconds", help, loaded_at);
    let name = "duplistatus_cron_database_up";
    page.family(
        name,
        "gauge",
        "Whether the database could be opened when last looked at",
    );
    let plan = context.plans.borrow();
    let used = plan
        .databases
        .iter()
        .filter(|(_, declared)| report.databases.contains(declared));
    for (database, declared) in used {
        let is_up = context.databases.trouble_with(declared).is_none();
        page.figure(name, &[("database", database.as_str())], u8::from(is_up));
    }
}

fn of_replicas(page: &mut Page, seen: &Seen) {
    let others = seen.with_another_plan().len();
    page.gauge("leader_term", "The last term in which it has led", seen.term);
    page.gauge("replicas", "How many replicas are running", seen.replicas.len());
    page.gauge(
        "replicas_with_another_plan",
        "Replicas whose declaration is not this one's",
        others,
    );
    let help = "By how much this machine's clock is behind the database's";
    page.gauge("clock_offset_seconds", help, seen.behind.as_secs_f64());
    for (name, help, count) in [
        ("leader_changes_total", "How often the leader has changed", seen.changes),
        (
            "lease_renewals_failed_total",
            "Renewals of the lease that failed",
            seen.failed_renewals,
        ),
    ] {
        let name = format!("duplistatus_cron_{name}");
        page.family(&name, "counter", help);
        page.figure(&name, &[], count);
    }
}

/// One figure of every job.
type Figure = fn(&JobReport) -> Option<f64>;

fn of_jobs(page: &mut Page, report: &Report) {
    fn is(value: bool) -> f64 {
        f64::from(u8::from(value))
    }
    let figures: [(&str, &str, Figure); 8] = [
        ("job_active", "Whether the job runs by its schedule", |job| {
            Some(is(job.active))
        }),
        ("job_running", "Whether a run is in progress", |job| {
            Some(is(job.running))
        }),
        ("job_waiting", "Runs queued", |job| Some(f64::from(job.waiting))),
        ("job_failing", "Whether the last run failed", |job| {
            Some(is(job.last.error.is_some()))
        }),
        ("job_overdue", "Whether its last success is older than max_age", |job| {
            Some(is(job.overdue.is_some()))
        }),
        ("job_last_run_timestamp_seconds", "When its last run began", |job| {
            job.last.started_at.map(seconds)
        }),
        ("job_last_success_timestamp_seconds", "When it last succeeded", |job| {
            job.last.succeeded_at.map(seconds)
        }),
        ("job_next_run_timestamp_seconds", "When it is due next", |job| {
            job.next_run.map(seconds)
        }),
    ];
    for (name, help, figure) in figures {
        let name = format!("duplistatus_cron_{name}");
        page.family(&name, "gauge", help);
        for job in &report.jobs {
            if let Some(value) = figure(job) {
                page.figure(&name, &[("job", job.id.as_str())], value);
            }
        }
    }
}

/// What was counted since the process began: of declared jobs, from 0 on, or else the first failure would be no change.
fn counted(page: &mut Page, report: &Report, context: &Context) {
    let counters = counters();
    let ids: Vec<&str> = report.jobs.iter().map(|job| job.id.as_str()).collect();
    let name = "duplistatus_cron_runs_total";
    page.family(name, "counter", "Runs that ended");
    for (job, declared) in &context.plans.borrow().jobs {
        for trigger in triggers(declared) {
            for status in ENDS {
                let (job, trigger, status) = (job.as_str(), trigger.as_str(), status.as_str());
                let count = counters.runs.get(&(job.to_owned(), trigger, status)).copied();
                let labels = [("job", job), ("trigger", trigger), ("status", status)];
                page.figure(name, &labels, count.unwrap_or(0));
            }
        }
    }
    let name = "duplistatus_cron_skipped_total";
    page.family(name, "counter", "Runs that did not take place");
    for job in &ids {
        for reason in Skip::REASONS {
            let count = counters.skipped.get(&((*job).to_owned(), reason)).copied();
            page.figure(name, &[("job", *job), ("reason", reason)], count.unwrap_or(0));
        }
    }
    let name = "duplistatus_cron_rows_deleted_total";
    page.family(name, "counter", "Rows that runs deleted or changed");
    for job in &ids {
        page.figure(name, &[("job", *job)], counters.rows.get(*job).copied().unwrap_or(0));
    }
    let name = "duplistatus_cron_job_last_duration_seconds";
    page.family(name, "gauge", "How long its last run took");
    for job in &ids {
        if let Some(took) = counters.last_durations.get(*job) {
            page.figure(name, &[("job", *job)], took);
        }
    }
    let name = "duplistatus_cron_run_duration_seconds";
    page.family(name, "histogram", "How long runs took");
    for (kind, histogram) in &counters.durations {
        page.histogram(name, &[("kind", *kind)], histogram);
    }
    let name = "duplistatus_cron_run_lateness_seconds";
    page.family(name, "histogram", "How much later than scheduled runs began");
    page.histogram(name, &[], &counters.lateness);
    let name = "duplistatus_cron_notifications_total";
    page.family(name, "counter", "Attempts to deliver a message");
    for ((channel, result), count) in &counters.notifications {
        page.figure(name, &[("channel", channel.as_str()), ("result", *result)], count);
    }
    let name = "duplistatus_cron_http_requests_total";
    page.family(name, "counter", "Requests that were answered");
    for ((route, status), count) in &counters.requests {
        let status = status.to_string();
        page.figure(name, &[("route", *route), ("code", status.as_str())], count);
    }
}

/// What runs of a job can be started by.
fn triggers(job: &Job) -> impl Iterator<Item = Trigger> {
    let webhook = job.action.webhook().map(|_| Trigger::Webhook);
    TRIGGERS.into_iter().chain(webhook)
}
