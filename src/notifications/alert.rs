//! What a job's runs have to tell, and when: its first failure, a changed cause, a reminder, its recovery. Pure: what
//! is decided is posted, together with the end of the run, by the engine.

use jiff::Timestamp;

use super::{Event, Message, Targets};
use crate::state::Failing;
use crate::values::{Duration, JobId, Moment, TargetId, iso};

/// Whom a job's runs are told to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alerts {
    /// Told of the first failure, of one with another cause, and again from time to time.
    pub on_failure: Vec<TargetId>,
    /// Told of every run that ends well.
    pub on_success: Vec<TargetId>,
    /// Told when a job that failed has recovered.
    pub on_recovery: Vec<TargetId>,
    /// How long a failure that goes on is not told again; for ever without it.
    pub repeat_after: Option<Duration>,
}

/// What became of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn<'a> {
    Began,
    Succeeded(&'a str),
    /// It did not end well, for this reason.
    Failed(&'a str),
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub event: Event,
    pub targets: Vec<TargetId>,
    pub message: Message,
    /// Whether only the newest counts: one that could not be sent yet gives way to it.
    pub is_signal: bool,
}

impl Alerts {
    /// Decides what is told of a turn, and gives how the job stands after it: failing, or not.
    pub(crate) fn decide(
        &self,
        job: &JobId,
        turn: Turn<'_>,
        failing: Option<&Failing>,
        now: Moment,
        targets: &Targets,
    ) -> (Vec<News>, Option<Failing>) {
        let mut news = Vec::new();
        let mut tell = |event, to: &[TargetId], message: Message| {
            let of_every_run = |id: &&TargetId| targets.get(*id).is_some_and(|target| target.is_run_monitor());
            let wanted: Vec<TargetId> = to.iter().filter(|id| !of_every_run(id)).cloned().collect();
            if !wanted.is_empty() {
                news.push(News {
                    event,
                    targets: wanted,
                    message,
                    is_signal: false,
                });
            }
        };
        let after = match turn {
            Turn::Began => failing.cloned(),
            Turn::Succeeded(said) => {
                tell(Event::Succeeded, &self.on_success, succeeded(job, said));
                if let Some(failing) = failing {
                    tell(Event::Recovered, &self.on_recovery, recovered(job, failing, said));
                }
                None
            }
            Turn::Failed(why) => {
                let (after, is_news) = self.fail(failing, why, now);
                if is_news {
                    tell(Event::Failed, &self.on_failure, failed(job, &after, why));
                }
                Some(after)
            }
        };
        news.extend(self.of_every_run(job, turn, targets));
        (news, after)
    }

    /// How the job stands after a failure, and whether that is news.
    fn fail(&self, failing: Option<&Failing>, why: &str, now: Moment) -> (Failing, bool) {
        let cause = cause_of(why);
        let Some(before) = failing else {
            let first = Failing {
                cause,
                since: now.wall,
                told_at: self.told(now),
                failures: 1,
            };
            return (first, true);
        };
        let repeats = |told_at: Timestamp| {
            self.repeat_after
                .is_some_and(|after| now.service.duration_since(told_at) >= after.signed())
        };
        let is_news = before.cause != cause || before.told_at.is_none_or(repeats);
        let after = Failing {
            cause,
            since: before.since,
            told_at: if is_news { self.told(now) } else { before.told_at },
            failures: before.failures + 1,
        };
        (after, is_news)
    }

    /// When a failure that is news now was told, in service time: never, where nobody is.
    fn told(&self, now: Moment) -> Option<Timestamp> {
        (!self.on_failure.is_empty()).then_some(now.service)
    }

    /// What targets hear that want every turn, by whichever key they are named.
    fn of_every_run(&self, job: &JobId, turn: Turn<'_>, targets: &Targets) -> Option<News> {
        let named = [&self.on_failure, &self.on_success, &self.on_recovery];
        let mut wanted: Vec<TargetId> = named
            .into_iter()
            .flatten()
            .filter(|id| targets.get(*id).is_some_and(|target| target.is_run_monitor()))
            .cloned()
            .collect();
        wanted.sort();
        wanted.dedup();
        let (event, text) = match turn {
            Turn::Began => (Event::Started, ""),
            Turn::Succeeded(said) => (Event::Succeeded, said),
            Turn::Failed(why) => (Event::Failed, why),
        };
        (!wanted.is_empty()).then(|| News {
            event,
            targets: wanted,
            message: Message::new(format!("{job} {}", event.as_str()), text, "default", ""),
            is_signal: true,
        })
    }
}

/// What makes two failures the same: their words but for the figures.
fn cause_of(why: &str) -> String {
    let mut cause = String::new();
    for c in why.chars() {
        match c {
            '0'..='9' if cause.ends_with('#') => {}
            '0'..='9' => cause.push('#'),
            other => cause.push(other),
        }
    }
    cause
}

fn succeeded(job: &JobId, said: &str) -> Message {
    Message::new(format!("{job} succeeded"), said, "default", "white_check_mark")
}

fn failed(job: &JobId, failing: &Failing, why: &str) -> Message {
    let (title, text) = match failing.failures {
        1 => (format!("{job} failed"), why.to_owned()),
        times => (
            format!("{job} is still failing"),
            format!("{why}\nIt has failed {times} times since {}.", iso(failing.since)),
        ),
    };
    Message::new(title, text, "high", "rotating_light")
}

fn recovered(job: &JobId, failing: &Failing, said: &str) -> Message {
    let times = match failing.failures {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    let text = format!("{said}\nIt had failed {times} since {}.", iso(failing.since));
    Message::new(format!("{job} has recovered"), text, "default", "white_check_mark")
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn the_first_failure_another_cause_a_reminder_and_the_recovery_are_told() {
        let ops: TargetId = "ops".parse().unwrap();
        let alerts = Alerts {
            on_failure: vec![ops.clone()],
            on_recovery: vec![ops],
            repeat_after: Some("1d".parse().unwrap()),
            on_success: Vec::new(),
        };
        let job = "j".parse().unwrap();
        let start: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let mut failing = None;
        for (hour, turn, expected) in [
            (0, Turn::Succeeded("fine"), vec![]),
            (1, Turn::Failed("waited 50 ms"), vec!["j failed"]),
            (2, Turn::Failed("waited 51 ms"), vec![]),
            (3, Turn::Failed("no such table: t"), vec!["j is still failing"]),
            (4, Turn::Failed("no such table: t"), vec![]),
            (27, Turn::Failed("no such table: t"), vec!["j is still failing"]),
            (28, Turn::Failed("no such table: t"), vec![]),
            (29, Turn::Succeeded("fine"), vec!["j has recovered"]),
            (30, Turn::Succeeded("fine"), vec![]),
            (31, Turn::Failed("no such table: t"), vec!["j failed"]),
        ] {
            let service = start + SignedDuration::from_hours(hour);
            // Set to and fro, the wall clock changes nothing.
            let wall = start + SignedDuration::from_hours(hour * 100 * (hour % 2));
            let now = Moment { wall, service };
            let (news, after) = alerts.decide(&job, turn, failing.as_ref(), now, &Targets::new());
            let titles: Vec<&str> = news.iter().map(|news| news.message.title.as_str()).collect();
            assert_eq!(titles, expected, "hour {hour}");
            failing = after;
        }
    }

    #[test]
    fn a_failure_that_nobody_was_told_of_is_news_to_whoever_comes_later() {
        let job = "j".parse().unwrap();
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let now = Moment {
            wall: now,
            service: now,
        };
        let (news, failing) = Alerts::default().decide(&job, Turn::Failed("gone"), None, now, &Targets::new());
        assert!(news.is_empty());
        let alerts = Alerts {
            on_failure: vec!["ops".parse().unwrap()],
            ..Alerts::default()
        };
        let (news, _) = alerts.decide(&job, Turn::Failed("gone"), failing.as_ref(), now, &Targets::new());
        assert_eq!(news.len(), 1);
    }
}
