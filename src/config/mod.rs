//! From sources to a plan. [`load`] is the one door: a start, `validate`, a reload and a changed file all call it.
//!
//! sources -> layers, merged by figment -> declaration -> plan, or every problem with its place.
//! An invalid value of a database row is ignored, and the rest applies; one of the file or of a variable is a problem
//! that whoever starts or reloads must fix.

mod checks;
mod declaration;
mod diff;
mod invocation;
mod jobs;
mod kept;
mod layer;
mod merged;
mod origins;
mod plan;
mod problem;
mod reading;
mod redact;
mod resolve;
mod row_attribution;
mod schema;
pub(crate) mod sources;
mod targets;
mod text;

pub(crate) use declaration::{Log, LogFormat, LogLevel};
pub(crate) use diff::Diff;
#[cfg(test)]
pub(crate) use invocation::DRY_THREADS;
pub(crate) use invocation::{Invocation, Services};
pub(crate) use kept::without_secrets;
pub(crate) use origins::{Setting, settings};
pub(crate) use plan::{CatchUp, Concurrency, OnInterrupt};
pub(crate) use plan::{Job, Plan, Server, State};
pub(crate) use problem::Source;
pub use problem::{Problem, Problems};
pub(crate) use schema::schema;
pub use sources::{Environment, File, Sources};

use std::sync::Arc;

use crate::duplistatus::settings::Overrides;
use layer::Layer;
use merged::Merged;
use resolve::Resolved;

use crate::values::Severity;

/// A plan and what was noted while it was made.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is to be done.
    pub(crate) plan: Plan,
    /// Everything that is not as declared although the plan stands: ignored values, warnings, SQL that does not
    /// fit the database.
    pub problems: Vec<Problem>,
    /// Where the declaration came from, for people.
    pub(crate) source: String,
    /// Whether that is a file.
    pub(crate) is_file: bool,
    /// The names and texts of the files it stood in.
    pub(crate) files: Vec<(String, String)>,
    /// Whether the application's database gave its overrides, or why it could not.
    pub(crate) overrides: Result<(), String>,
    /// The overrides that apply, to be remembered for a time when the database cannot be read.
    pub(crate) rows: Rows,
}

/// The overrides of the application's database, as they were read.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    layers: Vec<Layer>,
    /// What stands in the rows, for noticing that it changes.
    pub texts: Overrides,
}

impl Rows {
    /// Each value they override, with the row it stands in.
    pub fn in_words(&self) -> Vec<String> {
        let of_layer = |layer: &Layer| {
            let mut found = Vec::new();
            origins::leaves(&layer.values, &mut Vec::new(), &mut |path| {
                let value = layer
                    .get(path)
                    .map(|value| origins::to_json(value, path))
                    .unwrap_or_default();
                found.push(format!("{} = {value} ({})", path.join("."), layer.source));
            });
            found
        };
        self.layers.iter().flat_map(of_layer).collect()
    }
}

/// Reads every source and makes the plan.
///
/// # Errors
/// Every problem of the declaration, the variables and the command line, with those that were only noted.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    Layers::read(sources)?.load(sources)
}

/// Reads every source as [`load`] does, and looks at the rows of the databases as well: what a run at `now` would
/// meet there is a warning, and so is what could not be checked.
pub(crate) async fn examine(sources: &Sources, now: jiff::Timestamp) -> Result<Loaded, Problems> {
    let mut layers = Layers::read(sources)?;
    let mut loaded = layers.load(sources)?;
    let found = checks::examine(&layers.merged, &loaded.plan, &loaded.problems, now).await;
    loaded.problems.extend(found);
    loaded.problems.sort();
    Ok(loaded)
}

/// Where the state is kept, as far as the sources can be read.
pub(crate) fn state(sources: &Sources) -> Option<State> {
    resolve::state(&Layers::as_far_as_readable(sources)?.merged, &sources.environment)
}

