//! The regexes of routes as the router reads them: in linear time, and bounded in size.

use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

/// Bytes of an automaton: as the `regex` crate's own default, which atc-router validates with.
pub const SIZE_LIMIT: usize = 10 << 20;

/// Which rules a pattern was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Rust's: Unicode classes.
    Rust,
    /// PCRE as the traditional flavor runs it: bytes, ASCII classes.
    Bytes,
}

/// # Errors
/// What is wrong, and where.
pub fn parse(pattern: &str, dialect: Dialect) -> Result<Hir, String> {
    let parse = |unicode| {
        let syntax = syntax::Config::new().utf8(false).unicode(unicode);
        syntax::parse_with(pattern, &syntax).map_err(|error| error.to_string())
    };
    match dialect {
        Dialect::Rust => parse(true),
        // A class with characters beyond ASCII needs Unicode mode.
        Dialect::Bytes => parse(false).or_else(|_| parse(true)),
    }
}

/// # Errors
/// Where it would be too large.
pub fn automaton(hir: &Hir) -> Result<NFA, String> {
    let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(SIZE_LIMIT));
    NFA::compiler().configure(config).build_from_hir(hir).map_err(|error| error.to_string())
}

/// A path's regex in the traditional flavor.
#[must_use]
pub fn traditional(regex: &str) -> String {
    format!("^(?:{regex})")
}

/// Whether the router can run a path's regex of the traditional flavor, whatever PCRE says of it.
pub(super) fn check_path(regex: &str) -> Result<(), String> {
    // Positions are told in what was given.
    check(regex).and_then(|()| check(&traditional(regex))).map_err(|error| refused(regex, &error))
}

/// The same for the value of a header field.
pub(super) fn check_value(regex: &str) -> Result<(), String> {
    check(regex).map_err(|error| refused(regex, &error))
}

fn check(pattern: &str) -> Result<(), String> {
    parse(pattern, Dialect::Bytes).and_then(|hir| automaton(&hir)).map(|_| ())
}

fn refused(regex: &str, error: &str) -> String {
    format!("invalid regex: '{regex}' (the router runs regexes in linear time: {error})")
}
