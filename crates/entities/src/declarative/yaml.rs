//! YAML as Kong reads it: the first document, scalars by the rules of YAML 1.1, merge keys, the last of equal keys.
//!
//! Aliases repeat what they refer to, so their sum is bounded; so is the depth.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use schema::{Map, Value};
use serde_json::Number;
use std::borrow::Cow;
use std::collections::HashMap;

/// How many values aliases may add to a document.
const MAX_REPEATED: usize = 250_000;
/// As deep as a JSON document may be.
const MAX_DEPTH: usize = 127;

/// Text that is no YAML, or more than is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct YamlError {
    /// What libyaml says of it.
    pub(super) message: String,
    /// Where libyaml, and so Kong, places it: at the start of the last part that was understood.
    pub(super) reported: (usize, usize),
    /// Where it is: line and column, both from 1.
    pub(super) place: (usize, usize),
}

type Anchored = (Value, usize);

struct Reader<'input> {
    events: Parser<'input, StrInput<'input>>,
    /// Values by anchor, with the number of values in them.
    anchors: HashMap<usize, Anchored>,
    repeated: usize,
    /// The start of the last event.
    at: (usize, usize),
}

/// The value of a document; null without one.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    let mut reader = Reader { events: Parser::new_from_str(text), anchors: HashMap::new(), repeated: 0, at: (1, 1) };
    loop {
        match reader.next()? {
            None | Some(Event::StreamEnd) => return Ok(Value::Null),
            Some(Event::StreamStart | Event::Nothing) => {}
            Some(Event::DocumentStart(_)) => break,
            Some(_) => return Err(reader.refuse("did not find expected <document start>")),
        }
    }
    let before = reader.at;
    let Some(event) = reader.next()? else { return Ok(Value::Null) };
    if is_behind_tab(text, reader.at) {
        // YAML 1.2 would take it, libyaml does not.
        return Err(YamlError { reported: before, ..reader.refuse("found character that cannot start any token") });
    }
    let value = reader.value(event, 0)?.0;
    // What follows may still be broken, which would be a file cut short.
    match reader.next()? {
        Some(Event::DocumentEnd) | None => Ok(value),
        Some(_) => Err(reader.refuse("did not find expected <document start>")),
    }
}

/// Whether a tab stands before a place on its line.
fn is_behind_tab(text: &str, (line, column): (usize, usize)) -> bool {
    let line = text.lines().nth(line - 1).unwrap_or_default();
    line.chars().take(column - 1).any(|c| c == '\t')
}

