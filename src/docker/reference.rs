//! The name of an image: registry, repository and tag.

use std::fmt;

/// What docker calls its own registry.
const HUB: &str = "docker.io";

/// The name of an image that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    /// The repository as it is written, without the tag.
    pub name: String,
    pub tag: String,
}

impl Reference {
    /// What `text` names; or why nothing can be asked of that.
    ///
    /// # Errors
    /// That it names no tag of a repository.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('@') {
            return Err("its image is pinned by digest");
        }
        if is_id(text) {
            return Err("its image is given by id, which no registry knows");
        }
        let after_slash = text.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match text[after_slash..].split_once(':') {
            Some((_, tag)) => (&text[..text.len() - tag.len() - 1], tag),
            None => (text, "latest"),
        };
        let is_good = |c: char| c.is_ascii_alphanumeric() || "._-/:[]".contains(c);
        if name.is_empty() || tag.is_empty() || !name.chars().chain(tag.chars()).all(is_good) {
            return Err("its image has no name that a registry could know");
        }
        Ok(Self {
            name: name.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// The host of its registry, and its path there.
    fn parts(&self) -> (&str, String) {
        parts_of(&self.name)
    }

    /// The host of its registry.
    pub(crate) fn host(&self) -> &str {
        self.parts().0
    }

    /// Whether its registry is docker's own.
    pub(super) fn is_of_hub(&self) -> bool {
        self.host() == HUB
    }

    /// The digest in `name@digest`, where the name is that of this repository.
    pub(crate) fn digest_in<'a>(&self, repo_digest: &'a str) -> Option<&'a str> {
        let (name, digest) = repo_digest.split_once('@')?;
        (parts_of(name) == self.parts()).then_some(digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

fn is_id(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    is_hex && (hex.len() == 64 || text.len() != hex.len() || hex.len() == 12)
}

fn parts_of(name: &str) -> (&str, String) {
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (HUB, name),
    };
    let host = if host == "index.docker.io" || host == "registry-1.docker.io" {
        HUB
    } else {
        host
    };
    let is_official = host == HUB && !path.contains('/');
    (
        host,
        if is_official {
            format!("library/{path}")
        } else {
            path.to_owned()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        for (text, shown, host, digest_of) in [
            ("nginx", "nginx:latest", "docker.io", "docker.io/library/nginx"),
            ("nginx:1.27", "nginx:1.27", "docker.io", "nginx"),
            (
                "index.docker.io/library/nginx",
                "index.docker.io/library/nginx:latest",
                "docker.io",
                "nginx",
            ),
            ("me/app:v1", "me/app:v1", "docker.io", "docker.io/me/app"),
            ("ghcr.io/me/app", "ghcr.io/me/app:latest", "ghcr.io", "ghcr.io/me/app"),
            ("localhost/app:x", "localhost/app:x", "localhost", "localhost/app"),
            (
                "127.0.0.1:5000/app",
                "127.0.0.1:5000/app:latest",
                "127.0.0.1:5000",
                "127.0.0.1:5000/app",
            ),
        ] {
            let read = Reference::parse(text).unwrap();
            assert_eq!((read.to_string().as_str(), read.host()), (shown, host));
            assert_eq!(
                read.digest_in(&format!("{digest_of}@sha256:1")),
                Some("sha256:1"),
                "{text}"
            );
            assert_eq!(read.digest_in("other.io/x@sha256:1"), None);
        }
        for (text, why) in [
            ("nginx@sha256:1", "pinned"),
            ("nginx:1@sha256:1", "pinned"),
            ("sha256:846d927c46b5", "by id"),
            ("846d927c46b5", "by id"),
            ("", "no name"),
            ("a b", "no name"),
        ] {
            assert!(Reference::parse(text).unwrap_err().contains(why), "{text}");
        }
    }
}
