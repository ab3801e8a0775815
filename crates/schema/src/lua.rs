//! What of Lua shows in Kong's schemas: patterns, tables and numbers printed in messages, and whether code compiles; and
//! the expressions of templates, which are evaluated without Lua.

mod evaluate;
mod expression;
mod lexer;
mod parser;
mod pattern;
mod print;
mod strings;

pub use evaluate::{Environment, Fault, Function, Object, Table, Value};
pub use expression::Expression;
pub use pattern::Pattern;
pub use print::{LARGE, join, literal, number, pretty, tostring};

/// Whether LuaJIT would compile the code; the error is LuaJIT's: `[string "x"]:1: unexpected symbol near '<eof>'`.
///
/// # Errors
/// The first syntax error.
pub fn syntax(code: &str) -> Result<(), String> {
    parser::parse(code).map_err(|err| format!("{}:{}: {}", chunk_name(code), err.line, err.text))
}

/// How LuaJIT names a chunk that is a string: by its beginning, up to the first control character.
fn chunk_name(code: &str) -> String {
    const MOST: usize = 48;
    const CUT: usize = 45;
    let bytes = code.as_bytes();
    let length = bytes.iter().take(MOST).position(|byte| *byte < b' ').unwrap_or(bytes.len().min(MOST));
    if length == bytes.len() {
        return format!("[string \"{code}\"]");
    }
    let shown = bytes.get(..length.min(CUT)).unwrap_or_default();
    format!("[string \"{}...\"]", String::from_utf8_lossy(shown))
}
