//! Lua patterns (`string.match`, `string.find`): parsed once, matched with a bound on the work.

use std::fmt;
use std::sync::Arc;

/// A Lua pattern. One that Lua would refuse matches nothing.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    /// A pattern without magic characters is a plain substring.
    plain: Option<Plain>,
}

#[derive(Clone, Copy)]
struct Plain {
    anchored_start: bool,
    anchored_end: bool,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.source)
    }
}

/// Steps one match may take; a value that needs more is taken not to match.
const MAX_STEPS: u32 = 200_000;
const MAX_DEPTH: u32 = 190;
const MAX_CAPTURES: usize = 32;

impl Pattern {
    pub fn new(source: &str) -> Self {
        let body = source.strip_prefix('^').unwrap_or(source);
        let body = body.strip_suffix('$').unwrap_or(body);
        let plain =
            (!body.contains(['^', '$', '*', '+', '?', '.', '(', ')', '[', ']', '%', '-', '\0'])).then_some(Plain {
                anchored_start: source.starts_with('^'),
                anchored_end: source.len() > 1 && source.ends_with('$'),
            });
        Self { source: source.into(), plain }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the pattern occurs in the text.
    pub fn is_match(&self, text: &str) -> bool {
        let source = self.source.as_bytes();
        let text = text.as_bytes();
        if let Some(plain) = self.plain {
            let body = source.strip_prefix(b"^").unwrap_or(source);
            let body = if plain.anchored_end { body.strip_suffix(b"$").unwrap_or(body) } else { body };
            return match (plain.anchored_start, plain.anchored_end) {
                (true, true) => text == body,
                (true, false) => text.starts_with(body),
                (false, true) => text.ends_with(body),
                (false, false) => body.is_empty() || text.windows(body.len()).any(|window| window == body),
            };
        }
        let mut matcher = Matcher { text, pattern: source, steps: 0, depth: 0, captures: Vec::new() };
        let (start, anchored) = if source.first() == Some(&b'^') { (1, true) } else { (0, false) };
        let last = if anchored { 0 } else { text.len() };
        (0..=last).any(|at| {
            matcher.captures.clear();
            matches!(matcher.run(at, start), Ok(Some(_)))
        })
    }
}

/// Where a pattern matched, and what it captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matched {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) captures: Vec<Captured>,
}

/// A capture: a span of the text, or a position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Captured {
    Span(usize, usize),
    Position(usize),
}

/// Finds a pattern in the text from `init` on. `steps` is the work done so far, which several calls may share.
pub(super) fn find(pattern: &[u8], text: &[u8], init: usize, steps: &mut u32) -> Result<Option<Matched>, GaveUp> {
    let (start, is_anchored) = if pattern.first() == Some(&b'^') { (1, true) } else { (0, false) };
    let mut matcher = Matcher { text, pattern, steps: *steps, depth: 0, captures: Vec::new() };
    let last = if is_anchored { init } else { text.len() };
    for at in init..=last {
        matcher.captures.clear();
        let found = matcher.run(at, start);
        *steps = matcher.steps;
        let Some(end) = found? else { continue };
        let captures = matcher.captures.iter().map(|capture| match capture {
            Capture::Closed(start, end) => Ok(Captured::Span(*start, *end)),
            Capture::Position(at) => Ok(Captured::Position(*at)),
            Capture::Open(_) => Err(GaveUp),
        });
        return Ok(Some(Matched { start: at, end, captures: captures.collect::<Result<_, _>>()? }));
    }
    Ok(None)
}

/// The pattern is malformed or the work exceeds its bound.
pub(super) struct GaveUp;

type Found = Result<Option<usize>, GaveUp>;

enum Capture {
    Open(usize),
    Position(usize),
    Closed(usize, usize),
}

struct Matcher<'a> {
    text: &'a [u8],
    pattern: &'a [u8],
    steps: u32,
    depth: u32,
    captures: Vec<Capture>,
}

