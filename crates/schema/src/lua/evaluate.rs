//! The evaluation of Lua expressions: it changes nothing, calls only what the environment offers, and its work and its
//! results are bounded.

use super::expression::{Binary, Expression, Node, number};
use super::{print, strings};
use std::borrow::Cow;
use std::rc::Rc;

/// The longest string an evaluation may make, in bytes.
pub(super) const LONGEST: usize = 1 << 20;

/// A value while an expression is evaluated; strings may be borrowed from the environment.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Nil,
    /// `ngx.null`, which is true.
    Null,
    Bool(bool),
    Number(f64),
    String(Cow<'a, [u8]>),
    Table(Table<'a>),
    /// A table of the environment.
    Object(Object),
    Function(Function),
}

/// A table made by an expression or the environment: keys and values.
pub type Table<'a> = Rc<Vec<(Value<'a>, Value<'a>)>>;

/// The name by which the environment knows one of its tables: `headers`, `kong.request`.
pub type Object = &'static str;

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// A function of the string library, as a method of a string.
    String(&'static str),
    /// A function of the environment, by the name it chose.
    Host(&'static str),
}

/// Why an expression has no value. The text never has a value of the request in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub Cow<'static, str>);

impl Fault {
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

/// What expressions can see.
pub trait Environment<'a> {
    /// A global; `Nil` where there is none of this name.
    fn global(&self, name: &str) -> Value<'a>;

    /// A field of a table of the environment.
    ///
    /// # Errors
    /// The table cannot be read so.
    fn field(&self, object: Object, key: &Value<'a>) -> Result<Value<'a>, Fault>;

    /// Calls a function of the environment.
    ///
    /// # Errors
    /// The arguments do not fit.
    fn call(&self, function: &'static str, arguments: &[Value<'a>]) -> Result<Value<'a>, Fault>;
}

impl<'a> Value<'a> {
    pub fn text(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text.as_bytes()))
    }

    pub fn owned(text: impl Into<Vec<u8>>) -> Self {
        Self::String(Cow::Owned(text.into()))
    }

    /// A list with the keys 1, 2, 3, ...
    pub fn list(values: impl IntoIterator<Item = Self>) -> Self {
        let keyed = values.into_iter().enumerate().map(|(at, value)| (Self::Number((at + 1) as f64), value));
        Self::Table(Rc::new(keyed.collect()))
    }

    /// All but nil and false are true.
    pub fn is_true(&self) -> bool {
        !matches!(self, Self::Nil | Self::Bool(false))
    }

    /// What `type` says.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Null => "userdata",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Table(_) | Self::Object(_) => "table",
            Self::Function(_) => "function",
        }
    }

    /// What `tostring` says; tables and functions do not tell their addresses.
    pub fn display(self) -> Cow<'a, [u8]> {
        match self {
            Self::String(text) => text,
            Self::Nil => Cow::Borrowed(b"nil"),
            Self::Null => Cow::Borrowed(b"userdata: NULL"),
            Self::Bool(true) => Cow::Borrowed(b"true"),
            Self::Bool(false) => Cow::Borrowed(b"false"),
            Self::Number(n) => Cow::Owned(print::number(n).into_bytes()),
            Self::Table(_) | Self::Object(_) => Cow::Borrowed(b"table: 0x00000000"),
            Self::Function(_) => Cow::Borrowed(b"function: 0x00000000"),
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(n) => Some(*n),
            Self::String(text) => std::str::from_utf8(text).ok().and_then(number),
            _ => None,
        }
    }

    /// The bytes of a string or a number.
    pub(super) fn as_bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::String(text) => Some(Cow::Borrowed(text)),
            Self::Number(n) => Some(Cow::Owned(print::number(*n).into_bytes())),
            _ => None,
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nil, Self::Nil) | (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Table(a), Self::Table(b)) => Rc::ptr_eq(a, b),
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Function(a), Self::Function(b)) => a == b,
            _ => false,
        }
    }
}

type Evaluated<'a> = Result<Value<'a>, Fault>;

impl Expression {
    /// The value, as far as one expression has one.
    ///
    /// # Errors
    /// What Lua would raise as an error, and what goes beyond the bounds.
    pub fn evaluate<'a>(&'a self, environment: &dyn Environment<'a>) -> Evaluated<'a> {
        self.node.evaluate(environment)
    }
}

impl Node {
    fn evaluate<'a>(&'a self, cx: &dyn Environment<'a>) -> Evaluated<'a> {
        match self {
            Self::Nil => Ok(Value::Nil),
            Self::Bool(value) => Ok(Value::Bool(*value)),
            Self::Number(value) => Ok(Value::Number(*value)),
            Self::String(text) => Ok(Value::String(Cow::Borrowed(text))),
            Self::Global(name) => Ok(cx.global(name)),
            Self::Index(both) => {
                let table = both.0.evaluate(cx)?;
                index(cx, &table, &both.1.evaluate(cx)?)
            }
            Self::Call(function, arguments) => {
                let function = function.evaluate(cx)?;
                call(cx, &function, &evaluate_all(cx, None, arguments)?)
            }
            Self::Method(of, name, arguments) => {
                let of = of.evaluate(cx)?;
                let function = index(cx, &of, &Value::text(name))?;
                call(cx, &function, &evaluate_all(cx, Some(of), arguments)?)
            }
            Self::Not(inner) => Ok(Value::Bool(!inner.evaluate(cx)?.is_true())),
            Self::Minus(inner) => {
                let value = inner.evaluate(cx)?;
                value.as_number().map(|n| Value::Number(-n)).ok_or_else(|| wrong("perform arithmetic on", &value))
            }
            Self::Length(inner) => length(&inner.evaluate(cx)?),
            Self::And(both) => {
                let left = both.0.evaluate(cx)?;
                if left.is_true() { both.1.evaluate(cx) } else { Ok(left) }
            }
            Self::Or(both) => {
                let left = both.0.evaluate(cx)?;
                if left.is_true() { Ok(left) } else { both.1.evaluate(cx) }
            }
            Self::Binary(operator, both) => binary(*operator, both.0.evaluate(cx)?, &both.1.evaluate(cx)?),
            Self::Table(entries) => table(cx, entries),
            Self::Function(_) => Ok(Value::Function(Function::Host("a function of the expression"))),
            Self::Unsupported(what) => Err(Fault::new(format!("{what} cannot be used in templates"))),
        }
    }
}

