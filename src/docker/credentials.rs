//! Who we are to registries, as the file says that docker keeps it in: read at each run, for tokens expire.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use super::Reference;
use crate::process::{self, Asked, Captured, Exit, Identity, Program, Rules, StopSignal, Surroundings};
use crate::values::{Redactor, Secret, read_text_in_time};

/// The name that the file has docker's own registry under.
const HUB: &str = "https://index.docker.io/v1/";
/// How much a helper may answer, in bytes.
const LONGEST: usize = 1 << 20;
/// How long a helper may take to end once it is asked to.
const KILL_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

/// The file, as it is now.
pub(crate) struct Credentials<'a> {
    path: PathBuf,
    content: Value,
    surroundings: &'a Surroundings,
    asked: &'a Asked,
}

/// What logs in to a registry.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// The header that the engine wants.
    pub header: Secret,
    /// Leaves out what of it the engine or a registry may repeat.
    pub redactor: Redactor,
}

impl<'a> Credentials<'a> {
    /// Reads the file that is declared; docker's usual one may be missing. It may wait for the disk.
    ///
    /// # Errors
    /// That it cannot be read.
    pub(crate) fn read(declared: &Path, surroundings: &'a Surroundings, asked: &'a Asked) -> Result<Self, String> {
        let home = surroundings.variables.get("HOME").map_or("/", String::as_str);
        let path = declared
            .strip_prefix("~")
            .map_or_else(|_| declared.to_owned(), |rest| Path::new(home).join(rest));
        // Whoever has never logged in has no such file; one that is declared must be there.
        let may_be_missing = declared.ends_with(".docker/config.json");
        let content = if !may_be_missing || path.exists() {
            let text = read_text_in_time(&path).map_err(|why| format!("{} cannot be read: {why}", path.display()))?;
            // What is wrong is not told in the words of the parser, which may repeat what it has read.
            serde_json::from_str(&text)
                .map_err(|error| format!("{} is not JSON, in line {}", path.display(), error.line()))?
        } else {
            Value::Null
        };
        Ok(Self {
            path,
            content,
            surroundings,
            asked,
        })
    }

    /// What logs in to the registry of `image`; none where nothing is kept for it. It may wait for a helper.
    ///
    /// # Errors
    /// That what is kept cannot be used.
    pub(crate) fn of(&self, image: &Reference) -> Result<Option<Login>, String> {
        let names: Vec<&str> = if image.is_of_hub() {
            vec![HUB, "docker.io", "index.docker.io"]
        } else {
            vec![image.host()]
        };
        let helpers = &self.content["credHelpers"];
        let own = names.iter().find_map(|name| Some((helpers[name].as_str()?, *name)));
        let general = self.content["credsStore"].as_str().map(|helper| (helper, names[0]));
        if let Some((helper, name)) = own.or(general)
            && let Some(login) = self.helped(helper, name)?
        {
            return Ok(Some(login));
        }
        let auths = self.content["auths"].as_object();
        let found = auths.into_iter().flatten().find(|(key, _)| {
            let host = key.trim_start_matches("https://").trim_start_matches("http://");
            names.contains(&key.as_str()) || host.split('/').next() == Some(names[0])
        });
        let Some((name, entry)) = found else { return Ok(None) };
        self.written(name, entry)
    }

    /// An entry that stands in the file itself.
    fn written(&self, name: &str, entry: &Value) -> Result<Option<Login>, String> {
        let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Login::with_token(name, token)));
        }
        if let Some(both) = text("auth") {
            let decoded = STANDARD
                .decode(both)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|both| both.split_once(':'));
            let why = || {
                format!(
                    "{}: the credential of {name} is not a name and a password in Base64",
                    self.path.display()
                )
            };
            let (user, password) = pair.ok_or_else(why)?;
            return Ok(Some(Login::with_password(name, user, password.trim_end_matches('\0'))));
        }
        let pair = text("username").zip(text("password"));
        Ok(pair.map(|(user, password)| Login::with_password(name, user, password)))
    }

    /// What a helper knows: a program that is told a host, and answers with a credential.
    fn helped(&self, helper: &str, name: &str) -> Result<Option<Login>, String> {
        let program = format!("docker-credential-{helper}");
        let failed = |why: &str| format!("{program} has no credential of {name} to give: {why}");
        if helper.is_empty() || helper.contains('/') {
            return Err(failed("that is not the name of a helper"));
        }
        let call = Program {
            argv: vec![program.clone(), "get".to_owned()],
            dir: "/".into(),
            variables: BTreeMap::clone(&self.surroundings.variables),
            stdin: Some(Secret::new(name.to_owned())),
            identity: Identity::default(),
            limits: None,
        };
        let rules = Rules {
            stop_signal: StopSignal::default(),
            kill_after: KILL_AFTER,
            leaves_others: false,
        };
        let mut captured = Captured {
            most: LONGEST,
            ..Captured::default()
        };
        let path = call.find()?;
        let ended = process::run(&call, &path, rules, self.asked, &mut captured)?;
        let said = String::from_utf8_lossy(&captured.output);
        if ended.exit != Exit::Code(0) {
            // It says so on its output, by agreement.
            if said.contains("credentials not found") {
                return Ok(None);
            }
            return Err(failed(&ended.exit.to_string()));
        }
        let found: Value = serde_json::from_str(&said).map_err(|_| failed("it does not answer with JSON"))?;
        let text = |key: &str| found[key].as_str().unwrap_or_default();
        Ok(Some(match text("Username") {
            "<token>" => Login::with_token(name, text("Secret")),
            user => Login::with_password(name, user, text("Secret")),
        }))
    }
}