/// Where the service is, or would be, reached: what is left of the sources where some are broken; and whether all of them
/// could be read, whatever they say.
pub(crate) fn server(sources: &Sources) -> Option<(Server, bool)> {
    let layers = Layers::as_far_as_readable(sources)?;
    let server = resolve::server(&layers.merged, &sources.environment)?;
    Some((server, layers.is_whole))
}

/// How the service logs: what is left of the sources where some are broken.
pub(crate) fn log(sources: &Sources) -> Option<Log> {
    resolve::log(&Layers::as_far_as_readable(sources)?.merged)
}

/// Every layer of settings, merged.
struct Layers {
    merged: Merged,
    noted: Vec<Problem>,
    overrides: Result<(), String>,
    rows: Rows,
    /// Whether the declaration is among them, and not the shipped one in its place.
    is_whole: bool,
}

impl Layers {
    fn load(&mut self, sources: &Sources) -> Result<Loaded, Problems> {
        let Resolved { plan, mut problems, .. } = self.settle(sources);
        problems.extend(self.port_without_effect());
        match plan {
            Some(plan) if !problems.iter().any(|problem| problem.severity == Severity::Error) => Ok(Loaded {
                plan,
                problems,
                source: sources.file.resolve().to_string(),
                is_file: matches!(sources.file.resolve(), File::Path(_)),
                files: self.files(),
                overrides: self.overrides.clone(),
                rows: self.rows.clone(),
            }),
            _ => Err(Problems(problems)),
        }
    }

    fn read(sources: &Sources) -> Result<Self, Problems> {
        let files = sources::file::read(&sources.file).map_err(|mut problems| {
            problems.extend(sources.environment.problems_alone());
            Problems(problems)
        })?;
        Self::over(files, sources)
    }

    /// A port that the declaration names in vain, as the row in the application's database wins.
    fn port_without_effect(&self) -> Option<Problem> {
        let path = merged::path(&["server", "port"]);
        let of = |wanted: fn(&Source) -> bool| {
            self.merged
                .layers()
                .iter()
                .find(|layer| wanted(&layer.source) && layer.get(&path).is_some())
        };
        let file = of(|source| matches!(source, Source::File(_)))?;
        let row = of(|source| matches!(source, Source::Row(_)))?;
        let shipped = File::Shipped.to_string();
        let is_shipped = matches!(&file.source, Source::File(name) if *name == shipped);
        let others = of(|source| matches!(source, Source::Environment | Source::CommandLine | Source::Mode));
        let [declared, effective] = [file, row].map(|layer| layer.get(&path).map(text::plain));
        if is_shipped || others.is_some() || declared == effective {
            return None;
        }
        let why = format!(
            "it has no effect: {} says {}; set CRON_PORT, or change the port there",
            row.source,
            effective.unwrap_or_default()
        );
        Some(file.problem(&path, false, Severity::Warning, why))
    }

    /// The names and texts of the files that were read.
    fn files(&self) -> Vec<(String, String)> {
        let file = |layer: &Layer| match &layer.source {
            Source::File(name) => Some((name.clone(), layer.text.as_ref()?.as_str().to_owned())),
            _ => None,
        };
        self.merged.layers().iter().filter_map(file).collect()
    }

    /// Whatever of the sources can be read, without what rows are at fault for. The shipped declaration stands in for a
    /// file that cannot be read.
    fn as_far_as_readable(sources: &Sources) -> Option<Self> {
        let shipped = |_| -> Result<Self, Problems> {
            let files = sources::file::read(&File::Shipped).map_err(Problems)?;
            Ok(Self {
                is_whole: false,
                ..Self::over(files, sources)?
            })
        };
        let mut layers = Self::read(sources).or_else(shipped).ok()?;
        layers.settle(sources);
        Some(layers)
    }