impl<'input> Reader<'input> {
    fn next(&mut self) -> Result<Option<Event<'input>>, YamlError> {
        match self.events.next() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                // A document without `---` starts where its first value does, and is no part of its own.
                if !matches!(event, Event::DocumentStart(false)) {
                    self.at = position(&span);
                }
                Ok(Some(event))
            }
            Some(Err(error)) => Err(self.scan_error(&error)),
        }
    }

    fn scan_error(&self, error: &ScanError) -> YamlError {
        let place = (error.marker().line(), error.marker().col() + 1);
        YamlError { message: libyaml_message(error.info()), reported: self.at, place }
    }

    fn refuse(&self, message: &str) -> YamlError {
        YamlError { message: message.to_owned(), reported: self.at, place: self.at }
    }

    /// The value that an event begins, and the number of values in it.
    fn value(&mut self, event: Event<'input>, depth: usize) -> Result<Anchored, YamlError> {
        if depth > MAX_DEPTH {
            return Err(self.refuse("nested too deeply"));
        }
        let (anchor, read) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, (scalar(text, style, tag.as_deref()), 1)),
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(anchor, _) => {
                pace::breathe();
                (anchor, self.mapping(depth)?)
            }
            Event::Alias(anchor) => (0, self.alias(anchor)?),
            _ => return Err(self.refuse("did not find expected node content")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, read.clone());
        }
        Ok(read)
    }

    fn alias(&mut self, anchor: usize) -> Result<Anchored, YamlError> {
        let size = self.anchors.get(&anchor).map(|(_, size)| *size);
        let Some(size) = size else { return Err(self.refuse("found undefined alias")) };
        self.repeated += size;
        if self.repeated > MAX_REPEATED {
            return Err(self.refuse("aliases repeat too much"));
        }
        self.anchors.get(&anchor).cloned().ok_or_else(|| self.refuse("found undefined alias"))
    }

    fn sequence(&mut self, depth: usize) -> Result<Anchored, YamlError> {
        let mut list = Vec::new();
        let mut size = 1;
        loop {
            match self.next()? {
                Some(Event::SequenceEnd) | None => return Ok((Value::Array(list), size)),
                Some(event) => {
                    let (value, values) = self.value(event, depth + 1)?;
                    size += values;
                    list.push(value);
                }
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Anchored, YamlError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        let mut size = 1;
        loop {
            let (key, is_merge) = match self.next()? {
                Some(Event::MappingEnd) | None => break,
                Some(Event::Scalar(text, ScalarStyle::Plain, 0, None)) if text == "<<" => (String::new(), true),
                Some(event) => (key(self.value(event, depth + 1)?.0), false),
            };
            let Some(event) = self.next()? else { break };
            let (value, values) = self.value(event, depth + 1)?;
            size += values;
            if is_merge {
                merged.push(value);
            } else {
                map.insert(key, value);
            }
        }
        for source in merged {
            self.merge(&mut map, source)?;
        }
        Ok((Value::Object(map), size))
    }

    /// `<<: *one` or `<<: [*one, *other]`: what the mapping itself says has the say, then the first source.
    fn merge(&self, map: &mut Map<String, Value>, source: Value) -> Result<(), YamlError> {
        match source {
            Value::Object(source) => {
                for (key, value) in source {
                    map.entry(key).or_insert(value);
                }
                Ok(())
            }
            Value::Array(list) => list.into_iter().try_for_each(|source| self.merge(map, source)),
            _ => Err(self.refuse("invalid '<<' merge key")),
        }
    }
}

fn position(span: &Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

/// Names of fields are strings whatever they look like.
fn key(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => schema::lua::tostring(&other),
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    if tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "null") {
        return Value::Null;
    }
    let is_text = match tag {
        None => style != ScalarStyle::Plain,
        Some(tag) => !tag.is_yaml_core_schema() || tag.suffix == "str",
    };
    let meaning = if is_text { None } else { plain(&text) };
    meaning.unwrap_or_else(|| Value::String(text.into_owned()))
}

/// What a plain scalar means when it is not just text.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some(true.into()),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some(false.into()),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let digits = text.replace('_', "");
    let (is_negative, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        // JSON has no such numbers; the greatest is as little what a field may hold.
        return Some(f64::MAX.into());
    }
    let magnitude = integer(unsigned);
    if let Some(magnitude) = magnitude {
        return Some(match (is_negative, i64::try_from(magnitude)) {
            (true, Ok(number)) => (-number).into(),
            (false, _) => magnitude.into(),
            #[expect(clippy::cast_precision_loss, reason = "beyond the integers, numbers are doubles, as in Lua")]
            (true, Err(_)) => (-(magnitude as f64)).into(),
        });
    }
    float(unsigned).and_then(|number| Number::from_f64(if is_negative { -number } else { number })).map(Value::Number)
}

/// Octal behind 0, hexadecimal behind 0x, binary behind 0b, sexagesimal with colons. `081` is decimal.
fn integer(text: &str) -> Option<u64> {
    let radix = |digits: &str, radix| {
        digits.starts_with(|c: char| c.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, radix).ok())?
    };
    if let Some(hex) = text.strip_prefix("0x") {
        return radix(hex, 16);
    }
    if let Some(binary) = text.strip_prefix("0b") {
        return radix(binary, 2);
    }
    if let Some(octal) = text.strip_prefix('0')
        && let Some(number) = radix(octal, 8)
    {
        return Some(number);
    }
    if text.contains(':') {
        return sexagesimal(text);
    }
    radix(text, 10)
}

