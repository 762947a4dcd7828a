//! The text of a message about an overdue backup: the application's template, or one of ours in its language.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::backups::Backup;
use super::dates;
use super::dates::elapsed;
use super::settings;
use crate::notifications::Message;
use crate::sql::sqlite::{self, Connection, OptionalExtension};
use crate::values::{Template, TimeZone};

const TEMPLATES: &str = "notification_templates";

/// The template of messages about overdue backups.
#[derive(Clone, Debug)]
pub(crate) struct Overdue {
    language: String,
    title: Template,
    text: Template,
    priority: String,
    tags: String,
}

/// What one message is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub backup: &'a Backup,
    pub newest: Timestamp,
    pub expected: Timestamp,
    /// How often one is, as it is written.
    pub interval: &'a str,
    pub tolerance: SignedDuration,
    pub now: Timestamp,
    /// The zone its dates are told in.
    pub zone: &'a TimeZone,
}

impl Overdue {
    /// The template of the application's settings, in its language unless another is given.
    pub(crate) fn read(connection: &Connection, language: Option<&str>) -> sqlite::Result<Self> {
        let text = settings::get(connection, TEMPLATES)?.unwrap_or_default();
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        let language = language
            .or_else(|| all["language"].as_str())
            .unwrap_or(dates::DEFAULT_LANGUAGE)
            .to_owned();
        let (default_title, default_text) = default_texts(&language);
        let own = |key: &str, default: &str| all["overdueBackup"][key].as_str().unwrap_or(default).to_owned();
        let (Ok(title), Ok(text)) = (
            own("title", default_title).parse(),
            own("message", default_text).parse(),
        );
        Ok(Self {
            language,
            title,
            text,
            priority: own("priority", "default"),
            tags: own("tags", "hourglass"),
        })
    }

    /// The message about one backup.
    pub(crate) fn write(&self, connection: &Connection, about: &About<'_>) -> sqlite::Result<Message> {
        let server = Server::read(connection, &about.backup.server_id)?;
        let date = |at: Timestamp| dates::short(at, &self.language, about.zone);
        let value = |name: &str| {
            Some(match name {
                "server_name" => about.backup.server_name.clone(),
                "server_id" => about.backup.server_id.clone(),
                "server_alias" if server.alias.is_empty() => about.backup.server_name.clone(),
                "server_alias" => format!("{} ({})", server.alias, about.backup.server_name),
                "server_note" => server.note.clone(),
                "server_url" => server.url.clone(),
                "backup_name" => about.backup.name.clone(),
                "last_backup_date" => date(about.newest),
                "last_elapsed" => elapsed(about.newest, about.now),
                "expected_date" => date(about.expected),
                "expected_elapsed" => elapsed(about.expected, about.now),
                "backup_interval" | "backup_interval_value" => about.interval.to_owned(),
                "overdue_tolerance" => tolerance_label(about.tolerance, &self.language),
                _ => return None,
            })
        };
        Ok(Message {
            title: self.title.render(value),
            text: self.text.render(value),
            priority: self.priority.clone(),
            tags: self.tags.clone(),
        })
    }
}

/// What else the application knows of a server.
#[derive(Default)]
struct Server {
    alias: String,
    note: String,
    url: String,
}

impl Server {
    fn read(connection: &Connection, id: &str) -> sqlite::Result<Self> {
        let found = connection
            .prepare_cached(
                "SELECT coalesce(alias, ''), coalesce(note, ''), coalesce(server_url, '') FROM servers WHERE id = ?1",
            )?
            .query_row([id], |row| {
                Ok(Self {
                    alias: row.get(0)?,
                    note: row.get(1)?,
                    url: row.get(2)?,
                })
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }
}

/// The words for a tolerance: none, then minutes, one hour, hours, one day.
fn tolerance_label(tolerance: SignedDuration, language: &str) -> String {
    let [none, minutes, hour, hours, day] = match language.split('-').next().unwrap_or_default() {
        "de" => ["Keine Toleranz", "Min", "1 Stunde", "Stunden", "1 Tag"],
        "fr" => ["Aucune tolérance", "min", "1 heure", "heures", "1 jour"],
        "es" => ["Sin tolerancia", "min", "1 hora", "horas", "1 día"],
        "pt" => ["Sem tolerância", "min", "1 hora", "horas", "1 dia"],
        "zh" => ["无容忍度", "分钟", "1 小时", "小时", "1 天"],
        _ => ["No tolerance", "min", "1 hour", "hours", "1 day"],
    };
    match tolerance.as_mins() {
        0 => none.to_owned(),
        minute @ 1..60 => format!("{minute} {minutes}"),
        60 => hour.to_owned(),
        1440 => day.to_owned(),
        minute if minute % 60 != 0 => format!("{minute} {minutes}"),
        minute => format!("{} {hours}", minute / 60),
    }
}

/// Title and text where the application has no template.
fn default_texts(language: &str) -> (&'static str, &'static str) {
    match language.split('-').next().unwrap_or_default() {
        "de" => (
            "Überfällig: {backup_name} auf {server_alias}",
            "Von {server_name} fehlt die Sicherung {backup_name}.\nLetzte: {last_backup_date} ({last_elapsed})\nErwartet: {expected_date} ({expected_elapsed})\nIntervall {backup_interval}, Toleranz {overdue_tolerance}",
        ),
        "fr" => (
            "En retard : {backup_name} sur {server_alias}",
            "La sauvegarde {backup_name} de {server_name} manque.\nDernière : {last_backup_date} ({last_elapsed})\nAttendue : {expected_date} ({expected_elapsed})\nIntervalle {backup_interval}, tolérance {overdue_tolerance}",
        ),
        "es" => (
            "Atrasada: {backup_name} en {server_alias}",
            "Falta la copia {backup_name} de {server_name}.\nÚltima: {last_backup_date} ({last_elapsed})\nEsperada: {expected_date} ({expected_elapsed})\nIntervalo {backup_interval}, tolerancia {overdue_tolerance}",
        ),
        "pt" => (
            "Atrasado: {backup_name} em {server_alias}",
            "Falta o backup {backup_name} de {server_name}.\nÚltimo: {last_backup_date} ({last_elapsed})\nEsperado: {expected_date} ({expected_elapsed})\nIntervalo {backup_interval}, tolerância {overdue_tolerance}",
        ),
        "zh" => (
            "备份逾期：{server_alias} 的 {backup_name}",
            "{server_name} 的备份 {backup_name} 未按时完成。\n上次：{last_backup_date}（{last_elapsed}）\n预计：{expected_date}（{expected_elapsed}）\n间隔 {backup_interval}，容忍度 {overdue_tolerance}",
        ),
        _ => (
            "Overdue: {backup_name} on {server_alias}",
            "The backup {backup_name} of {server_name} has not arrived.\nLast: {last_backup_date} ({last_elapsed})\nExpected: {expected_date} ({expected_elapsed})\nInterval {backup_interval}, tolerance {overdue_tolerance}",
        ),
    }
}
