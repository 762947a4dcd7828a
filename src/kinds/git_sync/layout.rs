//! How the files of a commit come into the folder: whole, in a folder of their own, or in the place of those before.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::memory::{Files, Memory};
use super::{GitSync, Layout};
use crate::git::{Entry, ObjectName, Repository, Tree};
use crate::run::Failure;

/// The link to the files that are published.
const CURRENT: &str = "current";
const NEW_LINK: &str = ".current.new";
/// The releases, each called by its commit; those that are not whole yet, or not any more, have a dot before it.
const RELEASES: &str = "releases";
/// How many names a sentence has.
const NAMES: usize = 5;

/// The folder of a job.
pub(super) struct Place {
    pub folder: PathBuf,
    layout: Layout,
}

impl Place {
    pub(super) fn of(job: &GitSync) -> Result<Self, Failure> {
        Ok(Self {
            folder: job.whole_folder().map_err(Failure::lasting)?,
            layout: job.layout,
        })
    }

    /// Where the published files are.
    pub(super) fn published(&self) -> PathBuf {
        match self.layout {
            Layout::Releases => self.folder.join(CURRENT),
            Layout::InPlace => self.folder.clone(),
        }
    }

    /// Whether the files are there that are remembered as published.
    pub(super) fn shows(&self, memory: &Memory, files: &Files) -> bool {
        let Some(published) = memory.published.as_ref().filter(|_| memory.publishing.is_none()) else {
            return false;
        };
        match self.layout {
            Layout::Releases => {
                let target = fs::read_link(self.folder.join(CURRENT));
                target.is_ok_and(|target| target == link_to(published)) && self.release(published).is_dir()
            }
            Layout::InPlace => self.folder.is_dir() && files.path("index").is_file(),
        }
    }

    fn release(&self, commit: &ObjectName) -> PathBuf {
        self.folder.join(RELEASES).join(commit.as_str())
    }

    /// Where the files of a commit are before they are published: whole, and on the disk.
    pub(super) fn prepare(
        &self,
        repository: &Repository<'_>,
        commit: &ObjectName,
        files: &Files,
    ) -> Result<PathBuf, Failure> {
        let whole = match self.layout {
            Layout::Releases => self.release(commit),
            Layout::InPlace => files.path("check"),
        };
        if self.layout == Layout::Releases && whole.is_dir() {
            return Ok(whole);
        }
        let new = match self.layout {
            Layout::Releases => self.folder.join(RELEASES).join(format!(".{commit}")),
            Layout::InPlace => whole.clone(),
        };
        let index = files.path("new-index");
        remove(&new)?;
        remove(&index)?;
        fs::create_dir_all(&new).map_err(|error| failed(&new, &error))?;
        let tree = Tree {
            folder: &new,
            index: &index,
        };
        repository.write(commit, tree)?;
        if new != whole {
            flush(&new)?;
            fs::rename(&new, &whole).map_err(|error| failed(&whole, &error))?;
            sync_folder(whole.parent().unwrap_or(&whole))?;
        }
        Ok(whole)
    }

    /// Publishes a commit. Those who look at the files see one commit or the other, as far as the layout allows that.
    pub(super) fn publish(
        &self,
        repository: &Repository<'_>,
        (commit, entries): (&ObjectName, &[Entry]),
        memory: &mut Memory,
        files: &Files,
    ) -> Result<(), Failure> {
        match self.layout {
            Layout::Releases => {
                self.prepare(repository, commit, files)?;
                self.lead_to(commit)?;
                memory.releases.retain(|release| release != commit);
                memory.releases.push(commit.clone());
            }
            Layout::InPlace => self.overwrite(repository, (commit, entries), memory, files)?,
        }
        memory.published = Some(commit.clone());
        memory.publishing = None;
        files.remember(memory).map_err(Failure::lasting)
    }

