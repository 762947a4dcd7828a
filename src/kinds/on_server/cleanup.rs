//! The kind `cleanup` on a server: what would go, why it must not where it must not, and its deletion.

use std::time::Instant;

use jiff::Timestamp;
use serde_json::json;

use super::super::guards::{Limits, TINY, far_too_much, is_worth_a_look, percentage, precise};
use super::super::statement::Declared;
use crate::run::{DryRun, Failure, Report, RunContext};
use crate::sql::server::{
    Access, CheckedServer, Kind, Right, Rights, Server, ServerDeletion, ServerSession, Target, WRITING_ON_SERVER,
    access, count_up_to, estimate,
};
use crate::sql::sqlite::types::Value;
use crate::sql::{Comparison, Held, LONG_UNWRITTEN, comparisons};
use crate::values::{Issue, Parameter, first_of, iso, plural};

/// A table of so few pages is read in a moment.
const FEW_PAGES: i64 = 100;
/// So many values of a column are looked at.
const SAMPLE: usize = 1000;

/// What is deleted from where.
#[derive(Clone, Copy, Debug)]
pub(in crate::kinds) struct Deleting<'a> {
    pub table: &'a str,
    pub condition: &'a str,
    pub limits: Limits,
}

/// What was found.
struct Found {
    target: Target,
    rows: i64,
    total: Option<i64>,
    search: std::time::Duration,
    /// The time before which rows go.
    cutoff: Timestamp,
    access: Access,
    /// The column that is compared with the cutoff, with its oldest and newest value.
    ends: Option<(String, Option<Timestamp>, Option<Timestamp>)>,
    refusal: Option<String>,
}

impl Found {
    fn of(
        declared: &Declared<'_>,
        deleting: Deleting<'_>,
        session: &mut ServerSession,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let Deleting {
            table,
            condition,
            limits,
        } = deleting;
        let target = Target::of(session, table).map_err(|error| session.explain(&error))?;
        let target = target.ok_or_else(|| Failure::lasting(format!("the database has no table `{table}`")))?;
        let access = declared.access_on(session)?;
        let began = Instant::now();
        // Of more than may go, how many they are does not matter.
        let most = limits
            .max_rows
            .map_or_else(String::new, |most| format!(" LIMIT {}", most.saturating_add(1)));
        let count = format!("SELECT count(*) FROM (SELECT 1 FROM \"{table}\" WHERE ({condition}\n){most}) AS found");
        let counted = session.read(&count).map_err(|error| session.explain(&error))?;
        let mut found = Self {
            target,
            rows: counted.first().map_or(0, |row| row.get(0)),
            total: None,
            search: began.elapsed(),
            cutoff: declared.window.cutoff(now),
            access,
            ends: None,
            refusal: None,
        };
        let comparisons = comparisons(condition, Some(table));
        let compared = comparisons
            .iter()
            .find(|comparison| comparison.time.trim() == ":cutoff");
        found.ends = compared.and_then(|comparison| ends(table, comparison.held, session));
        found.refusal = found.refuse(deleting, compared, session)?;
        Ok(found)
    }

    /// Why a run must not begin, where it must not.
    fn refuse(
        &mut self,
        deleting: Deleting<'_>,
        compared: Option<&Comparison<'_>>,
        session: &mut ServerSession,
    ) -> Result<Option<String>, Failure> {
        let Deleting { table, limits, .. } = deleting;
        if let Some(most) = limits
            .max_rows
            .filter(|most| u64::try_from(self.rows).is_ok_and(|rows| rows > *most))
        {
            return Ok(Some(format!(
                "more than {most} rows of {table} would go, which is max_rows; nothing was deleted"
            )));
        }
        if self.rows == 0 {
            return Ok(None);
        }
        if let Some(misfit) = compared.and_then(|comparison| misfit(deleting, comparison, session)) {
            return Ok(Some(format!("{misfit}; nothing was deleted")));
        }
        if self.rows < TINY {
            return Ok(None);
        }
        // Statistics may be old; and whether it is too much needs no more rows than these to be counted.
        let share = limits.max_share.max(f64::MIN_POSITIVE);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "more than there are rows in any table does as well"
        )]
        let enough = (precise(self.rows) / share) as i64;
        let total = count_up_to(session, table, enough.saturating_add(1))?;
        if total > enough {
            return Ok(None);
        }
        self.total = Some(total);
        let newest = compared.and_then(|comparison| newest(table, comparison.held, session));
        let unwritten = newest.map(|newest| self.cutoff.duration_since(newest));
        let long_unwritten = unwritten.filter(|unwritten| *unwritten > LONG_UNWRITTEN);
        let refusal = far_too_much((self.rows, total), table, limits, long_unwritten);
        let refusal = refusal.filter(|_| is_worth_a_look(self.rows, long_unwritten));
        Ok(refusal.map(|why| format!("{why}; nothing was deleted")))
    }
}

