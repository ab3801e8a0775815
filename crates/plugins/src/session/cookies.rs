//! Session cookies: read from requests, written with their attributes, and split where a browser would not keep them whole.

use crate::calendar::{MONTHS, date, time};
use pdk::Request;

/// How much of a value goes into one cookie: with name and attributes, browsers keep 4096 bytes.
const CHUNK: usize = 3800;
/// How many cookies a session may be split into.
const CHUNKS: usize = 9;

/// How cookies are written.
pub(super) struct Cookie {
    pub(super) name: String,
    /// `; Path=/; ...`
    pub(super) attributes: String,
}

impl Cookie {
    fn nth(&self, number: usize) -> String {
        if number == 1 { self.name.clone() } else { format!("{}{number}", self.name) }
    }

    /// The value that a request shows, put together; `None` where it shows none.
    pub(super) fn read(&self, request: &Request) -> Option<Vec<u8>> {
        let mut value = find(request, &self.name)?.to_vec();
        let mut number = 2;
        while value.len() == (number - 1) * CHUNK
            && number <= CHUNKS
            && let Some(more) = find(request, &self.nth(number))
        {
            value.extend_from_slice(more);
            number += 1;
        }
        Some(value)
    }

    /// The fields that set a value; `lives`: for how many seconds from now the browser keeps it, `None` until it is closed.
    /// `None`: it is too long.
    pub(super) fn set(&self, value: &str, lives: Option<u64>, now: u64) -> Option<Vec<String>> {
        let end = lives.map(|lives| format!("; Expires={}; Max-Age={lives}", http_date(now + lives)));
        let end = end.unwrap_or_default();
        let chunks: Vec<&[u8]> = value.as_bytes().chunks(CHUNK).collect();
        if chunks.len() > CHUNKS {
            return None;
        }
        let fields = chunks.into_iter().enumerate().map(|(at, chunk)| {
            format!("{}={}{}{end}", self.nth(at + 1), String::from_utf8_lossy(chunk), self.attributes)
        });
        Some(fields.collect())
    }

    /// The fields that have a browser forget what it shows.
    pub(super) fn clear(&self, request: &Request) -> Vec<String> {
        let shown = (1..=CHUNKS).map(|number| self.nth(number)).take_while(|name| find(request, name).is_some());
        let long_ago = http_date(1);
        shown.map(|name| format!("{name}={}; Expires={long_ago}; Max-Age=0", self.attributes)).collect()
    }
}

/// The first cookie of a name.
fn find<'a>(request: &'a Request, name: &str) -> Option<&'a [u8]> {
    let mut all = request.headers.get_all("cookie").flat_map(|field| field.split(|b| *b == b';'));
    all.find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// An IMF-fixdate (RFC 9110, 5.6.7).
fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = time(seconds);
    let weekday = DAYS[(seconds / 86_400 % 7) as usize];
    let month = MONTHS[(month.clamp(1, 12) - 1) as usize];
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}
