//! Large pages for memory that is in use throughout: a request among very many routes reads a dozen places in a hundred
//! megabytes, and for each the processor would look up the page first (docs/decisions/0144).

#[cfg(test)]
mod tests;

use super::heading;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr;

const SYSTEM: &str = "/sys/kernel/mm/transparent_hugepage";
/// An entry of `/proc/<pid>/pagemap`, and the bit of it (the last byte's first) that says that the page is there.
const ENTRY: usize = 8;
const IS_PRESENT: u8 = 0x80;

/// Puts blocks of memory that are resident but for small holes into large pages, which fill the holes. Where the system has no
/// such pages, or an operator has said `never`, nothing is done.
pub(super) fn fill() -> io::Result<()> {
    if fs::read_to_string(format!("{SYSTEM}/enabled"))?.contains("[never]") {
        return Ok(());
    }
    let size = fs::read_to_string(format!("{SYSTEM}/hpage_pmd_size"))?;
    let size: usize = size.trim().parse().map_err(io::Error::other)?;
    let pages = File::open("/proc/self/pagemap")?;
    let page = rustix::param::page_size();
    let mut present = vec![0; size / page * ENTRY];
    for block in blocks(&fs::read_to_string("/proc/self/maps")?, size) {
        pages.read_exact_at(&mut present, (block.start / page * ENTRY) as u64)?;
        let there = present.chunks(ENTRY).filter(|entry| entry.last().is_some_and(|last| last & IS_PRESENT != 0));
        if there.count() * 16 >= size / page * 15 {
            collapse(block);
            // Each takes as long as half a request.
            pace::breathe();
        }
    }
    Ok(())
}

/// The blocks of memory in the text of `/proc/<pid>/maps` that are private, may be written to, and belong to no file.
fn blocks(maps: &str, size: usize) -> impl Iterator<Item = Range<usize>> {
    let own = maps.lines().filter_map(heading).filter(|(_, permissions, path)| {
        *permissions == "rw-p" && (path.is_empty() || *path == "[heap]" || path.starts_with("[anon"))
    });
    own.flat_map(move |(range, ..)| {
        let first = range.start.next_multiple_of(size);
        (first..range.end)
            .step_by(size)
            .map(move |start| start..start + size)
            .filter(move |block| block.end <= range.end)
    })
}

fn collapse(block: Range<usize>) {
    // SAFETY: the bytes stay what they are and where they are, whoever uses them: only the pages behind them become another.
    #[expect(unsafe_code, reason = "a function of C, without a safe interface")]
    unsafe {
        // A system without it, or without a free large page, refuses: all is as before then.
        libc::madvise(ptr::with_exposed_provenance_mut(block.start), block.len(), libc::MADV_COLLAPSE);
    }
}