impl Matcher<'_> {
    /// Matches the pattern from `p` at the text's `s`; the end of the match.
    fn run(&mut self, s: usize, p: usize) -> Found {
        self.depth += 1;
        let found = if self.depth > MAX_DEPTH { Err(GaveUp) } else { self.step(s, p) };
        self.depth -= 1;
        found
    }

    fn step(&mut self, mut s: usize, mut p: usize) -> Found {
        loop {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(GaveUp);
            }
            let Some(&c) = self.pattern.get(p) else { return Ok(Some(s)) };
            match c {
                b'(' => return self.open(s, p),
                b')' => return self.close(s, p + 1),
                b'$' if p + 1 == self.pattern.len() => return Ok((s == self.text.len()).then_some(s)),
                b'%' => match self.pattern.get(p + 1) {
                    Some(b'b') => {
                        let Some(end) = self.balanced(s, p + 2)? else { return Ok(None) };
                        (s, p) = (end, p + 4);
                        continue;
                    }
                    Some(b'f') => {
                        if !self.frontier(s, p + 2)? {
                            return Ok(None);
                        }
                        p = self.class_end(p + 2)?;
                        continue;
                    }
                    Some(digit) if digit.is_ascii_digit() => {
                        let Some(end) = self.back_reference(s, *digit)? else { return Ok(None) };
                        (s, p) = (end, p + 2);
                        continue;
                    }
                    _ => {}
                },
                _ => {}
            }
            let end = self.class_end(p)?;
            match self.pattern.get(end) {
                Some(b'?') => {
                    if self.single(s, p, end)
                        && let Some(found) = self.run(s + 1, end + 1)?
                    {
                        return Ok(Some(found));
                    }
                    p = end + 1;
                }
                Some(b'*') => return self.greedy(s, p, end),
                Some(b'+') => return if self.single(s, p, end) { self.greedy(s + 1, p, end) } else { Ok(None) },
                Some(b'-') => return self.lazy(s, p, end),
                _ => {
                    if !self.single(s, p, end) {
                        return Ok(None);
                    }
                    (s, p) = (s + 1, end);
                }
            }
        }
    }

    fn greedy(&mut self, s: usize, p: usize, end: usize) -> Found {
        let mut count = 0;
        while self.single(s + count, p, end) {
            count += 1;
        }
        loop {
            if let Some(found) = self.run(s + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                return Ok(None);
            }
            count -= 1;
        }
    }

    fn lazy(&mut self, mut s: usize, p: usize, end: usize) -> Found {
        loop {
            if let Some(found) = self.run(s, end + 1)? {
                return Ok(Some(found));
            }
            if !self.single(s, p, end) {
                return Ok(None);
            }
            s += 1;
        }
    }

    fn open(&mut self, s: usize, p: usize) -> Found {
        if self.captures.len() >= MAX_CAPTURES {
            return Err(GaveUp);
        }
        let position = self.pattern.get(p + 1) == Some(&b')');
        self.captures.push(if position { Capture::Position(s) } else { Capture::Open(s) });
        let found = self.run(s, if position { p + 2 } else { p + 1 })?;
        if found.is_none() {
            self.captures.pop();
        }
        Ok(found)
    }

    fn close(&mut self, s: usize, p: usize) -> Found {
        let at = self.captures.iter().rposition(|c| matches!(c, Capture::Open(_))).ok_or(GaveUp)?;
        let Some(Capture::Open(start)) = self.captures.get(at) else { return Err(GaveUp) };
        let start = *start;
        self.set(at, Capture::Closed(start, s));
        let found = self.run(s, p)?;
        if found.is_none() {
            self.set(at, Capture::Open(start));
        }
        Ok(found)
    }

    fn set(&mut self, at: usize, capture: Capture) {
        if let Some(slot) = self.captures.get_mut(at) {
            *slot = capture;
        }
    }

    fn balanced(&mut self, s: usize, p: usize) -> Found {
        let (Some(&open), Some(&close)) = (self.pattern.get(p), self.pattern.get(p + 1)) else { return Err(GaveUp) };
        if self.text.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1_usize;
        for (at, &c) in self.text.iter().enumerate().skip(s + 1) {
            if c == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if c == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    fn frontier(&self, s: usize, p: usize) -> Result<bool, GaveUp> {
        if self.pattern.get(p) != Some(&b'[') {
            return Err(GaveUp);
        }
        let end = self.class_end(p)?;
        let before = s.checked_sub(1).and_then(|at| self.text.get(at)).copied().unwrap_or(0);
        let here = self.text.get(s).copied().unwrap_or(0);
        Ok(!self.in_set(before, p, end) && self.in_set(here, p, end))
    }

    fn back_reference(&self, s: usize, digit: u8) -> Found {
        let at = usize::from(digit).checked_sub(usize::from(b'1')).ok_or(GaveUp)?;
        let Some(Capture::Closed(start, end)) = self.captures.get(at) else { return Err(GaveUp) };
        let wanted = self.text.get(*start..*end).ok_or(GaveUp)?;
        let rest = self.text.get(s..).ok_or(GaveUp)?;
        Ok(rest.starts_with(wanted).then_some(s + wanted.len()))
    }

    /// Where the item that starts at `p` ends.
    fn class_end(&self, p: usize) -> Result<usize, GaveUp> {
        match self.pattern.get(p).ok_or(GaveUp)? {
            b'%' => self.pattern.get(p + 1).map(|_| p + 2).ok_or(GaveUp),
            b'[' => {
                let mut at = p + 1;
                if self.pattern.get(at) == Some(&b'^') {
                    at += 1;
                }
                let first = at;
                loop {
                    match self.pattern.get(at).ok_or(GaveUp)? {
                        b']' if at > first => return Ok(at + 1),
                        b'%' => at += 2,
                        _ => at += 1,
                    }
                }
            }
            _ => Ok(p + 1),
        }
    }

    fn single(&self, s: usize, p: usize, end: usize) -> bool {
        let Some(&c) = self.text.get(s) else { return false };
        match self.pattern.get(p) {
            Some(b'.') => true,
            Some(b'%') => self.pattern.get(p + 1).is_some_and(|class| in_class(c, *class)),
            Some(b'[') => self.in_set(c, p, end),
            other => other == Some(&c),
        }
    }

    /// Whether `c` is in the set from `p` (its bracket) to before `end`.
    fn in_set(&self, c: u8, p: usize, end: usize) -> bool {
        let mut at = p + 1;
        let negated = self.pattern.get(at) == Some(&b'^');
        if negated {
            at += 1;
        }
        let last = end - 1;
        while at < last {
            let Some(&item) = self.pattern.get(at) else { break };
            if item == b'%' {
                if self.pattern.get(at + 1).is_some_and(|class| in_class(c, *class)) {
                    return !negated;
                }
                at += 2;
            } else if self.pattern.get(at + 1) == Some(&b'-') && at + 2 < last {
                if self.pattern.get(at + 2).is_some_and(|high| (item..=*high).contains(&c)) {
                    return !negated;
                }
                at += 3;
            } else {
                if item == c {
                    return !negated;
                }
                at += 1;
            }
        }
        negated
    }
}

fn in_class(c: u8, class: u8) -> bool {
    let holds = match class.to_ascii_lowercase() {
        b'a' => c.is_ascii_alphabetic(),
        b'c' => c.is_ascii_control(),
        b'd' => c.is_ascii_digit(),
        b'g' => c.is_ascii_graphic(),
        b'l' => c.is_ascii_lowercase(),
        b'p' => c.is_ascii_punctuation(),
        b's' => c.is_ascii_whitespace() || c == 0x0b,
        b'u' => c.is_ascii_uppercase(),
        b'w' => c.is_ascii_alphanumeric(),
        b'x' => c.is_ascii_hexdigit(),
        b'z' => c == 0,
        _ => return class == c,
    };
    holds != class.is_ascii_uppercase()
}
