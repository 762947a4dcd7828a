//! How a container stands: whether its registry has a newer image, and whether that is to be used now.

use jiff::Timestamp;
use serde_json::Value;

use super::ContainerUpdate;
use super::memory::{Bad, Memory};
use super::messages::from_to;
use super::registry::{Registry, Unanswered};
use super::survey::Site;
use crate::docker::{Container, DockerError, Published, Reference, short};
use crate::values::iso;

/// How a container stands.
pub(super) enum Standing {
    Current,
    Skipped(String),
    /// It is not known what its registry has.
    Undecided(Unanswered),
    Newer(Box<Newer>),
}

/// A newer image.
#[derive(Clone, Debug)]
pub(super) struct Newer {
    pub image: Reference,
    pub digest: String,
    /// Since when it is known.
    pub first: Timestamp,
    /// Whether no run has seen it before.
    pub is_new: bool,
    /// Everything that the engine tells of the image that the container has.
    pub old_image: Value,
    /// The digest it was pulled by, where that is known.
    pub from: Option<String>,
    /// What it is pulled for, where that is not the engine's own.
    pub platform: Option<String>,
}

/// Why a newer image is not used now.
pub(super) enum Wait {
    /// It is too young.
    Held(String),
    /// It was not well.
    Bad(String),
}

/// What a container's image is called, and its digests.
struct Known {
    image: Reference,
    old_image: Value,
    digests: Vec<String>,
}

impl Site {
    /// Looks how a container stands.
    ///
    /// # Errors
    /// That the engine does not tell.
    pub(super) async fn standing(
        &self,
        container: &Container,
        registry: &mut Registry,
        memory: &Memory,
        now: Timestamp,
    ) -> Result<Standing, DockerError> {
        let known = match self.known(container).await? {
            Ok(known) => known,
            Err(why) => return Ok(Standing::Skipped(why)),
        };
        let published = match registry.ask(&self.client, &known.image).await {
            Ok(published) => published,
            Err(unanswered) => return Ok(Standing::Undecided(unanswered)),
        };
        let is_same = memory.same.get(container.image()) == Some(&published.digest);
        if is_same || known.digests.contains(&published.digest) {
            return Ok(Standing::Current);
        }
        let wanted = platform_of(&known.old_image);
        if !offers(&published, &wanted) {
            let why = format!(
                "{} has no image for {wanted}: it has {}",
                known.image,
                published.platforms.join(", ")
            );
            return Ok(Standing::Undecided(Unanswered {
                why,
                is_transient: false,
            }));
        }
        let seen = memory
            .seen
            .get(&known.image.to_string())
            .filter(|seen| seen.digest == published.digest);
        Ok(Standing::Newer(Box::new(Newer {
            first: seen.map_or(now, |seen| seen.first),
            is_new: seen.is_none(),
            digest: published.digest,
            from: known.digests.into_iter().next(),
            platform: (wanted != self.client.platform).then_some(wanted),
            image: known.image,
            old_image: known.old_image,
        })))
    }

    /// What can be asked for a container's image, or why nothing can.
    async fn known(&self, container: &Container) -> Result<Result<Known, String>, DockerError> {
        let image = match Reference::parse(container.asked_image()) {
            Ok(image) => image,
            Err(why) => return Ok(Err(why.to_owned())),
        };
        let Some(old_image) = self.client.image(container.image()).await? else {
            return Ok(Err(
                "its image was removed, so that nobody can tell what the container has from it".to_owned(),
            ));
        };
        let digests = digests_of(&old_image, &image);
        if digests.is_empty() {
            // The name may have moved on without the container, and taken the digests with it.
            let named = self.client.image(&image.to_string()).await?;
            let has_moved =
                named.is_some_and(|named| named["Id"] != old_image["Id"] && !digests_of(&named, &image).is_empty());
            if !has_moved {
                return Ok(Err(format!("{image} was built here: no registry is known to have it")));
            }
        }
        Ok(Ok(Known {
            image,
            old_image,
            digests,
        }))
    }
}

impl Newer {
    /// Why it is not used now, if so.
    pub(super) fn wait(
        &self,
        job: &ContainerUpdate,
        container: &Container,
        memory: &Memory,
        now: Timestamp,
    ) -> Option<Wait> {
        if let Some(bad) = memory.bad.get(container.name()).filter(|bad| bad.digest == self.digest)
            && let Some(until) = tried_again(job, bad, now)
        {
            let digest = short(&self.digest);
            return Some(Wait::Bad(format!(
                "{digest} was rolled back at {}: {}; {until}",
                iso(bad.at),
                bad.why
            )));
        }
        let from = job
            .min_age
            .0
            .and_then(|age| self.first.checked_add(age.signed()).ok())?;
        let why = || {
            format!(
                "{}, {}, is used from {} on",
                short(&self.digest),
                self.since(),
                iso(from)
            )
        };
        (now < from).then(|| Wait::Held(why()))
    }
}

impl Newer {
    /// Which image it is, whatever container it is for.
    pub(super) fn key(&self) -> (Reference, String) {
        (self.image.clone(), self.digest.clone())
    }

    /// From which digest to which it leads, for people.
    pub(super) fn change(&self) -> String {
        from_to(&self.image.to_string(), self.from.as_deref(), &self.digest)
    }

    /// Since when it is known, for people.
    pub(super) fn since(&self) -> String {
        if self.is_new {
            "which no run has seen before".to_owned()
        } else {
            format!("known since {}", iso(self.first))
        }
    }
}

/// When what was not well is tried again, where that is not now.
fn tried_again(job: &ContainerUpdate, bad: &Bad, now: Timestamp) -> Option<String> {
    let Some(after) = job.retry_bad.0 else {
        return Some("it is not tried again".to_owned());
    };
    let from = bad.at.checked_add(after.signed()).ok()?;
    (now < from).then(|| format!("it is tried again from {} on", iso(from)))
}

/// The digests that an image was pulled by from the repository of `image`.
fn digests_of(found: &Value, image: &Reference) -> Vec<String> {
    let digests = found["RepoDigests"].as_array().into_iter().flatten();
    digests
        .filter_map(|digest| image.digest_in(digest.as_str()?))
        .map(str::to_owned)
        .collect()
}

/// Whether two images are one under two names: an index may be new while what it has for this platform is not.
pub(super) fn is_same_content(one: &Value, other: &Value) -> bool {
    let layers = |image: &Value| image.pointer("/RootFS/Layers").cloned();
    let has_layers = layers(one).is_some_and(|layers| layers.is_array());
    one["Id"] == other["Id"] || (has_layers && layers(one) == layers(other) && one["Config"] == other["Config"])
}

/// What an image is for, such as `linux/arm64/v8`.
pub(super) fn platform_of(image: &Value) -> String {
    let parts = ["Os", "Architecture", "Variant"].map(|key| image[key].as_str().unwrap_or_default());
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<&str>>()
        .join("/")
}

/// Whether two platforms are one, where either may leave out its variant.
pub(super) fn is_same_platform(one: &str, other: &str) -> bool {
    let (one, other) = (one.split('/'), other.split('/'));
    one.zip(other).all(|(one, other)| one == other)
}

fn offers(published: &Published, wanted: &str) -> bool {
    let mut platforms = published
        .platforms
        .iter()
        .filter(|platform| !platform.starts_with("unknown"))
        .peekable();
    platforms.peek().is_none() || platforms.any(|platform| is_same_platform(platform, wanted))
}
