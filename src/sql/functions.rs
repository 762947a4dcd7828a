//! SQLite's functions as declared SQL has them. A call cannot be interrupted, so those that may take the product of
//! their arguments' lengths are replaced by ones that take the sum, and the others are refused.

use std::collections::BTreeSet;

use memchr::memmem;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, Result, ToSql};

/// The longest text or blob that declared SQL may handle, in bytes: a call of a function cannot be interrupted.
pub(super) const LONGEST_VALUE: usize = 1_000_000;

/// Functions whose result is not of the row alone: it differs from call to call, or with what was written before.
pub(super) const NOT_OF_THE_ROW: &[&str] = &["random", "randomblob", "changes", "total_changes", "last_insert_rowid"];

/// Why a function may not be called, where it may not.
pub(super) fn refusal(name: &str) -> Option<String> {
    match name.to_ascii_lowercase().as_str() {
        "load_extension" => Some("it loads an extension".to_owned()),
        "fts3_tokenizer" | "optimize" | "sqlite_log" => {
            Some(format!("it calls {name}, which declared SQL must not call"))
        }
        "json_patch" | "unhex" => Some(format!("it calls {name}, which cannot be interrupted")),
        _ => None,
    }
}

/// Puts our own in the place of `instr`, `replace` and the trims with two arguments. What they give is the same to the
/// byte, as indexes may be built on them.
pub(super) fn put_in_place(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("instr", 2, flags, instr)?;
    connection.create_scalar_function("replace", 3, flags, replace)?;
    for (name, at_start, at_end) in [("trim", true, true), ("ltrim", true, false), ("rtrim", false, true)] {
        connection.create_scalar_function(name, 2, flags, move |context| trim(context, at_start, at_end))?;
    }
    Ok(())
}

/// A text, which need not be UTF-8.
#[derive(Debug, PartialEq)]
struct Text(Vec<u8>);

