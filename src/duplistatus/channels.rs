//! By which channels the application's settings want a message sent, and how each is reached.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::expectation::Entry;
use super::{secrets, settings};
use crate::notifications::{NtfyServer, Protection, Smtp};
use crate::sql::sqlite::Connection;
use crate::values::Secret;

const NTFY: &str = "ntfy_config";
const SMTP: &str = "smtp_config";

/// Where a message goes, as the outbox keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Channel {
    /// The topic of the settings.
    Ntfy,
    Email,
    /// One more topic.
    AdditionalNtfy(String),
    /// One more recipient.
    AdditionalEmail(String),
}

impl Channel {
    /// What the audit log calls it.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Ntfy => "NTFY",
            Self::Email => "Email",
            Self::AdditionalNtfy(_) => "Additional NTFY",
            Self::AdditionalEmail(_) => "Additional Email",
        }
    }
}

/// The channels for one backup job: `entry` is its own, `default` its server's.
pub(crate) fn of(entry: &Entry, default: Option<&Entry>, has_mail: bool) -> Vec<Channel> {
    let is_on = |key: &str| entry.get(key).and_then(Value::as_bool).unwrap_or(true);
    let own_or_default = |key: &str| entry.get(key).or_else(|| default?.get(key)).and_then(Value::as_str);
    let mut channels = Vec::new();
    channels.extend(is_on("ntfyEnabled").then_some(Channel::Ntfy));
    channels.extend((is_on("emailEnabled") && has_mail).then_some(Channel::Email));
    let event = own_or_default("additionalNotificationEvent").or_else(|| entry.get("notificationEvent")?.as_str());
    if event == Some("off") {
        return channels;
    }
    let topic = own_or_default("additionalNtfyTopic")
        .map(str::trim)
        .filter(|topic| !topic.is_empty());
    channels.extend(topic.map(|topic| Channel::AdditionalNtfy(topic.to_owned())));
    let addresses = own_or_default("additionalEmails")
        .filter(|_| has_mail)
        .unwrap_or_default();
    let addresses = addresses
        .split(',')
        .map(str::trim)
        .filter(|address| address.contains('@'));
    channels.extend(addresses.map(|address| Channel::AdditionalEmail(address.to_owned())));
    channels
}

/// The server and topic of the settings of ntfy. Where there are none, a topic that nobody can guess is made and saved.
pub(crate) fn ntfy(connection: &Connection) -> Result<(NtfyServer, String), String> {
    let text = settings::get(connection, NTFY).map_err(|error| error.to_string())?;
    let mut config = match text.as_deref().map(serde_json::from_str) {
        None => json!({ "url": "https://ntfy.sh/", "topic": "", "accessToken": "" }),
        Some(Ok(config @ Value::Object(_))) => config,
        Some(_) => return Err(format!("the setting {NTFY} is not a JSON object")),
    };
    if config["topic"].as_str().is_none_or(|topic| topic.trim().is_empty()) {
        config["topic"] = format!("duplistatus-{:016x}", RandomState::new().hash_one(NTFY)).into();
        settings::set(connection, NTFY, &config.to_string()).map_err(|error| error.to_string())?;
    }
    let field = |key: &str| config[key].as_str().unwrap_or_default().trim().to_owned();
    let token = Some(field("accessToken"))
        .filter(|token| !token.is_empty())
        .map(Secret::new);
    let server = NtfyServer {
        url: field("url"),
        token,
    };
    Ok((server, field("topic")))
}

/// The connection as the audit log tells it.
pub(super) fn details(smtp: &Smtp) -> Value {
    json!({
        "host": smtp.host,
        "port": smtp.port,
        "connectionType": match smtp.protection {
            Protection::Plain => "plain",
            Protection::StartTls => "starttls",
            Protection::Tls => "ssl",
        },
        "secure": smtp.protection == Protection::Tls,
        "requireTLS": smtp.protection == Protection::StartTls,
        "ignoreTLS": smtp.protection == Protection::Plain,
        "requireAuth": smtp.credentials.is_some(),
    })
}

