//! The thread that writes log files, and the bounded queue before it.

use crate::queue::Losses;
use ahash::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Lines that may wait.
const QUEUE_LINES: usize = 64 * 1024;
/// Bytes that may wait.
const QUEUE_BYTES: u64 = 64 << 20;
/// Lines are written together up to this many bytes.
const BATCH_BYTES: usize = 256 * 1024;
const OPEN_FILES: usize = 256;

enum Order {
    Append {
        path: Arc<str>,
        is_reopened: bool,
        line: String,
    },
    Reopen,
    /// Answers once all that came before is written.
    Flush(SyncSender<()>),
}

static DROPPED: AtomicU64 = AtomicU64::new(0);
static WAITING: AtomicU64 = AtomicU64::new(0);

/// How many lines were dropped: the queue was full, or the file could not be written.
pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Opens all files anew before their next line.
pub fn reopen() {
    if let Some(orders) = orders() {
        // A queue that is full is being worked on; the order waits its turn.
        let _ = orders.send(Order::Reopen);
    }
}

/// Waits until the lines so far are written, for at most this time: a file may be a pipe that nobody reads.
pub fn flush_within(limit: Duration) {
    let Some(orders) = WRITER.get().and_then(Option::as_ref) else { return };
    let (done, is_done) = sync_channel(1);
    let end = Instant::now() + limit;
    let mut order = Order::Flush(done);
    while let Err(TrySendError::Full(back)) = orders.try_send(order) {
        if Instant::now() >= end {
            break;
        }
        order = back;
        std::thread::sleep(Duration::from_millis(1));
    }
    if is_done.recv_timeout(end.saturating_duration_since(Instant::now())).is_err() {
        log::warn!("file-log: {} bytes could not be written before the end", WAITING.load(Relaxed));
    }
}

/// Waits until the lines so far are written.
#[cfg(test)]
pub(crate) fn flush() {
    flush_within(Duration::from_secs(60));
}

/// Queues a line, which ends in a line break.
pub(super) fn append(path: &Arc<str>, is_reopened: bool, line: String) {
    let size = line.len() as u64;
    let is_queued = WAITING.fetch_add(size, Relaxed) + size <= QUEUE_BYTES
        && orders().is_some_and(|o| o.try_send(Order::Append { path: path.clone(), is_reopened, line }).is_ok());
    if !is_queued {
        WAITING.fetch_sub(size, Relaxed);
        DROPPED.fetch_add(1, Relaxed);
    }
}

static WRITER: OnceLock<Option<SyncSender<Order>>> = OnceLock::new();

/// The queue of the writer; `None` where its thread could not be started.
fn orders() -> Option<&'static SyncSender<Order>> {
    let start = || {
        let (orders, queue) = sync_channel(QUEUE_LINES);
        let thread = std::thread::Builder::new().name("file-log".to_owned());
        thread.spawn(move || Writer::default().run(&queue)).is_ok().then_some(orders)
    };
    WRITER.get_or_init(start).as_ref()
}

#[derive(Default)]
struct Batch {
    text: String,
    lines: u64,
    is_reopened: bool,
}

#[derive(Default)]
struct Writer {
    files: HashMap<Arc<str>, File>,
    batches: HashMap<Arc<str>, Batch>,
    size: usize,
    losses: Losses,
    /// Of the lines that were dropped, how many were seen to be.
    seen: u64,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Order>) {
        while let Ok(order) = queue.recv() {
            let mut next = Some(order);
            while let Some(order) = next {
                self.take(order);
                next = if self.size < BATCH_BYTES { queue.try_recv().ok() } else { None };
            }
            self.write();
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Append { path, is_reopened, line } => {
                self.size += line.len();
                let batch = self.batches.entry(path).or_default();
                batch.text.push_str(&line);
                batch.lines += 1;
                batch.is_reopened |= is_reopened;
            }
            Order::Reopen => {
                self.write();
                self.files.clear();
            }
            Order::Flush(done) => {
                self.write();
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self) {
        WAITING.fetch_sub(self.size as u64, Relaxed);
        self.size = 0;
        for (path, batch) in std::mem::take(&mut self.batches) {
            if batch.is_reopened {
                self.files.remove(&path);
            }
            if self.files.len() >= OPEN_FILES {
                self.files.clear();
            }
            if let Err(error) = self.file(&path).and_then(|mut file| file.write_all(batch.text.as_bytes())) {
                self.files.remove(&path);
                DROPPED.fetch_add(batch.lines, Relaxed);
                self.tell(&format!("{path}: {error}"));
            }
        }
        self.tell("the queue is full");
    }

    /// Tells of the lines that were dropped since it last did, now and then.
    fn tell(&mut self, reason: &str) {
        let dropped = DROPPED.load(Relaxed);
        let count = dropped - std::mem::replace(&mut self.seen, dropped);
        if let Some(count) = self.losses.add(count as usize) {
            log::error!("file-log dropped {count} of its lines: {reason}");
        }
    }

    fn file(&mut self, path: &Arc<str>) -> io::Result<&File> {
        if !self.files.contains_key(path) {
            self.files.insert(path.clone(), open(path)?);
        }
        self.files.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn open(path: &str) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    options.open(path)
}
