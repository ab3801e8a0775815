//! The six periods of a limit and their windows, which are fixed in UTC.

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
            Self::Month | Self::Year => {
                let (day_of_year, day_of_month) = date(now / DAY);
                (now / DAY - if self == Self::Month { day_of_month } else { day_of_year }) * DAY
            }
        }
    }

    /// Seconds until the window is told to end; at least one.
    pub(crate) fn reset(self, now: Duration) -> u64 {
        self.seconds().saturating_sub(now.as_secs() - self.start(now)).max(1)
    }
}

/// The day of the year and of the month, both from 0, of a day after the epoch (proleptic Gregorian).
fn date(days: u64) -> (u64, u64) {
    // Years of 400 have 146097 days; the count starts on 1 March of year 0, so that leap days end years.
    let era_day = (days + 719_468) % 146_097;
    let year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let from_march = era_day - (365 * year + year / 4 - year / 100);
    let month = (5 * from_march + 2) / 153;
    let day_of_month = from_march - (153 * month + 2) / 5;
    let is_new_year = month >= 10;
    let calendar_year = year + u64::from(is_new_year);
    let is_leap =
        calendar_year.is_multiple_of(4) && (!calendar_year.is_multiple_of(100) || calendar_year.is_multiple_of(400));
    let day_of_year = if is_new_year { from_march - 306 } else { from_march + 59 + u64::from(is_leap) };
    (day_of_year, day_of_month)
}
