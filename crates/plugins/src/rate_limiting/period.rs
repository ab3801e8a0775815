//! The six periods of a limit and their windows, which are fixed in UTC.

use crate::calendar;
use std::time::Duration;

/// A period, from short to long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

const DAY: u64 = 86400;

impl Period {
    pub(crate) const ALL: [Self; 6] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month, Self::Year];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// Its length in seconds, as resets are told: a month has 30 days, a year 365.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => DAY,
            Self::Month => 30 * DAY,
            Self::Year => 365 * DAY,
        }
    }

    /// No window is longer than this, in seconds.
    pub(crate) fn longest(self) -> u64 {
        match self {
            Self::Month | Self::Year => self.seconds() + DAY,
            _ => self.seconds(),
        }
    }

    /// When the window that holds `now` began, in seconds after the epoch.
    pub(crate) fn start(self, now: Duration) -> u64 {
        let now = now.as_secs();
        match self {
            Self::Second | Self::Minute | Self::Hour | Self::Day => now - now % self.seconds(),
            Self::Month => (now / DAY - (calendar::date(now / DAY).2 - 1)) * DAY,
            Self::Year => calendar::days(calendar::date(now / DAY).0, 1, 1) * DAY,
        }
    }

    /// Seconds until the window is told to end; at least one.
    pub(crate) fn reset(self, now: Duration) -> u64 {
        self.seconds().saturating_sub(now.as_secs() - self.start(now)).max(1)
    }
}
