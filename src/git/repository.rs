//! A repository of our own that only holds what was fetched: nothing in it is needed that cannot be fetched again. One user has
//! it at a time, in this process or another; what one that was killed has left behind is swept away.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::credentials::MemoryFile;
use super::listing::{self, Entry};
use super::program::{Call, Git, GitError};
use super::reference::ObjectName;
use super::remote::Remote;
use crate::values::{CancellationToken, beside};

/// How often to look whether another user is done.
const LOOK: Duration = Duration::from_millis(50);
/// No conversion of any file.
const AS_THEY_ARE: &str = "* -text -eol -ident -filter -working-tree-encoding\n";
/// How much may be listed of a tree, in bytes.
pub(super) const LONGEST_LISTING: usize = 64 << 20;
/// Small files that are read by one call.
const FILES_AT_ONCE: usize = 5000;
/// So many packs are put together.
const MOST_PACKS: usize = 20;
/// Files that hold the place of others are smaller.
const LARGEST_POINTER: u64 = 1024;
/// What they begin with.
const POINTER: &str = "version https://git-lfs.github.com/spec/";

/// A repository without files of its own.
pub(crate) struct Repository<'a> {
    pub(super) git: &'a Git<'a>,
    folder: PathBuf,
    _lock: File,
}

/// Waits until nobody else has the lock in the file at `path`.
///
/// # Errors
/// That it cannot be had.
pub(crate) fn lock(path: &Path, cancel: &CancellationToken) -> Result<File, GitError> {
    let failed = |error: std::io::Error| GitError::lasting(format!("{} cannot be locked: {error}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed)?;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK && error != rustix::io::Errno::INTR {
            return Err(failed(error.into()));
        }
        if cancel.is_cancelled() {
            return Err(GitError::lasting(
                "it was still waiting for another job that uses the same repository",
            ));
        }
        std::thread::sleep(LOOK);
    }
    Ok(file)
}

