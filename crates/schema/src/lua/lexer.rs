//! Lua's tokens.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Eof,
    Name,
    String,
    Number,
    /// A keyword or an operator of several characters.
    Word(&'static str),
    Char(u8),
}

/// A syntax error at a line; `text` says near what.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) text: String,
}

const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];

const OPERATORS: [&str; 7] = ["...", "..", "==", ">=", "<=", "~=", "::"];

pub(super) struct Lexer<'a> {
    source: &'a [u8],
    at: usize,
    pub(super) line: usize,
    pub(super) token: Token,
    /// Where the token's text is.
    start: usize,
    end: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        let source = source.strip_prefix('\u{feff}').unwrap_or(source).as_bytes();
        let mut out = Self { source, at: 0, line: 1, token: Token::Eof, start: 0, end: 0 };
        if source.first() == Some(&b'#') {
            out.skip_line();
        }
        out
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.source.get(self.at + ahead).copied()
    }

    fn text(&self, start: usize, end: usize) -> String {
        String::from_utf8_lossy(self.source.get(start..end).unwrap_or_default()).into_owned()
    }

    /// The text of the current token.
    pub(super) fn current(&self) -> String {
        self.text(self.start, self.end)
    }

    /// The current token as messages quote it.
    pub(super) fn shown(&self) -> String {
        match self.token {
            Token::Eof => "<eof>".into(),
            Token::Word(word) => word.into(),
            Token::Char(c) if c.is_ascii_control() => format!("char({c})"),
            Token::Char(c) => char::from(c).into(),
            Token::Name | Token::String | Token::Number => self.current(),
        }
    }

    pub(super) fn error(&self, text: &str) -> SyntaxError {
        SyntaxError { line: self.line, text: format!("{text} near '{}'", self.shown()) }
    }

    fn bad(&self, text: &str, near: &str) -> SyntaxError {
        SyntaxError { line: self.line, text: format!("{text} near '{near}'") }
    }

    /// The token after the current one, which stays.
    pub(super) fn peek(&mut self) -> Result<Token, SyntaxError> {
        let saved = (self.at, self.line, self.token, self.start, self.end);
        let result = self.next();
        let found = self.token;
        (self.at, self.line, self.token, self.start, self.end) = saved;
        result.map(|()| found)
    }

    pub(super) fn next(&mut self) -> Result<(), SyntaxError> {
        self.skip_blank()?;
        self.start = self.at;
        self.token = self.scan()?;
        self.end = self.at;
        Ok(())
    }

    fn skip_line(&mut self) {
        while self.byte(0).is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn skip_blank(&mut self) -> Result<(), SyntaxError> {
        loop {
            match self.byte(0) {
                Some(b'\n') => {
                    self.line += 1;
                    self.at += 1;
                }
                Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c) => self.at += 1,
                Some(b'-') if self.byte(1) == Some(b'-') => {
                    self.at += 2;
                    match self.long_bracket() {
                        Some(level) => self.long(level, "unfinished long comment")?,
                        None => self.skip_line(),
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// The level of a long bracket that opens here.
    fn long_bracket(&self) -> Option<usize> {
        if self.byte(0) != Some(b'[') {
            return None;
        }
        let mut level = 0;
        while self.byte(1 + level) == Some(b'=') {
            level += 1;
        }
        (self.byte(1 + level) == Some(b'[')).then_some(level)
    }

    fn long(&mut self, level: usize, unfinished: &str) -> Result<(), SyntaxError> {
        self.at += level + 2;
        loop {
            match self.byte(0) {
                None => return Err(self.bad(unfinished, "<eof>")),
                Some(b']') => {
                    let closes =
                        (1..=level).all(|ahead| self.byte(ahead) == Some(b'=')) && self.byte(level + 1) == Some(b']');
                    if closes {
                        self.at += level + 2;
                        return Ok(());
                    }
                    self.at += 1;
                }
                Some(byte) => {
                    self.line += usize::from(byte == b'\n');
                    self.at += 1;
                }
            }
        }
    }

    fn scan(&mut self) -> Result<Token, SyntaxError> {
        let Some(byte) = self.byte(0) else { return Ok(Token::Eof) };
        if byte.is_ascii_digit() || (byte == b'.' && self.byte(1).is_some_and(|b| b.is_ascii_digit())) {
            return self.number();
        }
        if is_name(byte) {
            while self.byte(0).is_some_and(is_name) {
                self.at += 1;
            }
            let word = self.source.get(self.start..self.at).unwrap_or_default();
            let keyword = KEYWORDS.into_iter().find(|keyword| keyword.as_bytes() == word);
            return Ok(keyword.map_or(Token::Name, Token::Word));
        }
        if matches!(byte, b'"' | b'\'') {
            return self.string(byte);
        }
        if byte == b'[' {
            if let Some(level) = self.long_bracket() {
                self.long(level, "unfinished long string")?;
                return Ok(Token::String);
            }
            if self.byte(1) == Some(b'=') {
                self.at += 1;
                while self.byte(0) == Some(b'=') {
                    self.at += 1;
                }
                return Err(self.bad("invalid long string delimiter", &self.text(self.start, self.at)));
            }
        }
        let rest = self.source.get(self.at..).unwrap_or_default();
        if let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator.as_bytes())) {
            self.at += operator.len();
            return Ok(Token::Word(operator));
        }
        self.at += 1;
        Ok(Token::Char(byte))
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let hex = self.byte(0) == Some(b'0') && self.byte(1).is_some_and(|byte| byte | 0x20 == b'x');
        let exponent = if hex { b'p' } else { b'e' };
        let mut before = 0;
        while let Some(byte) = self.byte(0) {
            let sign = matches!(byte, b'+' | b'-') && before | 0x20 == exponent;
            if !(is_name(byte) || byte == b'.' || sign) {
                break;
            }
            before = byte;
            self.at += 1;
        }
        let text = self.text(self.start, self.at);
        if is_number(&text.to_ascii_lowercase()) { Ok(Token::Number) } else { Err(self.bad("malformed number", &text)) }
    }

    fn string(&mut self, quote: u8) -> Result<Token, SyntaxError> {
        self.at += 1;
        loop {
            match self.byte(0) {
                None => return Err(self.bad("unfinished string", "<eof>")),
                Some(b'\n' | b'\r') => {
                    return Err(self.bad("unfinished string", &self.text(self.start, self.at)));
                }
                Some(b'\\') => self.escape()?,
                Some(byte) => {
                    self.at += 1;
                    if byte == quote {
                        return Ok(Token::String);
                    }
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        let length = match self.byte(1) {
            Some(b'\n') => {
                self.line += 1;
                2
            }
            Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\' | b'"' | b'\'' | b'\r') => 2,
            Some(b'x') if hex(self.byte(2)) && hex(self.byte(3)) => 4,
            Some(b'z') => {
                self.at += 2;
                while let Some(byte) = self.byte(0).filter(u8::is_ascii_whitespace) {
                    self.line += usize::from(byte == b'\n');
                    self.at += 1;
                }
                return Ok(());
            }
            Some(b'u') if self.byte(2) == Some(b'{') && hex(self.byte(3)) => {
                let digits = (3..).take_while(|ahead| hex(self.byte(*ahead))).count();
                if self.byte(3 + digits) != Some(b'}') || digits > 6 {
                    return Err(self.bad("invalid escape sequence", &self.text(self.start, self.at + 2)));
                }
                digits + 4
            }
            Some(digit) if digit.is_ascii_digit() => {
                let digits: Vec<u8> = (1..=3).map_while(|n| self.byte(n).filter(u8::is_ascii_digit)).collect();
                let value = digits.iter().fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
                if value > 255 {
                    return Err(self.bad("invalid escape sequence", &self.text(self.start, self.at + 2)));
                }
                digits.len() + 1
            }
            None => 1,
            Some(_) => return Err(self.bad("invalid escape sequence", &self.text(self.start, self.at + 2))),
        };
        self.at += length;
        Ok(())
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A number in lower case: decimal, hexadecimal or binary, with LuaJIT's suffixes.
fn is_number(text: &str) -> bool {
    let (text, whole_only) = match text.strip_suffix("ull").or_else(|| text.strip_suffix("ll")) {
        Some(text) => (text, true),
        None => (text.strip_suffix('i').unwrap_or(text), false),
    };
    if let Some(binary) = text.strip_prefix("0b") {
        return !binary.is_empty() && binary.bytes().all(|byte| matches!(byte, b'0' | b'1'));
    }
    let (text, digit, exponent): (_, fn(&u8) -> bool, _) = match text.strip_prefix("0x") {
        Some(hex) => (hex, u8::is_ascii_hexdigit, 'p'),
        None => (text, u8::is_ascii_digit, 'e'),
    };
    let (mantissa, power) = text.split_once(exponent).map_or((text, None), |(mantissa, power)| (mantissa, Some(power)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.bytes().chain(fraction.bytes());
    let power_ok = power.is_none_or(|power| {
        let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    let whole_ok = !whole_only || (power.is_none() && !mantissa.contains('.'));
    digits.clone().count() > 0 && digits.clone().all(|byte| digit(&byte)) && power_ok && whole_ok
}
