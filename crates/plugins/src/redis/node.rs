//! One server: a connection a thread, and whether it is in reach.

use super::Failure;
use super::connection::{Call, Connection};
use super::resp::{self, Reply};
use super::sentinel;
use super::settings::{Access, Address, Place};
use crate::background;
use ahash::HashMap;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Commands of one thread that may wait to be sent.
const CALLS: usize = 4096;
/// Between tries to reach a server again.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One that fails again so soon after it was reached is asked less and less often, as if it had not been reached.
const STEADY: Duration = Duration::from_secs(10);

pub(super) struct Node {
    id: u64,
    place: Place,
    access: Access,
    is_down: AtomicBool,
    /// How often it has failed: connections of before are not used again, for what lies between may have forgotten them.
    failures: AtomicU64,
    /// When it was reached again, and after which pause.
    reached: Mutex<Option<(Instant, Duration)>>,
}

thread_local! {
    /// This thread's connections, by the id of their server.
    static CLIENTS: RefCell<HashMap<u64, Client>> = RefCell::default();
}

struct Client {
    calls: mpsc::Sender<Call>,
    of: Weak<Node>,
    /// How often the server had failed before.
    failures: u64,
}

impl Client {
    fn is_good(&self) -> bool {
        let is_of_now = |node: Arc<Node>| node.failures.load(Relaxed) == self.failures;
        !self.calls.is_closed() && self.of.upgrade().is_some_and(is_of_now)
    }
}

type Known = HashMap<(Place, Access), Weak<Node>>;

impl Node {
    /// The server at a place; all that want it share it.
    pub(super) fn of(place: Place, access: Access) -> Arc<Self> {
        static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (place, access);
        if let Some(node) = known.get(&key).and_then(Weak::upgrade) {
            return node;
        }
        known.retain(|_, node| node.strong_count() > 0);
        let (place, access) = key.clone();
        let node = Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            place,
            access,
            is_down: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            reached: Mutex::default(),
        });
        known.insert(key, Arc::downgrade(&node));
        node
    }

    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Relaxed)
    }

    /// The host, where it is the config that says it.
    pub(super) fn host(&self) -> &str {
        match &self.place {
            Place::At((host, _)) => host,
            Place::Watched(_) => "",
        }
    }

    /// Until when a command that is sent now may wait.
    pub(super) fn until(&self) -> Instant {
        Instant::now() + self.access.timeout
    }

    pub(super) async fn call(self: &Arc<Self>, command: Vec<u8>) -> Result<Reply, Failure> {
        self.call_until(self.until(), command, 0).await
    }

    /// Sends commands, of which all but the last are `ignored` ones whose replies say nothing.
    pub(super) async fn call_until(
        self: &Arc<Self>,
        until: Instant,
        command: Vec<u8>,
        ignored: u8,
    ) -> Result<Reply, Failure> {
        match self.call_once(until, command.clone(), ignored).await {
            Err(Failure::Closed) => {}
            other => return other,
        }
        let again = self.call_once(until, command, ignored).await;
        if matches!(again, Err(Failure::Closed)) {
            // A new connection was closed, too, as one is through what forwards to a server that is gone.
            self.fail(&Failure::Closed);
        }
        again
    }

    async fn call_once(self: &Arc<Self>, until: Instant, command: Vec<u8>, ignored: u8) -> Result<Reply, Failure> {
        if self.is_down() {
            return Err(Failure::new("out of reach"));
        }
        let (answer, answered) = oneshot::channel();
        let call = Call { command, ignored, answer, until };
        if self.calls().try_send(call).is_err() {
            return Err(Failure::new("too many commands wait"));
        }
        // The connection's own limit is the same; this one holds also where it does not get to run.
        let reply = match timeout_at(until, answered).await {
            Ok(Ok(reply)) => reply?,
            Ok(Err(_)) => return Err(Failure::Closed),
            Err(_) => {
                let late = Failure::new("timeout");
                self.fail(&late);
                return Err(late);
            }
        };
        if self.is_no_master_any_more(&reply) {
            CLIENTS.with_borrow_mut(|clients| clients.remove(&self.id));
            return Err(Failure::Closed);
        }
        Ok(reply)
    }

    /// Sentinels have made another one the master.
    fn is_no_master_any_more(&self, reply: &Reply) -> bool {
        let Place::Watched(sentinels) = &self.place else { return false };
        !sentinels.is_replica_wanted && matches!(reply, Reply::Error(text) if text.starts_with("READONLY"))
    }

    /// The way to this thread's connection, which is made where there is none.
    fn calls(self: &Arc<Self>) -> mpsc::Sender<Call> {
        CLIENTS.with_borrow_mut(|clients| {
            if let Some(client) = clients.get(&self.id).filter(|client| client.is_good()) {
                return client.calls.clone();
            }
            clients.retain(|_, client| client.is_good());
            let (calls, received) = mpsc::channel(CALLS);
            tokio::spawn(run(Arc::downgrade(self), self.place.clone(), self.access.clone(), received));
            let failures = self.failures.load(Relaxed);
            clients.insert(self.id, Client { calls: calls.clone(), of: Arc::downgrade(self), failures });
            calls
        })
    }

    /// From now on commands fail at once, until the server has answered again.
    pub(super) fn fail(self: &Arc<Self>, failure: &Failure) {
        if self.is_down.swap(true, Relaxed) {
            return;
        }
        self.failures.fetch_add(1, Relaxed);
        log::error!("redis {}: {failure}", self.place.name());
        match background::runtime() {
            Some(runtime) => {
                let reached = *self.reached.lock().unwrap_or_else(PoisonError::into_inner);
                let pause = first_pause(reached.map(|(at, pause)| (at.elapsed(), pause)));
                runtime.spawn(reach_again(Arc::downgrade(self), pause));
            }
            None => self.is_down.store(false, Relaxed),
        }
    }
}

