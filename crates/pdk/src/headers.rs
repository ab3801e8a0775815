//! Header fields as they stand on the wire: one arena of bytes, and spans into it.
//!
//! A parsed head is moved in whole, so reading a request allocates nothing per field; order, case and repeated fields
//! are kept. Look-ups compare names without case (RFC 9110, 5.1). Fields that are added stand in the arena as lines too,
//! so that neighbours are written out in one piece.

use crate::digits::decimal;
use crate::swift::{ends_line, is_same_name};
use std::cell::RefCell;

/// What a list begins with room for: bytes, and fields.
const FIRST_BYTES: usize = 512;
const FIRST_FIELDS: usize = 12;
/// How many free lists a thread keeps, and the bytes of the largest.
const KEPT: usize = 64;
const LARGEST_KEPT: usize = 4096;

thread_local! {
    static FREE: RefCell<Vec<Headers>> = const { RefCell::new(Vec::new()) };
}

/// A range of bytes in the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        // A head is capped far below 4 GiB before it reaches an arena.
        Self { start: start as u32, len: (end - start) as u32 }
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Span,
    value: Span,
}

/// A field that is the same for many messages: its line goes out in one piece.
#[derive(Clone, Debug)]
pub struct ReadyField {
    line: Box<[u8]>,
    /// How long its name is.
    name: u32,
}

impl ReadyField {
    /// Bytes that would end the line are replaced, as [`Headers::append`] does.
    pub fn new(name: &str, value: &[u8]) -> Self {
        let mut one = Headers::new();
        one.append(name, value);
        Self { line: one.arena.into(), name: name.len() as u32 }
    }
}

/// An ordered list of header fields.
#[derive(Clone, Default)]
pub struct Headers {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// A bit for each name that there is, and maybe for some that are gone: most look-ups are for fields that never were.
    marks: u64,
}

/// The bit of a name, in letters of either size.
#[inline]
fn mark(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, |byte| byte | 0x20);
    1 << ((usize::from(first) + name.len() * 5) % 64)
}

impl Headers {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over the bytes of a head; the fields are then told with [`push_parsed`](Self::push_parsed).
    pub fn from_arena(arena: Vec<u8>) -> Self {
        Self { arena, entries: Vec::with_capacity(24), marks: 0 }
    }

    /// Adds a field whose bytes already stand in the arena.
    pub fn push_parsed(&mut self, name: Span, value: Span) {
        self.marks |= mark(self.bytes(name));
        self.entries.push(Entry { name, value });
    }

