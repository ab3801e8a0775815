//! Templates of Kong: text with `$(expression)` in it, compiled once. Expressions are Lua's; they see the request and
//! functions that only read.

mod environment;
mod nginx;

pub(crate) use environment::{Request, missing};

use schema::lua::{Expression, Fault, Value};
use std::borrow::Cow;

/// A compiled template.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(Vec<u8>),
    Expression(Expression),
    /// What did not compile, and why.
    Broken(String),
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// The message of the first expression that is no Lua.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        let parts = Self::lenient(source).0.into_iter().map(|part| match part {
            Part::Broken(why) => Err(why),
            part => Ok(part),
        });
        parts.collect::<Result<_, _>>().map(Self)
    }

    /// Compiles a template; one that is wrong faults when it is rendered.
    pub(crate) fn lenient(source: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = source;
        let mut text = String::new();
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            let Some((inner, behind)) = balanced(after) else {
                text.push('$');
                rest = after;
                continue;
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text).into_bytes()));
            }
            parts.push(Expression::compile(inner, "TMP").map_or_else(Part::Broken, Part::Expression));
            rest = behind;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text.into_bytes()));
        }
        Self(parts)
    }

    /// Whether an expression reads this global.
    pub(crate) fn reads(&self, global: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Expression(expression) if expression.reads(global)))
    }

    /// The text for a request. Nil and false are nothing.
    pub(crate) fn render<'a>(&'a self, request: &Request<'a>) -> Result<Cow<'a, [u8]>, Fault> {
        match self.0.as_slice() {
            [] => Ok(Cow::Borrowed(b"")),
            [one] => one.render(request),
            all => {
                let mut out = Vec::new();
                for part in all {
                    out.extend_from_slice(&part.render(request)?);
                }
                Ok(Cow::Owned(out))
            }
        }
    }
}

impl Part {
    fn render<'a>(&'a self, request: &Request<'a>) -> Result<Cow<'a, [u8]>, Fault> {
        match self {
            Self::Text(text) => Ok(Cow::Borrowed(text)),
            Self::Broken(why) => Err(Fault::new(why.clone())),
            Self::Expression(expression) => {
                let value = expression.evaluate(request)?;
                Ok(if value.is_true() { Value::display(value) } else { Cow::Borrowed(b"") })
            }
        }
    }
}

/// What stands in the parentheses at the start, and what follows them. Quotes do not count, as in Lua's `%b()`.
fn balanced(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('(')?;
    let mut depth = 1_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests;
