//! Paths that go upstream as the client sent them (`path_forwarding = raw`).
//!
//! Routes match the normal form, so the upstream must not understand another path than that: what may lead it elsewhere is
//! refused. Where there are no dot segments, the normal form differs from what was sent in escapes and runs of slashes alone.

use super::normalize::{escaped_byte, is_reserved};
use super::{PathHandling, upstream_path_into};

/// The upstream's path out of `raw`, the path as it was sent. `matched`: how many bytes of its normal form the route matched.
/// The other arguments are those of [`super::upstream_path`]. `None`: it has a dot segment.
#[must_use]
pub fn raw_upstream_path(
    base: Option<&str>,
    matched: Option<usize>,
    raw: &[u8],
    strip: bool,
    handling: PathHandling,
) -> Option<Vec<u8>> {
    let cut = matched.filter(|_| strip).map(|matched| sent_as(raw, matched));
    let (prefix, rest) = raw.split_at(cut.unwrap_or(0));
    // What is left may begin within a segment: `/a..` less `/a`.
    if has_dot_segment(raw) || has_dot_segment(rest) {
        return None;
    }
    let mut path = Vec::with_capacity(base.map_or(0, str::len) + raw.len() + 1);
    upstream_path_into(&mut path, base, cut.map(|_| prefix), raw, strip, handling);
    Some(path)
}

/// Whether there is a dot segment for anybody who may read the path: with its dots or slashes escaped, with backslashes for
/// slashes, or with parameters (`..;x`), which some servers take off before they resolve it.
fn has_dot_segment(raw: &[u8]) -> bool {
    let mut segment = Segment::default();
    let mut rest = raw;
    while let Some((first, after)) = rest.split_first() {
        let escaped = if *first == b'%' { escaped_byte(after) } else { None };
        rest = if escaped.is_some() { &after[2..] } else { after };
        match escaped.unwrap_or(*first) {
            b'/' | b'\\' if segment.is_dots() => return true,
            b'/' | b'\\' => segment = Segment::default(),
            b';' => segment.is_over = true,
            b'.' if !segment.is_over => segment.dots += 1,
            _ if !segment.is_over => segment.has_more = true,
            _ => {}
        }
    }
    segment.is_dots()
}

/// What of a segment has been read.
#[derive(Default)]
struct Segment {
    dots: usize,
    has_more: bool,
    /// Parameters have begun.
    is_over: bool,
}

impl Segment {
    fn is_dots(&self) -> bool {
        matches!(self.dots, 1 | 2) && !self.has_more
    }
}

/// How many bytes of a path without dot segments became the first `matched` bytes of its normal form. A run of slashes became one.
fn sent_as(raw: &[u8], matched: usize) -> usize {
    let (mut at, mut normal) = (0, 0);
    while normal < matched
        && let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty())
    {
        let (sent, became) = match rest {
            [b'/', ..] => (rest.iter().take_while(|byte| **byte == b'/').count(), 1),
            [b'%', after @ ..] => match escaped_byte(after) {
                // A regex may end within an escape that stays one.
                Some(byte) if is_reserved(byte) => (3.min(matched - normal), 3.min(matched - normal)),
                Some(_) => (3, 1),
                None => (1, 1),
            },
            _ => (1, 1),
        };
        at += sent;
        normal += became;
    }
    at.min(raw.len())
}
