//! Kong's expression language: parsed and checked by Kong's own atc-router, run by our predicates.

mod keys;
mod predicate;
mod text;

use atc_router::ast::{Expression, LogicalExpression, Type};
use atc_router::schema::Schema;
use atc_router::semantics::Validate;

use crate::definition::Definition;
use crate::{Flavor, Route};

pub(crate) use predicate::Predicate;
#[cfg(test)]
pub(crate) use text::of_route;
pub(crate) use text::path_regex;

/// The parser recurses: without bounds an expression could exhaust the stack.
const MAX_LENGTH: usize = 64 << 10;
const MAX_DEPTH: usize = 100;

/// What Kong checks of a route as a whole before it is stored. The error goes behind `Router Expression failed validation: `.
///
/// # Errors
/// Kong's text about what is wrong, mostly as atc-router words it.
pub fn validate(flavor: Flavor, route: &Route) -> Result<(), String> {
    const CLASSIC: &str = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations' simultaneously";
    if flavor == Flavor::Traditional {
        return Ok(());
    }
    let definition = Definition::from(route);
    let is_classic = definition.kinds.count() > 0;
    if flavor == Flavor::Expressions {
        if let Some(text) = &definition.expression {
            if is_classic {
                return Err(format!("cannot set 'expression' with {CLASSIC}"));
            }
            if definition.regex_priority != 0 {
                return Err("cannot set 'regex_priority' with 'expression' simultaneously".to_owned());
            }
            return check(text, definition.is_stream).map(|_| ());
        }
        if is_classic && definition.priority != 0 {
            return Err(format!("cannot set 'priority' with {CLASSIC}"));
        }
    }
    if is_classic { check(&text::of_route(&definition), definition.is_stream).map(|_| ()) } else { Ok(()) }
}

/// Parses an expression and makes it ready to run.
pub(crate) fn compile(text: &str, is_stream: bool) -> Result<Predicate, String> {
    Predicate::new(&check(text, is_stream)?)
}

fn check(text: &str, is_stream: bool) -> Result<Expression, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("expression too long: at most {MAX_LENGTH} bytes"));
    }
    if depth(text) > MAX_DEPTH {
        return Err(format!("expression nested too deeply: at most {MAX_DEPTH} levels"));
    }
    let expression = atc_router::parser::parse(text).map_err(|error| error.to_string())?;
    expression.validate(&schema(is_stream))?;
    if has_bad_segments(&expression) {
        return Err("illformed http.path.segments.* field".to_owned());
    }
    Ok(expression)
}

/// How deep parentheses go; those in strings count too, which only makes the bound stricter.
fn depth(text: &str) -> usize {
    let mut open = 0usize;
    let mut deepest = 0;
    for byte in text.bytes() {
        match byte {
            b'(' => open += 1,
            b')' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

pub(crate) fn schema(is_stream: bool) -> Schema {
    let mut schema = Schema::default();
    for field in ["net.protocol", "tls.sni"] {
        schema.add_field(field, Type::String);
    }
    for field in ["net.src.ip", "net.dst.ip"] {
        schema.add_field(field, Type::IpAddr);
    }
    for field in ["net.src.port", "net.dst.port"] {
        schema.add_field(field, Type::Int);
    }
    if !is_stream {
        let strings =
            ["http.method", "http.host", "http.path", "http.path.segments.*", "http.headers.*", "http.queries.*"];
        for field in strings {
            schema.add_field(field, Type::String);
        }
        for field in ["http.path.segments.len", "net.port"] {
            schema.add_field(field, Type::Int);
        }
    }
    schema
}

fn has_bad_segments(expression: &Expression) -> bool {
    match expression {
        Expression::Logical(logical) => match logical.as_ref() {
            LogicalExpression::And(left, right) | LogicalExpression::Or(left, right) => {
                has_bad_segments(left) || has_bad_segments(right)
            }
            LogicalExpression::Not(inner) => has_bad_segments(inner),
        },
        Expression::Predicate(test) => match test.lhs.var_name.strip_prefix("http.path.segments.") {
            Some("len") | None => false,
            Some(range) => segment_range(range).is_none(),
        },
    }
}

/// `3` or `3_5`: which segments, both ends included.
fn segment_range(text: &str) -> Option<(usize, usize)> {
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    match text.split_once('_') {
        None => number(text).map(|at| (at, at)),
        Some((from, to)) => Some((number(from)?, number(to)?)).filter(|(from, to)| from < to),
    }
}
