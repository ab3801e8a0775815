//! Dates of HTTP in their three forms (RFC 9110, 5.6.7), read as leniently as nginx does: what follows the time is not
//! looked at, except in asctime's form, where the year does.

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds after the epoch.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (day, month, year, time) = match text.split_once(',') {
        Some((_, rest)) => {
            let mut words = rest.split_ascii_whitespace();
            let first = words.next()?;
            if first.contains('-') {
                let mut date = first.split('-');
                let (day, month, year) = (date.next()?, date.next()?, date.next()?);
                let year: i64 = year.parse().ok()?;
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
    let month = MONTHS.iter().position(|m| *m == month)? as i64 + 1;
    let day: i64 = day.parse().ok()?;
    let mut parts = time.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let is_valid = (1..=days_of(month, year)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && (1970..10_000).contains(&year);
    is_valid.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn days_of(month: i64, year: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days after the epoch. Years are counted from 1 March, so that leap days end them.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469
}
