//! Group commit: transactions that wait for the same connection share one commit, and so one flush to the disk.
use crate::Change;
use std::collections::BTreeMap;

/// The commit that is being gathered, and how those before it went.
#[derive(Default)]
pub(super) struct Commits {
    /// The number of the group being gathered, or of the last one.
    pub(super) group: u64,
    pub(super) is_open: bool,
    /// Transactions of the open group that succeeded.
    pub(super) members: usize,
    pub(super) changes: Vec<Change>,
    /// The last group that has been committed or has failed.
    settled: u64,
    failures: BTreeMap<u64, String>,
}

/// How many failures are remembered: more groups than threads wait for one.
const REMEMBERED: usize = 256;

impl Commits {
    pub(super) fn open(&mut self) {
        self.group += 1;
        self.is_open = true;
        self.members = 0;
        self.changes.clear();
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
