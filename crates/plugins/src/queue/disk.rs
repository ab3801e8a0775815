//! What waits on disk: the entries of a queue for which its memory has no room, in files that only this user may read.
//!
//! A queue has a folder, named by the digest of its name, and each process a folder of its own in there, which it holds locked
//! while it lives. What a process leaves behind, whatever it died of, the next one takes over. Within a process entries are read
//! in the order in which they were written. A file goes once all of its entries were sent, so that after a crash some may
//! be sent twice, and none that was on disk is lost. A record that is cut off or damaged ends its file.

use aws_lc_rs::digest::{SHA256, digest};
use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that has this much is followed by a new one.
const FILE_BYTES: u64 = 1 << 20;
const FILE_ENTRIES: usize = 1000;
/// Length and checksum of an entry, four bytes each.
const HEAD: usize = 8;
/// What nobody has taken over for so long is forgotten: its queue is not configured any more.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const LOCK: &str = "lock";

/// Entries in a file.
struct Stretch {
    path: PathBuf,
    bytes: u64,
    entries: usize,
}

/// Entries that were read, and the file that they are in until they are sent.
pub(super) struct Taken {
    pub(super) entries: Vec<Vec<u8>>,
    /// How many were written.
    pub(super) written: usize,
    pub(super) file: Written,
}

/// A file whose entries are on their way.
pub(super) struct Written {
    path: PathBuf,
    bytes: u64,
}

/// A queue's files of this process.
pub(super) struct Disk {
    /// The queue's folder.
    folder: PathBuf,
    /// This process's own in there.
    own: PathBuf,
    #[cfg_attr(not(test), expect(dead_code, reason = "it is held, and nothing else"))]
    lock: File,
    /// From the oldest to the newest; the last may still grow.
    files: VecDeque<Stretch>,
    /// The last one, while it grows.
    growing: Option<File>,
    /// Bytes in all files, also in those whose entries are on their way.
    bytes: u64,
    /// The numbers of the next file before all others, and after them.
    before: u64,
    after: u64,
}

impl Disk {
    /// The files of the queue of this name, below a folder.
    pub(super) fn open(root: &Path, name: &str) -> io::Result<Self> {
        let name = digest(&SHA256, name.as_bytes());
        let name: String = name.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let folder = root.join(name);
        create_folder(&folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let own_name = format!("{now:020}-{}", std::process::id());
        // It gets its name once it is locked: until then nobody may take it for one that was left behind.
        let unnamed = folder.join(format!(".{own_name}"));
        create_folder(&unnamed)?;
        let lock = create(&unnamed.join(LOCK))?;
        lock.try_lock().map_err(io::Error::other)?;
        let own = folder.join(own_name);
        fs::rename(&unnamed, &own)?;
        let middle = u64::MAX / 2;
        Ok(Self {
            folder,
            own,
            lock,
            files: VecDeque::new(),
            growing: None,
            bytes: 0,
            before: middle,
            after: middle + 1,
        })
    }

    /// Writes entries behind all others, as far as they fit into so many bytes; says how many do.
    pub(super) fn append(&mut self, entries: &[Vec<u8>], max: u64) -> io::Result<usize> {
        let mut kept = 0;
        while let Some(rest) = entries.get(kept..).filter(|rest| !rest.is_empty()) {
            let is_full = |last: &Stretch| last.bytes >= FILE_BYTES || last.entries >= FILE_ENTRIES;
            if self.growing.is_none() || self.files.back().is_none_or(is_full) {
                let path = self.path(self.after);
                self.growing = Some(create(&path)?);
                self.files.push_back(Stretch { path, bytes: 0, entries: 0 });
                self.after += 1;
            }
            let (Some(file), Some(last)) = (&mut self.growing, self.files.back_mut()) else { break };
            let mut records = Vec::new();
            let mut count = 0;
            for entry in rest {
                let size = (records.len() + HEAD + entry.len()) as u64;
                let is_next = last.bytes + records.len() as u64 >= FILE_BYTES || last.entries + count >= FILE_ENTRIES;
                if is_next || self.bytes + size > max {
                    break;
                }
                write_record(&mut records, entry);
                count += 1;
            }
            if count == 0 {
                // The bound is reached.
                break;
            }
            if let Err(error) = file.write_all(&records) {
                // What is written of it must not stand before what comes later.
                let _ = file.set_len(last.bytes);
                self.growing = None;
                return if kept > 0 { Ok(kept) } else { Err(error) };
            }
            last.bytes += records.len() as u64;
            last.entries += count;
            self.bytes += records.len() as u64;
            kept += count;
        }
        self.forget_empty();
        Ok(kept)
    }

    /// Writes entries before all others, whatever the bound: they were in memory until now.
    pub(super) fn prepend(&mut self, entries: &[Vec<u8>]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let path = self.path(self.before);
        let mut records = Vec::new();
        entries.iter().for_each(|entry| write_record(&mut records, entry));
        create(&path)?.write_all(&records)?;
        self.before -= 1;
        self.bytes += records.len() as u64;
        self.files.push_front(Stretch { path, bytes: records.len() as u64, entries: entries.len() });
        Ok(())
    }

    /// Reads the oldest file; it stays until [`sent`](Self::sent) is told.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let Stretch { path, bytes, entries: written } = self.files.pop_front()?;
        if self.files.is_empty() {
            self.growing = None;
        }
        let entries = read(&path).unwrap_or_else(|error| {
            log::error!("{}: {error}", path.display());
            Vec::new()
        });
        Some(Taken { entries, written, file: Written { path, bytes } })
    }