impl<'a> Repository<'a> {
    /// The one in `folder`, for objects named like `like`; made where it is missing.
    ///
    /// # Errors
    /// That it cannot be used.
    pub(crate) fn open(
        git: &'a Git<'a>,
        folder: &Path,
        like: &ObjectName,
        cancel: &CancellationToken,
    ) -> Result<Self, GitError> {
        let failed = |error: std::io::Error| GitError::lasting(format!("{} cannot be used: {error}", folder.display()));
        // What it holds may be nobody else's business.
        let private = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder.parent().unwrap_or(folder));
        private.map_err(failed)?;
        let lock = lock(&beside(folder, ".lock"), cancel)?;
        let repository = Self {
            git,
            folder: folder.to_owned(),
            _lock: lock,
        };
        repository.sweep();
        let format = if like.as_str().len() == 64 { "sha256" } else { "sha1" };
        let is_whole = folder.join("HEAD").is_file();
        let known = || {
            let said = repository.call(&["rev-parse", "--show-object-format"]).ok()?;
            (said.code == 0).then(|| said.text())
        };
        if !is_whole || known().as_deref() != Some(format) {
            repository.start_over(format)?;
        }
        // Files are written as they are committed: what a repository says of them has no effect.
        fs::create_dir_all(folder.join("info")).map_err(failed)?;
        fs::write(folder.join("info/attributes"), AS_THEY_ARE).map_err(failed)?;
        Ok(repository)
    }

    /// Makes it anew, empty.
    fn start_over(&self, format: &str) -> Result<(), GitError> {
        let folder = self.folder.display().to_string();
        if self.folder.exists() {
            tracing::warn!("{folder}: the copy of the repository cannot be used, and is fetched again");
            fs::remove_dir_all(&self.folder)
                .map_err(|error| GitError::lasting(format!("{folder} cannot be removed: {error}")))?;
        }
        let format = format!("--object-format={format}");
        self.git.done(&Call {
            arguments: &["init", "--quiet", "--bare", "--template=", &format, &folder],
            ..Call::default()
        })?;
        Ok(())
    }

    /// Removes what calls that were killed have left behind: nobody else is in it.
    fn sweep(&self) {
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.to_string_lossy();
                let is_folder = entry.file_type().is_ok_and(|found| found.is_dir());
                let is_left = name.ends_with(".lock")
                    || name.starts_with("tmp_")
                    || name.starts_with("incoming-")
                    || name == "gc.pid";
                match (is_folder, is_left) {
                    (true, true) => drop(fs::remove_dir_all(path)),
                    (true, false) => folders.push(path),
                    (false, true) => drop(fs::remove_file(path)),
                    (false, false) => {}
                }
            }
        }
    }

    fn call(&self, arguments: &[&str]) -> Result<super::program::Said, GitError> {
        let git_dir = self.git_dir();
        self.git.call(&Call {
            arguments: &[&[git_dir.as_str()], arguments].concat(),
            ..Call::default()
        })
    }

    pub(super) fn done(&self, arguments: &[&str], call: &Call<'_>) -> Result<super::program::Said, GitError> {
        let git_dir = self.git_dir();
        let arguments = [&[git_dir.as_str()], arguments].concat();
        self.git.done(&Call {
            arguments: &arguments,
            ..call.clone()
        })
    }

    pub(super) fn git_dir(&self) -> String {
        format!("--git-dir={}", self.folder.display())
    }

    /// Fetches `source`, a full name of a ref or an object, keeps it as `kept`, and gives the commit that is meant.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn fetch(&self, remote: &Remote, source: &str, kept: &str) -> Result<ObjectName, GitError> {
        let wanted = format!("+{source}:{kept}");
        let arguments = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            remote.as_str(),
            &wanted,
        ];
        self.done(&arguments, &Call::default())?;
        self.commit(kept)?
            .ok_or_else(|| GitError::lasting(format!("{source} is not a commit")))
    }

    /// The commit that is meant by `name`; none where there is none.
    pub(crate) fn commit(&self, name: &str) -> Result<Option<ObjectName>, GitError> {
        let name = format!("{name}^{{commit}}");
        let said = self.call(&["rev-parse", "--verify", "--quiet", "--end-of-options", &name])?;
        Ok(if said.code == 0 { said.text().parse().ok() } else { None })
    }

    /// Whether the names of all files of a commit are there.
    pub(crate) fn has(&self, commit: &ObjectName) -> bool {
        let listed = self.done(&["ls-tree", "-r", commit.as_str()], &Call::most(LONGEST_LISTING));
        listed.is_ok()
    }

    /// Keeps a commit under a name.
    pub(crate) fn keep(&self, name: &str, commit: &ObjectName) -> Result<(), GitError> {
        self.done(&["update-ref", name, commit.as_str()], &Call::default())
            .map(drop)
    }

    /// What a commit says of itself in its first line.
    pub(crate) fn subject(&self, commit: &ObjectName) -> Result<String, GitError> {
        let arguments = ["log", "-1", "--no-show-signature", "--format=%s", commit.as_str()];
        let said = self.done(&arguments, &Call::default())?;
        let text = said.text();
        Ok(text.chars().filter(|c| !c.is_control()).take(200).collect())
    }

    /// Every file of a commit, once it is known that they may be written.
    ///
    /// # Errors
    /// What must not be.
    pub(crate) fn entries(&self, commit: &ObjectName) -> Result<Vec<Entry>, GitError> {
        let arguments = ["ls-tree", "-r", "-l", "-z", "--full-tree", commit.as_str()];
        let said = self.done(&arguments, &Call::most(LONGEST_LISTING))?;
        let entries = listing::parse(&said.output)?;
        listing::check(&entries)?;
        self.check_links(&entries)?;
        self.check_pointers(&entries)?;
        Ok(entries)
    }

    fn check_links(&self, entries: &[Entry]) -> Result<(), GitError> {
        let links: Vec<&Entry> = entries.iter().filter(|entry| entry.is_link()).collect();
        for (entry, target) in links.iter().zip(self.contents(&links)?) {
            if listing::leads_out(&entry.path, &target) {
                let why = format!("the link `{}` leads out of the repository, to {target:?}", entry.path);
                return Err(GitError::lasting(why));
            }
        }
        Ok(())
    }

    /// Refuses files that only tell where the real ones are.
    fn check_pointers(&self, entries: &[Entry]) -> Result<(), GitError> {
        let is_attributes = |entry: &&Entry| entry.path.rsplit('/').next() == Some(".gitattributes");
        let attributes: Vec<&Entry> = entries.iter().filter(is_attributes).collect();
        let uses_lfs = self
            .contents(&attributes)?
            .iter()
            .any(|text| text.contains("filter=lfs"));
        if !uses_lfs {
            return Ok(());
        }
        let is_small = |entry: &&Entry| entry.size < LARGEST_POINTER && !entry.is_link();
        let small: Vec<&Entry> = entries.iter().filter(is_small).collect();
        for (entry, text) in small.iter().zip(self.contents(&small)?) {
            if text.starts_with(POINTER) {
                let why = format!("`{}` is kept by Git LFS, which is not supported", entry.path);
                return Err(GitError::lasting(why));
            }
        }
        Ok(())
    }

    /// What stands in files, as text.
    fn contents(&self, entries: &[&Entry]) -> Result<Vec<String>, GitError> {
        let mut contents = Vec::new();
        for some in entries.chunks(FILES_AT_ONCE) {
            contents.extend(self.some_contents(some)?);
        }
        Ok(contents)
    }

    fn some_contents(&self, entries: &[&Entry]) -> Result<Vec<String>, GitError> {
        let call = Call {
            input: Some(lines(entries.iter().map(|entry| entry.object.as_str()))),
            ..Call::most(LONGEST_LISTING)
        };
        let said = self.done(&["cat-file", "--batch"], &call)?;
        let mut rest = said.output.as_slice();
        let mut contents = Vec::new();
        for _ in entries {
            let odd = || GitError::lasting("git gives the content of a file in a form that cannot be read");
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(odd)?;
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            let size = head.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
            let content = rest
                .get(end + 1..)
                .zip(size)
                .and_then(|(rest, size)| rest.get(..size))
                .ok_or_else(odd)?;
            contents.push(String::from_utf8_lossy(content).into_owned());
            rest = rest.get(end + 2 + content.len()..).unwrap_or_default();
        }
        Ok(contents)
    }

    /// Whether `text` is the beginning of a file: of one that is only written in part.
    pub(crate) fn begins_with(&self, entry: &Entry, text: &[u8]) -> Result<bool, GitError> {
        let said = self.done(
            &["cat-file", "blob", entry.object.as_str()],
            &Call::most(LONGEST_LISTING),
        )?;
        Ok(said.output.starts_with(text))
    }

    /// What each of `paths` is in a commit, which is the same as long as nothing in it changes; of no path, the whole.
    ///
    /// # Errors
    /// Which of them is not there.
    pub(crate) fn objects(&self, commit: &ObjectName, paths: &[String]) -> Result<Vec<(String, String)>, GitError> {
        if paths.is_empty() {
            let name = format!("{commit}^{{tree}}");
            let said = self.done(&["rev-parse", "--verify", "--end-of-options", &name], &Call::default())?;
            return Ok(vec![(String::new(), said.text())]);
        }
        let object = |path: &String| {
            // Of several paths at once, one would be looked into for another.
            let arguments = ["ls-tree", "-z", "--full-tree", commit.as_str(), "--", path];
            let said = self.done(&arguments, &Call::default())?;
            let text = String::from_utf8_lossy(&said.output).into_owned();
            let found = text.split('\0').find_map(|line| line.split_once('\t'));
            let object = found
                .filter(|(_, name)| name == path)
                .map(|(object, _)| object.to_owned());
            let missing = || GitError::lasting(format!("`{path}` is not in commit {}", commit.short()));
            Ok((path.clone(), object.ok_or_else(missing)?))
        };
        paths.iter().map(object).collect()
    }

    /// The files that differ between two commits that are there; every file of the second where there is no first.
    pub(crate) fn changes(&self, from: Option<&ObjectName>, to: &ObjectName) -> Result<Vec<String>, GitError> {
        let arguments = match from {
            Some(from) => vec![
                "diff-tree",
                "-r",
                "-z",
                "--name-only",
                "--no-renames",
                from.as_str(),
                to.as_str(),
            ],
            None => vec!["ls-tree", "-r", "-z", "--name-only", "--full-tree", to.as_str()],
        };
        let said = self.done(&arguments, &Call::most(LONGEST_LISTING))?;
        Ok(names(&said.output))
    }

    /// Whether a commit is signed by one of `signers`, the lines of an `allowed_signers` file.
    ///
    /// # Errors
    /// That it is not.
    pub(crate) fn verify(&self, commit: &ObjectName, signers: &str) -> Result<(), GitError> {
        let file = MemoryFile::new("signers", signers)?;
        let path = file.path();
        let git_dir = self.git_dir();
        // Only the code it ends with tells: a good signature of somebody unknown is called good.
        let said = self.git.call(&Call {
            arguments: &[&git_dir, "verify-commit", commit.as_str()],
            settings: &[("gpg.ssh.allowedSignersFile", &path)],
            ..Call::default()
        })?;
        if said.code == 0 {
            return Ok(());
        }
        let lines = || said.errors.lines().map(str::trim);
        let signer: Option<String> = lines()
            .filter(|line| line.starts_with("Good "))
            .find_map(|line| Some(line.split_once(" key ")?.1.to_owned()));
        let text = self
            .done(&["cat-file", "commit", commit.as_str()], &Call::default())?
            .text();
        let why = match signer {
            Some(key) => format!("it is signed with the key {key}, which is not among them"),
            None if text.contains("BEGIN PGP SIGNATURE") => "only signatures by ssh keys are known".to_owned(),
            None if !text.contains("SIGNATURE") => "it has no signature".to_owned(),
            None => lines()
                .find(|line| !line.is_empty())
                .unwrap_or("the signature is not good")
                .to_owned(),
        };
        let short = commit.short();
        Err(GitError::lasting(format!(
            "commit {short} is not signed by any of the signers: {why}"
        )))
    }

    /// Whether something in it is not as it should be, which takes time to find out.
    pub(crate) fn is_damaged(&self) -> bool {
        let said = self.call(&["fsck", "--no-dangling", "--no-progress"]);
        said.is_ok_and(|said| said.code != 0)
    }

    /// Puts what many fetches brought together, and drops what nobody keeps.
    pub(crate) fn tidy(&self) -> Result<(), GitError> {
        let packs = fs::read_dir(self.folder.join("objects/pack"))
            .into_iter()
            .flatten()
            .flatten();
        let is_pack = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|end| end == "pack");
        if packs.filter(is_pack).count() > MOST_PACKS {
            self.done(&["gc", "--quiet", "--force", "--prune=now"], &Call::default())?;
        }
        Ok(())
    }
}

