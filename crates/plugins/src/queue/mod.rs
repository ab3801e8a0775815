//! The batching queues of the plugins that send to other hosts: what is logged waits here, bounded, until it was sent.
//!
//! One thread of the process sends for all queues, so that requests never wait. Instances with equal names share a queue,
//! and a queue outlives the instance that made it until it is empty: a change of configuration loses nothing. With
//! `max_spill_bytes` what the memory cannot hold waits on disk, also over the end of the process.

mod disk;
mod entries;
mod losses;
mod parameters;
mod spill;
mod task;

use crate::background;
use ahash::HashMap;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use disk::Disk;
pub(crate) use entries::Entries;
pub(crate) use losses::Losses;
pub(crate) use parameters::Parameters;
use spill::Spilled;
pub use spill::spill_to;

/// Why a batch was not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// The destination was there and does not want these entries: trying again is of little use.
    is_refusal: bool,
    /// What became of the batch, where not all of it failed.
    part: Option<Part>,
}

#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// To be tried again.
    left: Entries,
    /// How many are lost.
    refused: usize,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_refusal: false, part: None }
    }

    pub(crate) fn refusal(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_refusal: true, part: None }
    }

    /// Of the batch only these are left to be tried again, and so many must not be; the others are sent.
    pub(crate) fn partial(reason: impl Into<String>, left: Entries, refused: usize) -> Self {
        Self { reason: reason.into(), is_refusal: false, part: Some(Part { left, refused }) }
    }
}

/// The outcome of a batch.
pub(crate) type Sending<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// Sends batches; a batch that fails is tried again.
pub(crate) trait Sender: Send + Sync {
    fn send<'a>(&'a self, batch: &'a Entries) -> Sending<'a>;
}

/// What all queues share: the thread that sends, and the counts.
pub(crate) struct Queues {
    /// `None` where the thread could not be started: all entries are dropped.
    runtime: Option<Handle>,
    known: Mutex<HashMap<String, Weak<Queue>>>,
    /// How many entries were dropped, by plugin.
    dropped: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    /// Where queues may keep what does not fit into their memory; `None`: where [`spill_to`] says.
    root: Option<PathBuf>,
    /// How many tasks are sending.
    busy: Mutex<usize>,
    idle: Condvar,
}

/// Why entries are dropped that find no room.
const FULL: &str = "the queue is full";

/// The queues of the process.
static QUEUES: LazyLock<Arc<Queues>> = LazyLock::new(|| Arc::new(Queues::on(background::start("log-queues"))));

/// How many entries were dropped by the queues of each plugin: a queue was full, or its destination out of reach for too long.
pub(crate) fn dropped() -> Vec<(String, u64)> {
    QUEUES.dropped()
}

/// Sends what waits, without waiting for fuller batches, for at most this time. Says how many entries are left.
pub(crate) fn flush(limit: Duration) -> usize {
    QUEUES.flush(limit)
}

