//! A connection whose every question has a time within which it is answered, and which whoever asks may wait for on any
//! thread that may wait.

use std::future::Future;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CancelToken, Client, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::{Address, tls};
use crate::values::CancellationToken;

/// How long the connection may take to be there.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long one of several hosts may take.
const BETWEEN_HOSTS: Duration = Duration::from_secs(2);
/// How long a statement may take to end once it is asked to.
const ENDING: Duration = Duration::from_secs(2);

/// How soon it is asked again.
const BETWEEN_CANCELS: Duration = Duration::from_millis(300);
/// Why a statement ended, or never began, that nobody wants any more.
const CALLED_OFF: &str = "was asked to end the statement";

/// How a session begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// How the server shows it.
    pub name: String,
    /// Settings of the server that hold until it ends; connection poolers refuse them.
    pub settings: Vec<(&'static str, String)>,
}

/// The parameters of a statement with their types: the server is to guess none.
pub(crate) type Parameters<'a> = Vec<(&'a (dyn ToSql + Sync), Type)>;

/// A connection to a database.
pub(crate) struct Connection {
    client: Client,
    cancel: CancelToken,
    tls: MakeRustlsConnect,
    /// Ends what is asked, when asked to.
    interrupt: CancellationToken,
    is_broken: bool,
    /// Last, so that it is there for what is dropped before it.
    waiting: Waiting,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("is_broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to the database at `address`. It waits for that.
    pub(crate) fn open(address: &Address, session: &Session) -> Result<Self, PostgresError> {
        let tls = tls::connector(&address.certificates).map_err(PostgresError::broken)?;
        let waiting = Waiting::new().map_err(|error| PostgresError::broken(error.to_string()))?;
        let config = configure(address, session);
        // Where one of several hosts is gone, the others are asked in time.
        let hosts = u32::try_from(config.get_hosts().len().max(1)).unwrap_or(1);
        let patience = if hosts > 1 {
            BETWEEN_HOSTS * (hosts + 1)
        } else {
            CONNECTING
        };
        let connecting = waiting.wait(patience, config.connect(tls.clone()));
        let late = || PostgresError::broken(format!("did not answer within {} s", patience.as_secs()));
        let (client, connection) = connecting
            .ok_or_else(late)?
            .map_err(|error| PostgresError::of(&error))?;
        waiting.spawn(async move { drop(connection.await) });
        Ok(Self {
            cancel: client.cancel_token(),
            client,
            tls,
            interrupt: CancellationToken::default(),
            is_broken: false,
            waiting,
        })
    }

    /// Has what is asked from now on end when `interrupt` asks for that.
    pub(crate) fn end_with(&mut self, interrupt: &CancellationToken) {
        self.interrupt = interrupt.clone();
    }

    /// Whether it can be used no more.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken || self.client.is_closed()
    }

    /// Runs one statement; gives the rows it returns.
    pub(crate) fn query(
        &mut self,
        sql: &str,
        parameters: &Parameters<'_>,
        patience: Duration,
    ) -> Result<Vec<Row>, PostgresError> {
        self.ask(patience, async |client| client.query_typed(sql, parameters).await)
    }

    /// Runs one statement; gives how many rows it changed.
    pub(crate) fn execute(
        &mut self,
        sql: &str,
        parameters: &Parameters<'_>,
        patience: Duration,
    ) -> Result<u64, PostgresError> {
        self.ask(patience, async |client| client.execute_typed(sql, parameters).await)
    }

