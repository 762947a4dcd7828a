//! What is asked of the engine, call by call. Everything is named by its id.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::client::{ANSWER, Call, Client, DockerError, Version};
use super::{Container, Reference};

/// How much longer than its own time a container may take to stop.
const AFTER_STOP: Duration = Duration::from_secs(30);
/// How much of a container's log is read, in bytes.
const LONGEST_LOG: usize = 64 * 1024;
/// How long pulling may take to begin: registries are asked first.
const PULL: Duration = Duration::from_mins(2);

/// A digest that a registry has for a tag, and the platforms it has an image for.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub digest: String,
    pub platforms: Vec<String>,
}

impl Client {
    /// The first version whose create takes several networks, and their MAC addresses.
    const SEVERAL_NETWORKS: Version = Version(1, 44);

    /// The first version that keeps a container's own names from its aliases.
    const OWN_NAMES_APART: Version = Version(1, 45);

    /// Whether a container's aliases have its own names among them.
    pub(crate) fn tells_own_names(&self) -> bool {
        self.version < Self::OWN_NAMES_APART
    }

    /// Whether a container is created with all its networks.
    pub(crate) fn takes_all_networks(&self) -> bool {
        self.version >= Self::SEVERAL_NETWORKS
    }

    /// What tells it from other engines, and what its host is called; nothing where a proxy keeps that back.
    pub(crate) async fn info(&self) -> Result<Value, DockerError> {
        match self.get("/info").await {
            Err(error) if error.status.is_some() => Ok(Value::Null),
            other => other,
        }
    }

    /// Every container, as lists have them.
    pub(crate) async fn list(&self) -> Result<Vec<Value>, DockerError> {
        let call = Call {
            query: &[("all", "1")],
            ..Call::new(Method::GET, "/containers/json")
        };
        match self.call(&call).await? {
            Value::Array(containers) => Ok(containers),
            _ => Err(DockerError::lasting("the engine's answer is not a list of containers")),
        }
    }

    pub(crate) async fn container(&self, id: &str) -> Result<Container, DockerError> {
        let found = self.get(&format!("/containers/{id}/json")).await?;
        Container::new(found)
            .ok_or_else(|| DockerError::lasting(format!("the engine tells too little of container {id}")))
    }

