//! One declared SQL statement: checked when it is loaded, run in transactions of its own.

use std::collections::BTreeMap;

use rusqlite::{Connection, Statement, ToSql, Transaction, TransactionBehavior};

use super::record::Record;
use super::retention::Window;
use super::{Failure, Flaw, Report, Weight, Workbench};
use crate::store::sqlite::open_write;
use crate::values::{Parameter, Template, iso};

/// The values of a run, by the names that a statement (`:name`), a message (`{name}`) and a record (`":name"`) share.
pub(super) type Parameters = BTreeMap<&'static str, Parameter>;

/// Rows one round changes where the statement names `:batch`.
const BATCH: i64 = 1000;

/// The parts of a kind that runs one statement.
#[derive(Clone, Debug)]
pub(super) struct Declared<'a> {
    /// The key that holds the statement, for what is said about it.
    pub key: &'static str,
    pub sql: String,
    pub window: Window<'a>,
    pub message: Template,
    pub record: Option<&'a Record>,
}

impl Declared<'_> {
    /// What is wrong with the statement, its message and its record.
    pub(super) fn flaws(&self, database: Option<&Connection>) -> Vec<Flaw> {
        let mut flaws = self.window.flaws();
        let mut names = vec!["now", "scheduled_at", "job", "batch"];
        if self.window.is_declared() {
            names.extend(["cutoff", "retention_days"]);
        }
        flaws.extend(unknown(self.key, parameters_of(&self.sql), &names));
        names.push("rows");
        flaws.extend(unknown("message", self.message.fields(), &names));
        if let Some(record) = self.record {
            flaws.extend(unknown("record", record.parameters(), &names));
            flaws.extend(compile("record", &record.statement(), database));
        }
        flaws.extend(compile(self.key, &self.sql, database));
        flaws
    }

    /// Runs the statement, once or, where it names `:batch`, in rounds until one changes nothing.
    pub(super) fn run(&self, bench: &Workbench<'_>) -> Result<Report, Failure> {
        let mut connection = open_write(bench.database)?;
        bench.stop.govern(&mut connection)?;
        let mut parameters = self.parameters(&connection, bench)?;
        let in_rounds = parameters_of(&self.sql).contains(&"batch");
        let mut rows = 0;
        loop {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = execute(&transaction, &self.sql, &parameters)?;
            rows += changed;
            if in_rounds && changed > 0 {
                transaction.commit()?;
                continue;
            }
            parameters.insert("rows", Parameter::Integer(i64::try_from(rows).unwrap_or(i64::MAX)));
            if let Some(record) = self.record {
                record.write(&transaction, &parameters)?;
            }
            transaction.commit()?;
            let message = self
                .message
                .render(|name| parameters.get(name).map(ToString::to_string));
            return Ok(Report {
                message,
                statistics: None,
                troubles: Vec::new(),
            });
        }
    }

    /// The values of a run's parameters.
    pub(super) fn parameters(&self, connection: &Connection, bench: &Workbench<'_>) -> Result<Parameters, Failure> {
        let mut parameters: Parameters = [
            ("now", Parameter::Text(iso(bench.now))),
            ("scheduled_at", Parameter::Text(iso(bench.scheduled_at))),
            ("job", Parameter::Text(bench.job.to_string())),
            ("batch", Parameter::Integer(BATCH)),
        ]
        .into();
        parameters.extend(self.window.parameters(connection, bench.now)?);
        Ok(parameters)
    }
}

fn execute(transaction: &Transaction<'_>, sql: &str, parameters: &Parameters) -> rusqlite::Result<usize> {
    let mut statement = transaction.prepare_cached(sql)?;
    bind(&mut statement, parameters)?;
    statement.raw_execute()
}

pub(super) fn bind(statement: &mut Statement<'_>, parameters: &Parameters) -> rusqlite::Result<()> {
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).and_then(|name| name.strip_prefix(':'));
        if let Some(value) = name.and_then(|name| parameters.get(name)) {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(())
}

impl ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Integer(number) => number.to_sql(),
            Self::Real(number) => number.to_sql(),
        }
    }
}

fn unknown<'a>(key: &'static str, used: impl IntoIterator<Item = &'a str>, known: &[&str]) -> Vec<Flaw> {
    let refuse = |name: &str| {
        let why = match name {
            "cutoff" | "retention_days" => format!("`{name}` has no value: `retention` is missing"),
            _ => format!("`{name}` is no parameter; there are {}", known.join(", ")),
        };
        Flaw::broken(key, why)
    };
    used.into_iter()
        .filter(|name| !known.contains(name))
        .map(refuse)
        .collect()
}

/// Compiles `sql` against the database, or, where that is not there, against none: then only its grammar is checked.
fn compile(key: &'static str, sql: &str, database: Option<&Connection>) -> Option<Flaw> {
    let nothing;
    let connection = if let Some(connection) = database {
        connection
    } else {
        nothing = Connection::open_in_memory().ok()?;
        &nothing
    };
    let message = match connection.prepare(sql) {
        Ok(statement) if statement.readonly() => "it changes nothing".to_owned(),
        Ok(_) => return None,
        Err(rusqlite::Error::SqlInputError { msg, .. } | rusqlite::Error::SqliteFailure(_, Some(msg))) => msg,
        Err(rusqlite::Error::MultipleStatement) => "it holds more than one statement".to_owned(),
        Err(error) => error.to_string(),
    };
    let of_schema = message.starts_with("no such") || message.contains("has no column");
    if of_schema && database.is_none() {
        return None;
    }
    let weight = if of_schema { Weight::Mismatch } else { Weight::Broken };
    Some(Flaw::weighing(
        weight,
        key,
        format!("the SQL does not compile: {message}"),
    ))
}

/// The names of the `:parameters` in `sql`, outside texts, quoted names and comments.
fn parameters_of(sql: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = sql;
    while let Some(at) = rest.find([':', '@', '$', '?', '\'', '"', '`', '[', '-', '/']) {
        let (head, tail) = rest[at..].split_at(1);
        let skip = |end: &str| tail.find(end).map_or("", |at| &tail[at + end.len()..]);
        rest = match head {
            ":" => {
                let length = tail
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(tail.len());
                names.extend((length > 0).then_some(&tail[..length]));
                &tail[length..]
            }
            "@" | "$" | "?" => {
                // SQLite knows more forms than ours; they are given whole, so that they are refused.
                let length = tail
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(tail.len());
                names.push(&rest[at..=at + length]);
                &tail[length..]
            }
            "[" => skip("]"),
            "-" if tail.starts_with('-') => skip("\n"),
            "/" if tail.starts_with('*') => skip("*/"),
            "-" | "/" => tail,
            quote => skip(quote),
        };
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_where_sqlite_finds_them() {
        for (sql, names) in [
            ("timestamp < :cutoff AND a = :job", vec!["cutoff", "job"]),
            (
                "a = ':no' OR \":no\" = [:no] -- :no\n OR b = :now /* :no */",
                vec!["now"],
            ),
            ("a = 'it''s :no' AND b=:batch", vec!["batch"]),
            ("a = @no AND b > ?1 OR $x", vec!["@no", "?1", "$x"]),
            ("a - b / c", vec![]),
            ("'unclosed :no", vec![]),
        ] {
            assert_eq!(parameters_of(sql), names, "{sql}");
        }
    }
}
