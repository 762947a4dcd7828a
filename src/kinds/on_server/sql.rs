//! The kind `sql` on a server.

use super::super::dry_run::of_access;
use super::super::statement::Declared;
use crate::postgres::PostgresError;
use crate::run::{DryRun, Failure, Report, RunContext};
use crate::sql::Pace;
use crate::sql::server::{CheckedServer, Right, Rights, Server, ServerSession, WRITING_ON_SERVER};
use crate::values::{Issue, Parameter};

/// What is wrong with the statement.
pub(in crate::kinds) fn check(declared: &Declared<'_>, server: &CheckedServer) -> Vec<Issue> {
    if declared.has_wrong_parameters() {
        return Vec::new();
    }
    let compiled = declared.compile_on_server(0..declared.sql.len(), WRITING_ON_SERVER, server);
    let around = declared.check_window_on_server();
    let zone = declared.check_zone(server).filter(|_| compiled.is_none());
    let record = declared.check_record_on_server(server);
    around.into_iter().chain(compiled).chain(zone).chain(record).collect()
}

/// Runs the statement, once or, where it names `:batch`, in rounds until one changes nothing.
pub(in crate::kinds) fn run(declared: &Declared<'_>, server: &Server, ctx: &RunContext) -> Result<Report, Failure> {
    let mut rows = 0;
    let done = run_in_rounds(declared, server, ctx, &mut rows).map_err(|failure| failure.after(rows, "changed"));
    done.inspect_err(|failure| declared.record_failure_on(server, ctx, failure))
}

fn run_in_rounds(
    declared: &Declared<'_>,
    server: &Server,
    ctx: &RunContext,
    rows: &mut u64,
) -> Result<Report, Failure> {
    let mut session = declared.session_on(server, ctx)?;
    let mut pace = Pace::new(declared.lock_budget);
    loop {
        let batch = i64::try_from(pace.rows()).unwrap_or(1);
        let began = std::time::Instant::now();
        let changed = session.execute(&declared.sql, &[("batch", Parameter::Integer(batch))]);
        let changed = changed.map_err(|error| done_or_not(&session, &error))?;
        let pause = pace.learn(began.elapsed());
        *rows += changed;
        ctx.progress.set(*rows);
        if changed == 0 || !declared.is_in_rounds() {
            return declared.finish_on(&mut session, *rows);
        }
        std::thread::sleep(pause.min(std::time::Duration::from_secs(4)));
        if ctx.cancel.is_cancelled() {
            return Err(Failure::lasting("interrupted before completion"));
        }
    }
}

/// A statement whose connection broke may have been done: it is not tried again.
fn done_or_not(session: &ServerSession, error: &PostgresError) -> Failure {
    let failure = Failure::from(session.explain(error));
    if error.is_rolled_back() {
        return failure;
    }
    Failure {
        is_transient: false,
        message: format!(
            "{}; whether the statement was carried out is not known",
            failure.message
        ),
        ..failure
    }
}

/// What a run would do now: how it finds its rows.
pub(in crate::kinds) fn plan(declared: &Declared<'_>, server: &Server, ctx: &RunContext) -> Result<DryRun, Failure> {
    let mut session = declared.session_on(server, ctx)?;
    session.parameters.insert("batch", Parameter::Integer(i64::MAX));
    let access = declared.access_on(&mut session)?;
    Ok(of_access(&session.parameters, (&access.words, access.by_index), None))
}

/// The rights that a statement needs, by the words in it.
pub(in crate::kinds) fn rights(declared: &Declared<'_>) -> Rights {
    let is_there = |word: &str| {
        crate::sql::tokens(&declared.sql)
            .iter()
            .any(|token| token.text.eq_ignore_ascii_case(word))
    };
    let words = [
        ("insert", Right::Insert),
        ("update", Right::Update),
        ("delete", Right::Delete),
    ];
    let mut needed = vec![Right::Select];
    needed.extend(
        words
            .into_iter()
            .filter(|(word, _)| is_there(word))
            .map(|(_, right)| right),
    );
    let mut rights = declared.rights_of_record();
    for table in &declared.tables {
        rights.entry((*table).to_owned()).or_default().extend(&needed);
    }
    rights
}