    /// The same; none where there is none.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Container>, DockerError> {
        match self.container(id).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An image by id, tag or digest; none where there is none.
    pub(crate) async fn image(&self, name: &str) -> Result<Option<Value>, DockerError> {
        match self.get(&format!("/images/{name}/json")).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the registry has for a tag.
    pub(crate) async fn published(&self, image: &Reference, login: Option<&str>) -> Result<Published, DockerError> {
        let path = format!("/distribution/{image}/json");
        let headers = login.map(|login| [("X-Registry-Auth", login)]);
        let call = Call {
            headers: headers.as_ref().map_or(&[], |headers| headers.as_slice()),
            ..Call::new(Method::GET, &path)
        };
        let found = self.call(&call).await?;
        let platforms = found["Platforms"].as_array().into_iter().flatten();
        let digest = found.pointer("/Descriptor/digest").and_then(Value::as_str);
        Ok(Published {
            digest: digest
                .ok_or_else(|| DockerError::lasting("the registry tells no digest"))?
                .to_owned(),
            platforms: platforms.map(platform).collect(),
        })
    }

    /// Pulls what a digest names, and gives the image. No tag moves.
    pub(crate) async fn pull(
        &self,
        image: &Reference,
        digest: &str,
        (login, platform): (Option<&str>, Option<&str>),
    ) -> Result<Value, DockerError> {
        let mut query = vec![("fromImage", image.name.as_str()), ("tag", digest)];
        query.extend(platform.map(|platform| ("platform", platform)));
        let headers: Vec<(&str, &str)> = login.map(|login| ("X-Registry-Auth", login)).into_iter().collect();
        let call = Call {
            query: &query,
            headers: &headers,
            wait: PULL,
            ..Call::new(Method::POST, "/images/create")
        };
        let answer = self.send(&call, true).await?;
        let mut line = Vec::new();
        self.read(answer, |piece| {
            // The answer is well even where the pull is not: one of its lines says so.
            for byte in piece {
                match byte {
                    b'\n' => refused(&std::mem::take(&mut line))?,
                    byte => line.push(*byte),
                }
            }
            Ok(())
        })
        .await?;
        refused(&line)?;
        let pulled = self.image(&format!("{}@{digest}", image.name)).await?;
        pulled.ok_or_else(|| DockerError::lasting(format!("the engine pulled {image}, but has no image {digest}")))
    }

    pub(crate) async fn tag(&self, id: &str, image: &Reference) -> Result<(), DockerError> {
        let path = format!("/images/{id}/tag");
        let call = Call {
            query: &[("repo", &image.name), ("tag", &image.tag)],
            ..Call::new(Method::POST, &path)
        };
        self.call(&call).await.map(drop)
    }

    /// Removes an image, or a name of one, as long as nobody needs it; gives whether it did.
    pub(crate) async fn remove_image(&self, name: &str) -> Result<bool, DockerError> {
        match self.call(&Call::new(Method::DELETE, &format!("/images/{name}"))).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.status, Some(404 | 409)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a container, and gives its id with what the engine warns of.
    pub(crate) async fn create(
        &self,
        name: &str,
        body: &Value,
        platform: Option<&str>,
    ) -> Result<(String, Vec<String>), DockerError> {
        let mut query = vec![("name", name)];
        query.extend(platform.map(|platform| ("platform", platform)));
        let call = Call {
            query: &query,
            body: Some(body),
            ..Call::new(Method::POST, "/containers/create")
        };
        let made = self.call(&call).await?;
        let id = made["Id"]
            .as_str()
            .ok_or_else(|| DockerError::lasting("the engine tells no id of the container it created"))?;
        let warnings = made["Warnings"].as_array().into_iter().flatten();
        Ok((
            id.to_owned(),
            warnings.filter_map(Value::as_str).map(str::to_owned).collect(),
        ))
    }

    /// Has a container join a network.
    pub(crate) async fn join(&self, network: &str, id: &str, settings: &Value) -> Result<(), DockerError> {
        let body = json!({ "Container": id, "EndpointConfig": settings });
        self.post(&format!("/networks/{network}/connect"), Some(&body)).await
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), DockerError> {
        self.post(&format!("/containers/{id}/start"), None).await
    }

    /// Stops a container, within its own time or `seconds`.
    pub(crate) async fn stop(&self, container: &Container, seconds: Option<u64>) -> Result<(), DockerError> {
        let path = format!("/containers/{}/stop", container.id());
        let text = seconds.map(|seconds| seconds.to_string());
        let query = text.as_ref().map(|text| [("t", text.as_str())]);
        let call = Call {
            query: query.as_ref().map_or(&[], |query| query.as_slice()),
            wait: seconds.map_or_else(|| container.stops_within(), Duration::from_secs) + AFTER_STOP,
            ..Call::new(Method::POST, &path)
        };
        self.call(&call).await.map(drop)
    }

    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<(), DockerError> {
        let path = format!("/containers/{id}/rename");
        let call = Call {
            query: &[("name", name)],
            ..Call::new(Method::POST, &path)
        };
        self.call(&call).await.map(drop)
    }

    /// Sets what becomes of a container that has ended.
    pub(crate) async fn set_restart_policy(&self, id: &str, policy: &Value) -> Result<(), DockerError> {
        let body = json!({ "RestartPolicy": policy });
        self.post(&format!("/containers/{id}/update"), Some(&body)).await
    }

    /// Restarts a container, within its own time to stop.
    pub(crate) async fn restart(&self, container: &Container) -> Result<(), DockerError> {
        let path = format!("/containers/{}/restart", container.id());
        let call = Call {
            wait: container.stops_within() + AFTER_STOP,
            ..Call::new(Method::POST, &path)
        };
        self.call(&call).await.map(drop)
    }

    /// Removes a container, running or not, with the volumes that it alone was given where `with_own_volumes` says so. One that
    /// is gone already is no error.
    pub(crate) async fn remove(&self, id: &str, with_own_volumes: bool) -> Result<(), DockerError> {
        let path = format!("/containers/{id}");
        let volumes = if with_own_volumes { "1" } else { "0" };
        let call = Call {
            query: &[("force", "1"), ("v", volumes)],
            ..Call::new(Method::DELETE, &path)
        };
        match self.call(&call).await {
            Err(error) if error.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }

    /// The end of what a container has printed.
    pub(crate) async fn log_tail(&self, container: &Container, lines: u32) -> Result<String, DockerError> {
        let (path, lines) = (format!("/containers/{}/logs", container.id()), lines.to_string());
        let call = Call {
            query: &[("stdout", "1"), ("stderr", "1"), ("tail", &lines)],
            ..Call::new(Method::GET, &path)
        };
        let answer = self.send(&call, true).await?;
        let log = self.whole(answer).await?;
        let mut log = if container.has_terminal() {
            log
        } else {
            without_frames(&log)
        };
        let surplus = log.len().saturating_sub(LONGEST_LOG);
        if surplus > 0 {
            // What is left of a line could be what is left of a secret.
            let end = log[surplus..].iter().position(|byte| *byte == b'\n');
            log.drain(..end.map_or(log.len(), |end| surplus + end + 1));
        }
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// What a container's own files differ in from those of its image: paths that were added or changed.
    pub(super) async fn changed_paths(&self, id: &str) -> Result<Vec<String>, DockerError> {
        const DELETED: u64 = 2;
        let found = self.get(&format!("/containers/{id}/changes")).await?;
        let changes = found.as_array().into_iter().flatten();
        let there = changes.filter(|change| change["Kind"].as_u64() != Some(DELETED));
        let paths = there.filter_map(|change| change["Path"].as_str());
        Ok(paths.map(str::to_owned).collect())
    }

    /// What is known of a file in a container, in Base64; none where there is no such file any more.
    pub(super) async fn file_facts(&self, id: &str, path: &str) -> Result<Option<String>, DockerError> {
        let archive = format!("/containers/{id}/archive");
        let call = Call {
            query: &[("path", path)],
            ..Call::new(Method::HEAD, &archive)
        };
        match self.send(&call, true).await {
            Ok(answer) => {
                let facts = answer.headers().get("X-Docker-Container-Path-Stat");
                Ok(facts.and_then(|facts| facts.to_str().ok()).map(str::to_owned))
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn post(&self, path: &str, body: Option<&Value>) -> Result<(), DockerError> {
        let call = Call {
            body,
            wait: ANSWER,
            ..Call::new(Method::POST, path)
        };
        self.call(&call).await.map(drop)
    }
}

/// A platform as it is written, such as `linux/arm64/v8`.
fn platform(found: &Value) -> String {
    let parts = ["os", "architecture", "variant"].map(|key| found[key].as_str().unwrap_or_default());
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<&str>>()
        .join("/")
}

/// Whether a line of a pull says why it failed.
fn refused(line: &[u8]) -> Result<(), DockerError> {
    let said: Value = serde_json::from_slice(line).unwrap_or_default();
    let why = said
        .pointer("/errorDetail/message")
        .or(said.get("error"))
        .and_then(Value::as_str);
    why.map_or(Ok(()), |why| Err(DockerError::lasting(why)))
}

/// What a container has printed, without the frames that tell its two streams apart.
fn without_frames(log: &[u8]) -> Vec<u8> {
    const HEAD: usize = 8;
    let (mut rest, mut text) = (log, Vec::new());
    while let Some((head, after)) = rest.split_at_checked(HEAD) {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (piece, after) = after.split_at(length.min(after.len()));
        text.extend_from_slice(piece);
        rest = after;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_without_its_frames() {
        let framed = b"\x01\0\0\0\0\0\0\x03hi\n\x02\0\0\0\0\0\0\x05oops\n\x01\0\0\0\0\0\0\x09cut";
        assert_eq!(without_frames(framed), b"hi\noops\ncut");
    }

    #[test]
    fn a_pull_that_failed_says_so_in_one_of_its_lines() {
        assert!(refused(br#"{"status":"Pulling from library/nginx"}"#).is_ok());
        let refused = refused(br#"{"errorDetail":{"message":"unauthorized"},"error":"unauthorized"}"#).unwrap_err();
        assert_eq!(refused.message, "unauthorized");
    }
}
