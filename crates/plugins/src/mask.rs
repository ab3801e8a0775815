//! Masks sensitive values, chosen by the names that lead to them and by regular expressions, in log documents and in bodies of
//! responses. Regular expressions take time in proportion to the text, whatever they are.

use indexmap::IndexMap;
use regex::Regex;
use schema::Record;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

const DEFAULT: &str = "***";
/// No regular expression takes more memory, in bytes.
const REGEX_SIZE: usize = 1 << 20;
/// JSON that is nested more deeply is none.
const DEPTH: usize = 128;

/// Which values are masked.
#[derive(Record, Deserialize, Clone, Debug)]
#[record(validator(compiles))]
pub(crate) struct Config {
    /// Paths of JSON members, for example `request.headers.cookie`; `*` stands for any one name or index, `**` for any way
    /// down (`**.password`).
    #[field(elements(len_min = 1))]
    paths: Option<Vec<String>>,
    /// Regular expressions; what matches them in strings is masked.
    #[field(elements(len_min = 1))]
    patterns: Option<Vec<String>>,
    /// What stands in their place; `***` unless it is said.
    with: Option<String>,
}

fn compiles(config: &Value) -> Result<(), String> {
    let patterns = config.get("patterns").and_then(Value::as_array);
    for pattern in patterns.into_iter().flatten().filter_map(Value::as_str) {
        regex(pattern)?;
    }
    Ok(())
}

fn regex(pattern: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(REGEX_SIZE).build();
    built.map_err(|_| format!("'{pattern}' is no regular expression"))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Any,
    AnyWay,
}

type Path = [Step];

/// A config made ready.
#[derive(Clone, Debug)]
pub(crate) struct Mask {
    paths: Vec<Vec<Step>>,
    patterns: Vec<Regex>,
    with: String,
}

impl Mask {
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let step = |name: &str| match name {
            "*" => Step::Any,
            "**" => Step::AnyWay,
            name => Step::Name(name.to_owned()),
        };
        let paths = config.paths.iter().flatten();
        let patterns = config.patterns.iter().flatten();
        Ok(Self {
            paths: paths.map(|path| path.split('.').map(step).collect()).collect(),
            patterns: patterns.map(|pattern| regex(pattern)).collect::<Result<_, _>>()?,
            with: config.with.clone().unwrap_or_else(|| DEFAULT.to_owned()),
        })
    }

    /// Masks values in place.
    pub(crate) fn apply(&self, value: &mut Value) {
        let paths: Vec<&Path> = self.paths.iter().map(Vec::as_slice).collect();
        self.apply_at(value, &paths);
    }

    fn apply_at(&self, value: &mut Value, paths: &[&Path]) {
        if is_reached(paths) {
            *value = Value::String(self.with.clone());
            return;
        }
        match value {
            Value::Object(members) => {
                members.iter_mut().for_each(|(name, member)| self.apply_at(member, &below(paths, name)));
            }
            Value::Array(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.apply_at(item, &below(paths, &at.to_string()));
                }
            }
            Value::String(text) => {
                if let Cow::Owned(masked) = self.text(text) {
                    *text = masked;
                }
            }
            _ => {}
        }
    }

    /// What matches a pattern is masked.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.patterns.iter().fold(Cow::Borrowed(text), |text, pattern| match text {
            Cow::Borrowed(text) => pattern.replace_all(text, regex::NoExpand(&self.with)),
            Cow::Owned(text) => Cow::Owned(pattern.replace_all(&text, regex::NoExpand(&self.with)).into_owned()),
        })
    }

    /// Masks a JSON text; what is not masked stays as it was written. `None`: it is no JSON.
    pub(crate) fn json(&self, text: &[u8]) -> Option<String> {
        let raw: &RawValue = serde_json::from_slice(text).ok()?;
        let paths: Vec<&Path> = self.paths.iter().map(Vec::as_slice).collect();
        let mut out = String::with_capacity(text.len());
        self.write(raw.get().trim(), &paths, 0, &mut out)?;
        Some(out)
    }

    fn write(&self, raw: &str, paths: &[&Path], depth: usize, out: &mut String) -> Option<()> {
        let is_untouched = paths.is_empty() && self.patterns.is_empty();
        let first = raw.as_bytes().first()?;
        match first {
            _ if is_reached(paths) => out.push_str(&quoted(&self.with)),
            _ if is_untouched => out.push_str(raw),
            _ if depth > DEPTH => return None,
            b'{' => {
                // Where a name stands twice, readers take the last: so does this.
                let members: IndexMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
                out.push('{');
                for (at, (name, member)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    out.push_str(&quoted(name));
                    out.push(':');
                    self.write(member.get(), &below(paths, name), depth + 1, out)?;
                }
                out.push('}');
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    self.write(item.get(), &below(paths, &at.to_string()), depth + 1, out)?;
                }
                out.push(']');
            }
            b'"' => {
                let text: String = serde_json::from_str(raw).ok()?;
                match self.text(&text) {
                    Cow::Borrowed(_) => out.push_str(raw),
                    Cow::Owned(masked) => out.push_str(&quoted(&masked)),
                }
            }
            _ => out.push_str(raw),
        }
        Some(())
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether a path ends here.
fn is_reached(paths: &[&Path]) -> bool {
    paths.iter().any(|path| path.is_empty())
}

