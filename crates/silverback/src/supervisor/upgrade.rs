//! The upgrade of the program: the new one takes the place of the supervisor, with its process id, sockets and workers.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::SUPERVISE;
use super::pid_file::{PidFile, State};
use super::plan::Plan;
use super::signals::held_back;
use super::sockets::{Label, Sockets};
use super::transfer;
use super::worker::take_stdin;
use super::worker_process::WorkerProcess;
use crate::conf::Source;

/// How long the new program may take to check the configuration.
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// What one program tells the next.
#[derive(Serialize, Deserialize)]
struct Description {
    program: PathBuf,
    source: Source,
    /// As the program before understood the configuration. One that another version cannot read is made anew.
    plan: serde_json::Value,
    in_background: bool,
    sockets: Vec<Label>,
    /// Each with whether its control stream is among the files.
    workers: Vec<(i32, bool)>,
    state: State,
    is_upgrade: bool,
}

/// Everything a supervisor goes on with.
pub(super) struct Handover {
    /// The program of the next upgrade.
    pub(super) program: PathBuf,
    pub(super) plan: Plan,
    pub(super) in_background: bool,
    pub(super) sockets: Sockets,
    pub(super) pid_file: PidFile,
    pub(super) workers: Vec<WorkerProcess>,
    pub(super) state: State,
    pub(super) is_upgrade: bool,
}

/// Asks the new program whether it can run with the configuration, before it is too late to go back.
pub(super) fn check(program: &Path, source: &Source) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg("check").args(source.file.iter()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("could not start {}: {error}", program.display()))?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                let program = program.display();
                return Err(format!("'{program} check' does not accept the configuration ({status})"));
            }
            Ok(None) if started.elapsed() < CHECK_TIMEOUT => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("'{} check' did not end within {CHECK_TIMEOUT:?}", program.display()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Becomes the new program. Returns only when that fails.
pub(super) fn replace(program: &Path, handover: &Handover) -> io::Error {
    match try_replace(program, handover) {
        Ok(never) => match never {},
        Err(error) => {
            let _ = held_back().thread_unblock();
            if let Ok(null) = File::open("/dev/null") {
                let _ = rustix::stdio::dup2_stdin(null);
            }
            error
        }
    }
}

fn try_replace(program: &Path, handover: &Handover) -> io::Result<std::convert::Infallible> {
    let (ours, theirs) = UnixStream::pair()?;
    let controls = handover.workers.iter().filter_map(|worker| worker.control.as_ref()).map(AsFd::as_fd);
    let mut files = vec![handover.pid_file.file().as_fd()];
    files.extend(handover.sockets.files());
    files.extend(controls);
    let description = Description {
        program: handover.program.clone(),
        source: handover.plan.source.clone(),
        plan: serde_json::to_value(&handover.plan)?,
        in_background: handover.in_background,
        sockets: handover.sockets.labels(),
        workers: handover
            .workers
            .iter()
            .map(|worker| (worker.pid.as_raw_nonzero().get(), worker.control.is_some()))
            .collect(),
        state: handover.state.clone(),
        is_upgrade: handover.is_upgrade,
    };
    transfer::send(&ours, &description, &files)?;
    drop(ours);
    rustix::stdio::dup2_stdin(&theirs)?;
    let path = CString::new(program.as_os_str().as_bytes())?;
    let arguments = [c"silverback: supervisor process".to_owned(), CString::new(SUPERVISE)?];
    // Held back until the new program listens to them; execv of the standard library would let them through.
    held_back().thread_block()?;
    Ok(nix::unistd::execv(&path, &arguments)?)
}

/// What the program before left on standard input.
pub(super) fn take_over() -> anyhow::Result<Handover> {
    let stream = take_stdin()?;
    let (description, files) = transfer::receive::<Description>(&stream)?;
    let mut files = files.into_iter();
    let incomplete = || io::Error::new(io::ErrorKind::InvalidData, "the handover is incomplete");
    let pid_file = files.next().ok_or_else(incomplete)?;
    let number = description.sockets.len();
    let sockets = Sockets::inherited(description.sockets, files.by_ref().take(number));
    let mut workers = Vec::new();
    for (pid, has_control) in description.workers {
        let control = if has_control { files.next() } else { None };
        let pid = Pid::from_raw(pid).ok_or_else(incomplete)?;
        workers.push(WorkerProcess::adopted(pid, control.map(UnixStream::from))?);
    }
    let plan: Plan = match serde_json::from_value(description.plan) {
        Ok(plan) => plan,
        Err(_) => Plan::ask(&description.source)?,
    };
    Ok(Handover {
        program: description.program,
        pid_file: PidFile::inherited(pid_file, &plan.prefix),
        plan,
        in_background: description.in_background,
        sockets,
        workers,
        state: description.state,
        is_upgrade: description.is_upgrade,
    })
}
