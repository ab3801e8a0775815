//! A client of Redis: a connection a thread, on which commands do not wait for each other's replies.
//!
//! Nobody waits for a Redis that is out of reach but those whose commands were under way when it went: from the first
//! failure on commands fail at once, while the process tries to reach it again in the background, more and more slowly.

mod connection;
pub(crate) mod resp;

use crate::sender;
use ahash::HashMap;
use connection::{Call, Connection};
use resp::Reply;
use serde::Deserialize;
use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

/// Commands of one thread that may wait to be sent.
const CALLS: usize = 4096;
/// Between tries to reach Redis again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection ended, which says nothing of a next one: Redis closes those that were idle for long.
    Closed,
    Other(String),
}

impl Failure {
    pub(crate) fn new(text: &str) -> Self {
        Self::Other(text.to_owned())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection was closed",
            Self::Other(text) => text,
        })
    }
}

/// The `redis` record of a config.
#[derive(Deserialize, Debug, Default)]
pub(crate) struct Config {
    host: Option<String>,
    port: Option<u16>,
    timeout: Option<u64>,
    username: Option<String>,
    password: Option<String>,
    database: Option<i64>,
    ssl: Option<bool>,
    ssl_verify: Option<bool>,
    server_name: Option<String>,
}

/// Where Redis is and who we are to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Settings {
    host: String,
    port: u16,
    /// Of connecting, and of a command.
    timeout: Duration,
    username: Option<String>,
    password: Option<String>,
    database: i64,
    is_tls: bool,
    is_verified: bool,
    server_name: Option<String>,
}

impl Settings {
    /// `None` without a host.
    pub(crate) fn new(config: Config) -> Option<Self> {
        Some(Self {
            host: config.host?,
            port: config.port.unwrap_or(6379),
            timeout: Duration::from_millis(config.timeout.unwrap_or(2000)),
            username: config.username,
            password: config.password,
            database: config.database.unwrap_or(0),
            is_tls: config.ssl == Some(true),
            is_verified: config.ssl_verify == Some(true),
            server_name: config.server_name,
        })
    }
}

/// A Redis, as all threads and instances with the same settings see it.
pub(crate) struct Redis {
    id: u64,
    settings: Settings,
    is_down: AtomicBool,
}

thread_local! {
    /// This thread's connections, by the id of their Redis.
    static CLIENTS: RefCell<HashMap<u64, Client>> = RefCell::default();
}

struct Client {
    calls: mpsc::Sender<Call>,
    of: Weak<Redis>,
}

impl Redis {
    /// The Redis of these settings; instances share it.
    pub(crate) fn of(settings: Settings) -> Arc<Self> {
        static KNOWN: LazyLock<Mutex<HashMap<Settings, Weak<Redis>>>> = LazyLock::new(Mutex::default);
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(redis) = known.get(&settings).and_then(Weak::upgrade) {
            return redis;
        }
        known.retain(|_, redis| redis.strong_count() > 0);
        let is_down = AtomicBool::new(false);
        let redis = Arc::new(Self { id: NEXT.fetch_add(1, Relaxed), settings: settings.clone(), is_down });
        known.insert(settings, Arc::downgrade(&redis));
        redis
    }

    /// A number that no other Redis of this process has had.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Its host and port.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    /// Sends a command (made by [`resp::command`]) and waits for its reply, at most the time-out. Where a kept
    /// connection turns out to have ended, the command goes over a new one.
    pub(crate) async fn call(self: &Arc<Self>, command: Vec<u8>) -> Result<Reply, Failure> {
        match self.call_once(command.clone()).await {
            Err(Failure::Closed) => self.call_once(command).await,
            other => other,
        }
    }

    async fn call_once(self: &Arc<Self>, command: Vec<u8>) -> Result<Reply, Failure> {
        if self.is_down.load(Relaxed) {
            return Err(Failure::new("out of reach"));
        }
        let (answer, answered) = oneshot::channel();
        let until = Instant::now() + self.settings.timeout;
        let call = Call { command, answer, until };
        if self.calls().try_send(call).is_err() {
            return Err(Failure::new("too many commands wait"));
        }
        // The connection's own limit is the same; this one holds also where it does not get to run.
        match timeout_at(until, answered).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(Failure::Closed),
            Err(_) => {
                let late = Failure::new("timeout");
                self.fail(&late);
                Err(late)
            }
        }
    }

    /// The way to this thread's connection, which is made where there is none.
    fn calls(self: &Arc<Self>) -> mpsc::Sender<Call> {
        CLIENTS.with_borrow_mut(|clients| {
            if let Some(client) = clients.get(&self.id).filter(|client| !client.calls.is_closed()) {
                return client.calls.clone();
            }
            clients.retain(|_, client| client.of.strong_count() > 0 && !client.calls.is_closed());
            let (calls, received) = mpsc::channel(CALLS);
            tokio::spawn(run(Arc::downgrade(self), self.settings.clone(), received));
            clients.insert(self.id, Client { calls: calls.clone(), of: Arc::downgrade(self) });
            calls
        })
    }

    /// From now on commands fail at once, until Redis has answered again.
    fn fail(self: &Arc<Self>, failure: &Failure) {
        if self.is_down.swap(true, Relaxed) {
            return;
        }
        log::error!("redis {}: {failure}", self.address());
        match sender::runtime() {
            Some(runtime) => {
                runtime.spawn(reach_again(Arc::downgrade(self)));
            }
            None => self.is_down.store(false, Relaxed),
        }
    }
}

/// Serves a thread's commands over one connection; ends with it.
async fn run(redis: Weak<Redis>, settings: Settings, mut calls: mpsc::Receiver<Call>) {
    let outcome = match Connection::open(&settings).await {
        Ok(connection) => connection.serve(&mut calls).await,
        Err(failure) => Err(failure),
    };
    calls.close();
    if let Err(failure) = outcome {
        if let Some(redis) = redis.upgrade().filter(|_| failure != Failure::Closed) {
            redis.fail(&failure);
        }
        while let Some(call) = calls.recv().await {
            let _ = call.answer.send(Err(failure.clone()));
        }
    }
}

/// Tries until Redis answers, or nobody is left who wants it.
async fn reach_again(redis: Weak<Redis>) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        let Some(redis) = redis.upgrade() else { return };
        if ping(&redis.settings).await.is_ok() {
            redis.is_down.store(false, Relaxed);
            return log::warn!("redis {}: in reach again", redis.address());
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn ping(settings: &Settings) -> Result<(), Failure> {
    let connection = Connection::open(settings).await?;
    let (calls, mut received) = mpsc::channel(1);
    let (answer, answered) = oneshot::channel();
    let mut command = Vec::new();
    resp::command(&mut command, &[b"PING"]);
    let _ = calls.try_send(Call { command, answer, until: Instant::now() + settings.timeout });
    drop(calls);
    connection.serve(&mut received).await?;
    match answered.await {
        Ok(Ok(Reply::Status(_))) => Ok(()),
        Ok(Ok(reply)) => Err(Failure::Other(format!("{reply:?}"))),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Closed),
    }
}

#[cfg(test)]
mod tests;
