//! The string library, as far as templates need it: without functions as arguments, and with a bound on each result.

use super::evaluate::{Fault, LONGEST, Value};
use super::pattern::{self, Captured, GaveUp, Matched};
use super::print;
use std::borrow::Cow;

const NAMES: [&str; 12] =
    ["byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse", "sub"];

type Evaluated<'a> = Result<Value<'a>, Fault>;

/// The function that a string has under this key.
pub(super) fn method(key: &Value<'_>) -> Option<&'static str> {
    let key = key.as_bytes()?;
    NAMES.into_iter().chain(["upper"]).find(|name| name.as_bytes() == &*key)
}

struct Arguments<'v, 'a> {
    name: &'static str,
    all: &'v [Value<'a>],
}

impl<'v, 'a> Arguments<'v, 'a> {
    fn bad(&self, at: usize, wanted: &str) -> Fault {
        let got = self.all.get(at).map_or("no value", Value::type_name);
        Fault::new(format!("bad argument #{} to '{}' ({wanted} expected, got {got})", at + 1, self.name))
    }

    fn text(&self, at: usize) -> Result<Cow<'v, [u8]>, Fault> {
        self.all.get(at).and_then(Value::as_bytes).ok_or_else(|| self.bad(at, "string"))
    }

    fn number(&self, at: usize) -> Result<f64, Fault> {
        self.all.get(at).and_then(Value::as_number).ok_or_else(|| self.bad(at, "number"))
    }

    fn number_or(&self, at: usize, default: f64) -> Result<f64, Fault> {
        match self.all.get(at) {
            None | Some(Value::Nil) => Ok(default),
            Some(_) => self.number(at),
        }
    }
}