fn evaluate_all<'a>(
    cx: &dyn Environment<'a>,
    first: Option<Value<'a>>,
    nodes: &'a [Node],
) -> Result<Vec<Value<'a>>, Fault> {
    first.map(Ok).into_iter().chain(nodes.iter().map(|node| node.evaluate(cx))).collect()
}

fn wrong(what: &str, value: &Value<'_>) -> Fault {
    Fault::new(format!("attempt to {what} a {} value", value.type_name()))
}

fn index<'a>(cx: &dyn Environment<'a>, of: &Value<'a>, key: &Value<'a>) -> Evaluated<'a> {
    match of {
        Value::Table(entries) => {
            let found = entries.iter().rev().find(|(known, _)| known.equals(key));
            Ok(found.map_or(Value::Nil, |(_, value)| value.clone()))
        }
        Value::Object(object) => cx.field(object, key),
        Value::String(_) => Ok(strings::method(key).map_or(Value::Nil, |name| Value::Function(Function::String(name)))),
        _ => Err(wrong("index", of)),
    }
}

fn call<'a>(cx: &dyn Environment<'a>, function: &Value<'a>, arguments: &[Value<'a>]) -> Evaluated<'a> {
    match function {
        Value::Function(Function::String(name)) => strings::call(name, arguments),
        Value::Function(Function::Host(name)) => cx.call(name, arguments),
        _ => Err(wrong("call", function)),
    }
}

fn length<'a>(value: &Value<'a>) -> Evaluated<'a> {
    match value {
        Value::String(text) => Ok(Value::Number(text.len() as f64)),
        Value::Table(entries) => {
            let is_there = |n: usize| entries.iter().any(|(key, _)| key.equals(&Value::Number(n as f64)));
            Ok(Value::Number((1..).take_while(|n| is_there(*n)).count() as f64))
        }
        // Their fields have names, not numbers.
        Value::Object(_) => Ok(Value::Number(0.0)),
        _ => Err(wrong("get length of", value)),
    }
}

fn table<'a>(cx: &dyn Environment<'a>, entries: &'a [(Option<Node>, Node)]) -> Evaluated<'a> {
    let mut next = 0.0;
    let mut all = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let key = match key {
            Some(key) => key.evaluate(cx)?,
            None => {
                next += 1.0;
                Value::Number(next)
            }
        };
        if matches!(key, Value::Nil) {
            return Err(Fault::new("table index is nil"));
        }
        let value = value.evaluate(cx)?;
        if !matches!(value, Value::Nil) {
            all.push((key, value));
        }
    }
    Ok(Value::Table(Rc::new(all)))
}

fn binary<'a>(operator: Binary, left: Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
    let ordered =
        |less: fn(std::cmp::Ordering) -> bool| compare(&left, right).map(|o| Value::Bool(o.is_some_and(less)));
    let arithmetic = |of: fn(f64, f64) -> f64| match (left.as_number(), right.as_number()) {
        (Some(a), Some(b)) => Ok(Value::Number(of(a, b))),
        (Some(_), None) => Err(wrong("perform arithmetic on", right)),
        _ => Err(wrong("perform arithmetic on", &left)),
    };
    match operator {
        Binary::Equal => Ok(Value::Bool(left.equals(right))),
        Binary::Unequal => Ok(Value::Bool(!left.equals(right))),
        Binary::Less => ordered(std::cmp::Ordering::is_lt),
        Binary::LessEqual => ordered(std::cmp::Ordering::is_le),
        Binary::Greater => ordered(std::cmp::Ordering::is_gt),
        Binary::GreaterEqual => ordered(std::cmp::Ordering::is_ge),
        Binary::Add => arithmetic(|a, b| a + b),
        Binary::Subtract => arithmetic(|a, b| a - b),
        Binary::Multiply => arithmetic(|a, b| a * b),
        Binary::Divide => arithmetic(|a, b| a / b),
        Binary::Modulo => arithmetic(|a, b| a - (a / b).floor() * b),
        Binary::Power => arithmetic(f64::powf),
        Binary::Concat => concat(left, right),
    }
}

fn concat<'a>(left: Value<'a>, right: &Value<'a>) -> Evaluated<'a> {
    let Some(tail) = right.as_bytes() else { return Err(wrong("concatenate", right)) };
    let mut text = match left {
        Value::String(text) => text.into_owned(),
        Value::Number(n) => print::number(n).into_bytes(),
        other => return Err(wrong("concatenate", &other)),
    };
    if text.len() + tail.len() > LONGEST {
        return Err(Fault::new("resulting string too large"));
    }
    text.extend_from_slice(&tail);
    Ok(Value::owned(text))
}

fn compare(left: &Value<'_>, right: &Value<'_>) -> Result<Option<std::cmp::Ordering>, Fault> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => Ok(a.partial_cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        (a, b) if a.type_name() == b.type_name() => {
            Err(Fault::new(format!("attempt to compare two {} values", a.type_name())))
        }
        (a, b) => Err(Fault::new(format!("attempt to compare {} with {}", a.type_name(), b.type_name()))),
    }
}
