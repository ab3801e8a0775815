//! The pid file, whose lock says that the node runs, and the state file, which says how it does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::conf::write_file;

const PID_FILE: &str = "pids/silverback.pid";
/// The same for scripts written for Kong: its signals mean the same here.
const NGINX_PID_FILE: &str = "pids/nginx.pid";

/// Held by the supervisor as long as it lives, over upgrades too. A lock cannot be stale, as a number in a file can.
pub(super) struct PidFile {
    file: File,
    prefix: PathBuf,
}

impl PidFile {
    /// Takes the lock and writes the process id; `None` when another node runs in the prefix.
    pub(super) fn take(prefix: &Path) -> io::Result<Option<Self>> {
        let path = prefix.join(PID_FILE);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(|error| {
                io::Error::new(error.kind(), format!("could not write the pid file {}: {error}", path.display()))
            })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        let pid = std::process::id();
        writeln!(file, "{pid}")?;
        write_file(&prefix.join(NGINX_PID_FILE), format!("{pid}\n").as_bytes(), 0o644)?;
        Ok(Some(Self { file, prefix: prefix.to_owned() }))
    }

    pub(super) fn inherited(file: OwnedFd, prefix: &Path) -> Self {
        Self { file: File::from(file), prefix: prefix.to_owned() }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for PidFile {
    /// The files go while the lock is held, so that they are never those of the next node.
    fn drop(&mut self) {
        for name in [NGINX_PID_FILE, STATE, PID_FILE] {
            let _ = fs::remove_file(self.prefix.join(name));
        }
    }
}

/// The process id of the supervisor that runs in a prefix.
///
/// # Errors
/// When the pid file is there and cannot be read.
pub(crate) fn running(prefix: &Path) -> io::Result<Option<rustix::process::Pid>> {
    let mut file = match File::open(prefix.join(PID_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => return Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.trim().parse().ok().and_then(rustix::process::Pid::from_raw))
}

const STATE: &str = "pids/silverback.json";

/// What `reload` and `health` ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// The worker process that serves; `None` while it is being replaced after a crash.
    pub(crate) worker: Option<i32>,
    /// Worker processes that finish what is open.
    pub(crate) draining: Vec<i32>,
    /// Reloads since the start, failed ones included.
    pub(crate) reloads: u64,
    /// Why the last reload failed.
    pub(crate) reload_error: Option<String>,
}

impl State {
    pub(super) fn write(&self, prefix: &Path) -> io::Result<()> {
        write_file(&prefix.join(STATE), &serde_json::to_vec(self)?, 0o644)
    }

    pub(crate) fn read(prefix: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(prefix.join(STATE))?)?)
    }
}
