//! Files written in the place of those before: what somebody else has put there, or has changed, is found first, and stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::git::{Entry, GitError, ObjectName, Repository, Tree};
use crate::values::{digest, read_file};

/// How many names a sentence has.
const NAMES: usize = 5;

/// A folder, and what git knows of the files that were written to it.
pub(super) struct InPlace<'a> {
    pub folder: &'a Path,
    pub index: PathBuf,
    /// For looking at a commit that is not written yet.
    pub other_index: PathBuf,
}

/// Files that would be lost.
#[derive(Debug, Default, PartialEq)]
pub(super) struct InTheWay {
    edited: BTreeSet<String>,
    foreign: BTreeSet<String>,
}

impl InTheWay {
    pub(super) fn is_empty(&self) -> bool {
        self.edited.is_empty() && self.foreign.is_empty()
    }
}

impl fmt::Display for InTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("edited by hand", &self.edited),
            ("not from the repository", &self.foreign),
        ];
        let mut kinds = kinds.iter().filter(|(_, names)| !names.is_empty());
        if let Some((what, names)) = kinds.next() {
            write!(f, "{what}: {}", listed(names))?;
        }
        kinds.try_for_each(|(what, names)| write!(f, "; {what}: {}", listed(names)))
    }
}

/// Names for a sentence, and how many more there are.
pub(super) fn listed(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
    match names.len().saturating_sub(NAMES) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

impl InPlace<'_> {
    pub(super) fn tree(&self) -> Tree<'_> {
        Tree {
            folder: self.folder,
            index: &self.index,
        }
    }

    /// Has git know of the files that were written, where that is lost: they were those of `published`.
    pub(super) fn know(&self, repository: &Repository<'_>, published: Option<&ObjectName>) -> Result<(), GitError> {
        if self.index.is_file() && repository.tracked(self.tree()).is_ok() {
            return Ok(());
        }
        let _ = fs::remove_file(&self.index);
        match published.filter(|published| repository.has(published)) {
            Some(published) => repository.note(published, self.tree()),
            None => Ok(()),
        }
    }

    /// The files that have been changed since they were written.
    pub(super) fn edits(&self, repository: &Repository<'_>) -> Result<BTreeSet<String>, GitError> {
        Ok(repository.edits(self.tree())?.into_iter().collect())
    }

    /// What a file holds, as a digest.
    pub(super) fn digest_of(&self, path: &str) -> Option<String> {
        let content = read_file(&self.folder.join(path)).ok()?;
        Some(digest(&content))
    }

    /// What would be lost if a commit was written. `torn` has the files of one that was perhaps written in part,
    /// `by_programs` what deployments have made of files.
    pub(super) fn in_the_way(
        &self,
        repository: &Repository<'_>,
        (commit, entries): (&ObjectName, &[Entry]),
        (torn, by_programs): (&[Entry], &BTreeMap<String, String>),
    ) -> Result<InTheWay, GitError> {
        let (mut known, mut edited) = (BTreeSet::new(), BTreeSet::new());
        if self.index.is_file() {
            known.extend(repository.tracked(self.tree())?);
            edited = self.edits(repository)?;
        }
        let _ = fs::remove_file(&self.other_index);
        let new = Tree {
            folder: self.folder,
            index: &self.other_index,
        };
        repository.note(commit, new)?;
        let different: BTreeSet<String> = repository.edits(new)?.into_iter().collect();
        let wanted: BTreeSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        let is_lost = |path: &String| different.contains(path) || !wanted.contains(path.as_str());
        let is_by_a_program = |path: &String| {
            let known = by_programs.get(path);
            known.is_some() && known == self.digest_of(path).as_ref()
        };
        edited.retain(|path| is_lost(path) && !is_by_a_program(path));
        let mut foreign: BTreeSet<String> = different
            .iter()
            .filter(|path| !known.contains(*path))
            .cloned()
            .collect();
        let ours: BTreeSet<String> = known
            .into_iter()
            .chain(torn.iter().map(|entry| entry.path.clone()))
            .collect();
        foreign.extend(wanted.iter().filter_map(|path| self.obstacle(path, &ours)));
        let torn: BTreeMap<&str, &Entry> = torn.iter().map(|entry| (entry.path.as_str(), entry)).collect();
        for found in [&mut edited, &mut foreign] {
            let mut lost = BTreeSet::new();
            for path in std::mem::take(found) {
                let is_torn = match torn.get(path.as_str()) {
                    Some(entry) => self.is_torn(repository, entry)?,
                    None => false,
                };
                lost.extend((!is_torn).then_some(path));
            }
            *found = lost;
        }
        Ok(InTheWay { edited, foreign })
    }

    /// Whether a file is one of git's that was written whole, or from its beginning as far as it got.
    fn is_torn(&self, repository: &Repository<'_>, entry: &Entry) -> Result<bool, GitError> {
        let text = read_file(&self.folder.join(&entry.path)).unwrap_or_default();
        repository.begins_with(entry, &text)
    }

    /// What stands where a file, or a folder of it, is to come, and is none of `ours`.
    fn obstacle(&self, path: &str, ours: &BTreeSet<String>) -> Option<String> {
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            let found = fs::symlink_metadata(self.folder.join(folder)).ok()?;
            if !found.is_dir() {
                return (!ours.contains(folder)).then(|| folder.to_owned());
            }
        }
        let is_folder = fs::symlink_metadata(self.folder.join(path)).is_ok_and(|found| found.is_dir());
        is_folder.then(|| self.foreign(path, ours)).flatten()
    }

    /// A file below `folder` that is none of `ours`.
    fn foreign(&self, folder: &str, ours: &BTreeSet<String>) -> Option<String> {
        let entries = fs::read_dir(self.folder.join(folder)).ok()?;
        for entry in entries.flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            let is_folder = entry.file_type().is_ok_and(|found| found.is_dir());
            let found = if is_folder {
                self.foreign(&path, ours)
            } else {
                (!ours.contains(&path)).then_some(path)
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_told_in_one_sentence() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let mut found = InTheWay {
            edited: names(&["a", "b"]),
            foreign: BTreeSet::new(),
        };
        assert_eq!(found.to_string(), "edited by hand: a, b");
        found.foreign = names(&["1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(
            found.to_string(),
            "edited by hand: a, b; not from the repository: 1, 2, 3, 4, 5 and 2 more"
        );
        assert!(InTheWay::default().is_empty() && !found.is_empty());
    }
}
