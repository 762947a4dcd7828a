//! What registries have now: each image is asked for once in a run, and a registry that has had enough is not asked again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use crate::docker::{Client, Credentials, DockerError, Login, Published, Reference};
use crate::kinds::programs::with_programs_until;
use crate::run::{Failure, RunContext};

/// The registries, as far as a run asks them.
pub(super) struct Registry {
    logins: BTreeMap<Reference, Result<Option<Login>, String>>,
    answers: BTreeMap<Reference, Result<Published, Unanswered>>,
    /// The hosts that have had enough.
    refusing: BTreeMap<String, Unanswered>,
}

/// Why it is not known what a registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub why: String,
    pub is_transient: bool,
}

/// What a registry says that limits requests.
const LIMITED: &[&str] = &["toomanyrequests", "too many requests", "rate limit"];
/// What one says that wants to know who asks.
const WANTS_A_LOGIN: &[&str] = &[
    "unauthorized",
    "denied",
    "authentication required",
    "no basic auth",
    "forbidden",
];
/// What one says that does not have the image.
const MISSING: &[&str] = &["manifest unknown", "name unknown", "not found"];
/// How long the helpers may take that know credentials.
const HELPERS: Duration = Duration::from_secs(30);

impl Registry {
    /// Reads the credentials of all `images`, as the file at `path` has them.
    pub(super) async fn new(images: Vec<Reference>, path: &Path, ctx: &RunContext) -> Result<Self, Failure> {
        let given = (images, path.to_owned());
        let logins = with_programs_until(ctx, &given, sleep(HELPERS), |(images, path), ctx, asked| {
            let credentials = Credentials::read(path, &ctx.surroundings, asked);
            let login = |image: &Reference| {
                credentials
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|credentials| credentials.of(image))
            };
            Ok(images.iter().map(|image| (image.clone(), login(image))).collect())
        });
        Ok(Self {
            logins: logins.await?,
            answers: BTreeMap::new(),
            refusing: BTreeMap::new(),
        })
    }

    /// What logs in to the registry of an image.
    pub(super) fn login(&self, image: &Reference) -> Result<Option<Login>, String> {
        self.logins.get(image).cloned().unwrap_or(Ok(None))
    }

    /// Why the registry of an image is not asked any more, if so.
    pub(super) fn refusal(&self, image: &Reference) -> Option<Unanswered> {
        self.refusing.get(image.host()).cloned()
    }

    /// What the registry has for an image.
    pub(super) async fn ask(&mut self, client: &Client, image: &Reference) -> Result<Published, Unanswered> {
        if let Some(known) = self.answers.get(image) {
            return known.clone();
        }
        let answer = match (self.refusal(image), self.login(image)) {
            (Some(refused), _) => Err(refused),
            (None, Err(why)) => Err(Unanswered {
                why,
                is_transient: false,
            }),
            (None, Ok(login)) => {
                let asked = client
                    .published(image, login.as_ref().map(|login| login.header.reveal()))
                    .await;
                asked.map_err(|error| self.explain(&format!("{image} is not known"), image, &error, login.as_ref()))
            }
        };
        self.answers.insert(image.clone(), answer.clone());
        answer
    }

    /// What an error says of the registry of an image, which is not asked again where it limits requests or does not answer.
    pub(super) fn explain(
        &mut self,
        what: &str,
        image: &Reference,
        error: &DockerError,
        login: Option<&Login>,
    ) -> Unanswered {
        let said = login.map_or(error.message.clone(), |login| login.redactor.redact(&error.message));
        let lower = said.to_lowercase();
        let says_one_of = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let (status, host) = (error.status, image.host());
        let is_limited = status == Some(429) || says_one_of(LIMITED);
        let wants_a_login = matches!(status, Some(401 | 403)) || says_one_of(WANTS_A_LOGIN);
        let is_missing = status == Some(404) || says_one_of(MISSING);
        let why = if is_limited {
            format!("{host} limits requests for now: {said}")
        } else if wants_a_login && login.is_none() {
            format!("{what}: {host} says: {said}; no credential is kept for it")
        } else {
            format!("{what}: {host} says: {said}")
        };
        let unanswered = Unanswered {
            why,
            is_transient: is_limited || !(wants_a_login || is_missing),
        };
        if is_limited || error.is_transient {
            self.refusing.insert(host.to_owned(), unanswered.clone());
        }
        unanswered
    }
}
