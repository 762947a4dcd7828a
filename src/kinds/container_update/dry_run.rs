//! What a run would do: the same questions and the same decisions; nothing is pulled, and nothing changes.

use serde_json::{Value, json};

use super::registry::Registry;
use super::standing::{Newer, Standing, Wait};
use super::survey::Site;
use super::{ContainerUpdate, Extent};
use crate::docker::{Container, Inheritance};
use crate::run::{DryRun, Failure, RunContext};
use crate::values::iso;

pub(super) async fn plan(job: &ContainerUpdate, ctx: &RunContext) -> DryRun {
    look(job, ctx).await.unwrap_or_else(DryRun::from)
}

async fn look(job: &ContainerUpdate, ctx: &RunContext) -> Result<DryRun, Failure> {
    let site = Site::reach(job, ctx).await?;
    let memory = site.files.recall().await.map_err(Failure::lasting)?;
    let survey = site.survey(job).await?;
    let mut registry = Registry::new(survey.images(), &site.credentials, ctx).await?;
    let mut lines = vec![format!(
        "{} at {}, API {}",
        site.client.name, site.address, site.client.version
    )];
    let (mut containers, mut refusals) = (Vec::new(), Vec::new());
    for (container, refusal) in &survey.chosen {
        let found = match refusal {
            Some(why) => Prospect::of("skipped", why.clone()),
            None => match site.standing(container, &mut registry, &memory, ctx.now).await? {
                Standing::Current => Prospect::of("current", String::new()),
                Standing::Skipped(why) => Prospect::of("skipped", why),
                Standing::Undecided(unanswered) => {
                    refusals.push(format!("{}: {}", container.name(), unanswered.why));
                    Prospect::of("undecided", unanswered.why)
                }
                Standing::Newer(newer) => match newer.wait(job, container, &memory, ctx.now) {
                    Some(Wait::Held(why)) => Prospect::of("held", why),
                    Some(Wait::Bad(why)) => Prospect::of("bad", why),
                    None => job.prospect(&site, container, &newer).await?,
                },
            },
        };
        let because = if found.why.is_empty() {
            String::new()
        } else {
            format!(": {}", found.why)
        };
        lines.push(format!("{}: {}{because}", container.name(), found.word));
        lines.extend(found.lines.iter().map(|line| format!("  {line}")));
        let mut entry = json!({ "name": container.name(), "image": container.asked_image(), "result": found.word, "reason": found.why });
        for (key, value) in found.json.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        containers.push(entry);
    }
    lines.extend(survey.warnings.iter().map(|warning| format!("warning: {warning}")));
    Ok(DryRun {
        lines,
        json: json!({ "engine": site.client.name, "api": site.client.version.to_string(), "containers": containers, "warnings": survey.warnings }),
        refusal: (!refusals.is_empty()).then(|| refusals.join("; ")),
    })
}

/// What would become of a container.
struct Prospect {
    word: &'static str,
    why: String,
    lines: Vec<String>,
    json: Value,
}

impl Prospect {
    fn of(word: &'static str, why: String) -> Self {
        Self {
            word,
            why,
            lines: Vec::new(),
            json: Value::Null,
        }
    }
}

impl ContainerUpdate {
    /// What would become of a container that has a newer image.
    async fn prospect(&self, site: &Site, container: &Container, newer: &Newer) -> Result<Prospect, Failure> {
        let change = format!("{}, {}", newer.change(), newer.since());
        let word = match self.action {
            Extent::Tell => "would be told",
            Extent::Pull => "would be pulled",
            Extent::Update => "would be updated",
        };
        let mut prospect = Prospect {
            json: json!({ "from": newer.from, "to": newer.digest, "first_seen": iso(newer.first) }),
            ..Prospect::of(word, change)
        };
        if self.action != Extent::Update {
            return Ok(prospect);
        }
        let by_digest = format!("{}@{}", newer.image.name, newer.digest);
        let here = site.client.image(&by_digest).await?;
        let new_image = here.as_ref().unwrap_or(&newer.old_image);
        let prepared = match site.prepare(self, container, newer, new_image).await? {
            Ok(prepared) => prepared,
            Err(why) => return Ok(Prospect::of("skipped", why)),
        };
        let dependents: Vec<&str> = prepared.iter().skip(1).map(|of| of.container.name()).collect();
        prospect.lines = self.steps(&dependents);
        let mut notes = Vec::new();
        for of in &prepared {
            let recreation = match of.recreation(&[], &site.client) {
                Ok(recreation) => recreation,
                Err(why) => return Ok(Prospect::of("skipped", format!("{}: {why}", of.container.name()))),
            };
            notes.extend(recreation.notes);
            if of.container.id() != container.id() {
                continue;
            }
            let parts = &recreation.inheritance;
            prospect.tell("stays", "stays", &[parts.stays(), own(container)].concat());
            prospect.tell("fixed", "stays, because its origin is unclear", &parts.fixed);
            prospect.tell("follows", "follows the image", &parts.follows);
            if here.is_some() {
                prospect.tell("changes", "differs with the new image", &changes(container, parts));
            } else {
                let unknown = "what differs with the new image is known once it is pulled";
                prospect.lines.push(unknown.to_owned());
            }
        }
        notes.dedup();
        for note in &notes {
            prospect.lines.push(format!("note: {note}"));
        }
        prospect.json["dependents"] = json!(dependents);
        prospect.json["notes"] = json!(notes);
        Ok(prospect)
    }

    fn steps(&self, dependents: &[&str]) -> Vec<String> {
        let verified = if self.verify.is_some() {
            "pulled by its digest, verified"
        } else {
            "pulled by its digest"
        };
        let mut steps = vec![format!(
            "the image would be {verified}; the new container created, compared, and started in the place of the old one"
        )];
        if !dependents.is_empty() {
            steps.push(format!(
                "recreated with it, and down for as long: {}",
                dependents.join(", ")
            ));
        }
        if self.remove_old_image {
            steps.push("the old image would be removed, unless something else needs it".to_owned());
        }
        steps
    }
}

impl Prospect {
    fn tell(&mut self, key: &str, what: &str, names: &[String]) {
        if !names.is_empty() {
            self.lines.push(format!("{what}: {}", names.join(", ")));
        }
        self.json[key] = json!(names);
    }
}

/// What a container has that no image says anything of, by names.
fn own(container: &Container) -> Vec<String> {
    let named = |word: &str, pointer: &str| -> Vec<String> {
        let names = container.table(pointer).map(|(name, _)| format!("{word} {name}"));
        names.collect()
    };
    let mounts = container.list("/Mounts");
    let mounts = mounts.filter_map(|mount| Some(format!("mount {}", mount["Destination"].as_str()?)));
    let policy = container
        .json()
        .pointer("/HostConfig/RestartPolicy/Name")
        .and_then(Value::as_str);
    let policy = policy
        .filter(|policy| !policy.is_empty())
        .map(|policy| format!("restart policy {policy}"));
    let networks = named("network", "/NetworkSettings/Networks");
    let ports = named("published port", "/HostConfig/PortBindings");
    networks.into_iter().chain(ports).chain(mounts).chain(policy).collect()
}

/// In what a container differs with its new image, by names.
fn changes(container: &Container, parts: &Inheritance) -> Vec<String> {
    let mut expected = Value::from(parts.expected.clone());
    let mut config = container.json()["Config"].clone();
    for key in ["Hostname", "Domainname", "Shell", "OnBuild", "ArgsEscaped"] {
        for table in [&mut expected, &mut config] {
            table.as_object_mut().map(|table| table.remove(key));
        }
    }
    crate::docker::differences(&config, &expected)
}