    /// Has the link lead to a release: by one step, so that it always leads somewhere.
    fn lead_to(&self, commit: &ObjectName) -> Result<(), Failure> {
        let (link, new) = (self.folder.join(CURRENT), self.folder.join(NEW_LINK));
        if fs::symlink_metadata(&link).is_ok_and(|found| !found.is_symlink()) {
            let why = format!(
                "{} is not a link: the folder must belong to the job alone",
                link.display()
            );
            return Err(Failure::lasting(why));
        }
        remove(&new)?;
        symlink(link_to(commit), &new).map_err(|error| failed(&new, &error))?;
        fs::rename(&new, &link).map_err(|error| failed(&link, &error))?;
        sync_folder(&self.folder)
    }

    /// Writes what is new over what is old, and leaves alone what is neither.
    fn overwrite(
        &self,
        repository: &Repository<'_>,
        (commit, entries): (&ObjectName, &[Entry]),
        memory: &mut Memory,
        files: &Files,
    ) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        let index = files.path("index");
        let tree = Tree {
            folder: &self.folder,
            index: &index,
        };
        // Where writing was cut off before, some files are of neither commit; there were no edits then.
        if memory.publishing.is_none() {
            let edits = self.edits_in_the_way(repository, (commit, entries), tree, files)?;
            if !edits.is_empty() {
                return Err(Failure::lasting(format!(
                    "{} in {} edited by hand, and the new commit has other content; put them back or take them away",
                    listed(&edits),
                    self.folder.display()
                )));
            }
        }
        memory.publishing = Some(commit.clone());
        files.remember(memory).map_err(Failure::lasting)?;
        repository.write(commit, tree)?;
        flush(&self.folder)
    }

    /// The files that somebody else has written, and that would be lost.
    fn edits_in_the_way(
        &self,
        repository: &Repository<'_>,
        (commit, entries): (&ObjectName, &[Entry]),
        tree: Tree<'_>,
        files: &Files,
    ) -> Result<BTreeSet<String>, Failure> {
        let (mut known, mut edited) = (BTreeSet::new(), Vec::new());
        if tree.index.is_file() {
            known.extend(repository.tracked(tree)?);
            edited = repository.edits(tree)?;
        }
        let index = files.path("new-index");
        remove(&index)?;
        let new = Tree { index: &index, ..tree };
        repository.note(commit, new)?;
        let different: BTreeSet<String> = repository.edits(new)?.into_iter().collect();
        let wanted: BTreeSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        let is_lost = |path: &String| different.contains(path) || !wanted.contains(path.as_str());
        let mut found: BTreeSet<String> = edited.into_iter().filter(is_lost).collect();
        found.extend(different.iter().filter(|path| !known.contains(*path)).cloned());
        for path in wanted {
            found.extend(self.obstacle(path, &known));
        }
        Ok(found)
    }

    /// What stands where a file, or a folder of it, is to come, and is no file of git.
    fn obstacle(&self, path: &str, known: &BTreeSet<String>) -> Option<String> {
        let ends = path.match_indices('/').map(|(end, _)| end);
        for end in ends {
            let folder = &path[..end];
            let found = fs::symlink_metadata(self.folder.join(folder)).ok()?;
            if !found.is_dir() {
                return (!known.contains(folder)).then(|| folder.to_owned());
            }
        }
        let is_folder = fs::symlink_metadata(self.folder.join(path)).is_ok_and(|found| found.is_dir());
        is_folder.then(|| self.foreign(path, known)).flatten()
    }

    /// A file below `folder` that git does not know of.
    fn foreign(&self, folder: &str, known: &BTreeSet<String>) -> Option<String> {
        let entries = fs::read_dir(self.folder.join(folder)).ok()?;
        for entry in entries.flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            let is_folder = entry.file_type().is_ok_and(|found| found.is_dir());
            let found = if is_folder {
                self.foreign(&path, known)
            } else {
                (!known.contains(&path)).then_some(path)
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The files that somebody has edited though nothing new is to be written.
    pub(super) fn edits(&self, repository: &Repository<'_>, files: &Files) -> Result<Option<String>, Failure> {
        let index = files.path("index");
        let tree = Tree {
            folder: &self.folder,
            index: &index,
        };
        let edits: BTreeSet<String> = repository.edits(tree)?.into_iter().collect();
        Ok((!edits.is_empty()).then(|| format!("{} edited by hand", listed(&edits))))
    }

    /// Removes what a run that was killed has left behind.
    pub(super) fn sweep(&self, files: &Files) -> Result<(), Failure> {
        remove(&files.path("check"))?;
        if self.layout == Layout::Releases {
            remove(&self.folder.join(NEW_LINK))?;
            for (name, path) in self.releases() {
                if name.strip_prefix('.').is_some_and(is_commit) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Removes a commit that is not to be published after all.
    pub(super) fn withdraw(&self, commit: &ObjectName, memory: &Memory) -> Result<(), Failure> {
        let is_in_use = memory.published.as_ref() == Some(commit) || memory.releases.contains(commit);
        if self.layout == Layout::Releases && !is_in_use {
            self.drop_release(commit.as_str())?;
        }
        Ok(())
    }

    /// Removes releases that are too old: beside the current one and the one that was deployed last, `keep` stay.
    pub(super) fn clear(&self, memory: &mut Memory, keep: usize) -> Result<(), Failure> {
        if self.layout == Layout::InPlace {
            return Ok(());
        }
        let deployed = memory.deployed.as_ref().map(|deployed| &deployed.commit);
        let in_use: Vec<&ObjectName> = memory.published.iter().chain(deployed).collect();
        let others = memory
            .releases
            .iter()
            .rev()
            .filter(|release| !in_use.contains(release))
            .take(keep);
        let kept: Vec<ObjectName> = in_use.iter().copied().chain(others).cloned().collect();
        for (name, _) in self.releases() {
            if is_commit(&name) && !kept.iter().any(|commit| commit.as_str() == name) {
                self.drop_release(&name)?;
            }
        }
        memory.releases.retain(|release| kept.contains(release));
        Ok(())
    }

    /// Takes a release away: first its name, so that none is ever there in part.
    fn drop_release(&self, name: &str) -> Result<(), Failure> {
        let path = self.folder.join(RELEASES).join(name);
        let gone = self.folder.join(RELEASES).join(format!(".{name}"));
        if path.is_dir() {
            fs::rename(&path, &gone).map_err(|error| failed(&path, &error))?;
        }
        remove(&gone)
    }

    fn releases(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(self.folder.join(RELEASES)).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
            .collect()
    }
}

fn link_to(commit: &ObjectName) -> PathBuf {
    Path::new(RELEASES).join(commit.as_str())
}

fn is_commit(name: &str) -> bool {
    name.parse::<ObjectName>().is_ok()
}

/// Names for a sentence, with the verb.
fn listed(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMES);
    let verb = if names.len() == 1 { "was" } else { "were" };
    match more {
        0 => format!("{} {verb}", first.join(", ")),
        more => format!("{} and {more} more {verb}", first.join(", ")),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::lasting(format!("{}: {error}", path.display()))
}

/// Removes a file, a link or a folder with all that is in it, if it is there.
fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.map_err(|error| failed(path, &error))
}

/// Has everything that was written to the disk that `folder` is on be there after a power cut.
fn flush(folder: &Path) -> Result<(), Failure> {
    let opened = File::open(folder).map_err(|error| failed(folder, &error))?;
    rustix::fs::syncfs(&opened).map_err(|error| failed(folder, &error.into()))
}

fn sync_folder(folder: &Path) -> Result<(), Failure> {
    let synced = File::open(folder).and_then(|opened| opened.sync_all());
    synced.map_err(|error| failed(folder, &error))
}