/// The paths as they go on below a name.
fn below<'a>(paths: &[&'a Path], name: &str) -> Vec<&'a Path> {
    let mut out: Vec<&'a Path> = Vec::new();
    for path in paths {
        walk(path, name, &mut out);
    }
    out
}

fn walk<'a>(path: &'a Path, name: &str, out: &mut Vec<&'a Path>) {
    match path.split_first() {
        Some((Step::Any, rest)) => out.push(rest),
        Some((Step::Name(wanted), rest)) if wanted == name => out.push(rest),
        Some((Step::AnyWay, [])) => out.push(&[]),
        Some((Step::AnyWay, rest)) => {
            out.push(path);
            walk(rest, name, out);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mask(config: Value) -> Mask {
        Mask::new(&Config::deserialize(config).unwrap()).unwrap()
    }

    #[test]
    fn masks_what_paths_and_patterns_name_and_nothing_else() {
        for (config, text, want) in [
            (json!({ "paths": ["a.b"] }), r#"{"a":{"b":1,"c":2},"b":3}"#, r#"{"a":{"b":"***","c":2},"b":3}"#),
            (json!({ "paths": ["a.b"], "with": "-" }), r#"{"a":{"b":{"c":[1]}}}"#, r#"{"a":{"b":"-"}}"#),
            (
                json!({ "paths": ["*.b"] }),
                r#"{"a":{"b":1},"c":{"b":2},"b":3}"#,
                r#"{"a":{"b":"***"},"c":{"b":"***"},"b":3}"#,
            ),
            (json!({ "paths": ["l.*.p"] }), r#"{"l":[{"p":1},{"q":2}]}"#, r#"{"l":[{"p":"***"},{"q":2}]}"#),
            (json!({ "paths": ["l.0"] }), r#"{"l":[1,2]}"#, r#"{"l":["***",2]}"#),
            (
                json!({ "paths": ["**.p"] }),
                r#"{"p":1,"a":{"p":2,"b":[{"p":{"x":1}}]}}"#,
                r#"{"p":"***","a":{"p":"***","b":[{"p":"***"}]}}"#,
            ),
            (json!({ "paths": ["p"] }), r#"{"p":1,"p":2}"#, r#"{"p":"***"}"#),
            (json!({ "patterns": ["\\d{4}"] }), r#"{"a":"12 3456","b":3456}"#, r#"{"a":"12 ***","b":3456}"#),
            (json!({ "patterns": ["(s)ecret"], "with": "$1" }), r#"["secret"]"#, r#"["$1"]"#),
            (
                json!({ "patterns": ["x"] }),
                r#"{"a":1.10,"b":12345678901234567890123,"c":"é"}"#,
                r#"{"a":1.10,"b":12345678901234567890123,"c":"é"}"#,
            ),
            (json!({ "patterns": ["secret"] }), r#"{"a":"\u0073ecret"}"#, r#"{"a":"***"}"#),
        ] {
            let masked = mask(config.clone()).json(text.as_bytes());
            assert_eq!(masked.as_deref(), Some(want), "{config} {text}");
            // The last member of a name wins in a document, too; numbers beyond its range are none there.
            if !want.contains("1.10") {
                let mut value: Value = serde_json::from_str(text).unwrap();
                mask(config.clone()).apply(&mut value);
                assert_eq!(value.to_string(), want, "{config} {text}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_not_taken_for_masked() {
        for text in ["", "{", "words", "{\"a\":1} x", "\u{feff}{}"] {
            assert_eq!(mask(json!({ "paths": ["a"] })).json(text.as_bytes()), None, "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(mask(json!({ "paths": ["**.a"] })).json(deep.as_bytes()), None);
    }

    #[test]
    fn a_pattern_that_would_explode_elsewhere_takes_little_time() {
        let start = std::time::Instant::now();
        let text = "a".repeat(100_000) + "!";
        assert_eq!(mask(json!({ "patterns": ["(a+)+$", "(a|aa)*c"] })).text(&text), text);
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
        assert!(compiles(&json!({ "patterns": ["("] })).is_err());
        assert!(compiles(&json!({ "patterns": ["((a{1000}){1000}){1000}"] })).is_err());
    }
}
