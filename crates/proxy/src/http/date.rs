//! The `Date` field (RFC 9110, 6.6.1), formatted once a second and thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static NOW: RefCell<(u64, [u8; 29])> = const { RefCell::new((0, [0; 29])) };
}

/// Calls `use_it` with the current date as HTTP writes it.
pub(crate) fn with_date<T>(use_it: impl FnOnce(&[u8]) -> T) -> T {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    NOW.with_borrow_mut(|(at, text)| {
        if *at != seconds {
            *at = seconds;
            text.copy_from_slice(&format(seconds));
        }
        use_it(text)
    })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn format(seconds: u64) -> [u8; 29] {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    let weekday = (days % 7) as usize * 3;
    text[..3].copy_from_slice(&b"ThuFriSatSunMonTueWed"[weekday..weekday + 3]);
    let month = (month as usize - 1) * 3;
    text[8..11].copy_from_slice(&b"JanFebMarAprMayJunJulAugSepOctNovDec"[month..month + 3]);
    let mut digits = |at: usize, value: u64| {
        text[at] = b'0' + (value / 10 % 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    };
    digits(5, day);
    digits(12, year / 100);
    digits(14, year % 100);
    digits(17, rest / 3600);
    digits(20, rest / 60 % 60);
    digits(23, rest % 60);
    text
}

/// Year, month and day of a day after the epoch, in the proleptic Gregorian calendar.
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that the leap day ends a year.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn writes_dates_as_rfc_9110_shows_them() {
        for (seconds, want) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_255_199, "Sat, 21 Nov 2026 09:59:59 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&format(seconds)).unwrap(), want);
        }
    }
}
