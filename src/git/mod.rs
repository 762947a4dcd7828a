//! The program git, as this service uses it: in an environment of its own, with credentials that are bound to their hosts, on
//! repositories that only hold what was fetched. What is fetched when, and what becomes of it, is left to the kinds of jobs.

mod credentials;
mod host;
mod listing;
mod program;
mod reference;
mod remote;
mod repository;
mod tree;

pub(crate) use credentials::{HELPER, answer_git};
pub(crate) use host::{GitHost, GitHosts};
pub(crate) use listing::Entry;
pub(crate) use program::{Git, GitError};
pub(crate) use reference::{ObjectName, RefName};
pub(crate) use remote::Remote;
pub(crate) use repository::{Repository, ask, lock};
pub(crate) use tree::Tree;
