//! One line of the error log: Kong's text, or a JSON object.

use std::fmt::Write;

use jiff::Zoned;
use log::kv::{Error, Key, Value, VisitSource};
use serde_json::{Map, json};

use crate::conf::{Level, LogFormat};

/// By severity.
pub(super) const LEVELS: [Level; 8] =
    [Level::Debug, Level::Info, Level::Notice, Level::Warn, Level::Error, Level::Crit, Level::Alert, Level::Emerg];

/// A line is cut here: the client decides over the length of what it sends.
const LONGEST: usize = 8 << 10;

/// Kong's level of a message.
pub(super) fn level_of(metadata: &log::Metadata<'_>) -> Level {
    match (metadata.target(), metadata.level()) {
        ("notice", log::Level::Warn) => Level::Notice,
        ("crit", log::Level::Error) => Level::Crit,
        ("alert", log::Level::Error) => Level::Alert,
        ("emerg", log::Level::Error) => Level::Emerg,
        (_, log::Level::Error) => Level::Error,
        (_, log::Level::Warn) => Level::Warn,
        (_, log::Level::Info) => Level::Info,
        (_, log::Level::Debug | log::Level::Trace) => Level::Debug,
    }
}

/// What the facade may skip before it asks. Trace messages of libraries are never wanted.
pub(super) fn filter(level: Level) -> log::LevelFilter {
    match level {
        Level::Debug => log::LevelFilter::Debug,
        Level::Info => log::LevelFilter::Info,
        Level::Notice | Level::Warn => log::LevelFilter::Warn,
        Level::Error | Level::Crit | Level::Alert | Level::Emerg => log::LevelFilter::Error,
    }
}

/// The line with its end.
pub(super) fn format(record: &log::Record<'_>, format: LogFormat) -> String {
    let level = level_of(record.metadata()).as_str();
    let (pid, thread) = (std::process::id(), rustix::thread::gettid().as_raw_nonzero());
    let now = Zoned::now();
    let mut line = match format {
        LogFormat::Text => {
            let mut line = format!("{} [{level}] {pid}#{thread}: ", now.strftime("%Y/%m/%d %H:%M:%S"));
            let mut message = record.args().to_string();
            let _ = record.key_values().visit(&mut TextFields(&mut message));
            escape(&mut line, &message);
            line
        }
        LogFormat::Json => {
            let mut fields = Map::new();
            fields.insert("time".to_owned(), json!(now.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()));
            fields.insert("level".to_owned(), json!(level));
            fields.insert("pid".to_owned(), json!(pid));
            fields.insert("thread".to_owned(), json!(thread.get()));
            fields.insert("message".to_owned(), json!(cut(&record.args().to_string(), LONGEST)));
            let _ = record.key_values().visit(&mut JsonFields(&mut fields));
            serde_json::Value::Object(fields).to_string()
        }
    };
    line.push('\n');
    line
}

/// No client can begin a line of its own: control characters are written out.
fn escape(line: &mut String, message: &str) {
    for character in cut(message, LONGEST).chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push('\t'),
            character if character.is_control() => {
                let _ = write!(line, "\\x{:02X}", u32::from(character));
            }
            character => line.push(character),
        }
    }
}

fn cut(text: &str, longest: usize) -> &str {
    let end = text.floor_char_boundary(longest);
    text.get(..end).unwrap_or(text)
}

/// `, client: 1.2.3.4, request_id: "abc"`: texts in quotes, everything else bare, as nginx does.
struct TextFields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for TextFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let _ = match value.to_borrowed_str() {
            Some(text) => write!(self.0, ", {key}: \"{text}\""),
            None => write!(self.0, ", {key}: {value}"),
        };
        Ok(())
    }
}

struct JsonFields<'a>(&'a mut Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for JsonFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let shown = match (value.to_bool(), value.to_i64(), value.to_f64()) {
            (Some(value), _, _) => json!(value),
            (_, Some(value), _) => json!(value),
            (_, _, Some(value)) => json!(value),
            _ => json!(cut(&value.to_string(), LONGEST)),
        };
        self.0.entry(key.to_string()).or_insert(shown);
        Ok(())
    }
}
