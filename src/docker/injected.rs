//! Files that somebody has put into a container before it first ran, as compose does with secrets and configurations that are
//! written in its file. No interface tells of them, and a container that is made anew would be without them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::container::{Container, without_nanoseconds};
use super::{Client, DockerError};

/// How long after a container was created such files are written.
const SOON: SignedDuration = SignedDuration::from_secs(15);
/// How many files are looked at, those near the top first.
const MOST: usize = 5000;
/// The bits by which the engine tells what is no file: folders, links, devices, pipes, sockets.
const NO_FILE: u64 = 0x8000_0000 | 0x0800_0000 | 0x0400_0000 | 0x0200_0000 | 0x0100_0000;

/// The files that were put into a container: their times are whole seconds, as archives have them, near that of its creation.
///
/// # Errors
/// That the engine does not tell.
pub(crate) async fn injected_files(client: &Client, container: &Container) -> Result<Vec<String>, DockerError> {
    let Some(created) = container.created_at() else {
        return Ok(Vec::new());
    };
    let mut paths = client.changed_paths(container.id()).await?;
    paths.sort_by_key(|path| path.matches('/').count());
    if paths.len() > MOST {
        let (name, paths) = (container.name(), paths.len());
        tracing::warn!(
            container = name,
            "of {paths} files that it has changed, {MOST} are looked at"
        );
    }
    let mut injected = Vec::new();
    for path in paths.into_iter().take(MOST) {
        let facts = client.file_facts(container.id(), &path).await?;
        if facts.is_some_and(|facts| is_injected(&facts, created)) {
            injected.push(path);
        }
    }
    Ok(injected)
}

fn is_injected(facts: &str, created: Timestamp) -> bool {
    let decoded = STANDARD.decode(facts).unwrap_or_default();
    let facts: Value = serde_json::from_slice(&decoded).unwrap_or_default();
    let is_file = facts["mode"].as_u64().is_some_and(|mode| mode & NO_FILE == 0);
    let written = facts["mtime"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    written.is_some_and(|at| {
        let after = at.duration_since(created);
        is_file && without_nanoseconds(at) && after > SignedDuration::from_secs(-2) && after < SOON
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_compose_has_put_there_is_told_from_one_of_the_program() {
        let created: Timestamp = "2026-11-22T05:16:36.056379446Z".parse().unwrap();
        for (mode, mtime, expected) in [
            (0o444_u64, "2026-11-22T05:16:36Z", true),
            (0o444, "2026-11-22T07:16:37+02:00", true),
            (0o644, "2026-11-22T05:16:37.123456789Z", false),
            (0o444, "2026-11-22T05:20:00Z", false),
            (0x8000_01ed_u64, "2026-11-22T05:16:36Z", false),
        ] {
            let facts = STANDARD.encode(json!({ "name": "x", "mode": mode, "mtime": mtime }).to_string());
            assert_eq!(is_injected(&facts, created), expected, "{mtime}");
        }
    }
}
