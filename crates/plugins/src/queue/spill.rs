//! How a queue uses the disk: what its memory has no room for goes there in the background, and comes back in order.

use super::disk::{Disk, Written, forget_old};
use super::{Queue, State, lock};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, OnceLock, Weak};
use std::time::Duration;
use tokio::task::spawn_blocking;

/// How often is looked for what other processes have left behind: the worker before a reload ends later than this one begins.
const ADOPT_EVERY: Duration = Duration::from_secs(5);

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Says in which folder queues may keep on disk what does not fit into their memory. For the start, before instances are
/// built; without it nothing is kept there.
pub fn spill_to(folder: PathBuf) {
    let _ = ROOT.set(folder);
}

pub(super) fn root() -> Option<&'static Path> {
    ROOT.get().map(PathBuf::as_path)
}

/// What of a queue is neither in its memory nor sent.
#[derive(Default)]
pub(super) struct Spilled {
    /// On its way to the disk.
    staged: Vec<Vec<u8>>,
    staged_bytes: usize,
    /// How many are being written.
    writing: usize,
    is_writing: bool,
    /// How many are on disk.
    on_disk: usize,
    /// Files whose entries are in memory again, each with the number of the last one.
    loaded: VecDeque<(u64, Written)>,
}

impl Spilled {
    /// Whether what comes now must go behind what is on disk.
    pub(super) fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.writing == 0 && self.on_disk == 0
    }

    pub(super) fn has_any_on_disk(&self) -> bool {
        self.on_disk > 0
    }

    /// Whether a task is to write what is on its way, which is none of one's own.
    pub(super) fn begins_to_write(&mut self) -> bool {
        !self.staged.is_empty() && !std::mem::replace(&mut self.is_writing, true)
    }

    pub(super) fn count(&self) -> usize {
        self.staged.len() + self.writing
    }
}

impl State {
    /// Takes an entry where the disk is there for what the memory cannot hold: half of that waits, the other half is for
    /// what is on its way to the disk. Says how many were lost.
    pub(super) fn spill(&mut self, entry: &[u8]) -> usize {
        let (entries, bytes) = (self.parameters.max_entries(), self.parameters.max_bytes());
        let has_room = |count: usize, held: usize, share: usize| {
            count == 0 || (count < entries / share && held + entry.len() <= bytes / share)
        };
        if entry.len() > bytes {
            return 1;
        }
        if self.spilled.is_empty() && has_room(self.waiting.len(), self.bytes, 2) {
            self.append(entry);
        } else if has_room(self.spilled.staged.len(), self.spilled.staged_bytes, 4) {
            self.spilled.staged_bytes += entry.len();
            self.spilled.staged.push(entry.to_vec());
        } else {
            return 1;
        }
        0
    }

    /// Whether there is something on disk, and room for it.
    fn wants_more(&self) -> bool {
        self.spilled.on_disk > 0
            && self.waiting.len() < self.batch_size()
            && self.bytes <= self.parameters.max_bytes() / 2
    }
}

impl Queue {
    /// Opens the queue's folder, and has what is left there sent.
    pub(super) fn open_disk(self: &Arc<Self>, name: &str, root: Option<&Path>) {
        static FORGET: Once = Once::new();
        let (Some(runtime), Some(root)) = (&self.queues.runtime, root) else {
            return log::error!("queue {}: there is no folder for what goes to disk", self.label);
        };
        self.disk.get_or_init(|| {
            FORGET.call_once(|| forget_old(root));
            match Disk::open(root, name) {
                Ok(disk) => {
                    runtime.spawn(adopt(Arc::downgrade(self)));
                    Some(Arc::new(Mutex::new(disk)))
                }
                Err(error) => {
                    log::error!("queue {}: nothing goes to disk: {}: {error}", self.label, root.display());
                    None
                }
            }
        });
    }

    pub(super) fn disk(&self) -> Option<&Arc<Mutex<Disk>>> {
        self.disk.get().and_then(Option::as_ref)
    }

