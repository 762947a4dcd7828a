//! What is asked of a standby and done by the leader: the state hands questions and answers over.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::command::{Cause, Refusal, Reloaded, Reply, Triggered};
use super::{Command, RunResult};
use crate::state::{Candidate, Request, Run, RunId, Status, Store};

/// How long a standby waits for the leader's answer.
const PATIENCE: Duration = Duration::from_secs(9);
/// How often it looks for that.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// How often it looks how a run gets on.
const BETWEEN_RUNS: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    Trigger(String),
    Announce(String),
    Start(String),
    Stop(String),
    Cancel(i64),
    Reload,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done,
    Run(i64),
    Refused(Refusal),
}

impl From<Result<(), Refusal>> for Answer {
    fn from(done: Result<(), Refusal>) -> Self {
        done.map_or_else(Self::Refused, |()| Self::Done)
    }
}

impl From<Result<RunId, Refusal>> for Answer {
    fn from(run: Result<RunId, Refusal>) -> Self {
        run.map_or_else(Self::Refused, |run| Self::Run(run.0))
    }
}

/// Does what a standby was asked, and answers.
pub(super) async fn do_for_another(candidate: Candidate, engine: mpsc::WeakSender<Command>, request: Request) {
    let Some(engine) = engine.upgrade() else { return };
    let answer = match serde_json::from_str(&request.question) {
        Ok(question) => carry_out(question, &engine).await,
        Err(_) => None,
    };
    let unknown = || Answer::Refused(Refusal::State("the leader does not know how to do that".to_owned()));
    let text = serde_json::to_string(&answer.unwrap_or_else(unknown)).unwrap_or_default();
    if let Err(error) = candidate.answer(request.id, text).await {
        tracing::warn!("what another replica had asked for could not be answered: {error}");
    }
}

/// `None` where the engine is gone.
async fn carry_out(question: Question, engine: &mpsc::Sender<Command>) -> Option<Answer> {
    match question {
        Question::Trigger(job) => {
            let triggered = ask(engine, |reply| Command::Trigger { job, reply }).await?;
            Some(triggered.map(|triggered: Triggered| triggered.run).into())
        }
        Question::Announce(job) => Some(ask(engine, |reply| Command::Announce { job, reply }).await?.into()),
        Question::Start(job) => Some(ask(engine, |reply| Command::Start { job, reply }).await?.into()),
        Question::Stop(job) => Some(ask(engine, |reply| Command::Stop { job, reply }).await?.into()),
        Question::Cancel(run) => {
            let run = RunId(run);
            Some(ask(engine, |reply| Command::Cancel { run, reply }).await?.into())
        }
        Question::Reload => {
            let cause = Cause::Operator;
            let reloaded = ask(engine, |reply| Command::Reload {
                cause,
                reply: Some(reply),
            });
            Some(match reloaded.await? {
                Reloaded::Applied { .. } => Answer::Done,
                Reloaded::Refused { problems } => {
                    let why: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    Answer::Refused(Refusal::State(why.join("; ")))
                }
            })
        }
    }
}

async fn ask<T>(engine: &mpsc::Sender<Command>, question: impl FnOnce(Reply<T>) -> Command) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    engine.send(question(reply)).await.ok()?;
    answer.await.ok()
}

/// Has the leader do something; whoever asked is told.
pub(super) fn pass_on(store: &Store, command: Command) {
    let store = store.clone();
    tokio::spawn(async move {
        match command {
            Command::Trigger { job, reply } => drop(reply.send(trigger(&store, job).await)),
            Command::Announce { job, reply } => {
                drop(
                    reply.send(
                        pass(&store, Question::Announce(job))
                            .await
                            .and_then(|answer| run_of(&answer)),
                    ),
                );
            }
            Command::Start { job, reply } => drop(reply.send(pass(&store, Question::Start(job)).await.map(drop))),
            Command::Stop { job, reply } => drop(reply.send(pass(&store, Question::Stop(job)).await.map(drop))),
            Command::Cancel { run, reply } => drop(reply.send(pass(&store, Question::Cancel(run.0)).await.map(drop))),
            _ => {}
        }
    });
}

/// Has the leader read its sources again.
pub(super) async fn reload(store: &Store) -> Result<(), Refusal> {
    pass(store, Question::Reload).await.map(drop)
}

async fn trigger(store: &Store, job: String) -> Result<Triggered, Refusal> {
    let run = run_of(&pass(store, Question::Trigger(job)).await?)?;
    let (reply, ended) = oneshot::channel();
    tokio::spawn(watch(store.clone(), run, reply));
    Ok(Triggered { run, ended })
}

/// Waits for the end of a run that another replica does.
async fn watch(store: Store, run: RunId, reply: oneshot::Sender<RunResult>) {
    while !reply.is_closed() {
        sleep(BETWEEN_RUNS).await;
        if let Ok(Some((found, output))) = store.run(run).await
            && found.finished_at.is_some()
        {
            let _ = reply.send(result_of(found, output));
            return;
        }
    }
}

fn result_of(run: Run, output: Option<String>) -> RunResult {
    RunResult {
        status: run.status,
        message: run.error.or(run.message).unwrap_or_default(),
        statistics: run.statistics,
        output,
        warnings: Vec::new(),
        attempts: run.attempts,
        was_called_off: run.status == Status::Interrupted,
    }
}

fn run_of(answer: &Answer) -> Result<RunId, Refusal> {
    match answer {
        Answer::Run(run) => Ok(RunId(*run)),
        _ => Err(Refusal::State("the leader gave no run".to_owned())),
    }
}

async fn pass(store: &Store, question: Question) -> Result<Answer, Refusal> {
    let candidate = store.candidate().ok_or(Refusal::Unknown)?;
    let text = serde_json::to_string(&question).unwrap_or_default();
    let in_words = |error: crate::state::StateError| Refusal::State(error.message);
    let request = candidate.request(text, PATIENCE).await.map_err(in_words)?;
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        sleep(BETWEEN_LOOKS).await;
        // One that cannot be read now may be read a moment later, and the leader may be at it.
        let answer = candidate.answer_to(request).await.unwrap_or_default();
        if let Some(answer) = answer.and_then(|text| serde_json::from_str(&text).ok()) {
            return match answer {
                Answer::Refused(refusal) => Err(refusal),
                answer => Ok(answer),
            };
        }
    }
    let seconds = PATIENCE.as_secs();
    let is_withdrawn = candidate.withdraw(request).await.unwrap_or(false);
    Err(Refusal::State(if is_withdrawn {
        format!("this replica stands by, and no leader has taken it up within {seconds} s; nothing was done")
    } else {
        format!("this replica stands by, and the leader has not answered within {seconds} s; it may still do it")
    }))
}
