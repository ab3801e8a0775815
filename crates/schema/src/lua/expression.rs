//! Lua expressions, compiled once into a tree that [`evaluate`](super::evaluate) runs.

use super::lexer::{Lexer, SyntaxError, Token};
use super::parser::{MAX_LEVEL, UNARY, parse, priority};

/// An expression that has compiled.
#[derive(Debug)]
pub struct Expression {
    pub(super) node: Node,
    /// The names of globals that it reads.
    globals: Vec<Box<str>>,
}

impl Expression {
    /// Compiles one expression. Functions written in Lua compile too, and fault when they are evaluated.
    ///
    /// # Errors
    /// LuaJIT's message, of a chunk of this name: `[string "TMP"]:1: unexpected symbol near ')'`.
    pub fn compile(source: &str, chunk: &str) -> Result<Self, String> {
        // In parentheses, so that a list of expressions or a statement behind it is no expression.
        let code = format!("({source})");
        let told = |error: SyntaxError| format!("[string \"{chunk}\"]:{}: {}", error.line, error.text);
        parse(&format!("return {code}")).map_err(told)?;
        let mut parser = Parser { lexer: Lexer::new(&code), globals: Vec::new(), level: 0 };
        let node = match parser.whole() {
            Ok(node) => node,
            Err(Stop::Unsupported(what)) => Node::Unsupported(what),
            Err(Stop::Syntax(error)) => return Err(told(error)),
        };
        Ok(Self { node, globals: parser.globals })
    }

    /// Whether the expression reads a global of this name.
    pub fn reads(&self, global: &str) -> bool {
        self.globals.iter().any(|name| **name == *global)
    }
}