/// The newest value of what is compared with the cutoff, in a table that is not much larger than what goes.
fn newest(table: &str, held: &str, session: &mut ServerSession) -> Option<Timestamp> {
    let rows = session
        .query(&format!("SELECT max({held})::timestamptz FROM \"{table}\""), &[])
        .ok()?;
    rows.first()?.try_get::<_, Option<Timestamp>>(0).ok()?
}

/// Why the comparison with the cutoff says nothing, where a column of texts or numbers is written in another way. What has a
/// type that is a time, the server itself compares.
fn misfit(deleting: Deleting<'_>, comparison: &Comparison<'_>, session: &mut ServerSession) -> Option<String> {
    let Deleting { table, condition, .. } = deleting;
    let time = match session.parameters.get("cutoff")? {
        Parameter::Text(text) => Value::Text(text.clone()),
        Parameter::Integer(number) => Value::Integer(*number),
        _ => return None,
    };
    let held = comparison.held;
    let number = matches!(time, Value::Integer(_));
    let read = |session: &mut ServerSession, what: &str, rest: &str| -> Option<Vec<Value>> {
        let sql = format!("SELECT ({what})::text FROM \"{table}\" WHERE ({held}) IS NOT NULL {rest}");
        // One that is not of this table alone is not looked at.
        let rows = session.read(&sql).ok()?;
        let value = |text: String| match (text.parse(), text.parse()) {
            (Ok(whole), _) if number => Value::Integer(whole),
            (_, Ok(real)) if number => Value::Real(real),
            _ => Value::Text(text),
        };
        Some(
            rows.iter()
                .filter_map(|row| row.get::<_, Option<String>>(0))
                .map(value)
                .collect(),
        )
    };
    let some = read(session, held, &format!("LIMIT {SAMPLE}"))?;
    let going = read(session, held, &format!("AND ({condition}\n) LIMIT {SAMPLE}"))?;
    let ends =
        |values: &[Value]| [values.first().cloned(), values.last().cloned()].map(|end| end.unwrap_or(Value::Null));
    let of = |values: Vec<Value>| {
        let [first, last] = ends(&values);
        Held::new(table, [first, last, time.clone()], values)
    };
    comparison
        .misfit(&of(some))
        .or_else(|| comparison.misfit_of_rows(&of(going)))
}

/// The oldest and the newest value of the column that is compared with the cutoff, where an index tells them at once.
fn ends(
    table: &str,
    column: &str,
    session: &mut ServerSession,
) -> Option<(String, Option<Timestamp>, Option<Timestamp>)> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let column = Some(column).filter(|column| is_name(column))?;
    let sql = format!(
        "SELECT (SELECT {column} FROM \"{table}\" WHERE {column} IS NOT NULL ORDER BY {column} LIMIT 1)::timestamptz,
             (SELECT {column} FROM \"{table}\" WHERE {column} IS NOT NULL ORDER BY {column} DESC LIMIT 1)::timestamptz
         WHERE EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
             WHERE i.indrelid = to_regclass('\"{table}\"') AND a.attname = '{column}' AND i.indpred IS NULL)"
    );
    // A column of another type, or one that is in another table, tells nothing.
    let rows = session.query(&sql, &[]).ok()?;
    let row = rows.first()?;
    let end = |index: usize| row.try_get::<_, Option<Timestamp>>(index).ok().flatten();
    Some((column.to_owned(), end(0), end(1)))
}

