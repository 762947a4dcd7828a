//! What registries have now: each image is asked for once in a run, and a registry that has had enough is not asked again.

use std::collections::BTreeMap;
use std::path::Path;

use crate::docker::{Client, Credentials, DockerError, Login, Published, Reference};
use crate::kinds::programs::with_programs;
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

/// What a registry says that has had enough of questions.
const LIMITED: &[&str] = &["toomanyrequests", "too many requests", "rate limit"];
/// What one says that will say so again.
const LASTING: &[&str] = &[
    "unauthorized",
    "denied",
    "not found",
    "unknown",
    "authentication required",
    "no basic auth",
    "forbidden",
];

impl Registry {
    /// Reads the credentials of all `images`, as the file at `path` has them.
    pub(super) async fn new(images: Vec<Reference>, path: &Path, ctx: &RunContext) -> Result<Self, Failure> {
        let given = (images, path.to_owned());
        let logins = with_programs(ctx, &given, |(images, path), ctx, asked| {
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

    /// What the registry has for an image.
    ///
    /// # Errors
    /// That the engine cannot be asked.
    pub(super) async fn ask(
        &mut self,
        client: &Client,
        image: &Reference,
    ) -> Result<Result<Published, Unanswered>, DockerError> {
        if let Some(known) = self.answers.get(image) {
            return Ok(known.clone());
        }
        let answer = match (self.refusing.get(image.host()), self.login(image)) {
            (Some(refused), _) => Err(refused.clone()),
            (None, Err(why)) => Err(Unanswered {
                why,
                is_transient: false,
            }),
            (None, Ok(login)) => self.ask_for(client, image, login.as_ref()).await?,
        };
        self.answers.insert(image.clone(), answer.clone());
        Ok(answer)
    }

    async fn ask_for(
        &mut self,
        client: &Client,
        image: &Reference,
        login: Option<&Login>,
    ) -> Result<Result<Published, Unanswered>, DockerError> {
        let error = match client.published(image, login.map(|login| login.header.reveal())).await {
            Ok(published) => return Ok(Ok(published)),
            Err(error) if error.is_transient => return Err(error),
            Err(error) => error,
        };
        let said = login.map_or(error.message.clone(), |login| login.redactor.redact(&error.message));
        let lower = said.to_lowercase();
        let says_one_of = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        let host = image.host();
        if error.status == Some(429) || says_one_of(LIMITED) {
            let refused = Unanswered {
                why: format!("{host} has had enough of questions for now: {said}"),
                is_transient: true,
            };
            self.refusing.insert(host.to_owned(), refused.clone());
            return Ok(Err(refused));
        }
        let is_lasting = matches!(error.status, Some(401 | 403 | 404)) || says_one_of(LASTING);
        let hint = if is_lasting && login.is_none() {
            "; no credential is kept for it"
        } else {
            ""
        };
        Ok(Err(Unanswered {
            why: format!("{host} does not tell what {image} is: {said}{hint}"),
            is_transient: !is_lasting,
        }))
    }
}
