//! JSON as cjson writes it anew: no blanks, characters instead of escapes, numbers in their shortest form. Numbers of more
//! digits than a double surely holds stay as they were written.

/// Digits that survive the way through a double and cjson's `%.14g`.
const EXACT: usize = 14;
/// Powers of ten beyond this may not fit a double.
const POWER: i64 = 300;

/// Rewrites a valid document.
pub(super) fn compact(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let length = match first {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => rest.iter().take_while(|byte| !is_end_of_number(**byte)).count(),
            _ => 1,
        };
        let (token, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        match first {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'"' if token.contains(&b'\\') => out.extend_from_slice(&plain_string(token)),
            b'-' | b'0'..=b'9' => match short_number(token) {
                Some(short) => out.extend_from_slice(short.as_bytes()),
                None => out.extend_from_slice(token),
            },
            _ => out.extend_from_slice(token),
        }
    }
    out
}

fn is_end_of_number(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n')
}

/// The length of the string literal at the start, with its quotes.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at) {
            None | Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// A string with only the escapes that JSON needs. One that holds half a surrogate pair stays as it is.
fn plain_string(token: &[u8]) -> Vec<u8> {
    let text = serde_json::from_slice::<String>(token);
    text.and_then(|text| serde_json::to_vec(&text)).unwrap_or_else(|_| token.to_vec())
}

/// A number as `%.14g` writes it, where that loses nothing.
fn short_number(token: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(token).ok()?;
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let from_first = all.trim_start_matches('0');
    let digits = from_first.trim_end_matches('0');
    if digits.is_empty() {
        return Some(format!("{sign}0"));
    }
    // The power of ten of the first digit.
    let leading = (all.len() - from_first.len()) as i64;
    let power: i64 = power.parse::<i64>().ok()?.checked_add(whole.len() as i64 - 1 - leading)?;
    if digits.len() > EXACT || power.abs() > POWER {
        return None;
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let places = digits.len() as i64 - 1 - power;
    let (first, others) = digits.split_at(1);
    Some(match power {
        -4..0 => format!("{sign}0.{}{digits}", zeros(-power - 1)),
        0..14 if places <= 0 => format!("{sign}{digits}{}", zeros(-places)),
        0..14 => {
            let (whole, fraction) = digits.split_at(usize::try_from(power + 1).unwrap_or(0));
            format!("{sign}{whole}.{fraction}")
        }
        _ => {
            let point = if others.is_empty() { "" } else { "." };
            let power_sign = if power < 0 { '-' } else { '+' };
            format!("{sign}{first}{point}{others}e{power_sign}{:02}", power.abs())
        }
    })
}