/// What is wrong with the table or the condition, or worth knowing of them.
pub(in crate::kinds) fn check(declared: &Declared<'_>, deleting: Deleting<'_>, server: &CheckedServer) -> Vec<Issue> {
    let Deleting { table, condition, .. } = deleting;
    if declared.has_wrong_parameters() {
        return Vec::new();
    }
    let mut issues: Vec<Issue> = declared.check_window_on_server().into_iter().collect();
    let target = server.ask(|session| Target::of(session, table));
    if let Some(Ok(None)) = &target {
        issues.push(server.no_table("delete_from", table));
        return issues;
    }
    let target = target.and_then(Result::ok).flatten();
    if target.as_ref().is_some_and(|target| target.kind == Kind::View) {
        let why = format!("`{table}` is a view; name the table behind it");
        issues.push(Issue::error("delete_from", why));
        return issues;
    }
    // What is not a name could close the bracket that stands around it.
    let bare = Declared {
        sql: format!("DELETE FROM \"{table}\" WHERE {condition}\n"),
        ..declared.clone()
    };
    let start = bare.sql.len() - condition.len() - 1;
    let around = declared.sql.len() - condition.len() - 2;
    let compiled = bare
        .compile_on_server(start..start + condition.len(), WRITING_ON_SERVER, server)
        .or_else(|| declared.compile_on_server(around..around + condition.len(), WRITING_ON_SERVER, server));
    if compiled.is_none() {
        issues.extend(declared.check_zone(server));
    }
    if let (None, Some(target)) = (&compiled, target) {
        issues.extend(check_table(declared, deleting, &target, server));
    }
    issues.extend(compiled);
    issues.extend(declared.check_record_on_server(server));
    issues
}

/// What is worth knowing of the table.
fn check_table(declared: &Declared<'_>, deleting: Deleting<'_>, target: &Target, server: &CheckedServer) -> Vec<Issue> {
    let table = deleting.table;
    let parameters = declared.sample_on_server(server.zone());
    let asked = server.ask(|session| {
        session.parameters = parameters;
        access(session, &declared.sql)
    });
    let Some(Ok(access)) = asked else {
        return Vec::new();
    };
    let mut issues = Vec::new();
    let is_all = matches!(
        deleting.condition.trim().to_ascii_lowercase().as_str(),
        "true" | "1 = 1"
    );
    if !access.by_index && !is_all && target.pages > FEW_PAGES {
        let pages = plural(u64::try_from(target.pages).unwrap_or(0), "page");
        let why = match u64::try_from(target.estimate) {
            Ok(rows) => format!(
                "no index supports the condition: every run reads all of `{table}`, {} in {pages} by its statistics",
                plural(rows, "row")
            ),
            Err(_) => format!("no index supports the condition: every run reads all of `{table}`, {pages}"),
        };
        issues.push(Issue::warning("where", why));
    }
    if !target.unserved.is_empty() {
        let why = format!(
            "no index serves {}: for every row that goes, all of that table is read",
            first_of(&target.unserved, 3)
        );
        issues.push(Issue::warning("delete_from", why));
    }
    issues
}

/// Deletes what the condition selects.
pub(in crate::kinds) fn run(
    declared: &Declared<'_>,
    deleting: Deleting<'_>,
    server: &Server,
    ctx: &RunContext,
) -> Result<Report, Failure> {
    let done = delete(declared, deleting, server, ctx);
    done.inspect_err(|failure| declared.record_failure_on(server, ctx, failure))
}

