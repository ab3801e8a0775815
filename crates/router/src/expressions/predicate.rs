//! Expressions ready to run: the fields resolved, the literals in bytes, the regexes compiled.

use std::cmp::Ordering;
use std::net::IpAddr;

use atc_router::ast::{self, BinaryOperator, Expression, LogicalExpression, Value};
use entities::route::expression::segments as segment_range;
use entities::route::pattern::Dialect;

use crate::checks::{HeaderName, lower};
use crate::context::{Context, Found};
use crate::definition::Address;
use crate::pattern::Pattern;

#[derive(Debug)]
pub(crate) enum Predicate {
    All(Box<[Predicate]>),
    AnyOf(Box<[Predicate]>),
    Not(Box<Predicate>),
    Test(Test),
}

#[derive(Debug)]
pub(crate) struct Test {
    pub(super) field: Field,
    /// The value is put in lower case first.
    pub(super) is_lower: bool,
    /// One value of several is enough; otherwise all of them must do.
    is_any: bool,
    pub(super) operation: Operation,
}

#[derive(Debug)]
pub(super) enum Field {
    Protocol,
    Sni,
    Method,
    Host,
    Path,
    Segments { first: usize, last: usize },
    SegmentCount,
    Header(HeaderName),
    Argument(Box<str>),
    SourceAddress,
    SourcePort,
    DestinationAddress,
    DestinationPort,
}

#[derive(Debug)]
pub(super) enum Operation {
    Equals(String),
    Differs(String),
    Starts(String),
    Ends(String),
    Contains(String),
    Matches { pattern: Pattern, text: String },
    Number { is: Comparison, value: i64 },
    Address { value: IpAddr, is_equal: bool },
    Network { value: Address, is_inside: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Different,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::Different => ordering.is_ne(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
        }
    }
}

impl Predicate {
    pub(super) fn new(expression: &Expression) -> Result<Self, String> {
        let logical = match expression {
            Expression::Predicate(test) => return Ok(Predicate::Test(Test::new(test)?)),
            Expression::Logical(logical) => logical.as_ref(),
        };
        Ok(match logical {
            LogicalExpression::Not(inner) => Predicate::Not(Box::new(Predicate::new(inner)?)),
            LogicalExpression::And(..) => Predicate::All(chain(expression, true)?),
            LogicalExpression::Or(..) => Predicate::AnyOf(chain(expression, false)?),
        })
    }

    /// Whether it holds; `found` receives what was matched of the path, the last word being the latest test's, as in Kong.
    pub(crate) fn holds<'a>(&'a self, cx: &mut Context<'a>, found: &mut Found<'a>) -> bool {
        match self {
            Predicate::All(parts) => parts.iter().all(|part| part.holds(cx, found)),
            Predicate::AnyOf(parts) => parts.iter().any(|part| part.holds(cx, found)),
            Predicate::Not(inner) => !inner.holds(cx, found),
            Predicate::Test(test) => test.holds(cx, found),
        }
    }

    pub(crate) fn uses_path(&self) -> bool {
        match self {
            Predicate::All(parts) | Predicate::AnyOf(parts) => parts.iter().any(Predicate::uses_path),
            Predicate::Not(inner) => inner.uses_path(),
            Predicate::Test(test) => matches!(test.field, Field::Path | Field::Segments { .. } | Field::SegmentCount),
        }
    }
}

/// The parts of a chain of one operator, which the parser nests to the left, in order.
fn chain(expression: &Expression, is_and: bool) -> Result<Box<[Predicate]>, String> {
    let mut parts = Vec::new();
    let mut rest = expression;
    loop {
        let sides = match rest {
            Expression::Logical(logical) => match (logical.as_ref(), is_and) {
                (LogicalExpression::And(left, right), true) | (LogicalExpression::Or(left, right), false) => {
                    Some((left, right))
                }
                _ => None,
            },
            Expression::Predicate(_) => None,
        };
        let Some((left, right)) = sides else {
            parts.push(Predicate::new(rest)?);
            break;
        };
        parts.push(Predicate::new(right)?);
        rest = left;
    }
    parts.reverse();
    Ok(parts.into())
}

