//! The worker's side of the supervisor: what it is given, and how it hears about its end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::address::Address;
use super::signals::Signals;
use super::sockets::ListenerKind;
use super::transfer;
use super::worker_process::{Description, Report};
use crate::conf::{Block, Conf, Listen};
use crate::error_log::{ErrorLog, Settings};

/// The data plane: serves until it is told to stop. An error before [`Control::ready`] fails the start, with its message.
pub type WorkerMain = fn(Worker) -> anyhow::Result<()>;

/// What a worker has to work with.
pub struct Worker {
    pub conf: Conf,
    pub listeners: Vec<Inherited>,
    /// The number of threads to serve with.
    pub threads: usize,
    pub control: Control,
    /// Installed behind the `log` facade already.
    pub log: ErrorLog,
}

/// A socket that listens already, non-blocking, with `TCP_NODELAY` for what it accepts where it is one of TCP.
pub struct Inherited {
    pub kind: ListenerKind,
    pub listen: Arc<Listen>,
    pub address: Address,
    /// The thread that accepts from it. One may have several sockets of the same address.
    pub thread: usize,
    pub socket: OwnedFd,
}

/// The line to the supervisor.
pub struct Control {
    stream: UnixStream,
    signals: Signals,
    log: ErrorLog,
    is_orphan: bool,
    pending: Vec<Event>,
}

/// What a worker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// End now.
    Stop,
    /// Accept nothing any more, finish what is open (for at most `Conf::drain_timeout`), then end.
    Drain,
    /// Open the log files anew. The error log has done so by itself.
    Reopen,
}

impl Control {
    /// Says that every thread accepts connections.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub fn ready(&mut self) -> io::Result<()> {
        self.report(&Report::Ready)
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        (&self.stream).write_all(&line)
    }

    /// Waits for the next event. A worker whose supervisor died is told to drain: it would go on unseen, and on its ports.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.look(None)? {
                return Ok(event);
            }
        }
    }

    /// As [`Control::wait`], for at most this long: for a worker that drains, and may yet be told to stop.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait_for(&mut self, time: Duration) -> io::Result<Option<Event>> {
        let time = Timespec::try_from(time).ok();
        self.look(time.as_ref())
    }

    fn look(&mut self, time: Option<&Timespec>) -> io::Result<Option<Event>> {
        if self.pending.is_empty() {
            let mut files = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if !self.is_orphan {
                files.push(PollFd::new(&self.stream, PollFlags::IN));
            }
            match poll(&mut files, time) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let is_stream_ready = files.get(1).is_some_and(|file| !file.revents().is_empty());
            if is_stream_ready && (&self.stream).read(&mut [0; 64]).is_ok_and(|read| read == 0) {
                self.is_orphan = true;
                self.pending.push(Event::Drain);
            }
            for signal in self.signals.take() {
                match signal {
                    Signal::SIGTERM | Signal::SIGINT => self.pending.push(Event::Stop),
                    Signal::SIGQUIT => self.pending.insert(0, Event::Drain),
                    Signal::SIGUSR1 => {
                        self.log.reopen();
                        self.pending.insert(0, Event::Reopen);
                    }
                    // Meant for the supervisor; a terminal sends them to both.
                    _ => {}
                }
            }
        }
        Ok(self.pending.pop())
    }
}

/// The process of a worker, from its first line to its exit code.
pub(crate) fn run(main: WorkerMain) -> ExitCode {
    let Ok(stream) = take_stdin() else {
        return ExitCode::FAILURE;
    };
    match set_up(stream) {
        Ok(worker) => {
            let (log, stream) = (worker.log.clone(), worker.control.stream.try_clone());
            let result = main(worker);
            if let Err(error) = &result {
                log::error!(target: "crit", "{error:#}");
                // Ignored by a supervisor that was told of readiness before; it sees the exit code.
                if let Ok(stream) = stream {
                    let _ = fail(&stream, &format!("{error:#}"));
                }
            }
            log.wait_written();
            if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err((stream, error)) => {
            let _ = fail(&stream, &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn fail(mut stream: &UnixStream, reason: &str) -> io::Result<()> {
    let mut line = serde_json::to_vec(&Report::Failed(reason.to_owned()))?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// The control stream arrives as standard input, which needs no numbers of files to be passed.
pub(super) fn take_stdin() -> io::Result<UnixStream> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(stream)
}

fn set_up(stream: UnixStream) -> Result<Worker, (UnixStream, anyhow::Error)> {
    let set_up = || -> anyhow::Result<_> {
        let signals = Signals::catch()?;
        let (description, files) = transfer::receive::<Description>(&stream)?;
        // Shown by `top` and `ps -o comm`, where the running program is called "exe" otherwise.
        let _ = rustix::thread::set_name(c"silverback");
        let conf = Conf::new(&description.values)?;
        raise_file_limit(&conf);
        let log = ErrorLog::queued(&Settings::of(&conf))?;
        log.install()?;
        log_panics();
        let listeners = description.sockets.into_iter().zip(files).map(|(label, file)| Inherited {
            kind: label.kind,
            listen: Arc::new(label.listen),
            address: label.address,
            thread: label.thread,
            socket: file,
        });
        Ok((signals, conf, description.threads, log, listeners.collect()))
    };
    match set_up() {
        Ok((signals, conf, threads, log, listeners)) => {
            let control = Control { stream, signals, log: log.clone(), is_orphan: false, pending: Vec::new() };
            Ok(Worker { conf, listeners, threads, control, log })
        }
        Err(error) => Err((stream, error)),
    }
}

/// `worker_rlimit_nofile`: every connection is a file. `auto` is all that the system allows.
fn raise_file_limit(conf: &Conf) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = conf.directive(Block::Main, "worker_rlimit_nofile").and_then(|text| text.parse().ok());
    let current = match wanted {
        Some(wanted) => limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)),
        None => limit.maximum.unwrap_or(1 << 20),
    };
    if wanted.is_some_and(|wanted| wanted > current) {
        log::warn!("worker_rlimit_nofile: the system allows {current} open files only");
    }
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum });
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        log::error!(target: "alert", "panic at {place}: {message}");
    }));
}