fn delete(
    declared: &Declared<'_>,
    deleting: Deleting<'_>,
    server: &Server,
    ctx: &RunContext,
) -> Result<Report, Failure> {
    let mut session = declared.session_on(server, ctx)?;
    let found = Found::of(declared, deleting, &mut session, ctx.now)?;
    if let Some(why) = found.refusal {
        return Err(Failure::lasting(why));
    }
    let (mut rows, mut locked) = (0, 0);
    if found.rows > 0 {
        let patience = ctx.database()?.busy_timeout;
        let what = (deleting.table, deleting.condition, &found.target);
        let mut deletion = ServerDeletion::new(&mut session, what, declared.lock_budget, (&ctx.cancel, &ctx.progress));
        let way = deletion.way(found.rows, &found.access)?;
        let done = deletion.run(&way, found.rows, patience);
        (rows, locked) = (deletion.rows, deletion.locked);
        done.map_err(|error| Failure::from(error).after(rows, "deleted"))?;
    }
    let mut report = declared.finish_on(&mut session, rows)?;
    if locked > 0 {
        let left = format!("{} locked by others and left for the next run", plural(locked, "row"));
        report.message = format!("{}; {left}", report.message);
        report.warnings.push(left);
    }
    Ok(report)
}

/// What a run would do now.
pub(in crate::kinds) fn plan(
    declared: &Declared<'_>,
    deleting: Deleting<'_>,
    server: &Server,
    ctx: &RunContext,
) -> Result<DryRun, Failure> {
    let mut session = declared.session_on(server, ctx)?;
    let found = Found::of(declared, deleting, &mut session, ctx.now)?;
    let (rows, table) = (found.rows, deleting.table);
    let total = match found.total {
        Some(total) => total,
        None => estimate(&mut session, table, &found.target)?.max(rows),
    };
    let percent = if total == 0 { 0.0 } else { percentage(rows, total) };
    // Finding them, and as much again for each 20,000 to 100,000 rows, with pauses as long as the work.
    let seconds = found.search.as_secs_f64() + 4e-5 * precise(rows);
    let in_words = match &found.refusal {
        None => format!("{rows} of {total} rows of {table} would go ({percent:.1} %), in about {seconds:.0} s"),
        Some(_) => format!("{rows} of {total} rows of {table} are selected ({percent:.1} %), but none would go"),
    };
    let mut lines = vec![in_words];
    lines.extend(found.refusal.iter().map(|why| format!("the run would fail: {why}")));
    let (column, oldest, newest) = found.ends.clone().unwrap_or_default();
    if let (Some(oldest), Some(newest)) = (oldest, newest) {
        lines.push(format!("{column} from {} to {}", iso(oldest), iso(newest)));
    }
    let cutoff = session.parameters.get("cutoff").map(ToString::to_string);
    lines.extend(cutoff.as_ref().map(|cutoff| format!("cutoff {cutoff}")));
    lines.push(found.access.words.clone());
    let json = json!({
        "table": table, "rows": rows, "total": total, "share": percent / 100.0,
        "column": Some(&column).filter(|column| !column.is_empty()), "oldest": oldest.map(iso),
        "newest": newest.map(iso), "cutoff": cutoff, "access": found.access.words, "uses_index": found.access.by_index,
        "estimated_seconds": (seconds * 1000.0).round() / 1000.0, "refusal": found.refusal,
    });
    Ok(DryRun {
        lines,
        json,
        refusal: found.refusal,
    })
}

/// What there is against a run now.
pub(in crate::kinds) fn examine(
    declared: &Declared<'_>,
    deleting: Deleting<'_>,
    server: &Server,
    ctx: &RunContext,
) -> Result<Vec<Issue>, Failure> {
    let mut session = declared.session_on(server, ctx)?;
    let found = Found::of(declared, deleting, &mut session, ctx.now)?;
    let refusal = found.refusal.map(|why| format!("a run would fail now: {why}"));
    Ok(refusal.map(|why| Issue::warning("where", why)).into_iter().collect())
}

/// The rights that a run needs.
pub(in crate::kinds) fn rights(declared: &Declared<'_>, table: &str) -> Rights {
    let mut rights = declared.rights_of_record();
    for read in &declared.tables {
        rights.entry((*read).to_owned()).or_default().insert(Right::Select);
    }
    rights.entry(table.to_owned()).or_default().insert(Right::Delete);
    rights
}