impl Predicate {
    /// A regex that the path must match.
    pub(crate) fn path_regex(&self) -> Option<&Pattern> {
        match self {
            Predicate::All(parts) => parts.iter().find_map(Predicate::path_regex),
            Predicate::Test(Test { field: Field::Path, is_lower: false, operation, .. }) => match operation {
                Operation::Matches { pattern, .. } => Some(pattern),
                _ => None,
            },
            Predicate::AnyOf(_) | Predicate::Not(_) | Predicate::Test(_) => None,
        }
    }
}

impl Test {
    fn new(test: &ast::Predicate) -> Result<Self, String> {
        let (is_lower, is_any) = test.lhs.get_transformations();
        let field = field(&test.lhs.var_name).ok_or("Unknown LHS field")?;
        let operation = operation(test, matches!(field, Field::Sni))?;
        Ok(Test { field, is_lower, is_any, operation })
    }

    fn holds<'a>(&'a self, cx: &mut Context<'a>, found: &mut Found<'a>) -> bool {
        let query = cx.query;
        match &self.field {
            Field::Protocol => self.text(query.protocol.name().as_bytes()),
            Field::Sni => query.sni.is_some_and(|sni| self.text(sni.as_bytes())),
            Field::Method => self.text(query.method.as_bytes()),
            Field::Host => cx.host.is_some_and(|host| self.text(host)),
            Field::Path => self.path(query.path, found),
            Field::Segments { first, last } => segments(query.path, *first, *last).is_some_and(|text| self.text(text)),
            Field::SegmentCount => self.number(segment_count(query.path)),
            Field::Header(name) => {
                self.several(cx.headers().iter().filter(|(other, _)| name.is(other)).map(|(_, value)| *value))
            }
            Field::Argument(name) => {
                let values = cx.arguments().iter().filter(|(other, _)| **other == *name.as_bytes());
                self.several(values.map(|(_, value)| value.as_ref()))
            }
            Field::SourceAddress => query.source.is_some_and(|source| self.address(source.ip())),
            Field::DestinationAddress => query.destination.is_some_and(|destination| self.address(destination.ip())),
            Field::SourcePort => query.source.is_some_and(|source| self.number(source.port().into())),
            Field::DestinationPort => {
                query.destination.is_some_and(|destination| self.number(destination.port().into()))
            }
        }
    }

    /// No value at all never holds.
    fn several<'v>(&self, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
        if self.is_any {
            return values.any(|value| self.text(value));
        }
        let mut is_present = false;
        values.all(|value| {
            is_present = true;
            self.text(value)
        }) && is_present
    }

    fn text(&self, value: &[u8]) -> bool {
        let value = if self.is_lower { lower(value) } else { value.into() };
        match &self.operation {
            Operation::Equals(text) => *value == *text.as_bytes(),
            Operation::Differs(text) => *value != *text.as_bytes(),
            Operation::Starts(text) => value.starts_with(text.as_bytes()),
            Operation::Ends(text) => value.ends_with(text.as_bytes()),
            Operation::Contains(text) => contains(&value, text.as_bytes()),
            Operation::Matches { pattern, .. } => pattern.is_match(&value),
            Operation::Number { .. } | Operation::Address { .. } | Operation::Network { .. } => false,
        }
    }

    fn path<'a>(&'a self, path: &'a [u8], found: &mut Found<'a>) -> bool {
        if let Operation::Matches { pattern, .. } = &self.operation {
            if !self.is_lower {
                return found.by_pattern(pattern, path);
            }
            // What a regex matches of a lower-cased path is taken from the path itself: the lengths agree unless Unicode's
            // rules change them, and then nothing is stripped.
            let lowered = lower(path);
            let Some((start, matched)) = pattern.find(&lowered) else { return false };
            found.prefix = if start == 0 && lowered.len() == path.len() { path.get(..matched.len()) } else { None };
            found.captures = None;
            return true;
        }
        let holds = self.text(path);
        if holds {
            match &self.operation {
                Operation::Equals(text) | Operation::Starts(text) => {
                    (found.prefix, found.captures) = (Some(text.as_bytes()), None);
                }
                // Matched elsewhere than at the start: Kong strips as many bytes from the start all the same.
                Operation::Ends(_) => (found.prefix, found.captures) = (None, None),
                _ => {}
            }
        }
        holds
    }

    fn number(&self, number: i64) -> bool {
        matches!(&self.operation, Operation::Number { is, value } if is.holds(number.cmp(value)))
    }

    fn address(&self, address: IpAddr) -> bool {
        match &self.operation {
            Operation::Address { value, is_equal } => (*value == address) == *is_equal,
            Operation::Network { value, is_inside } => value.contains(address) == *is_inside,
            _ => false,
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        "net.protocol" => Field::Protocol,
        "tls.sni" => Field::Sni,
        "http.method" => Field::Method,
        "http.host" => Field::Host,
        "http.path" => Field::Path,
        "http.path.segments.len" => Field::SegmentCount,
        "net.src.ip" => Field::SourceAddress,
        "net.src.port" => Field::SourcePort,
        "net.dst.ip" => Field::DestinationAddress,
        "net.dst.port" | "net.port" => Field::DestinationPort,
        _ => {
            if let Some(range) = name.strip_prefix("http.path.segments.") {
                let (first, last) = segment_range(range)?;
                Field::Segments { first, last }
            } else if let Some(header) = name.strip_prefix("http.headers.") {
                Field::Header(HeaderName::folded(header))
            } else {
                Field::Argument(name.strip_prefix("http.queries.")?.into())
            }
        }
    })
}

