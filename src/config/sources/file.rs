//! The declaration in TOML: jobs.toml, or the one built in. Remembers where each key and value stands.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::include;
use crate::config::layer::Layer;
use crate::config::problem::{Problem, Source};
use crate::config::text::{Parsed, Text, plain, read_value};
use crate::values::{Severity, read_text, within_patience};

/// The declaration that is shipped, and used where there is no file.
pub(crate) const SHIPPED: &str = include_str!("../../../jobs.toml");

/// Which declaration is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum File {
    /// `./jobs.toml` if there is one, else the one built in.
    #[default]
    Default,
    /// The one built in.
    Shipped,
    /// The one in this file.
    Path(PathBuf),
    /// One that was kept: names and texts of its files.
    Kept(Arc<Vec<(String, String)>>),
}

/// How many syntax errors of a file are told; more come of one that is not TOML at all.
const MOST: usize = 100;
/// The declaration in the working directory.
const HERE: &str = "jobs.toml";

impl File {
    /// Which one it is now.
    pub(crate) fn resolve(&self) -> Self {
        match self {
            Self::Default if Path::new(HERE).exists() => Self::Path(PathBuf::from(HERE)),
            Self::Default => Self::Shipped,
            other => other.clone(),
        }
    }

    /// The file that a change of the declaration would show in, whether it is there or not.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Default => Some(Path::new(HERE)),
            Self::Shipped | Self::Kept(_) => None,
            Self::Path(path) => Some(path),
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => self.resolve().fmt(f),
            Self::Shipped => f.write_str("built-in jobs.toml"),
            Self::Path(path) => path.display().fmt(f),
            Self::Kept(_) => f.write_str("last good configuration"),
        }
    }
}

/// Reads the declaration, with the files it includes, into a layer for each file.
pub(in crate::config) fn read(file: &File) -> Result<Vec<Layer>, Vec<Problem>> {
    let (mut layers, mut problems) = (Vec::new(), Vec::new());
    for (index, (source, text)) in texts(file).into_iter().enumerate() {
        let read = text
            .map_err(|why| {
                let why = format!("cannot be read: {why}");
                vec![Problem::of_source(source.clone(), Severity::Error, why)]
            })
            .and_then(|parsed| layer(source, parsed));
        match read {
            Ok(mut layer) => {
                if let File::Path(path) = file.resolve() {
                    problems.extend(include::flaws(&layer, &path, index > 0));
                }
                // Which files belong together is seen to before they are merged.
                layer.values.remove("include");
                layers.push(layer);
            }
            Err(found) => problems.extend(found),
        }
    }
    problems.extend(include::clashes(&layers));
    if problems.is_empty() { Ok(layers) } else { Err(problems) }
}

/// The files of a declaration, by the names people know them by, with their texts.
fn texts(file: &File) -> Vec<(Source, Result<Parsed, String>)> {
    match file.resolve() {
        File::Kept(texts) => texts
            .iter()
            .map(|(name, text)| (Source::File(name.clone()), Ok(Text::parse(text.clone()))))
            .collect(),
        File::Path(path) => {
            let source = Source::File(path.display().to_string());
            // All of them together: a disk that hangs does so once.
            within_patience(move || texts_of(&path)).unwrap_or_else(|why| vec![(source, Err(why))])
        }
        shipped => vec![(Source::File(shipped.to_string()), Ok(Text::parse(SHIPPED.to_owned())))],
    }
}

fn texts_of(path: &Path) -> Vec<(Source, Result<Parsed, String>)> {
    let read = |path: &Path| {
        let source = Source::File(path.display().to_string());
        (source, read_text(path).map(Text::parse))
    };
    let first = read(path);
    // What can be read of a broken file may include others, which are looked at all the same.
    let patterns = first
        .1
        .as_ref()
        .map_or(Vec::new(), |read| include::patterns(&read.values));
    let included = include::files(path, &patterns);
    std::iter::once(first)
        .chain(included.iter().map(|path| read(path)))
        .collect()
}

/// The patterns of what the declaration at `path` includes now.
fn patterns(path: &Path) -> Vec<String> {
    let text = read_text(path).unwrap_or_default();
    // It is looked at now and then for as long as the service runs: most of the time, reading it is enough.
    if !text.contains("include") {
        return Vec::new();
    }
    include::patterns(&Text::parse(text).values)
}

/// The files that a change of the declaration would show in. Looking for them may wait for the disk.
pub(crate) fn watched(file: &File) -> Vec<PathBuf> {
    let Some(path) = file.path() else { return Vec::new() };
    let included = include::files(path, &patterns(path));
    std::iter::once(path.to_owned()).chain(included).collect()
}

/// The folders in which such files may come and go. Looking for them may wait for the disk.
pub(crate) fn watched_folders(file: &File) -> Vec<PathBuf> {
    let Some(path) = file.path() else { return Vec::new() };
    let folder = path.parent().unwrap_or(Path::new(""));
    let included = patterns(path).into_iter().map(|pattern| folder.join(pattern));
    let files = std::iter::once(path.to_owned()).chain(included);
    let mut folders: Vec<PathBuf> = files
        .map(|file| match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        })
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// The layer of a text, or every place at which it is not TOML.
pub(in crate::config) fn layer(source: Source, read: Parsed) -> Result<Layer, Vec<Problem>> {
    let Parsed { text, values, errors } = read;
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| Problem {
            place: error.span().map(|span| text.line_and_column(span.start)),
            excerpt: error.span().and_then(|span| text.excerpt_of_error(&span)),
            ..Problem::of_source(source.clone(), Severity::Error, error.message().trim_end())
        };
        let mut problems: Vec<Problem> = errors.iter().take(MOST).map(problem).collect();
        problems.sort();
        problems.extend((errors.len() > MOST).then(|| {
            let why = format!("{} further syntax errors", errors.len() - MOST);
            Problem::of_source(source, Severity::Error, why)
        }));
        return Err(problems);
    }
    let mut layer = Layer::new(source);
    layer.values = values;
    layer.text = Some(text);
    Ok(layer)
}

/// A text read as one TOML value, as JSON; what is not a TOML value is a text.
pub(crate) fn read_json(text: &str) -> serde_json::Value {
    read_value(text).map_or_else(|| text.into(), |value| plain(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_settings_can_be_read() {
        assert!(super::super::built_in().values.contains_key("server"));
    }

    #[test]
    fn every_syntax_error_is_told_with_its_place() {
        let text = "[server]\nport = = 1\nhost = \"x\nstate = [1,\n";
        let problems = layer(Source::File("jobs.toml".to_owned()), Text::parse(text.to_owned())).unwrap_err();
        let places: Vec<_> = problems.iter().filter_map(|problem| problem.place).collect();
        assert!(
            places.contains(&(2, 8)) && places.iter().any(|place| place.0 == 3),
            "{problems:?}"
        );
    }
}