/// A new connection, within the time for it.
async fn open(place: &Place, access: &Access) -> Result<Connection, Failure> {
    let opened = async {
        match place {
            Place::At(address) => Connection::open(address, access, &access.login).await,
            Place::Watched(sentinels) => sentinel::open(sentinels, access).await,
        }
    };
    timeout(access.connect_timeout, opened).await.unwrap_or_else(|_| Err(Failure::new("timeout")))
}

/// Serves a thread's commands over one connection; ends with it.
async fn run(node: Weak<Node>, place: Place, access: Access, mut calls: mpsc::Receiver<Call>) {
    let outcome = match open(&place, &access).await {
        Ok(connection) => connection.serve(&mut calls).await,
        Err(failure) => Err(failure),
    };
    calls.close();
    if let Err(failure) = outcome {
        if let Some(node) = node.upgrade().filter(|_| failure != Failure::Closed) {
            node.fail(&failure);
        }
        while let Some(call) = calls.recv().await {
            let _ = call.answer.send(Err(failure.clone()));
        }
    }
}

/// Until a server that has failed is asked again, by how long ago it was reached last, and after which pause.
fn first_pause(reached: Option<(Duration, Duration)>) -> Duration {
    match reached {
        Some((ago, pause)) if ago < STEADY => (pause * 2).min(LONGEST_PAUSE),
        _ => FIRST_PAUSE,
    }
}

/// Tries until the server answers, or nobody is left who wants it.
async fn reach_again(node: Weak<Node>, mut pause: Duration) {
    loop {
        sleep(pause).await;
        let Some(node) = node.upgrade() else { return };
        if ping(&node).await.is_ok() {
            *node.reached.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), pause));
            node.is_down.store(false, Relaxed);
            return log::warn!("redis {}: in reach again", node.place.name());
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn ping(node: &Node) -> Result<(), Failure> {
    let mut command = Vec::new();
    resp::command(&mut command, &[b"PING"]);
    let mut connection = open(&node.place, &node.access).await?;
    let reply = timeout(node.access.timeout, connection.ask(&command)).await;
    match reply.unwrap_or_else(|_| Err(Failure::new("timeout")))? {
        Reply::Status(_) => Ok(()),
        reply => Err(Failure::Other(reply.shortened())),
    }
}

/// An address as a reply has it: a host and a port, as text or number.
pub(super) fn address(host: &Reply, port: &Reply) -> Option<Address> {
    let text = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => String::from_utf8(bytes.clone()).ok(),
        Reply::Status(text) => Some(text.clone()),
        Reply::Number(number) => Some(number.to_string()),
        _ => None,
    };
    Some((text(host)?, text(port)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_again_soon_is_asked_less_often() {
        let ms = Duration::from_millis;
        for (reached, want) in [
            (None, 50),
            (Some((ms(0), ms(50))), 100),
            (Some((ms(9999), ms(400))), 800),
            (Some((ms(1), ms(1600))), 2000),
            (Some((ms(1), ms(2000))), 2000),
            (Some((ms(10_000), ms(2000))), 50),
        ] {
            assert_eq!(first_pause(reached), ms(want), "{reached:?}");
        }
    }
}
