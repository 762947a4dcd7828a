//! The files of a commit in a folder: written, and looked at for what somebody else has changed.

use std::fs;
use std::path::Path;

use super::program::{Call, GitError};
use super::reference::ObjectName;
use super::repository::{LONGEST_LISTING, Repository, names};
use crate::values::beside;

/// Where the files of a commit are, or go, and what git knows of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a> {
    pub folder: &'a Path,
    pub index: &'a Path,
}

impl Repository<'_> {
    /// Has the files of `tree` be those of a commit: unchanged ones stay as they are, and what git does not know of stays, too.
    pub(crate) fn write(&self, commit: &ObjectName, tree: Tree<'_>) -> Result<(), GitError> {
        let _ = fs::remove_file(beside(tree.index, ".lock"));
        let call = Call {
            variables: &tree.variables(),
            writes_for_others: true,
            ..Call::default()
        };
        self.done(&["read-tree", "--reset", "-u", commit.as_str()], &call)
            .map(drop)
    }

    /// Has git know of the files of a commit, and writes none.
    pub(crate) fn note(&self, commit: &ObjectName, tree: Tree<'_>) -> Result<(), GitError> {
        let call = Call {
            variables: &tree.variables(),
            ..Call::default()
        };
        self.done(&["read-tree", commit.as_str()], &call).map(drop)
    }

    /// The files that git knows of.
    pub(crate) fn tracked(&self, tree: Tree<'_>) -> Result<Vec<String>, GitError> {
        let variables = tree.variables();
        let call = Call {
            variables: &variables,
            ..Call::most(LONGEST_LISTING)
        };
        Ok(names(&self.done(&["ls-files", "-z"], &call)?.output))
    }

    /// The files of `tree` that are there and are not what git knows of.
    pub(crate) fn edits(&self, tree: Tree<'_>) -> Result<Vec<String>, GitError> {
        let variables = tree.variables();
        let git_dir = self.git_dir();
        // It ends with 1 where something differs.
        self.git.call(&Call {
            arguments: &[&git_dir, "update-index", "-q", "--refresh"],
            variables: &variables,
            ..Call::most(LONGEST_LISTING)
        })?;
        let call = Call {
            variables: &variables,
            ..Call::most(LONGEST_LISTING)
        };
        let said = self.done(&["diff-files", "-z", "--name-only", "--diff-filter=d"], &call)?;
        Ok(names(&said.output))
    }
}

impl Tree<'_> {
    fn variables(&self) -> [(&'static str, &Path); 2] {
        [("GIT_INDEX_FILE", self.index), ("GIT_WORK_TREE", self.folder)]
    }
}
