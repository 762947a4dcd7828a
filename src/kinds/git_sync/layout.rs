//! How the files of a commit come into the folder: whole, in a folder of their own, or in the place of those before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::in_place::{InPlace, InTheWay, listed};
use super::memory::{Files, Memory};
use super::{GitSync, Layout};
use crate::git::{Entry, ObjectName, Repository, Tree};
use crate::run::Failure;

/// The link to the files that are published.
const CURRENT: &str = "current";
const NEW_LINK: &str = ".current.new";
/// The releases, each called by its commit; those that are not whole yet, or not any more, have one of these before it.
const RELEASES: &str = "releases";
const NEW: &str = ".new-";
const OLD: &str = ".old-";

/// The folder of a job.
pub(super) struct Place {
    pub folder: PathBuf,
    layout: Layout,
}

impl Place {
    pub(super) fn of(job: &GitSync) -> Result<Self, Failure> {
        let folder = job.whole_folder().map_err(Failure::lasting)?;
        if fs::metadata(&folder).is_ok_and(|found| !found.is_dir()) {
            return Err(Failure::lasting(format!(
                "`folder`: {} is not a folder",
                folder.display()
            )));
        }
        Ok(Self {
            folder,
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
    pub(super) fn shows(&self, memory: &Memory) -> bool {
        let Some(published) = memory.published.as_ref() else {
            return false;
        };
        match self.layout {
            Layout::Releases => {
                let target = fs::read_link(self.folder.join(CURRENT));
                target.is_ok_and(|target| target == link_to(published)) && self.release(published).is_dir()
            }
            Layout::InPlace => self.folder.is_dir(),
        }
    }

    fn release(&self, commit: &ObjectName) -> PathBuf {
        self.folder.join(RELEASES).join(commit.as_str())
    }

    fn in_place(&self, files: &Files) -> InPlace<'_> {
        InPlace {
            folder: &self.folder,
            index: files.path("index"),
            other_index: files.path("new-index"),
        }
    }

    /// Where the files of a commit are before they are published: whole, and on the disk.
    pub(super) fn prepare(
        &self,
        repository: &Repository<'_>,
        commit: &ObjectName,
        memory: &Memory,
        (files, run): (&Files, &str),
    ) -> Result<PathBuf, Failure> {
        let (whole, new) = match self.layout {
            Layout::Releases => {
                let new = self.folder.join(RELEASES).join(format!("{NEW}{run}-{commit}"));
                (self.release(commit), new)
            }
            Layout::InPlace => (files.path("check"), files.path("check")),
        };
        if self.layout == Layout::Releases && whole.is_dir() {
            // One that is in use stays as it is; another one may have been changed by a program.
            if memory.published.as_ref() == Some(commit) {
                return Ok(whole);
            }
            self.drop_release(commit.as_str())?;
        }
        let index = files.path("new-index");
        remove(&new)?;
        remove(&index)?;
        create_folder(&new)?;
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
        (files, run, is_prepared): (&Files, &str, bool),
    ) -> Result<(), Failure> {
        match self.layout {
            Layout::Releases => {
                if !is_prepared {
                    self.prepare(repository, commit, memory, (files, run))?;
                }
                self.lead_to(commit, memory, files)
            }
            Layout::InPlace => self.overwrite(repository, (commit, entries), memory, files),
        }
    }

    /// Publishes a commit whose files are still there; false where they are not.
    pub(super) fn publish_kept(
        &self,
        commit: &ObjectName,
        memory: &mut Memory,
        files: &Files,
    ) -> Result<bool, Failure> {
        let is_there = self.layout == Layout::Releases && self.release(commit).is_dir();
        if is_there {
            self.lead_to(commit, memory, files)?;
        }
        Ok(is_there)
    }

    /// Has the link lead to a release: by one step, so that it always leads somewhere.
    fn lead_to(&self, commit: &ObjectName, memory: &mut Memory, files: &Files) -> Result<(), Failure> {
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
        sync_folder(&self.folder)?;
        memory.releases.retain(|release| release != commit);
        memory.releases.push(commit.clone());
        memory.published = Some(commit.clone());
        files.remember(memory).map_err(Failure::lasting)
    }

    /// Writes what is new over what is old, and leaves alone what is neither.
    fn overwrite(
        &self,
        repository: &Repository<'_>,
        (commit, entries): (&ObjectName, &[Entry]),
        memory: &mut Memory,
        files: &Files,
    ) -> Result<(), Failure> {
        create_folder(&self.folder)?;
        let place = self.in_place(files);
        remove(&place.index)?;
        place.know(repository, memory.published.as_ref())?;
        let mut torn = Vec::new();
        if let Some(other) = memory.publishing.clone().filter(|other| repository.has(other)) {
            torn = repository.entries(&other)?;
            // Finished first, so that git knows of its files. Where that cannot be, the new commit may mend it.
            if other != *commit && self.write(repository, (&other, &torn), &torn, memory, files).is_ok() {
                torn = Vec::new();
            }
        }
        self.write(repository, (commit, entries), &torn, memory, files)
    }

    fn write(
        &self,
        repository: &Repository<'_>,
        (commit, entries): (&ObjectName, &[Entry]),
        torn: &[Entry],
        memory: &mut Memory,
        files: &Files,
    ) -> Result<(), Failure> {
        let place = self.in_place(files);
        let lost = place.in_the_way(repository, (commit, entries), (torn, &memory.edited))?;
        if !lost.is_empty() {
            return Err(Failure::lasting(would_be_lost(&self.folder, &lost)));
        }
        memory.publishing = Some(commit.clone());
        files.remember(memory).map_err(Failure::lasting)?;
        repository.write(commit, place.tree())?;
        flush(&self.folder)?;
        let index = File::open(&place.index).and_then(|index| index.sync_all());
        index.map_err(|error| failed(&place.index, &error))?;
        memory.published = Some(commit.clone());
        memory.publishing = None;
        memory.edited.clear();
        files.remember(memory).map_err(Failure::lasting)
    }

    /// What a deployment has made of files, as digests.
    pub(super) fn contents_of_edits(
        &self,
        repository: &Repository<'_>,
        files: &Files,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let place = self.in_place(files);
        let edits = place.edits(repository)?.into_iter();
        Ok(edits
            .filter_map(|path| Some((path.clone(), place.digest_of(&path)?)))
            .collect())
    }

    /// What a run would find in the way of a commit; `copy` is a folder for a copy of what git knows.
    pub(super) fn foreseen(
        &self,
        repository: &Repository<'_>,
        (commit, entries): (&ObjectName, &[Entry]),
        (memory, files): (&Memory, &Files),
        copy: &Path,
    ) -> Result<Option<String>, Failure> {
        if self.layout == Layout::Releases || !self.folder.is_dir() {
            return Ok(None);
        }
        let place = InPlace {
            folder: &self.folder,
            index: copy.join("index"),
            other_index: copy.join("new-index"),
        };
        // Where there is none, every file is somebody else's.
        let _ = fs::copy(files.path("index"), &place.index);
        let lost = place.in_the_way(repository, (commit, entries), (&[], &memory.edited))?;
        Ok((!lost.is_empty()).then(|| would_be_lost(&self.folder, &lost)))
    }

    /// The files that somebody has edited though nothing new is to be written.
    pub(super) fn edits(
        &self,
        repository: &Repository<'_>,
        memory: &Memory,
        files: &Files,
    ) -> Result<Option<String>, Failure> {
        let place = self.in_place(files);
        if !place.index.is_file() || repository.tracked(place.tree()).is_err() {
            return Ok(None);
        }
        let mut edits = place.edits(repository)?;
        edits.retain(|path| place.digest_of(path).as_ref() != memory.edited.get(path));
        let folder = self.folder.display();
        Ok((!edits.is_empty()).then(|| format!("edited by hand in {folder}: {}", listed(&edits))))
    }

    /// Removes what a run that was killed has left behind; gives what cannot be.
    pub(super) fn sweep(&self, files: &Files, memory: &Memory) -> Vec<String> {
        let names = ["check", "new-index", "new-index.lock", "index.lock"];
        let mut paths: Vec<PathBuf> = names.iter().map(|name| files.path(name)).collect();
        if memory.published.is_none() && memory.publishing.is_none() {
            // It is of other files.
            paths.push(files.path("index"));
        }
        if self.layout == Layout::Releases {
            paths.push(self.folder.join(NEW_LINK));
            let left = self.releases().into_iter();
            paths.extend(
                left.filter(|(name, _)| name.starts_with(NEW) || name.starts_with(OLD))
                    .map(|(_, path)| path),
            );
        }
        failures(paths.iter().map(|path| remove(path)))
    }

    /// Removes a commit that is not to be published after all.
    pub(super) fn withdraw(&self, commit: &ObjectName, memory: &Memory) {
        let is_in_use = memory.published.as_ref() == Some(commit) || memory.releases.contains(commit);
        if self.layout == Layout::Releases && !is_in_use {
            for warning in failures([self.drop_release(commit.as_str())]) {
                tracing::warn!("{warning}");
            }
        }
    }

    /// Removes releases that are too old: beside the current one and the one that was deployed last, `keep` stay. Gives what
    /// cannot be removed.
    pub(super) fn clear(&self, memory: &mut Memory, keep: usize) -> Vec<String> {
        if self.layout == Layout::InPlace {
            return Vec::new();
        }
        let deployed = memory.deployed.as_ref().map(|deployed| &deployed.commit);
        let in_use: Vec<&ObjectName> = memory.published.iter().chain(deployed).collect();
        let others = memory.releases.iter().rev().filter(|release| !in_use.contains(release));
        let kept: Vec<ObjectName> = in_use.iter().copied().chain(others.take(keep)).cloned().collect();
        let is_old = |name: &str| name.parse::<ObjectName>().is_ok_and(|commit| !kept.contains(&commit));
        let releases = self.releases();
        let old = releases.iter().filter(|(name, _)| is_old(name));
        let warnings = failures(old.map(|(name, _)| self.drop_release(name)));
        memory.releases.retain(|release| kept.contains(release));
        warnings
    }

    /// Takes a release away: first its name, so that none is ever there in part.
    fn drop_release(&self, name: &str) -> Result<(), Failure> {
        let path = self.folder.join(RELEASES).join(name);
        let gone = self.folder.join(RELEASES).join(format!("{OLD}{name}"));
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

fn would_be_lost(folder: &Path, lost: &InTheWay) -> String {
    let folder = folder.display();
    format!("files in {folder} would be lost ({lost}); restore them, or move them away")
}

fn failures(done: impl IntoIterator<Item = Result<(), Failure>>) -> Vec<String> {
    let failed = done.into_iter().filter_map(Result::err);
    failed
        .map(|failure| format!("an old file cannot be removed: {}", failure.message))
        .collect()
}

fn link_to(commit: &ObjectName) -> PathBuf {
    Path::new(RELEASES).join(commit.as_str())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::lasting(format!("{}: {error}", path.display()))
}

/// Makes a folder that others can look into, as they can read what is written there.
fn create_folder(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_folder(parent)?;
    }
    let made = fs::create_dir(path).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
    made.map_err(|error| failed(path, &error))
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