/// Calls a function of the library; of several results the first counts, as in parentheses.
pub(super) fn call<'a>(name: &'static str, all: &[Value<'a>]) -> Evaluated<'a> {
    let given = Arguments { name, all };
    if name == "char" {
        let codes = (0..all.len()).map(|at| given.number(at).map(|n| n as u8));
        return Ok(Value::owned(codes.collect::<Result<Vec<u8>, _>>()?));
    }
    let text = given.text(0)?;
    match name {
        "upper" => Ok(Value::owned(text.to_ascii_uppercase())),
        "lower" => Ok(Value::owned(text.to_ascii_lowercase())),
        "len" => Ok(Value::Number(text.len() as f64)),
        "reverse" => Ok(Value::owned(text.iter().rev().copied().collect::<Vec<u8>>())),
        "sub" => Ok(Value::owned(span(&text, given.number_or(1, 1.0)?, given.number_or(2, -1.0)?).to_vec())),
        "byte" => {
            let at = given.number_or(1, 1.0)?;
            Ok(span(&text, at, at).first().map_or(Value::Nil, |byte| Value::Number(f64::from(*byte))))
        }
        "rep" => repeat(&text, given.number(1)?, &given),
        "format" => format(&text, &given),
        "find" => find(&text, &given),
        "match" => {
            let start = start(&text, given.number_or(2, 1.0)?);
            let found = search(&given.text(1)?, &text, start, &mut 0)?;
            Ok(found.map_or(Value::Nil, |found| first(&text, &found)))
        }
        "gsub" => replace(&text, &given),
        _ => Err(Fault::new(format!("string.{name} cannot be used in templates"))),
    }
}

fn search(pattern: &[u8], text: &[u8], init: usize, steps: &mut u32) -> Result<Option<Matched>, Fault> {
    let gave_up = |_: GaveUp| Fault::new("malformed pattern, or one that takes too much work");
    pattern::find(pattern, text, init, steps).map_err(gave_up)
}

/// Where a search starts that is told to start at this place; negative places count from the end.
fn start(text: &[u8], from: f64) -> usize {
    let from = if from < 0.0 { from + text.len() as f64 } else { from - 1.0 };
    (from.max(0.0) as usize).min(text.len())
}

/// The part from one place to another, both counted from 1, negative ones from the end.
fn span(text: &[u8], from: f64, to: f64) -> &[u8] {
    let length = text.len() as f64;
    let from = if from < 0.0 { (length + from + 1.0).max(1.0) } else { from.max(1.0) };
    let to = if to < 0.0 { length + to + 1.0 } else { to.min(length) };
    if from > to { &[] } else { text.get(from as usize - 1..to as usize).unwrap_or_default() }
}

fn repeat<'a>(text: &[u8], times: f64, given: &Arguments<'_, 'a>) -> Evaluated<'a> {
    let separator = if given.all.len() > 2 { given.text(2)? } else { Cow::Borrowed(&b""[..]) };
    let times = times.max(0.0);
    if times * (text.len() + separator.len()) as f64 > LONGEST as f64 {
        return Err(Fault::new("resulting string too large"));
    }
    // Nothing, repeated however often, is nothing.
    let times = if text.is_empty() && separator.is_empty() { 0 } else { times as usize };
    Ok(Value::owned(vec![text; times].join(&*separator)))
}

fn find<'a>(text: &[u8], given: &Arguments<'_, 'a>) -> Evaluated<'a> {
    let wanted = given.text(1)?;
    let start = start(text, given.number_or(2, 1.0)?);
    let is_plain = given.all.get(3).is_some_and(Value::is_true);
    let found = if is_plain {
        let rest = text.get(start..).unwrap_or_default();
        let windows = rest.windows(wanted.len().max(1)).position(|window| window == &*wanted);
        if wanted.is_empty() { Some(start) } else { windows.map(|at| start + at) }
    } else {
        search(&wanted, text, start, &mut 0)?.map(|found| found.start)
    };
    Ok(found.map_or(Value::Nil, |at| Value::Number((at + 1) as f64)))
}

/// The first capture, or the whole match where there is none.
fn first<'a>(text: &[u8], found: &Matched) -> Value<'a> {
    capture(text, found, 0)
}

fn capture<'a>(text: &[u8], found: &Matched, at: usize) -> Value<'a> {
    match found.captures.get(at) {
        Some(Captured::Position(place)) => Value::Number((place + 1) as f64),
        Some(Captured::Span(start, end)) => Value::owned(text.get(*start..*end).unwrap_or_default()),
        None => Value::owned(text.get(found.start..found.end).unwrap_or_default()),
    }
}

fn replace<'a>(text: &[u8], given: &Arguments<'_, 'a>) -> Evaluated<'a> {
    let pattern = given.text(1)?;
    let most = given.number_or(3, f64::INFINITY)?;
    let by = match given.all.get(2) {
        Some(Value::Table(_) | Value::Object(_) | Value::Function(_)) => {
            return Err(Fault::new("gsub with a table or a function cannot be used in templates"));
        }
        _ => given.text(2)?,
    };
    let is_anchored = pattern.first() == Some(&b'^');
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut done, mut steps) = (0, 0.0, 0);
    while done < most && at <= text.len() {
        let Some(found) = search(&pattern, text, at, &mut steps)? else { break };
        out.extend_from_slice(text.get(at..found.start).unwrap_or_default());
        substitute(&by, text, &found, &mut out)?;
        done += 1.0;
        at = found.end;
        if found.end == found.start {
            out.extend(text.get(at));
            at += 1;
        }
        if out.len() > LONGEST {
            return Err(Fault::new("resulting string too large"));
        }
        if is_anchored {
            break;
        }
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    Ok(Value::owned(out))
}

/// Writes a replacement: `%0` is the match, `%1` to `%9` are its captures.
fn substitute(by: &[u8], text: &[u8], found: &Matched, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut rest = by.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        match rest.next() {
            Some(b'0') => out.extend_from_slice(text.get(found.start..found.end).unwrap_or_default()),
            Some(digit) if digit.is_ascii_digit() => {
                let at = usize::from(digit - b'1');
                if at >= found.captures.len().max(1) {
                    return Err(Fault::new("invalid capture index"));
                }
                out.extend_from_slice(&capture(text, found, at).display());
            }
            Some(other) => out.push(*other),
            None => return Err(Fault::new("invalid use of '%' in replacement string")),
        }
    }
    Ok(())
}

/// `%s`, `%d`, `%i`, `%x`, `%X`, `%f` (with a precision), `%g` and `%%`.
fn format<'a>(form: &[u8], given: &Arguments<'_, 'a>) -> Evaluated<'a> {
    let mut out = Vec::with_capacity(form.len());
    let mut rest = form.iter().copied();
    let mut next = 0;
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut kind = rest.next().unwrap_or_default();
        let mut precision = 6;
        if kind == b'.' {
            precision = usize::from(rest.next().filter(u8::is_ascii_digit).map_or(0, |digit| digit - b'0'));
            kind = rest.next().unwrap_or_default();
        }
        if kind == b'%' {
            out.push(b'%');
            continue;
        }
        next += 1;
        let text = match kind {
            b's' => given.all.get(next).cloned().ok_or_else(|| given.bad(next, "string"))?.display().into_owned(),
            b'd' | b'i' => format!("{:.0}", given.number(next)?.trunc()).into_bytes(),
            b'x' => format!("{:x}", given.number(next)? as i64).into_bytes(),
            b'X' => format!("{:X}", given.number(next)? as i64).into_bytes(),
            b'f' => format!("{:.precision$}", given.number(next)?).into_bytes(),
            b'g' => print::number(given.number(next)?).into_bytes(),
            _ => return Err(Fault::new("this option of string.format cannot be used in templates")),
        };
        out.extend_from_slice(&text);
        if out.len() > LONGEST {
            return Err(Fault::new("resulting string too large"));
        }
    }
    Ok(Value::owned(out))
}