impl ToSql for Text {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

/// An argument as text; `None` where it is NULL.
fn text(context: &Context<'_>, index: usize) -> Result<Option<Vec<u8>>> {
    match context.get_raw(index) {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => Ok(Some(number.to_string().into_bytes())),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(Some(bytes.to_vec())),
        ValueRef::Real(number) => in_digits(number).map(Some),
    }
}

/// A number with a fraction as SQLite writes it.
fn in_digits(number: f64) -> Result<Vec<u8>> {
    thread_local! {
        static SQLITE: Result<Connection> = Connection::open_in_memory();
    }
    SQLITE.with(|connection| {
        let connection = connection
            .as_ref()
            .map_err(|error| Error::UserFunctionError(error.to_string().into()))?;
        let text: String = connection
            .prepare_cached("SELECT CAST(?1 AS TEXT)")?
            .query_row([number], |row| row.get(0))?;
        Ok(text.into_bytes())
    })
}

fn begins_character(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(|byte| byte & 0xc0 != 0x80)
}

fn instr(context: &Context<'_>) -> Result<Option<i64>> {
    let of_bytes = matches!(
        (context.get_raw(0), context.get_raw(1)),
        (ValueRef::Blob(_), ValueRef::Blob(_))
    );
    let (Some(whole), Some(part)) = (text(context, 0)?, text(context, 1)?) else {
        return Ok(None);
    };
    let at = memmem::find_iter(&whole, &part).find(|at| of_bytes || *at == 0 || begins_character(&whole, *at));
    let place = at.map_or(0, |at| {
        1 + (1..=at).filter(|at| of_bytes || begins_character(&whole, *at)).count()
    });
    Ok(i64::try_from(place).ok())
}

fn replace(context: &Context<'_>) -> Result<Option<Text>> {
    let (Some(whole), Some(part)) = (text(context, 0)?, text(context, 1)?) else {
        return Ok(None);
    };
    if part.first().is_none_or(|byte| *byte == 0) {
        return Ok(Some(Text(whole)));
    }
    let Some(with) = text(context, 2)? else {
        return Ok(None);
    };
    let mut replaced = Vec::with_capacity(whole.len());
    let mut after = 0;
    for at in memmem::find_iter(&whole, &part) {
        replaced.extend_from_slice(&whole[after..at]);
        replaced.extend_from_slice(&with);
        after = at + part.len();
        if replaced.len() > LONGEST_VALUE {
            return Err(Error::UserFunctionError("string or blob too big".into()));
        }
    }
    replaced.extend_from_slice(&whole[after..]);
    Ok(Some(Text(replaced)))
}

fn trim(context: &Context<'_>, at_start: bool, at_end: bool) -> Result<Option<Text>> {
    let (Some(whole), Some(unwanted)) = (text(context, 0)?, text(context, 1)?) else {
        return Ok(None);
    };
    let unwanted: BTreeSet<&[u8]> = characters(&unwanted).collect();
    let all: Vec<&[u8]> = characters(&whole).collect();
    let mut left = all.as_slice();
    while at_start && left.first().is_some_and(|first| unwanted.contains(first)) {
        left = &left[1..];
    }
    while at_end && left.last().is_some_and(|last| unwanted.contains(last)) {
        left = &left[..left.len() - 1];
    }
    Ok(Some(Text(left.concat())))
}

/// The characters of a text, each with its bytes.
fn characters(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = (1..=rest.len()).find(|at| begins_character(rest, *at))?;
        let (first, others) = rest.split_at(length);
        rest = others;
        Some(first)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::types::Value;

    use super::*;

    fn calls(connection: &Connection, sql: &str, arguments: &[Value]) -> Value {
        connection
            .query_row(sql, rusqlite::params_from_iter(arguments), |row| row.get(0))
            .unwrap()
    }

    proptest! {
        #[test]
        fn they_give_what_sqlite_gives(
            whole in "[aébΩ\u{1F600} ]{0,12}", part in "[aébΩ ]{0,3}", with in "[xé]{0,2}", kind in 0_u8..4, number in any::<i64>(),
            fraction in -1e9..1e9,
        ) {
            let native = Connection::open_in_memory().unwrap();
            let ours = Connection::open_in_memory().unwrap();
            put_in_place(&ours).unwrap();
            let of = |text: &str| match kind {
                0 => Value::Blob(text.as_bytes().to_vec()),
                1 if text.len() == 3 => Value::Integer(number),
                1 if text.len() == 2 => Value::Real(fraction),
                2 if text.is_empty() => Value::Null,
                _ => Value::Text(text.to_owned()),
            };
            let with = if with == "x" { Value::Null } else { Value::Text(with) };
            let arguments = [of(&whole), of(&part), with];
            for sql in ["SELECT instr(?1, ?2)", "SELECT trim(?1, ?2)", "SELECT ltrim(?1, ?2)", "SELECT rtrim(?1, ?2)"] {
                prop_assert_eq!(calls(&ours, sql, &arguments[..2]), calls(&native, sql, &arguments[..2]), "{}", sql);
            }
            let sql = "SELECT replace(?1, ?2, ?3)";
            prop_assert_eq!(calls(&ours, sql, &arguments), calls(&native, sql, &arguments));
        }
    }

    #[test]
    fn every_function_that_sqlite_calls_not_deterministic_is_known() {
        let connection = Connection::open_in_memory().unwrap();
        let mut found = connection
            .prepare(
                "SELECT DISTINCT name FROM pragma_function_list WHERE NOT flags & 0x800 AND type <> 'w' ORDER BY 1",
            )
            .unwrap();
        let found: Vec<String> = found
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        // The time, which only goes on; functions of virtual tables, whose rows go all at once; the library's version.
        let steady = [
            "bm25",
            "current_date",
            "current_time",
            "current_timestamp",
            "fts5",
            "fts5_get_locale",
            "fts5_insttoken",
            "fts5_locale",
            "highlight",
            "match",
            "matchinfo",
            "offsets",
            "rtreecheck",
            "rtreedepth",
            "rtreenode",
            "snippet",
            "sqlite_compileoption_get",
            "sqlite_compileoption_used",
            "sqlite_source_id",
            "sqlite_version",
        ];
        let known = |name: &String| {
            NOT_OF_THE_ROW.contains(&name.as_str()) || steady.contains(&name.as_str()) || refusal(name).is_some()
        };
        let others: Vec<String> = found.into_iter().filter(|name| !known(name)).collect();
        assert_eq!(others, Vec::<String>::new());
    }
}
