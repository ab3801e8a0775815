//! What header fields say of caching: Cache-Control (RFC 9111, 5.2), Expires, and the media types that are kept.

use crate::http_date;
use pdk::Headers;

/// The directives that matter, of a request or a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) only_if_cached: bool,
    pub(super) must_revalidate: bool,
    /// In seconds, like all that follow; the least where there are several.
    pub(super) max_age: Option<u64>,
    pub(super) shared_max_age: Option<u64>,
    /// Without a value any staleness will do.
    pub(super) max_stale: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    /// RFC 5861; the least where there are several.
    pub(super) stale_while_revalidate: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
}

impl Directives {
    pub(super) fn of(headers: &Headers) -> Self {
        let mut all = Self::default();
        for value in headers.get_all("cache-control") {
            for part in parts(value, b',') {
                all.add(part);
            }
        }
        all
    }

    fn add(&mut self, directive: &[u8]) {
        let mut halves = directive.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let value = halves.next().map(unquoted);
        let seconds = || value.and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse::<u64>().ok());
        let least = |known: Option<u64>, new: Option<u64>| known.into_iter().chain(new).min();
        match &*name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"must-revalidate" | b"proxy-revalidate" => self.must_revalidate = true,
            // An age that is no number makes a response stale (RFC 9111, 4.2.1).
            b"max-age" => self.max_age = least(self.max_age, Some(seconds().unwrap_or(0))),
            b"s-maxage" => self.shared_max_age = least(self.shared_max_age, Some(seconds().unwrap_or(0))),
            b"max-stale" => {
                self.max_stale = Some(if value.is_none() { u64::MAX } else { seconds().unwrap_or(0) });
            }
            b"min-fresh" => self.min_fresh = seconds(),
            b"stale-while-revalidate" => {
                self.stale_while_revalidate = least(self.stale_while_revalidate, Some(seconds().unwrap_or(0)));
            }
            b"stale-if-error" => self.stale_if_error = least(self.stale_if_error, Some(seconds().unwrap_or(0))),
            _ => {}
        }
    }

    /// How long a response with these fields that came now is fresh since it was made, in seconds (RFC 9111, 4.2.1).
    pub(super) fn lifetime(&self, headers: &Headers, now: u64) -> u64 {
        if let Some(age) = self.shared_max_age.or(self.max_age) {
            return age;
        }
        // Both by the upstream's clock, which may not be ours.
        let made = date(headers).unwrap_or(now);
        let expires = headers.get_str("expires").filter(|text| is_well_formed(text)).and_then(http_date::parse);
        expires.map_or(0, |at| at.saturating_sub(made))
    }
}

/// How old a response with these fields is that came now, so many seconds after it was asked for (RFC 9111, 4.2.3).
pub(super) fn age(headers: &Headers, delay: u64, now: u64) -> u64 {
    // Of a list the first counts (RFC 9111, 5.1).
    let first = headers.get_str("age").and_then(|age| age.split(',').next());
    let told = first.and_then(|age| age.trim().parse().ok()).unwrap_or(0_u64);
    let apparent = date(headers).map_or(0, |made| now.saturating_sub(made));
    apparent.max(told.saturating_add(delay))
}

/// Whether a date has one of the three forms of RFC 9110, 5.6.7, to the letter: what an `Expires` in another form says must
/// be taken for a time in the past (RFC 9111, 5.3), while dates elsewhere are read more leniently.
fn is_well_formed(date: &str) -> bool {
    // `9` stands for a digit, `A` for a letter, `_` for a digit or, in asctime's form, a blank.
    const FORMS: [&str; 2] = ["AAA, 99 AAA 9999 99:99:99 GMT", "AAA AAA _9 99:99:99 9999"];
    const RFC_850: &str = ", 99-AAA-99 99:99:99 GMT";
    let has_form = |text: &str, form: &str| {
        let is_met = |(byte, wanted): (u8, u8)| match wanted {
            b'9' => byte.is_ascii_digit(),
            b'_' => byte.is_ascii_digit() || byte == b' ',
            b'A' => byte.is_ascii_alphabetic(),
            _ => byte.eq_ignore_ascii_case(&wanted),
        };
        text.len() == form.len() && text.bytes().zip(form.bytes()).all(is_met)
    };
    let date = date.trim();
    let after_day = date.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    FORMS.iter().any(|form| has_form(date, form)) || has_form(after_day, RFC_850)
}

/// When the response was made.
fn date(headers: &Headers) -> Option<u64> {
    headers.get_str("date").and_then(http_date::parse)
}

/// The parts of a list, without the blanks around them; a separator within quotes is none.
fn parts(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let split = move |byte: &u8| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match *byte {
            b'"' if !was_escaped => is_quoted = !is_quoted,
            b'\\' if is_quoted => is_escaped = !was_escaped,
            _ => {}
        }
        *byte == separator && !is_quoted
    };
    value.split(split).map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

fn unquoted(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value)
}

/// A media type with its parameters, as `content_type` of the config has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MediaType {
    kind: Vec<u8>,
    subtype: Vec<u8>,
    /// Names in lower case and values, sorted.
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl MediaType {
    /// `None` for what is no media type.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut all = parts(text, b';');
        let mut halves = all.next()?.split(|byte| *byte == b'/');
        let (kind, subtype) = (halves.next()?.trim_ascii(), halves.next()?.trim_ascii());
        if kind.is_empty() || subtype.is_empty() || halves.next().is_some() {
            return None;
        }
        let mut parameters = Vec::new();
        for parameter in all {
            let at = memchr::memchr(b'=', parameter)?;
            let name = parameter[..at].trim_ascii().to_ascii_lowercase();
            parameters.push((name, unquoted(&parameter[at + 1..]).to_vec()));
        }
        parameters.sort_unstable();
        Some(Self { kind: kind.to_ascii_lowercase(), subtype: subtype.to_ascii_lowercase(), parameters })
    }

    /// Whether a response's type is this one. `*` stands for any, but parameters must be the same.
    pub(super) fn is_met_by(&self, other: &Self) -> bool {
        let meets = |wanted: &[u8], given: &[u8]| wanted == b"*" || wanted == given;
        meets(&self.kind, &other.kind) && meets(&self.subtype, &other.subtype) && self.parameters == other.parameters
    }
}
