//! A log format of the user's own: nginx's `log_format`, compiled once.

use super::escape::Escape;
use super::variables::{Facts, Variable};

/// Text and variables, in order.
#[derive(Debug, PartialEq, Eq)]
pub struct CustomFormat {
    escape: Escape,
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    Variable(Variable),
}

impl CustomFormat {
    /// Compiles a format without its name: `[escape=default|json|none] text`, with variables as `$name` or `${name}`.
    ///
    /// # Errors
    /// What of it is wrong, and what would be right.
    pub fn compile(text: &str) -> Result<Self, String> {
        let (escape, text) = match text.trim_start().strip_prefix("escape=") {
            Some(rest) => {
                let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                let known = Escape::from_name(name);
                (known.ok_or_else(|| format!("escape={name} is not default, json or none"))?, unquote(text))
            }
            None => (Escape::default(), unquote(text)),
        };
        Ok(Self { escape, pieces: pieces(&text)? })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, facts: &Facts<'_>) {
        let mut value = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Variable(variable) => {
                    value.clear();
                    variable.value(&mut value, facts);
                    match value.is_empty() {
                        true => out.extend_from_slice(self.escape.nothing()),
                        false => self.escape.write(out, &value),
                    }
                }
            }
        }
        out.push(b'\n');
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before.as_bytes().into()));
        }
        let (name, after) = name(behind).ok_or("a $ is followed by a variable's name, as in $status or ${status}")?;
        let variable =
            Variable::from_name(name).ok_or_else(|| format!("'${name}' is no variable that can be logged"))?;
        pieces.push(Piece::Variable(variable));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.as_bytes().into()));
    }
    Ok(pieces)
}

/// The name behind a `$`, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('{') {
        return inner.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Quoted pieces one after another are one text, as in nginx.
fn unquote(text: &str) -> String {
    let mut plain = String::new();
    let mut quote = None;
    let mut characters = text.trim().chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) if characters.peek().is_some_and(|next| matches!(next, '\'' | '"' | '\\')) => {
                plain.extend(characters.next());
            }
            (character, Some(open)) if character == open => quote = None,
            ('\'' | '"', None) => quote = Some(character),
            (' ' | '\t', None) if characters.peek().is_some_and(|next| matches!(next, '\'' | '"')) => {}
            (character, _) => plain.push(character),
        }
    }
    plain
}
