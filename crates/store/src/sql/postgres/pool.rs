//! Connections to one server: bounded, each statement within a time limit, and none with a state of its own, so that a pooler
//! in transaction mode may stand in between. Statements are unnamed, and what a transaction needs is set within it.
use super::settings::Server;
use super::tls::Tls;
use super::violations::failed;
use crate::Error;
use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::task::AbortHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Row};

/// The thread on which the sockets are tended; statements wait on the threads of their callers.
pub(super) struct Sockets {
    handle: Handle,
    ends: Option<oneshot::Sender<()>>,
}

impl Sockets {
    pub(super) fn start() -> Result<Sockets, Error> {
        let cannot = |error: std::io::Error| Error::database(&format!("no thread for PostgreSQL: {error}"));
        let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let handle = runtime.handle().clone();
        let (ends, end) = oneshot::channel();
        let tend = move || drop(runtime.block_on(end));
        std::thread::Builder::new().name("postgres".to_owned()).spawn(tend).map_err(cannot)?;
        Ok(Sockets { handle, ends: Some(ends) })
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take() {
            // The thread may have ended already.
            let _ = ends.send(());
        }
    }
}

/// An open connection.
pub(super) struct Link {
    client: Client,
    socket: AbortHandle,
    used: Instant,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.socket.abort();
    }
}

/// Who is woken by notifications, and whose need not be heard.
pub(super) struct Listening {
    pub(super) wakes: tokio::sync::mpsc::Sender<()>,
    pub(super) but_from: String,
}

pub(super) struct Pool {
    sockets: Arc<Sockets>,
    server: Server,
    config: Config,
    tls: Option<Tls>,
    permits: Semaphore,
    waiting: AtomicUsize,
    idle: Mutex<Vec<Link>>,
}

impl Pool {
    pub(super) fn new(server: &Server, sockets: Arc<Sockets>) -> Result<Pool, Error> {
        let mut config = Config::new();
        config.host(&server.host).port(server.port).user(&server.user).dbname(&server.database);
        config.application_name("silverback").connect_timeout(server.timeout);
        config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(server.timeout * 2);
        if let Some(password) = &server.password {
            config.password(password);
        }
        config.ssl_mode(match server.ssl {
            true => tokio_postgres::config::SslMode::Require,
            false => tokio_postgres::config::SslMode::Disable,
        });
        let tls = server.ssl.then(|| Tls::new(server)).transpose();
        Ok(Pool {
            sockets,
            config,
            tls: tls.map_err(|reason| Error::database(&reason))?,
            permits: Semaphore::new(server.most_connections.max(1)),
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
            server: server.clone(),
        })
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Waits for a future on this thread, at most for the server's time limit.
    fn wait<T>(&self, future: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        let limit = self.server.timeout;
        match self.sockets.handle.block_on(async { tokio::time::timeout(limit, future).await }) {
            Ok(outcome) => outcome.map_err(|error| failed(&error)),
            Err(_) => Err(Error::unavailable(&format!("PostgreSQL at {} did not answer in {limit:?}", self.server))),
        }
    }

    /// A new connection, beside the pool's bound.
    pub(super) fn connect(&self, listening: Option<Listening>) -> Result<Link, Error> {
        let handle = self.sockets.handle.clone();
        let (config, tls) = (self.config.clone(), self.tls.clone());
        let connected = self.wait(async move {
            Ok(match tls {
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await?;
                    (client, handle.spawn(tend(connection, listening)).abort_handle())
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (client, handle.spawn(tend(connection, listening)).abort_handle())
                }
            })
        });
        let (client, socket) = connected.map_err(|mut error| {
            error.message = Some(format!("PostgreSQL at {} cannot be used: {error}", self.server));
            error
        })?;
        Ok(Link { client, socket, used: Instant::now() })
    }

    fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let busy = |what: &str| Error::unavailable(&format!("all connections to PostgreSQL are in use, {what}"));
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= self.server.most_waiting {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Err(busy("and too many wait for one"));
        }
        let limit = self.server.queue_timeout;
        let waited = self.sockets.handle.block_on(async { tokio::time::timeout(limit, self.permits.acquire()).await });
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        waited.ok().and_then(Result::ok).ok_or_else(|| busy(&format!("none became free in {limit:?}")))
    }

    fn idle(&self) -> Option<Link> {
        self.close_idle();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Closes what nobody has used for long.
    pub(super) fn close_idle(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|link| !link.client.is_closed() && link.used.elapsed() < self.server.idle_timeout);
    }

    /// Begins a transaction: a consistent look for a reader, and a writer's.
    pub(super) fn begin(&self, writes: bool) -> Result<Transaction<'_>, Error> {
        let permit = self.permit()?;
        let mode = if writes { "READ COMMITTED, READ WRITE" } else { "REPEATABLE READ, READ ONLY" };
        let limit = self.server.timeout.as_millis().max(1);
        let mut begin = format!(
            "BEGIN ISOLATION LEVEL {mode}; SET LOCAL statement_timeout = {limit}; \
             SET LOCAL idle_in_transaction_session_timeout = 60000; SET LOCAL TIME ZONE 'UTC'"
        );
        if let Some(schema) = &self.server.schema {
            begin += &format!("; SET LOCAL search_path TO {}", quoted(schema));
        }
        // A connection that was kept may have died unnoticed; a new one gets no second chance.
        if let Some(link) = self.idle()
            && self.wait(link.client.batch_execute(&begin)).is_ok()
        {
            return Ok(Transaction { pool: self, link: Some(link), has_failed: Cell::new(false), _permit: permit });
        }
        let link = self.connect(None)?;
        self.wait(link.client.batch_execute(&begin))?;
        Ok(Transaction { pool: self, link: Some(link), has_failed: Cell::new(false), _permit: permit })
    }

    /// A statement on a connection that stands outside of the pool.
    pub(super) fn ask(&self, link: &Link, sql: &str, values: &[Bound<'_>]) -> Result<Vec<Row>, Error> {
        let values: Vec<_> = values.iter().map(|(value, kind)| (*value, kind.clone())).collect();
        self.wait(link.client.query_typed(sql, &values))
    }

    /// Waits on this thread for something that is no statement.
    pub(super) fn rest<T>(&self, future: impl Future<Output = T>) -> T {
        self.sockets.handle.block_on(future)
    }

    pub(super) fn run(&self, link: &Link, sql: &str) -> Result<(), Error> {
        self.wait(link.client.batch_execute(sql))
    }
}

/// A parameter and its type; the types are given, so that nothing need be prepared.
pub(super) type Bound<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) fn text<'a>(value: &'a (dyn ToSql + Sync)) -> Bound<'a> {
    (value, Type::TEXT)
}

/// Moves the connection's bytes until it is closed, and hands on what it is notified of.
async fn tend<S>(mut connection: tokio_postgres::Connection<tokio_postgres::Socket, S>, listening: Option<Listening>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
        if let (AsyncMessage::Notification(notification), Some(listening)) = (message, &listening)
            && notification.payload() != listening.but_from
        {
            // A full channel means that it has been woken already.
            let _ = listening.wakes.try_send(());
        }
    }
}

/// A transaction under way; dropped without an end, its connection is given up.
pub(super) struct Transaction<'a> {
    pool: &'a Pool,
    link: Option<Link>,
    /// A statement has failed: the server takes a COMMIT for a ROLLBACK from then on, and says nothing.
    has_failed: Cell<bool>,
    _permit: SemaphorePermit<'a>,
}

impl Transaction<'_> {
    fn link(&self) -> Result<&Link, Error> {
        self.link.as_ref().ok_or_else(|| Error::database("the transaction has ended"))
    }

    fn noting<T, E>(&self, outcome: Result<T, E>) -> Result<T, E> {
        if outcome.is_err() {
            self.has_failed.set(true);
        }
        outcome
    }

    pub(super) fn query(&self, sql: &str, values: &[Bound<'_>]) -> Result<Vec<Row>, Error> {
        self.noting(self.pool.ask(self.link()?, sql, values))
    }

    /// How many rows it was about, or the database's own words where it refuses.
    pub(super) fn try_execute(
        &self,
        sql: &str,
        values: &[Bound<'_>],
    ) -> Result<Result<u64, tokio_postgres::Error>, Error> {
        let link = self.link()?;
        let values: Vec<_> = values.iter().map(|(value, kind)| (*value, kind.clone())).collect();
        let ran = self.pool.wait(async { Ok(self.noting(link.client.execute_typed(sql, &values).await)) });
        self.noting(ran)
    }

    /// Several statements without parameters, with no limit of time but the server's.
    pub(super) fn batch(&self, sql: &str) -> Result<(), Error> {
        let ran = self.pool.sockets.handle.block_on(self.link()?.client.batch_execute(sql));
        self.noting(ran).map_err(|error| failed(&error))
    }

    pub(super) fn commit(self) -> Result<(), Error> {
        self.commit_after("")
    }

    /// Runs statements without parameters and commits, in one round trip.
    pub(super) fn commit_after(self, statements: &str) -> Result<(), Error> {
        if self.has_failed.get() {
            self.roll_back();
            return Err(Error::database("a statement of the transaction had failed: nothing was written"));
        }
        let statements = if statements.is_empty() { "COMMIT".to_owned() } else { format!("{statements}; COMMIT") };
        self.end(&statements).map_err(|mut error| {
            if error.is_unavailable {
                error.message =
                    Some(format!("the connection was lost while committing, the change may be there: {error}"));
            }
            error
        })
    }

    pub(super) fn roll_back(self) {
        // A connection on which that fails is not used again, and the server rolls back by itself.
        drop(self.end("ROLLBACK"));
    }

    fn end(mut self, how: &str) -> Result<(), Error> {
        let Some(mut link) = self.link.take() else { return Ok(()) };
        self.pool.wait(link.client.batch_execute(how))?;
        link.used = Instant::now();
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        Ok(())
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
