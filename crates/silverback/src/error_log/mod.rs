//! The error log of the node: the one receiver behind the `log` facade.
//!
//! Levels: Kong has eight, the facade five. `notice` is written `warn!(target: "notice", ..)`; `crit`, `alert` and `emerg` are
//! `error!(target: "crit", ..)` and so on. Fields (`warn!(client:% = address; "..")`) follow the message.

mod line;
mod output;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::conf::{Conf, Level, LogFormat, LogTarget};
use output::Output;
pub(crate) use output::open_log;

/// Lines that may wait for the disk; more are dropped and counted.
const QUEUE: usize = 1024;
/// Bytes written at once.
const BATCH: usize = 64 << 10;

/// Where and how the error log is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// With an absolute path.
    pub target: LogTarget,
    pub level: Level,
    pub format: LogFormat,
    /// Whether the path may be a symbolic link: not for a root whose worker could have put it there.
    pub may_be_link: bool,
}

impl Settings {
    /// The node's error log: `proxy_error_log`, `log_level` and `error_log_format`.
    #[must_use]
    pub fn of(conf: &Conf) -> Self {
        let target = match &conf.proxy_error_log.target {
            LogTarget::File(path) => LogTarget::File(conf.in_prefix(path)),
            target => target.clone(),
        };
        Self { target, level: conf.log_level, format: conf.error_log_format, may_be_link: true }
    }
}

/// The error log; clones share it.
#[derive(Clone)]
pub struct ErrorLog(Arc<Shared>);

struct Shared {
    /// The severity from which on messages are written.
    level: AtomicUsize,
    dropped: AtomicU64,
    is_json: AtomicBool,
    revert: Mutex<Option<Revert>>,
    sink: Sink,
}

struct Revert {
    at: Instant,
    to: Level,
}

enum Sink {
    /// A thread writes; the caller never waits.
    Queue(SyncSender<Message>),
    /// The caller writes: for the supervisor, which has no requests to hold up and no thread to spend.
    Direct(Mutex<Output>),
}

enum Message {
    Line(String),
    Reopen,
    Wake,
    Flush(SyncSender<()>),
}