/// The settings of mail and their recipient; `None` where there are none. `key_file` opens the stored credentials.
pub(crate) fn smtp(connection: &Connection, key_file: &Path) -> Result<Option<(Smtp, String)>, String> {
    let Some(text) = settings::get(connection, SMTP).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let config: Value = serde_json::from_str(&text).map_err(|_| format!("the setting {SMTP} is not JSON"))?;
    let field = |key: &str| config[key].as_str().unwrap_or_default().trim().to_owned();
    if field("host").is_empty() {
        return Ok(None);
    }
    let protection = match (config["connectionType"].as_str(), config["secure"].as_bool()) {
        (Some("plain"), _) => Protection::Plain,
        (Some("ssl"), _) | (None, Some(true)) => Protection::Tls,
        _ => Protection::StartTls,
    };
    let open = |key: &str| match field(key) {
        empty if empty.is_empty() => Ok(Secret::new(empty)),
        sealed => secrets::open(&sealed, key_file),
    };
    let wants_name = config["requireAuth"].as_bool().unwrap_or(true);
    let credentials = if wants_name {
        Some((open("username")?, open("password")?))
    } else {
        None
    };
    let username = || credentials.as_ref().map(|(name, _)| name.reveal().to_owned());
    let from = Some(field("fromAddress")).filter(|from| !from.is_empty());
    let from = from
        .or_else(|| username().filter(|_| protection != Protection::Plain))
        .unwrap_or_default();
    if !from.contains('@') {
        return Err(format!("the setting {SMTP} has no fromAddress to send mail from"));
    }
    let port = config["port"]
        .as_u64()
        .or_else(|| field("port").parse().ok())
        .and_then(|port| u16::try_from(port).ok());
    let smtp = Smtp {
        host: field("host"),
        port: port.ok_or_else(|| format!("the setting {SMTP} has no port"))?,
        protection,
        // The application's settings never ask for it: its mail servers are often in the same house, with certificates
        // of their own, and a message that does not come is worse.
        verifies: false,
        credentials,
        sender_name: Some(field("senderName"))
            .filter(|name| !name.is_empty())
            .or_else(|| Some("duplistatus".to_owned())),
        from,
    };
    Ok(Some((smtp, field("mailto"))))
}

/// Whether mail can be sent by the settings.
pub(crate) fn has_mail(connection: &Connection, key_file: &Path) -> Result<bool, String> {
    smtp(connection, key_file).map(|smtp| smtp.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &Value) -> Entry {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn the_backups_own_fields_win_over_the_servers_even_when_empty() {
        let default = entry(
            &json!({"additionalEmails": "team@x.example", "additionalNtfyTopic": "team", "additionalNotificationEvent": "all"}),
        );
        let extra = |topic: &str| Channel::AdditionalNtfy(topic.to_owned());
        let mail = |address: &str| Channel::AdditionalEmail(address.to_owned());
        for (own, expected) in [
            (
                json!({"ntfyEnabled": false, "emailEnabled": true, "notificationEvent": "off"}),
                vec![Channel::Email, extra("team"), mail("team@x.example")],
            ),
            (
                json!({"additionalEmails": "a@x.example, bad, b@x.example", "additionalNtfyTopic": "own", "emailEnabled": false}),
                vec![Channel::Ntfy, extra("own"), mail("a@x.example"), mail("b@x.example")],
            ),
            (
                json!({"additionalEmails": "", "additionalNtfyTopic": ""}),
                vec![Channel::Ntfy, Channel::Email],
            ),
            (
                json!({"additionalNotificationEvent": "off"}),
                vec![Channel::Ntfy, Channel::Email],
            ),
        ] {
            assert_eq!(of(&entry(&own), Some(&default), true), expected, "{own}");
        }
        assert_eq!(
            of(
                &entry(&json!({"notificationEvent": "off", "additionalNtfyTopic": "x"})),
                None,
                false
            ),
            [Channel::Ntfy]
        );
    }

    #[test]
    fn credentials_sealed_by_the_application_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key");
        std::fs::write(&key_file, (0..32).collect::<Vec<u8>>()).unwrap();
        let sealed = "0707070707070707070707070707070707070707070707070707070707070707:090909090909090909090909:\
                      8ee5e8ae015a4a2ad9eb5b702dac44e0:bac6f78314bfb46f";
        assert_eq!(secrets::open(sealed, &key_file).unwrap().reveal(), "hünter2");
        std::fs::write(&key_file, [1; 32]).unwrap();
        assert!(
            secrets::open(sealed, &key_file)
                .unwrap_err()
                .contains("does not fit the stored credentials")
        );
        assert!(
            secrets::open(sealed, &folder.path().join("none"))
                .unwrap_err()
                .contains("cannot be read")
        );
        assert!(
            secrets::open("zz:1", &key_file)
                .unwrap_err()
                .contains("not in the form")
        );
    }
}