impl Call<'_> {
    pub(super) fn most(bytes: usize) -> Self {
        Self {
            most: Some(bytes),
            ..Self::default()
        }
    }
}

fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.fold(String::new(), |lines, text| lines + text + "\n")
}

pub(super) fn names(output: &[u8]) -> Vec<String> {
    let names = output.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Whether a failure may be one of our own copy, or only speaks like one.
pub(crate) fn may_be_about_the_copy(message: &str) -> bool {
    let lower = message.to_lowercase();
    let words = [
        "corrupt",
        "bad object",
        "loose object",
        "not a git repository",
        "unable to read",
        "missing blob",
        "bad ref",
        "does not match index",
        "inflate",
        "reference broken",
        "cannot lock ref",
        "file exists",
    ];
    // What the other side says is nothing to go by.
    lower.contains("git ")
        && !lower.contains("remote error")
        && !lower.contains("remote:")
        && words.iter().any(|word| lower.contains(word))
}

/// Throws the copy in `folder` away.
///
/// # Errors
/// That it cannot be.
pub(crate) fn forget(folder: &Path, cancel: &CancellationToken) -> Result<(), GitError> {
    let _lock = lock(&beside(folder, ".lock"), cancel)?;
    tracing::warn!(
        "{}: the copy of the repository is damaged, and is fetched again",
        folder.display()
    );
    fs::remove_dir_all(folder)
        .map_err(|error| GitError::lasting(format!("{} cannot be removed: {error}", folder.display())))
}