/// `is_sni`: names of servers come in small letters.
fn operation(test: &ast::Predicate, is_sni: bool) -> Result<Operation, String> {
    let is = match test.op {
        BinaryOperator::NotEquals => Comparison::Different,
        BinaryOperator::Greater => Comparison::Greater,
        BinaryOperator::GreaterOrEqual => Comparison::GreaterOrEqual,
        BinaryOperator::Less => Comparison::Less,
        BinaryOperator::LessOrEqual => Comparison::LessOrEqual,
        _ => Comparison::Equal,
    };
    Ok(match &test.rhs {
        Value::String(text) => {
            let text = if is_sni { text.to_ascii_lowercase() } else { text.clone() };
            match test.op {
                BinaryOperator::NotEquals => Operation::Differs(text),
                BinaryOperator::Prefix => Operation::Starts(text),
                BinaryOperator::Postfix => Operation::Ends(text),
                BinaryOperator::Contains => Operation::Contains(text),
                _ => Operation::Equals(text),
            }
        }
        Value::Regex(regex) => {
            let text = regex.as_str().to_owned();
            Operation::Matches { pattern: Pattern::new(&text, Dialect::Rust)?, text }
        }
        Value::Int(value) => Operation::Number { is, value: *value },
        Value::IpAddr(value) => Operation::Address { value: *value, is_equal: test.op == BinaryOperator::Equals },
        Value::IpCidr(value) => {
            let value = Address::new(&value.to_string()).ok_or("invalid ip or cidr range")?;
            Operation::Network { value, is_inside: test.op == BinaryOperator::In }
        }
    })
}

/// The path's bytes from one segment to another, if it has that many; a slash at the end begins no segment.
fn segments(path: &[u8], first: usize, last: usize) -> Option<&[u8]> {
    let path = trimmed(path)?;
    let mut ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    let start = if first == 0 { 0 } else { ends.nth(first - 1)? + 1 };
    let end = ends.nth(last - first)?;
    path.get(start..end)
}

fn segment_count(path: &[u8]) -> i64 {
    trimmed(path).map_or(0, |path| path.iter().filter(|byte| **byte == b'/').count() as i64 + 1)
}

/// Without the slashes at both ends; None if nothing is left.
fn trimmed(path: &[u8]) -> Option<&[u8]> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let end = path.iter().rposition(|byte| *byte != b'/')?;
    path.get(..=end)
}
