//! A row a job writes about its own work once that is done: into the application's audit log, for one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::run::Failure;
use crate::sql::sqlite::{self, types::Value as Column};
use crate::sql::{Parameters, Sandbox};
use crate::values::TableName;

/// The keys of `record`: one row, its columns' values given as they are, a text `":name"` standing for that
/// parameter's value, a table or list being written as JSON.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    insert_into: TableName,
    values: BTreeMap<TableName, Value>,
    /// What stands in the place of some values when the run failed for good; without it, no row is written then.
    on_failure: Option<BTreeMap<TableName, Value>>,
}

/// The columns of a row with their values.
pub(super) type Columns = BTreeMap<TableName, Value>;

impl Record {
    /// The names of the parameters that the values stand for.
    pub(super) fn parameters(&self) -> Vec<&str> {
        names_in(self.values.values())
    }

    /// The same of what stands for a failure.
    pub(super) fn parameters_of_failure(&self) -> Vec<&str> {
        names_in(self.on_failure.iter().flat_map(Columns::values))
    }

    /// The row of a run that failed; `None` where none is to be written.
    fn of_failure(&self) -> Option<Columns> {
        let mut columns = self.values.clone();
        columns.extend(self.on_failure.clone()?);
        Some(columns)
    }

    /// The table it is written into.
    pub(super) fn table(&self) -> &str {
        self.insert_into.as_str()
    }

    /// The row of a run that ended well, then that of one which failed, where one is written then.
    pub(super) fn rows(&self) -> impl Iterator<Item = Columns> {
        [Some(self.values.clone()), self.of_failure()].into_iter().flatten()
    }

    /// The statements that write the rows.
    pub(super) fn statements(&self) -> Vec<String> {
        self.rows().map(|columns| self.statement(&columns)).collect()
    }

    fn statement(&self, columns: &Columns) -> String {
        let names: Vec<String> = columns.keys().map(|column| format!("\"{column}\"")).collect();
        let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
        format!(
            "INSERT INTO \"{}\" ({}) VALUES ({})",
            self.insert_into,
            names.join(", "),
            places.join(", ")
        )
    }

    /// Writes the row of a run that ended well.
    pub(super) fn write(&self, connection: &Sandbox, parameters: &Parameters) -> Result<(), Failure> {
        self.insert(&self.values, connection, parameters)
    }

    /// Writes the row of a run that failed, where one is to be written.
    pub(super) fn write_failure(&self, connection: &Sandbox, parameters: &Parameters) -> Result<(), Failure> {
        self.of_failure()
            .map_or(Ok(()), |columns| self.insert(&columns, connection, parameters))
    }

    fn insert(&self, columns: &Columns, connection: &Sandbox, parameters: &Parameters) -> Result<(), Failure> {
        let values = columns.values().map(|value| to_column(fill(value, parameters)));
        let values = sqlite::params_from_iter(values);
        connection
            .inside(|connection| connection.execute(&self.statement(columns), values))
            .map(drop)
            .map_err(|error| connection.explain(error).into())
    }
}

fn names_in<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<&'a str> {
    fn gather<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
        match value {
            Value::String(text) => into.extend(text.strip_prefix(':')),
            Value::Array(list) => list.iter().for_each(|value| gather(value, into)),
            Value::Object(table) => table.values().for_each(|value| gather(value, into)),
            _ => {}
        }
    }
    let mut names = Vec::new();
    values.for_each(|value| gather(value, &mut names));
    names
}

/// A row as an object of JSON.
pub(super) fn row(columns: &Columns, parameters: &Parameters) -> String {
    let cell = |(column, value): (&TableName, &Value)| (column.to_string(), fill(value, parameters));
    Value::Object(columns.iter().map(cell).collect()).to_string()
}

/// `value` with every `":name"` in it replaced by that parameter's value.
fn fill(value: &Value, parameters: &Parameters) -> Value {
    match value {
        Value::String(text) => text
            .strip_prefix(':')
            .and_then(|name| parameters.get(name))
            .map_or_else(|| value.clone(), |parameter| parameter.clone().into()),
        Value::Array(list) => list.iter().map(|value| fill(value, parameters)).collect(),
        Value::Object(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), fill(value, parameters)))
            .collect(),
        _ => value.clone(),
    }
}

fn to_column(value: Value) -> Column {
    match value {
        Value::Null => Column::Null,
        Value::Bool(flag) => Column::Integer(flag.into()),
        Value::Number(number) => number
            .as_i64()
            .map_or_else(|| Column::Real(number.as_f64().unwrap_or_default()), Column::Integer),
        Value::String(text) => Column::Text(text),
        Value::Array(_) | Value::Object(_) => Column::Text(value.to_string()),
    }
}
