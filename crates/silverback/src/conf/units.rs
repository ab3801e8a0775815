//! nginx's notation of sizes and times.

use std::time::Duration;

/// `1024`, `8k`, `10m`, `1g` in bytes (units in either case).
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let factor = match text.get(digits.len()..)? {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    whole(digits)?.checked_mul(factor)
}

/// `60` (seconds), `500ms`, `1h 30m`, `1d`; units from large to small, each at most once.
#[must_use]
pub fn parse_time(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 8] = [
        ("y", 365 * 86_400_000),
        ("M", 30 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text.trim();
    let (mut total, mut allowed) = (0_u64, 0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let unit = if unit.is_empty() && after.is_empty() { "s" } else { unit };
        let place = UNITS.iter().position(|(name, _)| *name == unit).filter(|place| *place >= allowed)?;
        total = total.checked_add(whole(number)?.checked_mul(UNITS.get(place)?.1)?)?;
        allowed = place + 1;
        rest = after.trim_start();
    }
    Some(Duration::from_millis(total))
}

/// Digits only: `parse` alone would take a sign.
fn whole(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}
