//! Compiled regular expressions: linear-time, bounded in size, with the literal that every match starts with.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};

/// As the `regex` crate's own default, which atc-router validates with.
const SIZE_LIMIT: usize = 10 << 20;
/// Bounds what one thread keeps per regex.
const CACHE_LIMIT: usize = 256 << 10;

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
    has_groups: bool,
}

impl Pattern {
    pub(crate) fn new(pattern: &str, dialect: Dialect) -> Result<Self, regex::Error> {
        let build = |unicode| {
            let mut builder = RegexBuilder::new(pattern);
            builder.unicode(unicode).size_limit(SIZE_LIMIT).dfa_size_limit(CACHE_LIMIT).build()
        };
        let regex = match dialect {
            Dialect::Rust => build(true)?,
            // A class with characters beyond ASCII needs Unicode mode.
            Dialect::Bytes => build(false).or_else(|_| build(true))?,
        };
        let has_groups = regex.captures_len() > 1;
        Ok(Pattern { regex, has_groups })
    }

    pub(crate) fn regex(&self) -> &Regex {
        &self.regex
    }

    pub(crate) fn has_groups(&self) -> bool {
        self.has_groups
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
