//! Entries in the order in which they came, one behind another in a few pieces of memory. Memory of its own would cost each an
//! allocation that another thread frees.

use std::collections::VecDeque;

/// How much room the first piece has, and how much the largest. Each has twice that of the one before, and a long entry what
/// it needs.
const FIRST: usize = 2 * 1024;
const LARGEST: usize = 64 * 1024;

/// A list of entries: what waits, or a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Each entry is in one of them.
    pieces: VecDeque<Vec<u8>>,
    lengths: VecDeque<usize>,
    /// What of the first piece belongs to entries that are gone.
    gone: usize,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut pieces = self.pieces.iter();
        let mut rest = pieces.next().and_then(|first| first.get(self.gone..)).unwrap_or_default();
        self.lengths.iter().map(move |length| {
            if rest.len() < *length {
                rest = pieces.next().map(Vec::as_slice).unwrap_or_default();
            }
            let (entry, more) = rest.split_at_checked(*length).unwrap_or_default();
            rest = more;
            entry
        })
    }

    /// The entries with something before, between and behind them.
    pub(crate) fn joined(&self, before: &[u8], between: &[u8], behind: &[u8]) -> Vec<u8> {
        let length = before.len() + self.bytes() + self.len() * between.len() + behind.len();
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(before);
        for (at, entry) in self.iter().enumerate() {
            out.extend_from_slice(if at > 0 { between } else { b"" });
            out.extend_from_slice(entry);
        }
        out.extend_from_slice(behind);
        out
    }

    fn bytes(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(super) fn push(&mut self, entry: &[u8]) {
        let last = self.pieces.back();
        if last.is_none_or(|last| last.capacity() - last.len() < entry.len()) {
            let room = last.map_or(FIRST, |last| (last.capacity() * 2).min(LARGEST));
            self.pieces.push_back(Vec::with_capacity(room.max(entry.len())));
        }
        if let Some(last) = self.pieces.back_mut() {
            last.extend_from_slice(entry);
            self.lengths.push_back(entry.len());
        }
    }

    /// Forgets the first entry; its length.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let length = self.lengths.pop_front()?;
        self.gone += length;
        if self.pieces.front().is_some_and(|first| first.len() <= self.gone) {
            self.pieces.pop_front();
            self.gone = 0;
        }
        Some(length)
    }

    /// Takes so many entries from the start.
    pub(super) fn take(&mut self, count: usize) -> Self {
        let lengths: VecDeque<usize> = self.lengths.drain(..count.min(self.lengths.len())).collect();
        let mut taken = Self { pieces: VecDeque::new(), gone: self.gone, lengths };
        let mut left = taken.bytes();
        while let Some(first) = self.pieces.front_mut().filter(|_| left > 0) {
            let of_first = first.len() - self.gone;
            if of_first > left {
                // Others stay in this piece.
                taken.pieces.push_back(first.get(..self.gone + left).unwrap_or_default().to_vec());
                self.gone += left;
                break;
            }
            left -= of_first;
            taken.pieces.extend(self.pieces.pop_front());
            self.gone = 0;
        }
        taken
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Entries {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut entries = Self::default();
        all.into_iter().for_each(|entry| entries.push(entry.as_ref()));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(entries: &Entries) -> Vec<Vec<u8>> {
        entries.iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn what_comes_out_is_what_came_in_however_it_is_cut() {
        let all: Vec<Vec<u8>> = (0..400_usize)
            .map(|n| match n % 50 {
                7 => vec![b'l'; LARGEST + n],
                n if n % 5 == 0 => Vec::new(),
                _ => format!("{n}").repeat(n % 300).into_bytes(),
            })
            .collect();
        for step in [1, 2, 3, 7, 50, 399, 400, 1000] {
            let mut entries: Entries = all.iter().collect();
            assert_eq!(shown(&entries), all);
            let mut out = Vec::new();
            while !entries.is_empty() {
                let batch = entries.take(step);
                assert_eq!(batch.len(), step.min(all.len() - out.len()), "{step}");
                out.extend(shown(&batch));
                // What comes meanwhile goes behind.
                if let Some(length) = entries.pop() {
                    assert_eq!(length, all[out.len()].len(), "{step}");
                    out.push(all[out.len()].clone());
                }
                assert_eq!(shown(&entries), all[out.len()..], "{step}");
            }
            assert_eq!(out, all, "{step}");
            entries.push(b"again");
            assert_eq!(shown(&entries.take(1)), [b"again"]);
            assert!(entries.pieces.is_empty() && entries.gone == 0, "{entries:?}");
        }
    }

    #[test]
    fn entries_are_joined() {
        let entries: Entries = ["a", "", "b"].into_iter().collect();
        assert_eq!(entries.joined(b"[", b",", b"]"), b"[a,,b]");
        assert_eq!(["one"].into_iter().collect::<Entries>().joined(b"", b"\n", b""), b"one");
    }
}
