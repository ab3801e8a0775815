//! Gives memory that a process no longer needs back to the system: pages of the program's own file that only the start
//! touched, and what the allocator holds of freed memory. What stays is put into large pages where it fills them.

mod large_pages;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::ops::Range;
use std::ptr;

use rustix::mm::{Advice, madvise};

/// Gives back what only the start needed: freed memory, and the unchanged pages of the program's file. The start runs through
/// code that serving never sees again (options, configuration, schemas), and the system maps whole neighbourhoods of each page
/// that was touched; what is needed again comes back from the page cache.
///
/// # Errors
/// When the system does not say what is mapped, or takes nothing back. Nothing has been lost then.
pub fn give_back_start() -> io::Result<()> {
    trim();
    let program = fs::read_link("/proc/self/exe")?;
    let mappings = fs::read_to_string("/proc/self/smaps")?;
    for range in unchanged(&mappings, &program.to_string_lossy()) {
        // SAFETY: the range is a private mapping of the program's file that may not be written to and of which no page has
        // become memory of its own (`unchanged`): the next access reads the same bytes from the file. It stays so, for
        // the loader has done with the program's own mappings before `main`.
        #[expect(unsafe_code, reason = "there is no safe interface to it, and this is what the crate is for")]
        unsafe {
            madvise(ptr::with_exposed_provenance_mut(range.start), range.len(), Advice::LinuxDontNeed)?;
        }
    }
    Ok(())
}

/// Gives back freed memory that lies between memory in use, which glibc's allocator keeps: half of what reading a large
/// configuration took. Then memory without holes is put into large pages. Takes milliseconds for each hundred megabytes, in
/// which threads that share an arena wait, and up to a hundred for as much that is new, with pauses where there is traffic.
pub fn give_back_freed() {
    trim();
    // Without them everything works as well, only slower.
    let _ = large_pages::fill();
}

fn trim() {
    // SAFETY: `malloc_trim` may be called at any time, and changes nothing that is in use.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "a function of C, without a safe interface")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The mappings of a file in the text of `/proc/<pid>/smaps` that are private, may not be written to, and hold no page that
/// differs from the file (`Anonymous`).
fn unchanged(smaps: &str, file: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some((range, permissions, path)) = heading(line) {
            candidate = (path == file && matches!(permissions, "r--p" | "r-xp")).then_some(range);
        } else if let Some(size) = line.strip_prefix("Anonymous:") {
            found.extend(candidate.take().filter(|_| size.trim() == "0 kB"));
        }
    }
    found
}

/// A line of `maps`, or the first line of a mapping in `smaps`: `7f00-7fff r-xp 00001000 fd:00 1234   /usr/bin/program`.
fn heading(line: &str) -> Option<(Range<usize>, &str, &str)> {
    let (addresses, rest) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    let mut fields = rest.splitn(5, ' ');
    let permissions = fields.next()?;
    Some((range, permissions, fields.nth(3).unwrap_or_default().trim_start()))
}
