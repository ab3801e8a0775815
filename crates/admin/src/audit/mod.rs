//! The audit log: who wrote what and when, with the rows before and after and their secrets masked. It is kept in a file
//! of JSON lines, and its end in memory for `GET /audit`; both have bounds.
mod mask;
mod notes;

pub(crate) use mask::masked;
pub(crate) use notes::{Action, Notes};

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the log is kept, and how much of it.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    pub path: PathBuf,
    /// Bytes of the file; a larger one is renamed to `<path>.1`, in the place of the one before it.
    pub file_bytes: u64,
    /// Entries that `GET /audit` knows at most.
    pub entries: usize,
    /// Bytes of memory that they take at most.
    pub memory_bytes: usize,
}

impl AuditSettings {
    pub fn at(path: PathBuf) -> AuditSettings {
        AuditSettings { path, file_bytes: 100 << 20, entries: 10_000, memory_bytes: 16 << 20 }
    }
}

/// A longer entry tells what was written without the rows.
const LONGEST_ENTRY: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct Audit {
    settings: AuditSettings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    written: u64,
    /// The newest entries, each with its number.
    recent: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
    next: u64,
}

/// What is said of a call beside its changes.
pub(crate) struct Told<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) client: Option<std::net::IpAddr>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
}

impl Audit {
    /// Opens the file and takes over the end of what it holds.
    ///
    /// # Errors
    /// When the file cannot be written or read.
    pub fn open(settings: AuditSettings) -> io::Result<Audit> {
        let (file, written) = open(&settings.path)?;
        let mut state = State { file, written, recent: VecDeque::new(), bytes: 0, next: 1 };
        for line in end_of(&settings.path, settings.memory_bytes as u64)?.lines() {
            // Half a line at the start of what was read, or after a crash, is no entry.
            let Some(number) = serde_json::from_str::<Value>(line).ok().and_then(|entry| entry["number"].as_u64())
            else {
                continue;
            };
            state.next = number + 1;
            state.keep(number, line.into(), &settings);
        }
        Ok(Audit { settings, state: Mutex::new(state) })
    }

    pub(crate) fn add(&self, told: &Told<'_>, notes: &Notes) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        let mut text = entry(number, told, notes.changes(true)).to_string();
        if text.len() > LONGEST_ENTRY {
            text = entry(number, told, notes.changes(false)).to_string();
        }
        if let Err(error) = state.write(&text, &self.settings) {
            log::error!("the audit log {} cannot be written: {error}", self.settings.path.display());
        }
        state.keep(number, text.into(), &self.settings);
    }

    /// Entries numbered below `before`, the newest first, as far as they fit; and whether there are more.
    pub(crate) fn page(
        &self,
        before: Option<u64>,
        size: usize,
        fits: impl Fn(&Value) -> bool,
    ) -> (Vec<Value>, Option<u64>) {
        let recent: Vec<(u64, Arc<str>)> = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state
                .recent
                .iter()
                .rev()
                .filter(|(number, _)| before.is_none_or(|before| *number < before))
                .cloned()
                .collect()
        };
        let mut found = Vec::new();
        for (number, text) in recent {
            let Some(entry) = serde_json::from_str::<Value>(&text).ok().filter(&fits) else { continue };
            if found.len() == size {
                return (found, Some(number + 1));
            }
            found.push(entry);
        }
        (found, None)
    }
}

fn entry(number: u64, told: &Told<'_>, changes: Vec<Value>) -> Value {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "number": number,
        "time": (time.as_secs_f64() * 1000.0).round() / 1000.0,
        "user": told.user,
        "client": told.client.map(|client| client.to_string()),
        "method": told.method,
        "path": told.path,
        "status": told.status,
        "changes": changes,
    })
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let written = file.metadata()?.len();
    Ok((file, written))
}

/// The last bytes of a file, as text.
fn end_of(path: &Path, most: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl State {
    fn write(&mut self, text: &str, settings: &AuditSettings) -> io::Result<()> {
        if self.written > settings.file_bytes {
            let mut old = settings.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&settings.path, old)?;
            (self.file, self.written) = open(&settings.path)?;
        }
        // One write a line, so that a reader, or another process during a reload, never sees a part of one.
        self.file.write_all(format!("{text}\n").as_bytes())?;
        self.written += text.len() as u64 + 1;
        Ok(())
    }

    fn keep(&mut self, number: u64, text: Arc<str>, settings: &AuditSettings) {
        self.bytes += text.len();
        self.recent.push_back((number, text));
        while self.recent.len() > settings.entries || self.bytes > settings.memory_bytes {
            let Some((_, old)) = self.recent.pop_front() else { break };
            self.bytes -= old.len();
        }
    }
}
