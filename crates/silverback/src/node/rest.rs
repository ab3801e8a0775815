//! When memory is put in order, which takes some hundred milliseconds: not between two changes, as far as that can be told.

/// Counts the seconds.
#[derive(Default)]
pub(super) struct Rest {
    /// Of the snapshot, which every change counts up, when it was looked at last.
    version: u64,
    /// For how many seconds it has been that.
    quiet: u32,
    /// When memory was last in order, and for how many seconds it has not been.
    ordered: Option<u64>,
    waited: u32,
}

impl Rest {
    /// How many seconds without a change are enough. What the start has made need not wait.
    const ENOUGH: u32 = 15;
    /// After so many, one without a change will do.
    const LONG: u32 = 300;

    pub(super) fn new(version: u64) -> Self {
        Self { version, ..Self::default() }
    }

    /// Whether it is time; to be asked every second.
    pub(super) fn is_due(&mut self, version: u64) -> bool {
        self.quiet = if version == self.version { self.quiet + 1 } else { 0 };
        self.version = version;
        if self.ordered == Some(version) {
            self.waited = 0;
            return false;
        }
        self.waited += 1;
        let enough = if self.ordered.is_none() || self.waited > Self::LONG { 1 } else { Self::ENOUGH };
        self.quiet >= enough
    }

    /// Memory is in order as of this version.
    pub(super) fn is_over(&mut self, version: u64) {
        self.ordered = Some(version);
    }
}

#[cfg(test)]
mod tests {
    use super::Rest;

    /// The seconds after which memory was put in order, and `changed` tells those in which something changed.
    fn times(seconds: u32, changed: impl Fn(u32) -> bool) -> Vec<u32> {
        let (mut rest, mut version) = (Rest::new(1), 1);
        let due = (1..=seconds).filter(|second| {
            version += u64::from(changed(*second));
            let is_due = rest.is_due(version);
            if is_due {
                rest.is_over(version);
            }
            is_due
        });
        due.collect()
    }

    #[test]
    fn memory_is_put_in_order_after_the_start_and_once_changes_rest() {
        assert_eq!(times(1000, |_| false), [1]);
        assert_eq!(times(1000, |second| second == 20 || second == 30), [1, 45]);
        assert_eq!(times(30, |second| second == 1), [2]);
    }

    #[test]
    fn changes_that_never_rest_put_it_off_for_minutes_only() {
        let times = times(1000, |second| second >= 10 && second.is_multiple_of(10));
        assert_eq!(times, [1, 311, 621, 931]);
    }
}
