//! What is wrong with a declarative configuration, in the three forms people and programs read it in.

use schema::{Error, Map, Value};

use super::flatten;
use super::yaml::{Segment, YamlError, line_of};
use crate::Catalog;

/// Lines are looked up for so many messages; each costs a walk through the file.
const MAX_LOOK_UPS: usize = 100;

/// A declarative configuration that cannot be used.
#[derive(Clone, Debug)]
pub struct Invalid(Box<Report>);

#[derive(Clone, Debug, Default)]
struct Report {
    fields: Map<String, Value>,
    /// The errors one by one, and the tree without them.
    flattened: (Vec<Value>, Map<String, Value>),
    /// The text, where there is one.
    text: Option<String>,
    /// What kept the text from being read at all: the message, and the line and column where there is one.
    unreadable: Option<(String, Option<(usize, usize)>)>,
}

impl Invalid {
    pub(super) fn new(fields: Map<String, Value>, config: &Value, catalog: &Catalog) -> Self {
        let mut rest = fields.clone();
        let list = flatten::flatten(&mut rest, config, catalog);
        Self(Box::new(Report { fields, flattened: (list, rest), ..Report::default() }))
    }

    fn unreadable(reported: &str, message: &str, place: Option<(usize, usize)>) -> Self {
        let text = format!("failed parsing declarative configuration: {reported}");
        let fields = Map::from_iter([("error".to_owned(), text.into())]);
        let unreadable = Some((message.to_owned(), place));
        Self(Box::new(Report { flattened: (Vec::new(), fields.clone()), fields, text: None, unreadable }))
    }

    pub(super) fn not_an_object() -> Self {
        const MESSAGE: &str = "expected an object";
        Self::unreadable(MESSAGE, MESSAGE, None)
    }

    pub(super) fn syntax(error: &YamlError) -> Self {
        let (line, column) = error.reported;
        Self::unreadable(&format!("{line}:{column}: {}", error.message), &error.message, Some(error.place))
    }

    pub(super) fn with_text(mut self, text: &str) -> Self {
        self.0.text = Some(text.to_owned());
        self
    }

    /// The error tree.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0.fields
    }

    /// Code 14 with the error tree.
    pub fn error(&self) -> Error {
        Error::declarative(Value::Object(self.0.fields.clone()))
    }

    /// The body of the answer with `flatten_errors`.
    pub fn flattened(&self) -> Value {
        let (list, rest) = &self.0.flattened;
        let mut body = Error::declarative(Value::Object(rest.clone())).to_json();
        if let Value::Object(body) = &mut body {
            body.insert("flattened_errors".into(), list.clone().into());
        }
        body
    }

    /// The errors for a person at a terminal, with their places in the file.
    pub fn pretty(&self, file: Option<&str>) -> String {
        if let Some((message, place)) = &self.0.unreadable {
            return match (file, place) {
                (Some(file), Some((line, column))) => format!("{file}:{line}:{column}: {message}"),
                (Some(file), None) => format!("{file}: {message}"),
                (None, Some((line, column))) => format!("line {line}, column {column}: {message}"),
                (None, None) => message.clone(),
            };
        }
        let mut out = Vec::new();
        let mut writer = Writer { text: self.0.text.as_deref(), file, looked_up: 0 };
        writer.object(&mut out, &self.0.fields, &mut Vec::new(), 0);
        out.join("\n")
    }
}

struct Writer<'a> {
    text: Option<&'a str>,
    file: Option<&'a str>,
    looked_up: usize,
}

impl<'a> Writer<'a> {
    fn object(
        &mut self,
        out: &mut Vec<String>,
        map: &'a Map<String, Value>,
        path: &mut Vec<Segment<'a>>,
        level: usize,
    ) {
        for (name, error) in map {
            if name == "@entity" {
                // About the whole: nothing is gained by a heading.
                for message in error.as_array().into_iter().flatten() {
                    self.message(out, "", message, path, level);
                }
                continue;
            }
            path.push(Segment::Name(name));
            self.entry(out, &format!("in '{name}'"), name, error, path, level);
            path.pop();
        }
    }

    fn entry(
        &mut self,
        out: &mut Vec<String>,
        heading: &str,
        name: &str,
        error: &'a Value,
        path: &mut Vec<Segment<'a>>,
        level: usize,
    ) {
        match error {
            Value::Object(map) => {
                out.push(format!("{}{heading}:", indent(level)));
                self.object(out, map, path, level + 1);
            }
            Value::Array(list) => {
                out.push(format!("{}{heading}:", indent(level)));
                for (index, error) in list.iter().enumerate().filter(|(_, error)| !error.is_null()) {
                    path.push(Segment::Index(index));
                    let heading = format!("- in entry {} of '{name}'", index + 1);
                    self.entry(out, &heading, name, error, path, level + 1);
                    path.pop();
                }
            }
            message => self.message(out, &format!("{heading}: "), message, path, level),
        }
    }

    fn message(&mut self, out: &mut Vec<String>, heading: &str, message: &Value, path: &[Segment<'_>], level: usize) {
        let place = self.place(path);
        out.push(format!("{}{heading}{}{place}", indent(level), schema::lua::tostring(message)));
    }

    fn place(&mut self, path: &[Segment<'_>]) -> String {
        self.looked_up += 1;
        let text = self.text.filter(|_| self.looked_up <= MAX_LOOK_UPS);
        match text.and_then(|text| line_of(text, path)) {
            Some(line) => self.file.map_or_else(|| format!(" (line {line})"), |file| format!(" ({file}:{line})")),
            None => String::new(),
        }
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}