/// The queue of this name, which is made where it is missing; it goes on with these parameters and this sender. The name
/// begins with the plugin's and a colon, may hold secrets and is never shown; `label` is what messages call the queue.
pub(crate) fn named(name: &str, label: &str, parameters: Parameters, sender: Arc<dyn Sender>) -> Arc<Queue> {
    QUEUES.named(name, label, parameters, sender)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queues {
    fn on(runtime: Option<Handle>) -> Self {
        Self {
            runtime,
            known: Mutex::default(),
            dropped: Mutex::default(),
            root: None,
            busy: Mutex::new(0),
            idle: Condvar::new(),
        }
    }

    fn named(self: &Arc<Self>, name: &str, label: &str, parameters: Parameters, sender: Arc<dyn Sender>) -> Arc<Queue> {
        let spills = parameters.max_spill_bytes() > 0;
        let queue = self.found_or_made(name, label, parameters, sender);
        if spills {
            let root = match &self.root {
                Some(root) => Some(root.as_path()),
                None => spill::root(),
            };
            queue.open_disk(name, root);
        }
        queue
    }

    fn found_or_made(
        self: &Arc<Self>,
        name: &str,
        label: &str,
        parameters: Parameters,
        sender: Arc<dyn Sender>,
    ) -> Arc<Queue> {
        let mut known = lock(&self.known);
        if let Some(queue) = known.get(name).and_then(Weak::upgrade) {
            let mut state = lock(&queue.state);
            state.parameters = parameters;
            state.sender = sender;
            drop(state);
            // A batch that waits for its size may be large enough now.
            queue.changed.notify_one();
            return queue;
        }
        known.retain(|_, queue| queue.strong_count() > 0);
        let plugin = name.split_once(':').map_or(name, |(plugin, _)| plugin);
        let queue = Arc::new(Queue {
            label: label.to_owned(),
            dropped: lock(&self.dropped).entry(plugin.to_owned()).or_default().clone(),
            queues: self.clone(),
            state: Mutex::new(State {
                parameters,
                sender,
                waiting: Entries::default(),
                bytes: 0,
                in_flight: Arc::default(),
                sending: 0,
                appended: 0,
                passed: 0,
                spilled: Spilled::default(),
                is_running: false,
                is_flushing: false,
                losses: Losses::default(),
            }),
            changed: Notify::new(),
            disk: OnceLock::new(),
        });
        known.insert(name.to_owned(), Arc::downgrade(&queue));
        queue
    }

    /// Starts a task that [`flush`] waits for.
    fn start(self: &Arc<Self>, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        *lock(&self.busy) += 1;
        let busy = Busy(self.clone());
        runtime.spawn(async move {
            let _busy = busy;
            task.await;
        });
    }

    fn dropped(&self) -> Vec<(String, u64)> {
        lock(&self.dropped).iter().map(|(plugin, count)| (plugin.clone(), count.load(Relaxed))).collect()
    }

    #[cfg(test)]
    fn lost(&self) -> u64 {
        self.dropped().iter().map(|(_, count)| count).sum()
    }

    fn flush(&self, limit: Duration) -> usize {
        let queues: Vec<Arc<Queue>> = lock(&self.known).values().filter_map(Weak::upgrade).collect();
        for queue in &queues {
            let mut state = lock(&queue.state);
            state.is_flushing = state.is_running;
            drop(state);
            queue.changed.notify_one();
        }
        drop(self.idle.wait_timeout_while(lock(&self.busy), limit, |busy| *busy > 0));
        queues.iter().map(|queue| queue.leave()).sum()
    }
}

/// A task that sends; its end is told, however it ends.
struct Busy(Arc<Queues>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = lock(&self.0.busy);
        *busy -= 1;
        if *busy == 0 {
            self.0.idle.notify_all();
        }
    }
}

/// Entries on their way to one destination.
pub(crate) struct Queue {
    label: String,
    /// How many entries the plugin's queues have dropped.
    dropped: Arc<AtomicU64>,
    queues: Arc<Queues>,
    state: Mutex<State>,
    /// The batch that is waited for may be ready.
    changed: Notify,
    /// What does not fit into the memory; made with the first parameters that want it, and `None` where it cannot be.
    disk: OnceLock<Option<Arc<Mutex<Disk>>>>,
}

struct State {
    parameters: Parameters,
    sender: Arc<dyn Sender>,
    waiting: Entries,
    /// Bytes of what waits, and of what is being sent on its own.
    bytes: usize,
    /// The batch that is being sent.
    in_flight: Arc<Entries>,
    /// Entries that are being sent.
    sending: usize,
    /// How many have ever begun to wait, and how many of them have been dealt with, in the same order.
    appended: u64,
    passed: u64,
    spilled: Spilled,
    /// A task sends batches.
    is_running: bool,
    /// Batches are sent as they are, until nothing waits.
    is_flushing: bool,
    losses: Losses,
}

impl Queue {
    /// Takes an entry. Where there is no room, the oldest that wait are dropped for it.
    pub(crate) fn push(self: &Arc<Self>, entry: impl AsRef<[u8]>) {
        self.push_all([entry]);
    }