    fn over(files: Vec<Layer>, sources: &Sources) -> Result<Self, Problems> {
        let mut built_in = sources::built_in();
        if !files.iter().any(|file| file.values.contains_key("databases")) {
            // The one database everyone has, unless the declaration names its own.
            built_in.insert(
                &merged::path(&["databases", "duplistatus", "path"]),
                "data/backups.db".into(),
            );
        }
        let declared = Merged::new(std::iter::once(built_in).chain(files).collect());
        let (environment, mut noted) = sources.environment.layer(&declared);
        if noted.iter().any(|problem| problem.severity == Severity::Error) {
            // The problems of the file and of the other variables belong in the same answer.
            let merged = declared.with([environment]);
            let resolved = resolve::resolve(&merged, &sources.environment, None);
            noted.extend(resolved.problems);
            noted.sort();
            return Err(Problems(noted));
        }
        // Variables win over rows but are read first: they may say which database the rows are in.
        let read = if sources.is_in_force {
            Err("the database was not read".to_owned())
        } else {
            let read = sources::database::read(&declared, &environment, sources.candidate.as_deref());
            read.map_err(|error| error.message)
        };
        let overrides = read.as_ref().map(drop).map_err(Clone::clone);
        let rows = match read {
            Ok(read) => {
                noted.extend(read.noted);
                Rows {
                    layers: read.layers,
                    texts: read.texts,
                }
            }
            // A database that cannot be read for a while must not put jobs in force that it had switched off.
            Err(_) => sources.remembered.clone(),
        };
        let others = [
            sources.defaults_of_command_line(),
            Some(environment),
            sources.command_line(),
        ];
        Ok(Self {
            merged: declared.with(rows.layers.iter().cloned().chain(others.into_iter().flatten())),
            noted,
            overrides,
            rows,
            is_whole: true,
        })
    }

    /// Makes the plan, ignoring what rows are at fault for, and gives every problem.
    fn settle(&mut self, sources: &Sources) -> Resolved {
        let environment = &sources.environment;
        let mut noted = std::mem::take(&mut self.noted);
        loop {
            let mut resolved = resolve::resolve(&self.merged, environment, None);
            let mut at_fault = row_attribution::at_fault(&self.merged, &resolved.problems, |merged, jobs| {
                resolve::resolve(merged, environment, Some(jobs)).problems
            });
            if at_fault.is_empty() {
                let engines = resolved
                    .plan
                    .as_ref()
                    .map(|plan| Arc::clone(&plan.engines))
                    .unwrap_or_default();
                let found = checks::check(&self.merged, &engines, resolved.jobs.values().map(AsRef::as_ref));
                at_fault = row_attribution::at_fault(&self.merged, &found, |merged, jobs| {
                    let resolved = resolve::resolve(merged, environment, Some(jobs));
                    checks::check(merged, &engines, resolved.jobs.values().map(AsRef::as_ref))
                });
                resolved.problems.extend(found);
            }
            if at_fault.is_empty() {
                resolved.problems.extend(noted);
                resolved.problems.sort();
                return resolved;
            }
            for problem in at_fault {
                self.ignore(&problem);
                noted.push(problem.noted());
            }
        }
    }

    fn ignore(&mut self, problem: &Problem) {
        self.merged = self.merged.changed(|layers| {
            if let Some(layer) = layers.iter_mut().find(|layer| layer.source == problem.source) {
                layer.remove(&problem.keys);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_that_jobs_toml_shows_is_the_one_in_force() {
        let plan = |text: String| {
            let file = File::Kept(Arc::new(vec![("jobs.toml".to_owned(), text)]));
            let sources = Sources {
                file,
                ..Sources::default()
            };
            load(&sources).unwrap().plan
        };
        // A default is shown as `#key = …`, without a blank.
        let is_default = |line: &str| {
            let key = line.strip_prefix('#').unwrap_or_default();
            key.starts_with(|c: char| c.is_ascii_lowercase()) && key.contains(" = ")
        };
        let shipped = sources::SHIPPED;
        assert!(shipped.lines().filter(|line| is_default(line)).count() >= 5);
        let uncommented = shipped
            .lines()
            .map(|line| if is_default(line) { &line[1..] } else { line });
        let uncommented: Vec<&str> = uncommented.collect();
        let [uncommented, shipped] =
            [uncommented.join("\n"), shipped.to_owned()].map(|text| format!("{:?}", plan(text)));
        assert_eq!(uncommented, shipped);
    }
}
