//! A worker process as the supervisor sees it: started, asked whether it is ready, told to go.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::plan::Plan;
use super::sockets::{Label, Sockets};
use super::transfer;
use crate::conf::{LogTarget, Values};
use crate::error_log::{Settings, open_log};

/// The hidden command that runs a worker.
pub(crate) const WORKER: &str = "worker";

/// What a worker is given, beside the sockets.
#[derive(Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) values: Values,
    pub(super) threads: usize,
    pub(super) sockets: Vec<Label>,
}

/// What a worker says, one line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    Ready,
    Failed(String),
}

pub(super) struct WorkerProcess {
    pub(super) pid: Pid,
    /// Closed when the worker has closed it.
    pub(super) control: Option<UnixStream>,
    pub(super) started: Instant,
    pub(super) is_ready: bool,
    pub(super) failure: Option<String>,
    /// When it is killed, once it was told to go.
    pub(super) deadline: Option<Instant>,
    unread: Vec<u8>,
}

/// How many freed pieces of a size glibc keeps at hand for a thread. Its 7 are fewer than a thread has requests at work: most
/// of what these give back would go the long way. Further ones are joined with their neighbours at once: those of a large
/// configuration would be joined all together, in tens of milliseconds (docs/decisions/0148). And how much freed memory it may
/// keep: by itself it goes by the largest piece that was ever freed (docs/decisions/0101).
const MALLOC: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.tcache_count=127:glibc.malloc.mxfast=0:glibc.malloc.mmap_threshold=4194304:\
     glibc.malloc.trim_threshold=8388608",
);

impl WorkerProcess {
    pub(super) fn start(plan: &Plan, sockets: &Sockets, in_background: bool) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        // The running program itself, also when its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("silverback: worker process").arg(WORKER).stdin(Stdio::from(OwnedFd::from(theirs)));
        #[expect(clippy::disallowed_methods, reason = "glibc's own setting, no property: an operator's stands")]
        if std::env::var_os(MALLOC.0).is_none() {
            command.env(MALLOC.0, MALLOC.1);
        }
        if in_background {
            // Whoever reads the output of `start` must not wait for the worker.
            command.stdout(Stdio::null()).stderr(error_stream(&plan.log));
        }
        if let Some(user) = plan.user {
            command.uid(user.uid).gid(user.gid);
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let description = Description { values: plan.values.clone(), threads: plan.threads, sockets: sockets.labels() };
        transfer::send(&control, &description, &sockets.files())?;
        Self::adopted(pid, Some(control))
    }

    /// A worker that was started before an upgrade.
    pub(super) fn adopted(pid: Pid, control: Option<UnixStream>) -> io::Result<Self> {
        control.as_ref().map_or(Ok(()), |control| control.set_nonblocking(true))?;
        Ok(Self {
            pid,
            control,
            started: Instant::now(),
            is_ready: false,
            failure: None,
            deadline: None,
            unread: Vec::new(),
        })
    }

    /// Takes what the worker said since the last call.
    pub(super) fn listen(&mut self) {
        let Some(mut control) = self.control.as_ref() else { return };
        let mut bytes = [0; 4096];
        loop {
            match control.read(&mut bytes) {
                Ok(0) => break self.control = None,
                Ok(read) => self.unread.extend(bytes.iter().take(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break self.control = None,
            }
        }
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Report::Ready) => self.is_ready = true,
                Ok(Report::Failed(reason)) => self.failure = Some(reason),
                Err(_) => {}
            }
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        // A worker that is gone already is reaped in the same round of the loop.
        let _ = kill_process(self.pid, signal);
    }
}

/// Where a worker in the background writes what does not go through the log: the last words of an abort.
fn error_stream(log: &Settings) -> Stdio {
    match &log.target {
        LogTarget::Stderr => Stdio::inherit(),
        LogTarget::File(path) => open_log(path, log.may_be_link).map_or_else(|_| Stdio::null(), Stdio::from),
        LogTarget::Off | LogTarget::Stdout | LogTarget::Syslog(_) => Stdio::null(),
    }
}