    /// The bytes of a span of this arena.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        self.arena.get(span.range()).unwrap_or_default()
    }

    /// Puts bytes into the arena without making them a field.
    #[inline]
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        Span::new(start, self.arena.len())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there may be a field of this name.
    #[inline]
    fn may_have(&self, name: &str) -> bool {
        self.marks & mark(name.as_bytes()) != 0
    }

    /// The entries to look for a name in.
    #[inline]
    fn entries_for(&self, name: &str) -> &[Entry] {
        if self.may_have(name) { &self.entries } else { &[] }
    }

    fn is(&self, entry: &Entry, name: &str) -> bool {
        entry.name.len as usize == name.len() && is_same_name(self.bytes(entry.name), name.as_bytes())
    }

    /// The first value of a field.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.entries_for(name).iter().find(|e| self.is(e, name)).map(|e| self.bytes(e.value))
    }

    /// The first value of a field, where it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.entries_for(name).iter().filter(move |e| self.is(e, name)).map(|e| self.bytes(e.value))
    }

    #[inline]
    pub fn contains(&self, name: &str) -> bool {
        self.entries_for(name).iter().any(|e| self.is(e, name))
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.entries.iter().map(|e| (self.bytes(e.name), self.bytes(e.value)))
    }

    /// Adds a field at the end. Bytes that would end the line are replaced by spaces (no header injection).
    pub fn append(&mut self, name: &str, value: &[u8]) {
        let at = self.start_line(name, value.len());
        let value = self.store_value(value);
        self.arena.extend_from_slice(b"\r\n");
        self.push_parsed(at, value);
    }

    /// Adds a field whose value is a number.
    pub fn append_number(&mut self, name: &str, number: u64) {
        let mut room = [0; 20];
        let digits = decimal(number, &mut room);
        let at = self.start_line(name, digits.len());
        let value = self.store(digits);
        self.arena.extend_from_slice(b"\r\n");
        self.push_parsed(at, value);
    }

    /// Adds a field that was put together before.
    pub fn append_ready(&mut self, field: &ReadyField) {
        self.make_room(field.line.len());
        let line = self.store(&field.line);
        let value = Span { start: line.start + field.name + 2, len: line.len - field.name - 4 };
        self.push_parsed(Span { start: line.start, len: field.name }, value);
    }

    /// Writes the name of a new line that has a value of this length.
    #[inline]
    fn start_line(&mut self, name: &str, value: usize) -> Span {
        self.make_room(name.len() + value + 4);
        let name = self.store(name.as_bytes());
        self.arena.extend_from_slice(b": ");
        name
    }

    #[inline]
    fn make_room(&mut self, line: usize) {
        if self.arena.capacity() == 0 {
            self.begin();
        }
        self.arena.reserve(line);
    }

    /// Fields come in company: what is short-lived grows at once to a size that allocators keep at hand.
    #[cold]
    fn begin(&mut self) {
        *self = FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Self {
            arena: Vec::with_capacity(FIRST_BYTES),
            entries: Vec::with_capacity(FIRST_FIELDS),
            marks: 0,
        });
    }

    /// Writes the fields as lines (`name: value CRLF`), in order, without those that `is_left_out` names.
    pub fn write_lines<'a>(&'a self, out: &mut Vec<u8>, mut is_left_out: impl FnMut(&'a [u8], &'a [u8]) -> bool) {
        // Lines that stand in the arena one behind the other go out together.
        let mut run = 0..0;
        for entry in &self.entries {
            if is_left_out(self.bytes(entry.name), self.bytes(entry.value)) {
                continue;
            }
            let line = self.line(entry);
            if let Some(line) = &line
                && line.start == run.end
            {
                run.end = line.end;
                continue;
            }
            out.extend_from_slice(self.arena.get(run).unwrap_or_default());
            run = line.unwrap_or_else(|| {
                for piece in [self.bytes(entry.name), b": ", self.bytes(entry.value), b"\r\n"] {
                    out.extend_from_slice(piece);
                }
                0..0
            });
        }
        out.extend_from_slice(self.arena.get(run).unwrap_or_default());
    }

    /// Where the arena has the field as a line of its own.
    fn line(&self, entry: &Entry) -> Option<std::ops::Range<usize>> {
        let (name, value) = (entry.name.range(), entry.value.range());
        let is_line = value.start == name.end + 2
            && self.arena.get(name.end..value.start) == Some(b": ")
            && self.arena.get(value.end..value.end + 2) == Some(b"\r\n");
        is_line.then_some(name.start..value.end + 2)
    }

    /// Makes this the only field of its name, in the place of the first one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        let Some(at) = self.entries_for(name).iter().position(|e| self.is(e, name)) else {
            return self.append(name, value);
        };
        let value = self.store_value(value);
        self.entries[at].value = value;
        self.remove_from(at + 1, name);
    }

    /// Removes all fields of a name; tells whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        self.remove_from(0, name)
    }

    /// Removes the fields of a name behind the first `kept` fields; tells whether there were any.
    fn remove_from(&mut self, kept: usize, name: &str) -> bool {
        if !self.entries_for(name).iter().skip(kept).any(|e| self.is(e, name)) {
            return false;
        }
        let mut entries = std::mem::take(&mut self.entries);
        let mut index = 0;
        entries.retain(|e| {
            index += 1;
            index <= kept || !self.is(e, name)
        });
        self.entries = entries;
        true
    }

    /// Removes the fields at these places, which come in order.
    pub fn remove_at(&mut self, places: &[usize]) {
        for place in places.iter().rev() {
            if *place < self.entries.len() {
                self.entries.remove(*place);
            }
        }
    }

    /// Keeps the fields for which the predicate holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|e| keep(self.bytes(e.name), self.bytes(e.value)));
        self.entries = entries;
    }

    /// Puts all fields of another list before these.
    pub fn prepend(&mut self, other: &Self) {
        let shift = self.arena.len() as u32;
        let moved = |span: Span| Span { start: span.start + shift, len: span.len };
        self.arena.extend_from_slice(&other.arena);
        let own = self.entries.len();
        self.entries.extend(other.entries.iter().map(|e| Entry { name: moved(e.name), value: moved(e.value) }));
        self.entries.rotate_left(own);
        self.marks |= other.marks;
    }

    pub fn clear(&mut self) {
        self.marks = 0;
        self.entries.clear();
        self.arena.clear();
    }

    /// Keeps the memory of a list that was short-lived, for the next such one of the thread.
    pub(crate) fn give_back(mut self) {
        if (FIRST_BYTES..=LARGEST_KEPT).contains(&self.arena.capacity()) && self.entries.capacity() >= FIRST_FIELDS {
            self.clear();
            FREE.with_borrow_mut(|free| {
                if free.len() < KEPT {
                    free.push(self);
                }
            });
        }
    }

    /// All values of a field joined by `, `, as RFC 9110, 5.3 allows; `None` where there is none.
    pub fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let mut values = self.get_all(name);
        let mut all = values.next()?.to_vec();
        for value in values {
            all.extend_from_slice(b", ");
            all.extend_from_slice(value);
        }
        Some(all)
    }

    /// How many bytes the fields take on the wire.
    pub fn wire_size(&self) -> usize {
        self.entries.iter().map(|e| e.name.len as usize + e.value.len as usize + 4).sum()
    }

    fn store_value(&mut self, value: &[u8]) -> Span {
        let span = self.store(value);
        if ends_line(value) {
            self.mend(span);
        }
        span
    }

    /// Replaces what would end the line.
    #[cold]
    fn mend(&mut self, value: Span) {
        for byte in self.arena.get_mut(value.range()).unwrap_or_default() {
            if matches!(*byte, b'\r' | b'\n' | 0) {
                *byte = b' ';
            }
        }
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(n, v)| (n.escape_ascii().to_string(), v.escape_ascii().to_string())))
            .finish()
    }
}

#[cfg(test)]
mod tests;
