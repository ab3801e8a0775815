//! Values as Lua prints them: `{id="x"}` in one line, or over several lines with indents.

use std::fmt::Write;

use serde_json::{Map, Value};

/// One line without spaces: `{key="v",nested={a=true}}`, names sorted.
pub fn literal(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, None, 0);
    out
}

/// Over several lines, indented by two spaces a level.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write_value(&mut out, value, Some("  "), 0);
    out
}

/// `tostring(value)`: strings bare.
pub fn tostring(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => literal(other),
    }
}

/// Joined with `", "`.
pub fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// From here on Lua prints whole numbers with an exponent.
pub const LARGE: f64 = 1e14;

/// A number as Lua prints it: 14 significant digits, no fraction when there is none.
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < LARGE {
        return format!("{value:.0}");
    }
    if value.is_nan() {
        return "nan".to_owned();
    }
    let scientific = format!("{value:.13e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| -> String {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if (-5..14).contains(&exponent) {
        let digits = usize::try_from(13 - exponent).unwrap_or(0);
        trim(&format!("{value:.digits$}"))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    }
}

fn write_value(out: &mut String, value: &Value, indent: Option<&str>, level: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(on) => out.push_str(if *on { "true" } else { "false" }),
        Value::Number(n) => match n.as_i64() {
            Some(n) => {
                let _ = write!(out, "{n}");
            }
            None => out.push_str(&number(n.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => write_string(out, text),
        Value::Array(list) => {
            let mut table = Table::open(out, indent, level);
            // Up to the first hole the places are implied.
            let dense = list.iter().take_while(|value| !value.is_null()).count();
            for (at, value) in list.iter().enumerate().filter(|(_, value)| !value.is_null()) {
                let key = if at < dense { String::new() } else { format!("[{}]", at + 1) };
                table.entry(&key, value);
            }
            table.close();
        }
        Value::Object(map) => write_map(out, map, indent, level),
    }
}

/// Keys 1, 2 and so on are places, as in a list; then come the names, sorted, and then the other numbers.
fn write_map(out: &mut String, map: &Map<String, Value>, indent: Option<&str>, level: usize) {
    let number = |name: &str| name.parse().ok().filter(|number: &usize| *number > 0 && number.to_string() == name);
    let mut entries: Vec<(Option<usize>, &String, &Value)> =
        map.iter().map(|(name, value)| (number(name), name, value)).collect();
    entries.sort_by_key(|(number, name, _)| (*number, *name));
    let names = entries.iter().take_while(|(number, ..)| number.is_none()).count();
    let (names, numbers) = entries.split_at(names);
    let dense = (1..).zip(numbers).take_while(|(at, (number, ..))| Some(*at) == *number).count();
    let (places, numbers) = numbers.split_at(dense);
    let mut table = Table::open(out, indent, level);
    for (_, _, value) in places {
        table.entry("", value);
    }
    for (_, name, value) in names {
        let mut key = String::new();
        if is_name(name) {
            key.push_str(name);
        } else {
            write_string(&mut key, name);
            key = if key.starts_with('[') { format!("[ {key} ]") } else { format!("[{key}]") };
        }
        table.entry(&key, value);
    }
    for (_, name, value) in numbers {
        table.entry(&format!("[{name}]"), value);
    }
    table.close();
}

struct Table<'a> {
    out: &'a mut String,
    indent: Option<&'a str>,
    level: usize,
    first: bool,
}

impl<'a> Table<'a> {
    fn open(out: &'a mut String, indent: Option<&'a str>, level: usize) -> Self {
        out.push('{');
        Self { out, indent, level, first: true }
    }

    fn new_line(&mut self, level: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            for _ in 0..level {
                self.out.push_str(indent);
            }
        }
    }

    fn entry(&mut self, key: &str, value: &Value) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.new_line(self.level + 1);
        if !key.is_empty() {
            self.out.push_str(key);
            self.out.push_str(if self.indent.is_some() { " = " } else { "=" });
        }
        write_value(self.out, value, self.indent, self.level + 1);
    }

    fn close(mut self) {
        self.new_line(self.level);
        self.out.push('}');
    }
}

/// `%q` of LuaJIT, or long brackets for text of several lines or with long brackets in it.
fn write_string(out: &mut String, text: &str) {
    let inner = longest_bracket(text);
    if (text.contains('\n') || inner.is_some()) && !text.contains('\r') {
        let level = "=".repeat(inner.map_or(0, |inner| inner + 1));
        let lead = if text.starts_with('\n') { "\n" } else { "" };
        let _ = write!(out, "[{level}[{lead}{text}]{level}]");
        return;
    }
    out.push('"');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\\' | '\n' => out.extend(['\\', c]),
            // A digit after it would be read as part of the number.
            c if c.is_ascii_control() && chars.peek().is_some_and(char::is_ascii_digit) => {
                let _ = write!(out, "\\{:03}", u32::from(c));
            }
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\{}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The most `=` of a long bracket in the text, opening or closing, where one more bracket follows the text.
fn longest_bracket(text: &str) -> Option<usize> {
    let mut longest = None;
    let mut open: Option<(u8, usize)> = None;
    for byte in text.bytes().chain([b']']) {
        open = match (byte, open) {
            (b'=', Some((bracket, count))) => Some((bracket, count + 1)),
            (b'[' | b']', before) => {
                if let Some((_, count)) = before.filter(|(bracket, _)| *bracket == byte) {
                    longest = longest.max(Some(count));
                }
                Some((byte, 0))
            }
            _ => None,
        };
    }
    longest
}

fn is_name(text: &str) -> bool {
    const KEYWORDS: [&str; 22] = [
        "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
        "not", "or", "repeat", "return", "then", "true", "until", "while",
    ];
    let start = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    start && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !KEYWORDS.contains(&text)
}
