//! The Gregorian calendar in UTC.

/// Names of the months, as HTTP and syslog write them.
pub(crate) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days from 1 March of the year 0 to 1 January 1970.
const EPOCH: u64 = 719_468;

/// Days from the epoch to a date. Years are counted from 1 March, so that leap days end them.
pub(crate) fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    (365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day).saturating_sub(EPOCH + 1)
}

/// The year, month and day (from 1) of a day after the epoch.
pub(crate) fn date(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let era_day = days % 146_097;
    let year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let from_march = era_day - (365 * year + year / 4 - year / 100);
    let month = (5 * from_march + 2) / 153;
    let day = from_march - (153 * month + 2) / 5 + 1;
    let year = days / 146_097 * 400 + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// Hour, minute and second of a time after the epoch.
pub(crate) fn time(seconds: u64) -> (u64, u64, u64) {
    (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}