#[derive(Debug)]
pub(super) enum Node {
    Nil,
    Bool(bool),
    Number(f64),
    String(Vec<u8>),
    Global(Box<str>),
    Index(Box<(Node, Node)>),
    Call(Box<Node>, Vec<Node>),
    Method(Box<Node>, Box<str>, Vec<Node>),
    Not(Box<Node>),
    Minus(Box<Node>),
    Length(Box<Node>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Binary(Binary, Box<(Node, Node)>),
    /// Keys (absent: the next number) and values.
    Table(Vec<(Option<Node>, Node)>),
    /// One written in the expression, with what it gives where it takes nothing and does nothing but to return that.
    Function(Option<Box<Node>>),
    Unsupported(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Concat,
    Equal,
    Unequal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Why there is no tree.
enum Stop {
    Syntax(SyntaxError),
    Unsupported(&'static str),
}

impl From<SyntaxError> for Stop {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

type Parsed<T = Node> = Result<T, Stop>;

/// Builds the tree of code that is known to be valid.
struct Parser<'a> {
    lexer: Lexer<'a>,
    globals: Vec<Box<str>>,
    level: usize,
}

impl Parser<'_> {
    fn whole(&mut self) -> Parsed {
        self.lexer.next()?;
        self.expression(0)
    }

    fn is(&self, token: Token) -> bool {
        self.lexer.token == token
    }

    fn take(&mut self, token: Token) -> Parsed<bool> {
        let found = self.is(token);
        if found {
            self.lexer.next()?;
        }
        Ok(found)
    }

    fn need(&mut self, token: Token) -> Parsed<()> {
        if self.take(token)? { Ok(()) } else { Err(Stop::Syntax(self.lexer.error("unexpected symbol"))) }
    }

    fn name(&mut self) -> Parsed<String> {
        let name = self.lexer.current();
        self.need(Token::Name)?;
        Ok(name)
    }

    fn expression(&mut self, limit: u8) -> Parsed {
        self.level += 1;
        if self.level > MAX_LEVEL {
            return Err(Stop::Syntax(self.lexer.error("chunk has too many syntax levels")));
        }
        let unary: Option<fn(Box<Node>) -> Node> = match self.lexer.token {
            Token::Word("not") => Some(Node::Not),
            Token::Char(b'-') => Some(Node::Minus),
            Token::Char(b'#') => Some(Node::Length),
            _ => None,
        };
        let mut left = match unary {
            Some(of) => {
                self.lexer.next()?;
                of(Box::new(self.expression(UNARY)?))
            }
            None => self.simple()?,
        };
        while let Some((_, right)) = priority(self.lexer.token).filter(|(left, _)| *left > limit) {
            let operator = self.lexer.token;
            self.lexer.next()?;
            let both = Box::new((left, self.expression(right)?));
            left = match operator {
                Token::Word("and") => Node::And(both),
                Token::Word("or") => Node::Or(both),
                other => Node::Binary(binary(other).ok_or(Stop::Unsupported("this operator"))?, both),
            };
        }
        self.level -= 1;
        Ok(left)
    }

    fn simple(&mut self) -> Parsed {
        let node = match self.lexer.token {
            Token::Number => Node::Number(number(&self.lexer.current()).ok_or(Stop::Unsupported("64-bit numbers"))?),
            Token::String => Node::String(string(&self.lexer.current())),
            Token::Word("nil") => Node::Nil,
            Token::Word("true") => Node::Bool(true),
            Token::Word("false") => Node::Bool(false),
            Token::Word("...") => return Err(Stop::Unsupported("'...'")),
            Token::Word("function") => return self.function(),
            Token::Char(b'{') => return self.table(),
            _ => return self.primary(),
        };
        self.lexer.next()?;
        Ok(node)
    }

    fn primary(&mut self) -> Parsed {
        let mut node = if self.take(Token::Char(b'('))? {
            let inner = self.expression(0)?;
            self.need(Token::Char(b')'))?;
            inner
        } else {
            let name: Box<str> = self.name()?.into();
            self.globals.push(name.clone());
            Node::Global(name)
        };
        loop {
            node = match self.lexer.token {
                Token::Char(b'.') => {
                    self.lexer.next()?;
                    Node::Index(Box::new((node, Node::String(self.name()?.into_bytes()))))
                }
                Token::Char(b'[') => {
                    self.lexer.next()?;
                    let key = self.expression(0)?;
                    self.need(Token::Char(b']'))?;
                    Node::Index(Box::new((node, key)))
                }
                Token::Char(b':') => {
                    self.lexer.next()?;
                    let name = self.name()?.into();
                    Node::Method(Box::new(node), name, self.arguments()?)
                }
                Token::Char(b'(' | b'{') | Token::String => {
                    let arguments = self.arguments()?;
                    match node {
                        Node::Function(Some(value)) => *value,
                        Node::Function(None) => return Err(Stop::Unsupported("functions")),
                        node => Node::Call(Box::new(node), arguments),
                    }
                }
                _ => return Ok(node),
            };
        }
    }

    fn function(&mut self) -> Parsed {
        self.lexer.next()?;
        self.need(Token::Char(b'('))?;
        if self.take(Token::Char(b')'))? {
            let has_value = self.take(Token::Word("return"))?
                && !matches!(self.lexer.token, Token::Char(b';') | Token::Word("end"));
            let value = if has_value { self.expression(0)? } else { Node::Nil };
            self.take(Token::Char(b';'))?;
            if self.take(Token::Word("end"))? {
                return Ok(Node::Function(Some(Box::new(value))));
            }
        }
        // It is known to be valid, so that its end is the one which nothing in it begins.
        let mut open = 1_usize;
        while open > 0 {
            match self.lexer.token {
                Token::Word("function" | "do" | "if" | "repeat") => open += 1,
                Token::Word("end" | "until") => open -= 1,
                Token::Eof => return Err(Stop::Syntax(self.lexer.error("'end' expected"))),
                _ => {}
            }
            self.lexer.next()?;
        }
        Ok(Node::Function(None))
    }

    fn arguments(&mut self) -> Parsed<Vec<Node>> {
        if !self.is(Token::Char(b'(')) {
            return Ok(vec![self.simple()?]);
        }
        self.lexer.next()?;
        let mut all = Vec::new();
        while !self.is(Token::Char(b')')) {
            all.push(self.expression(0)?);
            if !self.take(Token::Char(b','))? {
                break;
            }
        }
        self.need(Token::Char(b')'))?;
        Ok(all)
    }

    fn table(&mut self) -> Parsed {
        self.lexer.next()?;
        let mut entries = Vec::new();
        while !self.is(Token::Char(b'}')) {
            let key = if self.take(Token::Char(b'['))? {
                let key = self.expression(0)?;
                self.need(Token::Char(b']'))?;
                self.need(Token::Char(b'='))?;
                Some(key)
            } else if self.is(Token::Name) && self.lexer.peek()? == Token::Char(b'=') {
                let name = self.name()?;
                self.lexer.next()?;
                Some(Node::String(name.into_bytes()))
            } else {
                None
            };
            entries.push((key, self.expression(0)?));
            if !self.take(Token::Char(b','))? && !self.take(Token::Char(b';'))? {
                break;
            }
        }
        self.need(Token::Char(b'}'))?;
        Ok(Node::Table(entries))
    }
}

fn binary(token: Token) -> Option<Binary> {
    Some(match token {
        Token::Char(b'+') => Binary::Add,
        Token::Char(b'-') => Binary::Subtract,
        Token::Char(b'*') => Binary::Multiply,
        Token::Char(b'/') => Binary::Divide,
        Token::Char(b'%') => Binary::Modulo,
        Token::Char(b'^') => Binary::Power,
        Token::Word("..") => Binary::Concat,
        Token::Word("==") => Binary::Equal,
        Token::Word("~=") => Binary::Unequal,
        Token::Char(b'<') => Binary::Less,
        Token::Word("<=") => Binary::LessEqual,
        Token::Char(b'>') => Binary::Greater,
        Token::Word(">=") => Binary::GreaterEqual,
        _ => return None,
    })
}

/// A number as Lua writes it: decimal, or hexadecimal and binary without a fraction.
pub(super) fn number(text: &str) -> Option<f64> {
    let lower = text.trim().to_ascii_lowercase();
    let (sign, digits) = lower.strip_prefix('-').map_or((1.0, lower.as_str()), |digits| (-1.0, digits));
    for (prefix, radix) in [("0x", 16), ("0b", 2)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            return u64::from_str_radix(digits, radix).ok().filter(|_| is_plain).map(|n| sign * n as f64);
        }
    }
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'));
    digits.parse::<f64>().ok().filter(|_| is_plain && !digits.starts_with(['+', '-'])).map(|n| sign * n)
}

/// The bytes of a string literal: quoted, or in long brackets.
fn string(literal: &str) -> Vec<u8> {
    let bytes = literal.as_bytes();
    if bytes.first() == Some(&b'[') {
        let width = bytes.iter().skip(1).take_while(|byte| **byte == b'=').count() + 2;
        let inner = bytes.get(width..bytes.len().saturating_sub(width)).unwrap_or_default();
        // A line break right behind the opening bracket is no part of the string.
        let inner = inner.strip_prefix(b"\r\n").or_else(|| inner.strip_prefix(b"\n")).unwrap_or(inner);
        return inner.to_vec();
    }
    let mut rest = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default();
    let mut out = Vec::with_capacity(rest.len());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'\\' {
            rest = escape(after, &mut out);
        } else {
            out.push(*byte);
        }
    }
    out
}

/// Undoes one escape, whose backslash is behind; what follows it comes back.
fn escape<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some((kind, after)) = text.split_first() else { return text };
    let hex = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|d| u32::from_str_radix(d, 16).ok());
    let plain = match kind {
        b'a' => 7,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        b'z' => return after.trim_ascii_start(),
        b'x' => {
            out.extend(after.get(..2).and_then(hex).map(|n| n as u8));
            return after.get(2..).unwrap_or_default();
        }
        b'u' => {
            let end = after.iter().position(|byte| *byte == b'}').unwrap_or(after.len());
            let code = after.get(1..end).and_then(hex).and_then(char::from_u32);
            out.extend_from_slice(code.unwrap_or('\u{fffd}').encode_utf8(&mut [0; 4]).as_bytes());
            return after.get(end + 1..).unwrap_or_default();
        }
        digit if digit.is_ascii_digit() => {
            let count = text.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, after) = text.split_at(count);
            out.push(digits.iter().fold(0_u8, |n, d| n.wrapping_mul(10).wrapping_add(d - b'0')));
            return after;
        }
        other => *other,
    };
    out.push(plain);
    after
}