/// `1:30` is 90.
fn sexagesimal(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let mut total: u64 = parts.next().filter(|first| !first.starts_with('0')).and_then(|first| first.parse().ok())?;
    for part in parts {
        let digits: u64 = part.parse().ok().filter(|digits| *digits < 60 && part.len() <= 2)?;
        total = total.checked_mul(60)?.checked_add(digits)?;
    }
    Some(total)
}

/// Digits with a point or an exponent; not `inf`, `nan` or a version such as `1.2.3`.
fn float(text: &str) -> Option<f64> {
    let is_numeric = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    (is_numeric && text.bytes().any(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The parser's words for what libyaml would say.
fn libyaml_message(info: &str) -> String {
    let bare = info.strip_prefix("while ").and_then(|rest| rest.split_once(", ")).map_or(info, |(_, problem)| problem);
    match bare {
        "expected ',' or ']'" => "did not find expected ',' or ']'".to_owned(),
        text if text.contains("tab") || text.starts_with("unexpected character") => {
            "found character that cannot start any token".to_owned()
        }
        "found unknown anchor" => "found undefined alias".to_owned(),
        "simple key expected" => "could not find expected ':'".to_owned(),
        text => text.to_owned(),
    }
}

/// The line of the value at a path, or of as much of the path as there is.
pub(super) fn line_of(text: &str, path: &[Segment<'_>]) -> Option<usize> {
    let mut events = Parser::new_from_str(text).map_while(Result::ok);
    let (event, span) =
        events.find(|(event, _)| !matches!(event, Event::StreamStart | Event::DocumentStart(_) | Event::Nothing))?;
    let mut line = span.start.line();
    descend(&mut events, event, path, &mut line);
    Some(line)
}

/// A step of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Name(&'a str),
    /// From 0.
    Index(usize),
}

fn descend<'input>(
    events: &mut impl Iterator<Item = (Event<'input>, Span)>,
    mut event: Event<'input>,
    mut path: &[Segment<'_>],
    line: &mut usize,
) {
    while let Some((segment, rest)) = path.split_first() {
        let found = match (&event, segment) {
            (Event::MappingStart(..), Segment::Name(name)) => find_key(events, name, line),
            (Event::SequenceStart(..), Segment::Index(index)) => find_item(events, *index, line),
            _ => None,
        };
        let Some(next) = found else { return };
        (event, path) = (next, rest);
    }
}

fn find_key<'input>(
    events: &mut impl Iterator<Item = (Event<'input>, Span)>,
    name: &str,
    line: &mut usize,
) -> Option<Event<'input>> {
    loop {
        let (key, span) = events.next()?;
        let is_found = match &key {
            Event::MappingEnd => return None,
            Event::Scalar(text, ..) => text == name,
            _ => false,
        };
        skip(events, &key);
        let (value, _) = events.next()?;
        if is_found {
            *line = span.start.line();
            return Some(value);
        }
        skip(events, &value);
    }
}

fn find_item<'input>(
    events: &mut impl Iterator<Item = (Event<'input>, Span)>,
    index: usize,
    line: &mut usize,
) -> Option<Event<'input>> {
    for _ in 0..index {
        let (item, _) = events.next()?;
        if matches!(item, Event::SequenceEnd) {
            return None;
        }
        skip(events, &item);
    }
    let (item, span) = events.next()?;
    if matches!(item, Event::SequenceEnd) {
        return None;
    }
    *line = span.start.line();
    Some(item)
}

/// Passes over the rest of a value.
fn skip<'input>(events: &mut impl Iterator<Item = (Event<'input>, Span)>, first: &Event<'input>) {
    let mut open = usize::from(matches!(first, Event::MappingStart(..) | Event::SequenceStart(..)));
    while open > 0 {
        match events.next() {
            Some((Event::MappingStart(..) | Event::SequenceStart(..), _)) => open += 1,
            Some((Event::MappingEnd | Event::SequenceEnd, _)) => open -= 1,
            Some(_) => {}
            None => return,
        }
    }
}
