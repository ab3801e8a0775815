//! Group commit: transactions that wait for the same connection share one commit, and so one flush to the disk.
use crate::Change;
use std::collections::BTreeMap;
use std::time::Duration;

/// The commit that is being gathered, and how those before it went.
#[derive(Default)]
pub(super) struct Commits {
    /// The number of the group being gathered, or of the last one.
    pub(super) group: u64,
    pub(super) is_open: bool,
    /// Transactions of the open group that succeeded.
    pub(super) members: usize,
    pub(super) changes: Vec<Change>,
    /// How many the last commit was for, and how long it took.
    last: (usize, Duration),
    /// The last group that has been committed or has failed.
    settled: u64,
    failures: BTreeMap<u64, String>,
}

/// How many failures are remembered: more groups than threads wait for one.
const REMEMBERED: usize = 256;
/// The longest wait for those who are expected, and the shortest that a thread can be put to sleep for.
const LONGEST_WAIT: Duration = Duration::from_millis(1);
const SHORTEST_WAIT: Duration = Duration::from_micros(100);

impl Commits {
    pub(super) fn open(&mut self) {
        self.group += 1;
        self.is_open = true;
        self.members = 0;
        self.changes.clear();
    }

    /// How long to wait for more members: those of the last commit have their answers now, and are likely to come again. Where
    /// a commit is cheap, or the last one was for as many, nobody is waited for.
    pub(super) fn patience(&self) -> Option<Duration> {
        let (members, took) = self.last;
        let wait = (took / 4).min(LONGEST_WAIT);
        (self.members < members && wait >= SHORTEST_WAIT).then_some(wait)
    }

    /// Remembers how long it took to commit the group.
    pub(super) fn took(&mut self, time: Duration) {
        self.last = (self.members, time);
    }

    pub(super) fn settle(&mut self, outcome: Result<(), String>) {
        self.is_open = false;
        self.settled = self.group;
        if let Err(reason) = outcome {
            self.failures.insert(self.group, reason);
            if self.failures.len() > REMEMBERED {
                self.failures.pop_first();
            }
        }
    }

    /// How a group went; `None` while it is open.
    pub(super) fn outcome(&self, group: u64) -> Option<Result<(), String>> {
        (self.settled >= group).then(|| self.failures.get(&group).cloned().map_or(Ok(()), Err))
    }
}
