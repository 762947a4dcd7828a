//! The program git, as this service uses it: in an environment of its own, with credentials that are bound to their hosts, on
//! repositories that only hold what was fetched. What is fetched when, and what becomes of it, is left to the kinds of jobs.

mod credentials;
mod host;
mod inquiry;
mod listing;
mod program;
mod reference;
mod remote;
mod repository;
mod tree;

pub(crate) use credentials::{HELPER, answer_git};
pub(crate) use host::{GitHost, GitHosts, is_host, names_keys};
pub(crate) use inquiry::{ask, missing};
pub(crate) use listing::Entry;
pub(crate) use program::{Git, GitError};
pub(crate) use reference::{ObjectName, RefName};
pub(crate) use remote::Remote;
pub(crate) use repository::{Repository, forget, lock, may_be_about_the_copy};
pub(crate) use tree::Tree;