    /// Takes entries one after another, as [`push`](Self::push) does.
    pub(crate) fn push_all(self: &Arc<Self>, entries: impl IntoIterator<Item: AsRef<[u8]>>) {
        let entries = entries.into_iter();
        let Some(runtime) = &self.queues.runtime else {
            return self.lose(entries.count(), "there is no thread that sends");
        };
        let mut alone = Vec::new();
        let mut lost = 0;
        let mut state = lock(&self.state);
        let before = state.waiting.len();
        let has_disk = self.disk().is_some();
        for entry in entries {
            let entry = entry.as_ref();
            if !state.parameters.is_unlimited() {
                let spills = has_disk && (state.parameters.max_spill_bytes() > 0 || !state.spilled.is_empty());
                lost += if spills { state.spill(entry) } else { state.enqueue(entry) };
            } else if state.has_room(entry.len()) {
                state.sending += 1;
                state.bytes += entry.len();
                alone.push(entry.to_vec());
            } else {
                lost += 1;
            }
        }
        let is_started = !state.waiting.is_empty() && !std::mem::replace(&mut state.is_running, true);
        let is_ready = before < state.batch_size() && state.waiting.len() >= state.batch_size();
        let is_written = state.spilled.begins_to_write();
        drop(state);
        for entry in alone {
            self.queues.start(runtime, task::send_alone(self.clone(), entry));
        }
        if is_started {
            self.queues.start(runtime, task::run(self.clone()));
        } else if is_ready {
            self.changed.notify_one();
        }
        if is_written {
            self.queues.start(runtime, self.clone().write());
        }
        self.lose(lost, FULL);
    }

    /// Counts entries that are dropped, and says so now and then.
    fn lose(&self, count: usize, reason: &str) {
        if count == 0 {
            return;
        }
        self.dropped.fetch_add(count as u64, Relaxed);
        let told = lock(&self.state).losses.add(count);
        if let Some(count) = told {
            log::error!("queue {} dropped {count} of its entries: {reason}", self.label);
        }
    }

    #[cfg(test)]
    fn unsent(&self) -> usize {
        let state = lock(&self.state);
        state.waiting.len() + state.sending + state.spilled.count()
    }
}

impl State {
    /// Whether one more entry of this size may be held.
    fn has_room(&self, size: usize) -> bool {
        self.waiting.len() + self.sending < self.parameters.max_entries()
            && self.bytes + size <= self.parameters.max_bytes()
    }

    /// Puts an entry at the end; says how many were dropped for it, or instead of it.
    fn enqueue(&mut self, entry: &[u8]) -> usize {
        let (entries, bytes) = (self.parameters.max_entries(), self.parameters.max_bytes());
        if entry.len() > bytes {
            return 1;
        }
        let mut lost = 0;
        while self.waiting.len() >= entries || self.bytes + entry.len() > bytes {
            let Some(oldest) = self.waiting.pop() else { break };
            self.bytes -= oldest;
            self.passed += 1;
            lost += 1;
        }
        self.append(entry);
        lost
    }

    fn append(&mut self, entry: &[u8]) {
        self.bytes += entry.len();
        self.appended += 1;
        self.waiting.push(entry);
    }

    fn has_any(&self) -> bool {
        !self.waiting.is_empty() || self.spilled.has_any_on_disk()
    }

    /// How many entries make a batch that waits for no more.
    fn batch_size(&self) -> usize {
        // With a disk, half of the memory waits.
        let share = if self.parameters.max_spill_bytes() > 0 { 2 } else { 1 };
        self.parameters.max_batch_size().min((self.parameters.max_entries() / share).max(1))
    }

    fn take_batch(&mut self) -> Arc<Entries> {
        let batch = self.waiting.take(self.batch_size());
        self.bytes -= batch.iter().map(<[u8]>::len).sum::<usize>();
        self.sending += batch.len();
        self.in_flight = Arc::new(batch);
        self.in_flight.clone()
    }

    /// The batch, of so many entries at first, is sent, or lost. What is left of it is freed by the caller, away from the lock.
    fn end_batch(&mut self, count: usize) -> Arc<Entries> {
        self.sending -= self.in_flight.len();
        self.passed += count as u64;
        std::mem::take(&mut self.in_flight)
    }
}

#[cfg(test)]
mod disk_tests;
#[cfg(test)]
mod tests;
