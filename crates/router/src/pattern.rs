//! Compiled regular expressions: linear-time, bounded in size, with the literal that every match starts with.

use regex_automata::PatternID;
use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};
use smallvec::SmallVec;

/// As the `regex` crate's own default, which atc-router validates with.
const SIZE_LIMIT: usize = 10 << 20;
/// Of the automaton that knows its way without looking back; larger patterns do without.
const ONE_PASS_LIMIT: usize = 16 << 10;

/// Which rules a pattern was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Rust's: Unicode classes.
    Rust,
    /// PCRE as the traditional flavor runs it: bytes, ASCII classes.
    Bytes,
}

#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
}

pub(crate) type Groups<'a> = SmallVec<[Option<&'a [u8]>; 6]>;

impl Pattern {
    /// The error says what is wrong, and where.
    pub(crate) fn new(pattern: &str, dialect: Dialect) -> Result<Self, String> {
        // There may be thousands: the lazy automata of the `regex` crate take tens of kilobytes each, and gain nothing on
        // the few bytes of a path.
        let config = Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(SIZE_LIMIT))
            .onepass_size_limit(Some(ONE_PASS_LIMIT))
            .hybrid(false)
            .dfa(false);
        let build = |unicode| {
            let syntax = syntax::Config::new().utf8(false).unicode(unicode);
            let built = Regex::builder().configure(config.clone()).syntax(syntax).build(pattern);
            built.map_err(|error| error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string))
        };
        let regex = match dialect {
            Dialect::Rust => build(true)?,
            // A class with characters beyond ASCII needs Unicode mode.
            Dialect::Bytes => build(false).or_else(|_| build(true))?,
        };
        Ok(Pattern { regex })
    }

    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Where the first match starts, and what it is.
    pub(crate) fn find<'a>(&self, text: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let found = self.regex.find(text)?;
        Some((found.start(), text.get(found.range())?))
    }

    /// The groups of the first match; the first of them is all of it.
    pub(crate) fn captures<'a>(&self, text: &'a [u8]) -> Option<Groups<'a>> {
        let mut captures = self.regex.create_captures();
        self.regex.captures(text, &mut captures);
        captures.is_match().then(|| captures.iter().map(|span| text.get(span?.range())).collect())
    }

    /// The names of the groups, by their numbers.
    pub(crate) fn names(&self) -> impl Iterator<Item = Option<&str>> {
        self.regex.group_info().pattern_names(PatternID::ZERO)
    }

    pub(crate) fn has_groups(&self) -> bool {
        self.regex.captures_len() > 1
    }
}

/// The bytes that every text matched by `pattern` starts with; empty if the pattern is not anchored at the start, or not valid.
pub(crate) fn required_prefix(pattern: &str) -> Vec<u8> {
    let mut prefix = Vec::new();
    if let Ok(hir) = ParserBuilder::new().utf8(false).build().parse(pattern)
        && let HirKind::Concat(parts) = hir.kind()
        && let Some((first, rest)) = parts.split_first()
        && matches!(first.kind(), HirKind::Look(Look::Start))
    {
        for part in rest {
            if !push_literal(part, &mut prefix) {
                break;
            }
        }
    }
    prefix
}

/// Appends what a part must start with; true if that is all the part can match.
fn push_literal(hir: &Hir, prefix: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => {
            prefix.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => push_literal(&capture.sub, prefix),
        HirKind::Concat(parts) => parts.iter().all(|part| push_literal(part, prefix)),
        HirKind::Empty => true,
        _ => false,
    }
}
