//! Lua's grammar as LuaJIT parses it, for its errors alone.

use super::lexer::{Lexer, SyntaxError, Token};

type Parsed<T = ()> = Result<T, SyntaxError>;

/// Nested statements and expressions, as LuaJIT limits them.
pub(super) const MAX_LEVEL: usize = 200;
/// The least priority of an operand of `not`, `-` and `#`.
pub(super) const UNARY: u8 = 8;

/// What a primary expression is good for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Primary {
    Assignable,
    Call,
    Value,
}

#[derive(Default)]
struct Function {
    vararg: bool,
    blocks: Vec<Block>,
}

#[derive(Default)]
struct Block {
    is_loop: bool,
    labels: Vec<String>,
    /// Names and lines of jumps to labels that may still come.
    gotos: Vec<(String, usize)>,
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    level: usize,
    functions: Vec<Function>,
}

pub(super) fn parse(code: &str) -> Parsed {
    let mut parser = Parser { lexer: Lexer::new(code), level: 0, functions: Vec::new() };
    parser.lexer.next()?;
    parser.functions.push(Function { vararg: true, ..Function::default() });
    parser.block(false)?;
    if parser.lexer.token != Token::Eof {
        return Err(parser.expected("<eof>"));
    }
    Ok(())
}

impl Parser<'_> {
    fn expected(&self, what: &str) -> SyntaxError {
        self.lexer.error(&format!("'{what}' expected"))
    }

    fn is(&self, token: Token) -> bool {
        self.lexer.token == token
    }

    fn optional(&mut self, token: Token) -> Parsed<bool> {
        let found = self.is(token);
        if found {
            self.lexer.next()?;
        }
        Ok(found)
    }

    fn check(&mut self, token: Token) -> Parsed {
        if self.optional(token)? { Ok(()) } else { Err(self.expected(&name_of(token))) }
    }

    /// The end of what `open` began at `line`.
    fn matching(&mut self, close: Token, open: Token, line: usize) -> Parsed {
        if self.optional(close)? {
            return Ok(());
        }
        if self.lexer.line == line {
            return Err(self.expected(&name_of(close)));
        }
        let text = format!("'{}' expected (to match '{}' at line {line})", name_of(close), name_of(open));
        Err(self.lexer.error(&text))
    }

    fn name(&mut self) -> Parsed<String> {
        if !self.is(Token::Name) {
            return Err(self.expected("<name>"));
        }
        let name = self.lexer.current();
        self.lexer.next()?;
        Ok(name)
    }

    fn deeper(&mut self) -> Parsed {
        self.level += 1;
        if self.level > MAX_LEVEL { Err(self.lexer.error("chunk has too many syntax levels")) } else { Ok(()) }
    }

    fn block(&mut self, is_loop: bool) -> Parsed {
        self.open(is_loop);
        self.statements()?;
        self.close()
    }

    fn open(&mut self, is_loop: bool) {
        if let Some(function) = self.functions.last_mut() {
            function.blocks.push(Block { is_loop, ..Block::default() });
        }
    }

    fn close(&mut self) -> Parsed {
        let Some(function) = self.functions.last_mut() else { return Ok(()) };
        let Some(block) = function.blocks.pop() else { return Ok(()) };
        let open: Vec<(String, usize)> =
            block.gotos.into_iter().filter(|(label, _)| !block.labels.contains(label)).collect();
        match (function.blocks.last_mut(), open.first()) {
            (Some(outer), _) => outer.gotos.extend(open),
            (None, Some((label, line))) => {
                return Err(SyntaxError { line: *line, text: format!("undefined label '{label}'") });
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn statements(&mut self) -> Parsed {
        loop {
            if matches!(self.lexer.token, Token::Eof | Token::Word("else" | "elseif" | "end" | "until")) {
                return Ok(());
            }
            self.deeper()?;
            let last = self.statement()?;
            self.level -= 1;
            self.optional(Token::Char(b';'))?;
            if last {
                return Ok(());
            }
        }
    }

    /// One statement; whether it must be the last.
    fn statement(&mut self) -> Parsed<bool> {
        let line = self.lexer.line;
        let Token::Word(word) = self.lexer.token else {
            if !self.optional(Token::Char(b';'))? {
                self.call_or_assignment()?;
            }
            return Ok(false);
        };
        match word {
            "if" => self.conditional(line)?,
            "while" => {
                self.lexer.next()?;
                self.expression(0)?;
                self.check(Token::Word("do"))?;
                self.block(true)?;
                self.matching(Token::Word("end"), Token::Word("while"), line)?;
            }
            "do" => {
                self.lexer.next()?;
                self.block(false)?;
                self.matching(Token::Word("end"), Token::Word("do"), line)?;
            }
            "for" => self.for_loop(line)?,
            "repeat" => {
                self.lexer.next()?;
                // The condition sees the body's names.
                self.open(true);
                self.statements()?;
                self.matching(Token::Word("until"), Token::Word("repeat"), line)?;
                self.expression(0)?;
                self.close()?;
            }
            "function" => self.function_statement(line)?,
            "local" => self.local(line)?,
            "return" => {
                self.lexer.next()?;
                let ends = matches!(self.lexer.token, Token::Eof | Token::Char(b';'))
                    || matches!(self.lexer.token, Token::Word("else" | "elseif" | "end" | "until"));
                if !ends {
                    self.expressions()?;
                }
                return Ok(true);
            }
            "break" => {
                self.lexer.next()?;
                let in_loop = self.functions.last().is_some_and(|f| f.blocks.iter().any(|block| block.is_loop));
                if !in_loop {
                    return Err(SyntaxError { line, text: "no loop to break".into() });
                }
            }
            "goto" => {
                self.lexer.next()?;
                let label = self.name()?;
                if let Some(block) = self.functions.last_mut().and_then(|f| f.blocks.last_mut()) {
                    block.gotos.push((label, line));
                }
            }
            "::" => self.label()?,
            _ => self.call_or_assignment()?,
        }
        Ok(false)
    }

    fn label(&mut self) -> Parsed {
        self.lexer.next()?;
        let label = self.name()?;
        self.check(Token::Word("::"))?;
        let Some(function) = self.functions.last_mut() else { return Ok(()) };
        if function.blocks.iter().any(|block| block.labels.contains(&label)) {
            return Err(self.lexer.error(&format!("duplicate label '{label}'")));
        }
        if let Some(block) = function.blocks.last_mut() {
            block.labels.push(label);
        }
        Ok(())
    }

    fn conditional(&mut self, line: usize) -> Parsed {
        loop {
            self.lexer.next()?;
            self.expression(0)?;
            self.check(Token::Word("then"))?;
            self.block(false)?;
            if !self.is(Token::Word("elseif")) {
                break;
            }
        }
        if self.optional(Token::Word("else"))? {
            self.block(false)?;
        }
        self.matching(Token::Word("end"), Token::Word("if"), line)
    }

    fn for_loop(&mut self, line: usize) -> Parsed {
        self.lexer.next()?;
        self.name()?;
        match self.lexer.token {
            Token::Char(b'=') => {
                self.lexer.next()?;
                self.expression(0)?;
                self.check(Token::Char(b','))?;
                self.expression(0)?;
                if self.optional(Token::Char(b','))? {
                    self.expression(0)?;
                }
            }
            Token::Char(b',') | Token::Word("in") => {
                while self.optional(Token::Char(b','))? {
                    self.name()?;
                }
                self.check(Token::Word("in"))?;
                self.expressions()?;
            }
            _ => return Err(self.lexer.error("'=' or 'in' expected")),
        }
        self.check(Token::Word("do"))?;
        self.block(true)?;
        self.matching(Token::Word("end"), Token::Word("for"), line)
    }

    fn function_statement(&mut self, line: usize) -> Parsed {
        self.lexer.next()?;
        self.name()?;
        while self.optional(Token::Char(b'.'))? {
            self.name()?;
        }
        if self.optional(Token::Char(b':'))? {
            self.name()?;
        }
        self.body(line)
    }

    fn local(&mut self, line: usize) -> Parsed {
        self.lexer.next()?;
        if self.optional(Token::Word("function"))? {
            self.name()?;
            return self.body(line);
        }
        self.name()?;
        while self.optional(Token::Char(b','))? {
            self.name()?;
        }
        if self.optional(Token::Char(b'='))? {
            self.expressions()?;
        }
        Ok(())
    }

    /// Parameters and body of a function whose `function` stands at `line`.
    fn body(&mut self, line: usize) -> Parsed {
        self.check(Token::Char(b'('))?;
        let mut vararg = false;
        if !self.is(Token::Char(b')')) {
            loop {
                match self.lexer.token {
                    Token::Name => self.lexer.next()?,
                    Token::Word("...") => {
                        self.lexer.next()?;
                        vararg = true;
                        break;
                    }
                    _ => return Err(self.lexer.error("'<name>' or '...' expected")),
                }
                if !self.optional(Token::Char(b','))? {
                    break;
                }
            }
        }
        self.check(Token::Char(b')'))?;
        self.functions.push(Function { vararg, ..Function::default() });
        self.block(false)?;
        self.functions.pop();
        self.matching(Token::Word("end"), Token::Word("function"), line)
    }

    fn call_or_assignment(&mut self) -> Parsed {
        match self.primary()? {
            Primary::Call => Ok(()),
            Primary::Assignable => self.assignment(),
            Primary::Value => Err(self.lexer.error("syntax error")),
        }
    }

    /// The rest of an assignment after its first target.
    fn assignment(&mut self) -> Parsed {
        while self.optional(Token::Char(b','))? {
            if self.primary()? != Primary::Assignable {
                return Err(self.lexer.error("syntax error"));
            }
        }
        self.check(Token::Char(b'='))?;
        self.expressions()
    }

    fn expressions(&mut self) -> Parsed {
        self.expression(0)?;
        while self.optional(Token::Char(b','))? {
            self.expression(0)?;
        }
        Ok(())
    }

    fn expression(&mut self, limit: u8) -> Parsed {
        self.deeper()?;
        if matches!(self.lexer.token, Token::Word("not") | Token::Char(b'-' | b'#')) {
            self.lexer.next()?;
            self.expression(UNARY)?;
        } else {
            self.simple()?;
        }
        while let Some((_, right)) = priority(self.lexer.token).filter(|(left, _)| *left > limit) {
            self.lexer.next()?;
            self.expression(right)?;
        }
        self.level -= 1;
        Ok(())
    }

    fn simple(&mut self) -> Parsed {
        match self.lexer.token {
            Token::Number | Token::String | Token::Word("nil" | "true" | "false") => self.lexer.next(),
            Token::Word("...") => {
                if !self.functions.last().is_some_and(|function| function.vararg) {
                    return Err(self.lexer.error("cannot use '...' outside a vararg function"));
                }
                self.lexer.next()
            }
            Token::Char(b'{') => self.table(),
            Token::Word("function") => {
                let line = self.lexer.line;
                self.lexer.next()?;
                self.body(line)
            }
            _ => self.primary().map(|_| ()),
        }
    }

    fn primary(&mut self) -> Parsed<Primary> {
        let mut kind = match self.lexer.token {
            Token::Char(b'(') => {
                let line = self.lexer.line;
                self.lexer.next()?;
                self.expression(0)?;
                self.matching(Token::Char(b')'), Token::Char(b'('), line)?;
                Primary::Value
            }
            Token::Name => {
                self.lexer.next()?;
                Primary::Assignable
            }
            _ => return Err(self.lexer.error("unexpected symbol")),
        };
        loop {
            match self.lexer.token {
                Token::Char(b'.') => {
                    self.lexer.next()?;
                    self.name()?;
                    kind = Primary::Assignable;
                }
                Token::Char(b'[') => {
                    self.lexer.next()?;
                    self.expression(0)?;
                    self.check(Token::Char(b']'))?;
                    kind = Primary::Assignable;
                }
                Token::Char(b':') => {
                    self.lexer.next()?;
                    self.name()?;
                    self.arguments()?;
                    kind = Primary::Call;
                }
                Token::Char(b'(' | b'{') | Token::String => {
                    self.arguments()?;
                    kind = Primary::Call;
                }
                _ => return Ok(kind),
            }
        }
    }

    fn arguments(&mut self) -> Parsed {
        match self.lexer.token {
            Token::Char(b'(') => {
                let line = self.lexer.line;
                self.lexer.next()?;
                if !self.is(Token::Char(b')')) {
                    self.expressions()?;
                }
                self.matching(Token::Char(b')'), Token::Char(b'('), line)
            }
            Token::Char(b'{') => self.table(),
            Token::String => self.lexer.next(),
            _ => Err(self.lexer.error("function arguments expected")),
        }
    }

    fn table(&mut self) -> Parsed {
        let line = self.lexer.line;
        self.lexer.next()?;
        while !self.is(Token::Char(b'}')) {
            if self.is(Token::Char(b'[')) {
                self.lexer.next()?;
                self.expression(0)?;
                self.check(Token::Char(b']'))?;
                self.check(Token::Char(b'='))?;
            } else if self.is(Token::Name) && self.lexer.peek()? == Token::Char(b'=') {
                self.lexer.next()?;
                self.lexer.next()?;
            }
            self.expression(0)?;
            if !self.optional(Token::Char(b','))? && !self.optional(Token::Char(b';'))? {
                break;
            }
        }
        self.matching(Token::Char(b'}'), Token::Char(b'{'), line)
    }
}

/// Left and right priority of a binary operator.
pub(super) fn priority(token: Token) -> Option<(u8, u8)> {
    Some(match token {
        Token::Char(b'+' | b'-') => (6, 6),
        Token::Char(b'*' | b'/' | b'%') => (7, 7),
        Token::Char(b'^') => (10, 9),
        Token::Word("..") => (5, 4),
        Token::Char(b'<' | b'>') | Token::Word("~=" | "==" | "<=" | ">=") => (3, 3),
        Token::Word("and") => (2, 2),
        Token::Word("or") => (1, 1),
        _ => return None,
    })
}

fn name_of(token: Token) -> String {
    match token {
        Token::Eof => "<eof>".into(),
        Token::Name => "<name>".into(),
        Token::String => "<string>".into(),
        Token::Number => "<number>".into(),
        Token::Word(word) => word.into(),
        Token::Char(c) => char::from(c).into(),
    }
}
