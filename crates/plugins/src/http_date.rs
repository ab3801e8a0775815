//! Dates of HTTP in their three forms (RFC 9110, 5.6.7), read as leniently as nginx does: what follows the time is not
//! looked at, except in asctime's form, where the year does.

use crate::calendar::{self, MONTHS};

/// Seconds after the epoch.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (day, month, year, time) = match text.split_once(',') {
        Some((_, rest)) => {
            let mut words = rest.split_ascii_whitespace();
            let first = words.next()?;
            if first.contains('-') {
                let mut date = first.split('-');
                let (day, month, year) = (date.next()?, date.next()?, date.next()?);
                let year: u64 = year.parse().ok()?;
                (day, month, if year < 70 { year + 2000 } else { year + 1900 }, words.next()?)
            } else {
                let (month, year) = (words.next()?, words.next()?);
                (first, month, year.parse().ok()?, words.next()?)
            }
        }
        None => {
            let mut words = text.split_ascii_whitespace().skip(1);
            let (month, day, time, year) = (words.next()?, words.next()?, words.next()?, words.next()?);
            (day, month, year.parse().ok()?, time)
        }
    };
    let month = MONTHS.iter().position(|m| *m == month)? as u64 + 1;
    let day: u64 = day.parse().ok()?;
    let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if hour > 23 || minute > 59 || second > 59 || !(1970..10_000).contains(&year) {
        return None;
    }
    let days = calendar::days(year, month, day);
    // A day that the month does not have turns up in the next one.
    (calendar::date(days) == (year, month, day)).then(|| ((days * 24 + hour) * 60 + minute) * 60 + second)
}