impl ErrorLog {
    /// A log whose lines are written by a thread of its own.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not be started.
    pub fn queued(settings: &Settings) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let output = Output::open(settings)?;
        let log = Self::new(settings, Sink::Queue(sender));
        let shared = Arc::downgrade(&log.0);
        std::thread::Builder::new().name("error-log".to_owned()).stack_size(64 << 10).spawn(move || {
            let upgrade = || shared.upgrade();
            write_queue(&receiver, output, &upgrade);
        })?;
        Ok(log)
    }

    /// A log whose lines are written by the caller.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn direct(settings: &Settings) -> io::Result<Self> {
        Ok(Self::new(settings, Sink::Direct(Mutex::new(Output::open(settings)?))))
    }

    fn new(settings: &Settings, sink: Sink) -> Self {
        Self(Arc::new(Shared {
            level: AtomicUsize::new(settings.level.severity()),
            dropped: AtomicU64::new(0),
            is_json: AtomicBool::new(settings.format == LogFormat::Json),
            revert: Mutex::new(None),
            sink,
        }))
    }

    /// Makes this the receiver of the `log` facade, for the whole process.
    ///
    /// # Errors
    /// When there is one already.
    pub fn install(&self) -> Result<(), log::SetLoggerError> {
        log::set_boxed_logger(Box::new(self.clone()))?;
        log::set_max_level(line::filter(self.level()));
        Ok(())
    }

    /// The level in force.
    #[must_use]
    pub fn level(&self) -> Level {
        line::LEVELS.get(self.0.level.load(Ordering::Relaxed)).copied().unwrap_or(Level::Notice)
    }

    /// Changes the level; with a time, the one in force before comes back after it.
    pub fn set_level(&self, level: Level, revert_after: Option<Duration>) {
        let mut revert = self.0.revert.lock().unwrap_or_else(PoisonError::into_inner);
        // A change during a change goes back to the level before both.
        let before = revert.take().map_or_else(|| self.level(), |revert| revert.to);
        *revert = revert_after.map(|after| Revert { at: Instant::now() + after, to: before });
        drop(revert);
        self.apply_level(level);
        self.send(Message::Wake);
    }

    fn apply_level(&self, level: Level) {
        self.0.level.store(level.severity(), Ordering::Relaxed);
        log::set_max_level(line::filter(level));
    }

    /// Lines lost because the log could not be written fast enough, or at all.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Opens the file anew, after a rotation.
    pub fn reopen(&self) {
        match &self.0.sink {
            Sink::Queue(_) => self.send(Message::Reopen),
            Sink::Direct(output) => output.lock().unwrap_or_else(PoisonError::into_inner).reopen(),
        }
    }

    /// Waits, for at most a second, until the lines so far are written: before the process ends.
    pub fn wait_written(&self) {
        let (sender, receiver) = sync_channel(1);
        self.send(Message::Flush(sender));
        let _ = receiver.recv_timeout(Duration::from_secs(1));
    }

    fn format(&self) -> LogFormat {
        if self.0.is_json.load(Ordering::Relaxed) { LogFormat::Json } else { LogFormat::Text }
    }

    /// Goes on with other settings: for a log that its callers write.
    ///
    /// # Errors
    /// When the file cannot be opened; nothing has changed then.
    pub fn redirect(&self, settings: &Settings) -> io::Result<()> {
        if let Sink::Direct(output) = &self.0.sink {
            *output.lock().unwrap_or_else(PoisonError::into_inner) = Output::open(settings)?;
            self.0.is_json.store(settings.format == LogFormat::Json, Ordering::Relaxed);
            self.apply_level(settings.level);
        }
        Ok(())
    }

    fn send(&self, message: Message) {
        if let Sink::Queue(queue) = &self.0.sink {
            // A full queue means a busy writer, who looks at everything but the line by itself.
            if queue.try_send(message).is_err() {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn revert_due(&self) -> Option<Duration> {
        let mut revert = self.0.revert.lock().unwrap_or_else(PoisonError::into_inner);
        let left = revert.as_ref()?.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let level = revert.take()?.to;
            drop(revert);
            self.apply_level(level);
            return None;
        }
        Some(left)
    }
}

impl log::Log for ErrorLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        line::level_of(metadata).severity() >= self.0.level.load(Ordering::Relaxed)
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        plugins::opentelemetry::note_log(line::level_of(record.metadata()).as_str(), record);
        let line = line::format(record, self.format());
        match &self.0.sink {
            Sink::Queue(_) => self.send(Message::Line(line)),
            Sink::Direct(output) => {
                let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
                if output.write(line.as_bytes()).is_err() {
                    self.0.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn flush(&self) {
        self.wait_written();
    }
}

/// The writing thread: takes what is there, writes it in one go, and ends with the last handle of the log.
fn write_queue(receiver: &Receiver<Message>, mut output: Output, shared: &dyn Fn() -> Option<Arc<Shared>>) {
    let mut reported = 0;
    let mut batch = String::new();
    loop {
        let Some(log) = shared().map(ErrorLog) else { return };
        let due = log.revert_due();
        drop(log);
        let first = match due {
            Some(due) => receiver.recv_timeout(due),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let mut next = match first {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut flushed = Vec::new();
        while let Some(message) = next {
            match message {
                Message::Line(line) => batch.push_str(&line),
                Message::Reopen => output.reopen(),
                Message::Wake => {}
                Message::Flush(done) => flushed.push(done),
            }
            next = if batch.len() < BATCH { receiver.try_recv().ok() } else { None };
        }
        let Some(log) = shared().map(ErrorLog) else { return };
        let dropped = log.dropped();
        if dropped > reported {
            let lost = format_args!(
                "{} lines of this log were dropped: it could not be written fast enough",
                dropped - reported
            );
            let record = log::Record::builder().level(log::Level::Warn).args(lost).build();
            batch.push_str(&line::format(&record, log.format()));
            reported = dropped;
        }
        if output.write(batch.as_bytes()).is_err() {
            log.0.dropped.fetch_add(1, Ordering::Relaxed);
            reported += 1;
        }
        batch.clear();
        for done in flushed {
            let _ = done.send(());
        }
    }
}
