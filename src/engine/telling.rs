//! What a run has to tell, made into letters that are taken down together with its beginning or its end.

use jiff::Timestamp;

use super::Engine;
use crate::config::Job;
use crate::notifications::alert::{News, Turn};
use crate::notifications::letter::{About, Envelope, Event, addresses};
use crate::store::outbox::Letter;
use crate::store::{RunId, Telling};

impl Engine {
    /// What a turn of a run tells, if anything; notes how the job stands after it.
    pub(super) fn tell(&mut self, job: &Job, run: RunId, turn: Turn<'_>, now: Timestamp) -> Option<Telling> {
        let before = self.failing.get(&job.id);
        let (news, failing) = job.notify.decide(&job.id, turn, before, now, &self.plan.targets);
        let letters: Vec<Letter> = news.iter().flat_map(|news| self.letters(job, run, news)).collect();
        if letters.is_empty() && failing.as_ref() == before {
            return None;
        }
        // One that was removed in the meantime is not remembered.
        let failing = failing.filter(|_| self.plan.jobs.contains_key(&job.id));
        match &failing {
            Some(failing) => self.failing.insert(job.id.clone(), failing.clone()),
            None => self.failing.remove(&job.id),
        };
        Some(Telling {
            job: job.id.clone(),
            failing,
            letters,
        })
    }

    fn letters(&self, job: &Job, run: RunId, news: &News) -> Vec<Letter> {
        let addresses = addresses(
            &news.targets,
            &self.plan.targets,
            self.plan.default_database_path().as_deref(),
        );
        // A newer letter of one subject takes the place of one that could not be sent yet.
        let subject = match news.event {
            _ if news.is_signal => format!("job {} signal", job.id),
            Event::Failed | Event::Recovered => format!("job {}", job.id),
            _ => format!("job {} run {run}", job.id),
        };
        let cause = format!("run {run} {}", news.event.as_str());
        let envelope = |address| Envelope {
            address,
            event: news.event,
            about: About::Job(job.id.clone()),
            message: news.message.clone(),
        };
        addresses
            .into_iter()
            .filter_map(|address| envelope(address).seal(&subject, &cause))
            .collect()
    }
}