    /// Runs one statement with each of `rows`, without waiting for one to send the next; gives what each returns.
    pub(crate) fn each(
        &mut self,
        sql: &str,
        rows: &[Parameters<'_>],
        patience: Duration,
    ) -> Result<Vec<Vec<Row>>, PostgresError> {
        self.ask(patience, async |client| {
            try_join_all(rows.iter().map(|row| client.query_typed(sql, row))).await
        })
    }

    /// Runs statements of our own that have no parameters.
    pub(crate) fn batch(&mut self, sql: &str, patience: Duration) -> Result<(), PostgresError> {
        self.ask(patience, async |client| client.batch_execute(sql).await)
    }

    /// Has one statement read by the server; gives the types of its parameters as given, and the columns it returns with
    /// theirs.
    pub(crate) fn describe(
        &mut self,
        sql: &str,
        types: &[Type],
        patience: Duration,
    ) -> Result<Vec<(String, Type)>, PostgresError> {
        let statement = self.ask(patience, async |client| client.prepare_typed(sql, types).await)?;
        let columns = statement.columns().iter();
        Ok(columns
            .map(|column| (column.name().to_owned(), column.type_().clone()))
            .collect())
    }

    /// Asks, and waits for the answer no longer than `patience`, or until the end is asked for; then the statement is ended,
    /// and the connection is not used any more.
    fn ask<T>(
        &mut self,
        patience: Duration,
        question: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        if self.is_broken() {
            return Err(PostgresError::broken("has closed the connection"));
        }
        let Self {
            client,
            cancel,
            tls,
            interrupt,
            waiting,
            ..
        } = self;
        let asked = waiting.run(async {
            // What was never sent needs no end.
            if interrupt.is_cancelled() {
                return Err(PostgresError::cut_off(CALLED_OFF));
            }
            let mut answer = std::pin::pin!(question(client));
            let why = tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(|error| PostgresError::of(&error)),
                () = tokio::time::sleep(patience) => format!("did not answer within {} s", patience.as_secs()),
                () = interrupt.cancelled() => CALLED_OFF.to_owned(),
            };
            // The server goes on with what nobody waits for any more, unless it is told, once it has begun.
            let end = async {
                loop {
                    let _ = cancel.cancel_query(tls.clone()).await;
                    if let Ok(answer) = tokio::time::timeout(BETWEEN_CANCELS, &mut answer).await {
                        return answer;
                    }
                }
            };
            match tokio::time::timeout(ENDING, end).await {
                // It was done already.
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) if PostgresError::of(&error).is_rolled_back() => Err(PostgresError::cut_off(why)),
                Ok(Err(_)) | Err(_) => Err(PostgresError::broken(why)),
            }
        });
        self.is_broken = matches!(&asked, Err(error) if error.is_broken);
        asked
    }
}

fn configure(address: &Address, session: &Session) -> tokio_postgres::Config {
    let mut config = address.config.clone();
    // A server cuts a longer name.
    let name: String = session.name.chars().take(63).collect();
    let patience = if config.get_hosts().len() > 1 {
        BETWEEN_HOSTS
    } else {
        CONNECTING
    };
    config
        .application_name(name)
        .connect_timeout(patience)
        .tcp_user_timeout(Duration::from_secs(10))
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3);
    let path = address
        .schema
        .as_ref()
        .map(|schema| ("search_path", format!("\"{schema}\"")));
    let settings = session.settings.iter().cloned().chain(path);
    let escape = |value: &str| value.replace('\\', "\\\\").replace(' ', "\\ ");
    let options: Vec<String> = config
        .get_options()
        .map(str::to_owned)
        .into_iter()
        .chain(settings.map(|(name, value)| format!("-c {name}={}", escape(&value))))
        .collect();
    if !options.is_empty() {
        config.options(options.join(" "));
    }
    config
}

/// Waits for what a connection does, which gets on only meanwhile.
struct Waiting(Option<Runtime>);

impl Waiting {
    fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(runtime) => runtime.block_on(work),
            None => unreachable!("it is there until it is dropped"),
        }
    }

    /// Waits for `work` no longer than `patience`.
    fn wait<T>(&self, patience: Duration, work: impl Future<Output = T>) -> Option<T> {
        self.run(async { tokio::time::timeout(patience, work).await.ok() })
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(work);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Dropped as usual it would wait, which it may not everywhere.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Does `work` on a thread of its own, and waits for it: for callers that may not wait for connections on theirs.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