    /// Works on the disk, where that delays nobody.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce(&mut Disk) -> T + Send + 'static) -> Option<T> {
        let disk = self.disk()?.clone();
        spawn_blocking(move || work(&mut lock(&disk))).await.ok()
    }

    /// Writes to disk what is on its way there.
    pub(super) async fn write(self: Arc<Self>) {
        loop {
            let (entries, max) = {
                let mut state = lock(&self.state);
                let spilled = &mut state.spilled;
                if spilled.staged.is_empty() {
                    spilled.is_writing = false;
                    return;
                }
                spilled.staged_bytes = 0;
                let entries = std::mem::take(&mut spilled.staged);
                spilled.writing = entries.len();
                (entries, state.parameters.max_spill_bytes())
            };
            let count = entries.len();
            let kept = match self.on_disk(move |disk| disk.append(&entries, max)).await {
                Some(Ok(kept)) => kept,
                failed => {
                    if let Some(Err(error)) = failed {
                        log::error!("queue {}: writing to disk: {error}", self.label);
                    }
                    0
                }
            };
            let mut state = lock(&self.state);
            state.spilled.writing = 0;
            state.spilled.on_disk += kept;
            drop(state);
            self.lose(count - kept, "the disk has no more room for them");
            self.wake();
        }
    }

    /// Has the task that sends run, where there is something on disk.
    fn wake(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        let is_started = state.has_any() && !std::mem::replace(&mut state.is_running, true);
        drop(state);
        if let Some(runtime) = self.queues.runtime.as_ref().filter(|_| is_started) {
            self.queues.start(runtime, super::task::run(self.clone()));
        }
    }

    /// Reads what is on disk into the memory, a file at a time, where that has room for a batch.
    pub(super) async fn refill(&self) {
        while lock(&self.state).wants_more() {
            let taken = self.on_disk(Disk::take).await.flatten();
            let mut state = lock(&self.state);
            let Some(taken) = taken else {
                state.spilled.on_disk = 0;
                return;
            };
            state.spilled.on_disk = state.spilled.on_disk.saturating_sub(taken.written);
            let lost = taken.written.saturating_sub(taken.entries.len());
            taken.entries.iter().for_each(|entry| state.append(entry));
            let end = state.appended;
            state.spilled.loaded.push_back((end, taken.file));
            drop(state);
            self.lose(lost, "they were cut off on disk");
        }
    }

    /// Removes the files whose entries have all been dealt with.
    pub(super) async fn remove_sent(&self) {
        let files: Vec<Written> = {
            let mut state = lock(&self.state);
            let passed = state.passed;
            let count = state.spilled.loaded.iter().take_while(|(end, _)| *end <= passed).count();
            state.spilled.loaded.drain(..count).map(|(_, file)| file).collect()
        };
        if !files.is_empty() {
            self.on_disk(move |disk| files.iter().for_each(|file| disk.sent(file))).await;
        }
    }

    /// Leaves what is not sent to the next process; says how many entries could not be left.
    pub(super) fn leave(&self) -> usize {
        let mut state = lock(&self.state);
        let Some(disk) = self.disk().filter(|_| state.parameters.max_spill_bytes() > 0) else {
            return state.waiting.len() + state.sending + state.spilled.count();
        };
        let waiting = std::mem::take(&mut state.waiting);
        let first: Vec<Vec<u8>> = state.in_flight.iter().chain(waiting.iter()).map(<[u8]>::to_vec).collect();
        state.bytes = 0;
        let last = std::mem::take(&mut state.spilled.staged);
        let files: Vec<Written> = state.spilled.loaded.drain(..).map(|(_, file)| file).collect();
        let max = state.parameters.max_spill_bytes();
        drop(state);
        let mut disk = lock(disk);
        let mut lost = 0;
        match disk.prepend(&first) {
            Ok(()) => files.iter().for_each(|file| disk.sent(file)),
            Err(error) => {
                log::error!("queue {}: writing to disk: {error}", self.label);
                lost += first.len();
            }
        }
        lost + last.len() - disk.append(&last, max).unwrap_or(0)
    }
}

/// Takes over what other processes have left behind, while there is the queue.
async fn adopt(queue: Weak<Queue>) {
    while let Some(queue) = queue.upgrade() {
        let count = queue.on_disk(Disk::adopt).await.unwrap_or(0);
        if count > 0 {
            lock(&queue.state).spilled.on_disk += count;
            log::info!("queue {}: {count} entries of an earlier process are sent now", queue.label);
            queue.wake();
        }
        drop(queue);
        tokio::time::sleep(ADOPT_EVERY).await;
    }
}
