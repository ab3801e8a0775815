//! What becomes of copies, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What has become of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target has answered, whatever it said.
    Answered,
    /// The target was out of reach, too slow, or no HTTP server.
    Failed,
    /// There were too many copies under way, or too many bytes held for them.
    Dropped,
    /// The request's body was too long.
    TooLarge,
    /// The request's body did not pass whole: the client broke off, or the service did not want the rest.
    Incomplete,
}

const NAMES: [(Outcome, &str); 5] = [
    (Outcome::Answered, "answered"),
    (Outcome::Failed, "failed"),
    (Outcome::Dropped, "dropped"),
    (Outcome::TooLarge, "too_large"),
    (Outcome::Incomplete, "incomplete"),
];

static COUNTS: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

impl Outcome {
    pub(super) fn count(self) {
        if let Some(count) = COUNTS.get(self as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// The copies since the start by what became of them.
pub(crate) fn counts() -> impl Iterator<Item = (&'static str, u64)> {
    NAMES.iter().map(|(_, name)| *name).zip(COUNTS.iter().map(|count| count.load(Relaxed)))
}