    /// The entries of a file are where they should be.
    pub(super) fn sent(&mut self, file: &Written) {
        self.bytes = self.bytes.saturating_sub(file.bytes);
        if let Err(error) = fs::remove_file(&file.path) {
            log::error!("{}: {error}", file.path.display());
        }
    }

    /// Takes over what processes that are gone have left behind, before what is here; says how many entries.
    pub(super) fn adopt(&mut self) -> usize {
        let mut left: Vec<PathBuf> = subfolders(&self.folder).filter(|path| *path != self.own).collect();
        // The newest first: each goes before those that are here already.
        left.sort_unstable_by(|a, b| b.cmp(a));
        left.iter().map(|path| self.adopt_from(path)).sum()
    }

    fn adopt_from(&mut self, left: &Path) -> usize {
        let Some(_lock) = lock_left(left) else { return 0 };
        let mut files: Vec<PathBuf> = contents(left).filter(|path| !path.ends_with(LOCK)).collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut count = 0;
        for file in files {
            let entries = read(&file).map_or(0, |entries| entries.len());
            let path = self.path(self.before);
            let bytes = fs::metadata(&file).map_or(0, |file| file.len());
            if entries == 0 || fs::rename(&file, &path).is_err() {
                continue;
            }
            self.before -= 1;
            self.bytes += bytes;
            self.files.push_front(Stretch { path, bytes, entries });
            count += entries;
        }
        let _ = fs::remove_dir_all(left);
        count
    }

    /// Gives up the right to what is here, as the end of the process does.
    #[cfg(test)]
    pub(super) fn unlock(&self) {
        self.lock.unlock().unwrap();
    }

    fn path(&self, number: u64) -> PathBuf {
        self.own.join(format!("{number:020}"))
    }

    /// A file that was begun and got nothing.
    fn forget_empty(&mut self) {
        if self.files.back().is_some_and(|last| last.entries == 0)
            && let Some(last) = self.files.pop_back()
        {
            self.growing = None;
            let _ = fs::remove_file(last.path);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever is left in there is for the next process.
        if contents(&self.own).all(|path| path.ends_with(LOCK)) {
            let _ = fs::remove_dir_all(&self.own);
        }
    }
}

/// Removes what nobody has taken over for a week.
pub(super) fn forget_old(root: &Path) {
    for queue in subfolders(root) {
        for left in subfolders(&queue) {
            let changed = fs::metadata(&left).and_then(|folder| folder.modified());
            let is_old = changed.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > KEPT));
            if is_old && let Some(_lock) = lock_left(&left) {
                log::warn!("{}: nobody has sent these log entries for a week; they are removed", left.display());
                let _ = fs::remove_dir_all(&left);
            }
        }
        // Of one that is in use this fails.
        let _ = fs::remove_dir(&queue);
    }
}

/// The right to what a process has left behind; `None` while it lives.
fn lock_left(folder: &Path) -> Option<File> {
    let lock = OpenOptions::new().write(true).open(folder.join(LOCK)).ok()?;
    lock.try_lock().is_ok().then_some(lock)
}

fn contents(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let is_named = |path: &PathBuf| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    contents(folder).filter(move |path| is_named(path) && path.is_dir())
}

/// A folder for this user alone.
fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// A new file for this user alone.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// FNV-1a: tells a record that was cut off or never written from one that is whole.
fn checksum(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn write_record(out: &mut Vec<u8>, entry: &[u8]) {
    out.extend_from_slice(&(entry.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(entry).to_le_bytes());
    out.extend_from_slice(entry);
}

/// The entries of a file, up to one that is not whole.
fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let mut rest = &bytes[..];
    let mut entries = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<HEAD>() {
        let [a, b, c, d, sum @ ..] = *head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some((entry, after)) = after.split_at_checked(length) else { break };
        if checksum(entry) != u32::from_le_bytes(sum) {
            break;
        }
        entries.push(entry.to_vec());
        rest = after;
    }
    if !rest.is_empty() {
        log::warn!("{}: what is after {} entries is damaged and left out", path.display(), entries.len());
    }
    Ok(entries)
}
