//! What of Lua shows in Kong's schemas: patterns, and tables and numbers printed in messages.

mod pattern;
mod print;

pub use pattern::Pattern;
pub use print::{join, literal, number, pretty, tostring};