impl Login {
    fn with_password(host: &str, user: &str, password: &str) -> Self {
        let login = json!({ "username": user, "password": password, "serveraddress": host });
        Self::new(&login, &crate::values::secrets_of_login(user, password))
    }

    fn with_token(host: &str, token: &str) -> Self {
        let login = json!({ "identitytoken": token, "serveraddress": host });
        Self::new(&login, &[token.to_owned()])
    }

    fn new(login: &Value, secrets: &[String]) -> Self {
        // Other alphabets are ignored without a word, and the registry is asked by nobody in particular.
        let header = URL_SAFE.encode(login.to_string());
        let secrets = secrets.iter().map(String::as_str).chain([header.as_str()]);
        Self {
            redactor: Redactor::new(secrets),
            header: Secret::new(header),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_as_docker_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let (_ask, asked) = process::asking().unwrap();
        let helper = folder.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread host\ncase $host in h.io) echo '{\"Username\":\"<token>\",\"Secret\":\"t0ken-x\"}';; *) echo 'credentials not found in native keychain'; exit 1;; esac\n";
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let surroundings = Surroundings {
            variables: BTreeMap::from([
                ("HOME".to_owned(), folder.path().display().to_string()),
                ("PATH".to_owned(), path),
            ]),
            ..Surroundings::default()
        };
        let auth = STANDARD.encode("me:p?ss>w~rd");
        let content = json!({ "auths": { HUB: { "auth": auth }, "https://r.io:5000/v2/": { "username": "u", "password": "secret-p" }, "t.io": { "identitytoken": "tok" }, "bad.io": { "auth": "%" } }, "credHelpers": { "h.io": "test", "gone.io": "no-such-helper" } });
        std::fs::create_dir(folder.path().join(".docker")).unwrap();
        std::fs::write(folder.path().join(".docker/config.json"), content.to_string()).unwrap();
        let credentials = Credentials::read(Path::new("~/.docker/config.json"), &surroundings, &asked).unwrap();
        let of = |name: &str| {
            let login = credentials.of(&Reference::parse(name).unwrap())?;
            Ok::<_, String>(
                login.map(|login| String::from_utf8(URL_SAFE.decode(login.header.reveal()).unwrap()).unwrap()),
            )
        };
        let hub = of("nginx").unwrap().unwrap();
        assert!(hub.contains("p?ss>w~rd") && hub.contains(HUB), "{hub}");
        assert_eq!(of("docker.io/me/app").unwrap().unwrap(), hub);
        assert!(of("r.io:5000/app").unwrap().unwrap().contains("secret-p"));
        assert!(of("t.io/app").unwrap().unwrap().contains("identitytoken"));
        assert!(of("h.io/app").unwrap().unwrap().contains("t0ken-x"));
        assert_eq!(of("none.io/app").unwrap(), None);
        assert!(of("bad.io/app").unwrap_err().contains("Base64"));
        assert!(
            of("gone.io/app")
                .unwrap_err()
                .contains("docker-credential-no-such-helper")
        );
        assert!(Credentials::read(Path::new("/no/such/file"), &surroundings, &asked).is_err());
        let none = Credentials::read(Path::new("/no/such/.docker/config.json"), &surroundings, &asked).unwrap();
        assert!(none.of(&Reference::parse("nginx").unwrap()).unwrap().is_none());
    }
}
