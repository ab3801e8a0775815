//! Compiled regular expressions: linear-time, bounded in size, with the literal that every match starts with.

use std::cell::RefCell;

use entities::route::pattern::{Dialect, SIZE_LIMIT, automaton, parse};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::nfa::thompson::backtrack::{BoundedBacktracker, Cache, Config as Backtracking};
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Input, MatchKind, PatternID, PatternSet, meta};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};
use smallvec::{SmallVec, smallvec};

/// Of the automaton that knows its way without looking back; larger patterns do without.
const ONE_PASS_LIMIT: usize = 16 << 10;
/// Bytes that a thread notes at most where a pattern has been tried in: enough for a path of a thousand bytes and a pattern with
/// classes of all Unicode's letters. Most take some dozens.
const NOTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Pattern {
    engine: Engine,
    text: Box<str>,
    dialect: Dialect,
}

#[derive(Debug)]
enum Engine {
    /// Matches at the start only, as the regexes of paths do. There may be thousands, each tried on a few bytes that begin as it
    /// does: it is kept as its bare automaton, which takes one kilobyte where the engines of `Anywhere` take ten.
    Anchored(BoundedBacktracker),
    /// To be looked for in all of a text.
    Anywhere(meta::Regex),
}

pub(crate) type Groups<'a> = SmallVec<[Option<&'a [u8]>; 6]>;
/// Start and end of each group.
type Slots = SmallVec<[Option<NonMaxUsize>; 12]>;

/// Bytes of the automaton for many patterns, and of what a thread notes of it.
const SCREEN_LIMIT: usize = 512 << 10;

thread_local! {
    static MATCHED: RefCell<PatternSet> = RefCell::new(PatternSet::new(0));
    /// What the anchored patterns of a thread work with; at most [`NOTES`] and as much as the deepest of them goes back.
    static NOTED: RefCell<Option<Cache>> = const { RefCell::new(None) };
}

impl Pattern {
    /// The error says what is wrong, and where.
    pub(crate) fn new(pattern: &str, dialect: Dialect) -> Result<Self, String> {
        let engine = Engine::of(&parse(pattern, dialect)?)?;
        Ok(Pattern { engine, text: pattern.into(), dialect })
    }

    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        match &self.engine {
            Engine::Anchored(engine) => search(engine, text, &mut []),
            Engine::Anywhere(regex) => regex.is_match(text),
        }
    }

    /// Where the first match starts, and what it is.
    pub(crate) fn find<'a>(&self, text: &'a [u8]) -> Option<(usize, &'a [u8])> {
        match &self.engine {
            Engine::Anchored(engine) => {
                let mut slots = [None; 2];
                search(engine, text, &mut slots).then_some(())?;
                let [start, end] = slots.map(|slot| slot.map(NonMaxUsize::get));
                Some((start?, text.get(start?..end?)?))
            }
            Engine::Anywhere(regex) => {
                let found = regex.find(text)?;
                Some((found.start(), text.get(found.range())?))
            }
        }
    }

    /// The groups of the first match; the first of them is all of it.
    pub(crate) fn captures<'a>(&self, text: &'a [u8]) -> Option<Groups<'a>> {
        let mut slots: Slots = smallvec![None; 2 * self.groups()];
        match &self.engine {
            Engine::Anchored(engine) => search(engine, text, &mut slots).then_some(())?,
            Engine::Anywhere(regex) => {
                regex.search_slots(&Input::new(text), &mut slots)?;
            }
        }
        let group = |slots: &[Option<NonMaxUsize>]| match slots {
            [Some(start), Some(end)] => text.get(start.get()..end.get()),
            _ => None,
        };
        Some(slots.chunks(2).map(group).collect())
    }

    /// The names of the groups, by their numbers.
    pub(crate) fn names(&self) -> impl Iterator<Item = Option<&str>> {
        let groups = match &self.engine {
            Engine::Anchored(engine) => engine.get_nfa().group_info(),
            Engine::Anywhere(regex) => regex.group_info(),
        };
        groups.pattern_names(PatternID::ZERO)
    }

    pub(crate) fn has_groups(&self) -> bool {
        self.groups() > 1
    }

    /// How many there are, the whole match among them.
    fn groups(&self) -> usize {
        match &self.engine {
            Engine::Anchored(engine) => engine.get_nfa().group_info().all_group_len(),
            Engine::Anywhere(regex) => regex.captures_len(),
        }
    }
}

impl Engine {
    fn of(hir: &Hir) -> Result<Self, String> {
        if !hir.properties().look_set_prefix().contains(Look::Start) {
            // The lazy automata of the `regex` crate take tens of kilobytes each, and gain nothing on short texts.
            let config = meta::Config::new()
                .utf8_empty(false)
                .nfa_size_limit(Some(SIZE_LIMIT))
                .onepass_size_limit(Some(ONE_PASS_LIMIT))
                .hybrid(false)
                .dfa(false);
            let built = meta::Regex::builder().configure(config).build_from_hir(hir);
            return built.map(Engine::Anywhere).map_err(|error| error.to_string());
        }
        let config = Backtracking::new().visited_capacity(NOTES);
        let built = BoundedBacktracker::builder().configure(config).build_from_nfa(automaton(hir)?);
        built.map(Engine::Anchored).map_err(|error| error.to_string())
    }
}

/// Whether the pattern matches at the start of the text, and where its groups do.
fn search(engine: &BoundedBacktracker, text: &[u8], slots: &mut [Option<NonMaxUsize>]) -> bool {
    let input = Input::new(text).earliest(slots.is_empty());
    let found = NOTED.with_borrow_mut(|noted| {
        let cache = noted.get_or_insert_with(|| engine.create_cache());
        // The pattern before was another one.
        cache.reset(engine);
        engine.try_search_slots(cache, &input, slots)
    });
    found.map(|found| found.is_some()).unwrap_or_else(|_| {
        // A long text and a large pattern: slower, and in memory that does not grow with the text.
        let Ok(engine) = PikeVM::new_from_nfa(engine.get_nfa().clone()) else { return false };
        engine.search_slots(&mut engine.create_cache(), &input, slots).is_some()
    })
}

/// Many patterns as one automaton, which reads a text once to tell those that match it.
#[derive(Debug)]
pub(crate) struct Screen {
    all: meta::Regex,
    /// By the patterns' numbers: the bits that stand for them.
    bits: Box<[u64]>,
    /// The bits without a pattern: those pass always.
    free: u64,
}

impl Screen {
    /// One bit an item, in their order. `None` where the automaton would be too large.
    pub(crate) fn new<'a>(patterns: impl Iterator<Item = Option<&'a Pattern>>) -> Option<Self> {
        let (mut parsed, mut bits, mut free) = (Vec::new(), Vec::new(), 0);
        for (at, pattern) in patterns.enumerate() {
            let bit = 1_u64.checked_shl(u32::try_from(at).ok()?)?;
            match pattern {
                Some(pattern) => {
                    parsed.push(parse(&pattern.text, pattern.dialect).ok()?);
                    bits.push(bit);
                }
                None => free |= bit,
            }
        }
        let config = meta::Config::new()
            .match_kind(MatchKind::All)
            .utf8_empty(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(SCREEN_LIMIT))
            .hybrid_cache_capacity(SCREEN_LIMIT)
            .onepass(false)
            .dfa(false);
        let all = meta::Regex::builder().configure(config).build_many_from_hir(&parsed).ok()?;
        Some(Screen { all, bits: bits.into(), free })
    }

    /// The bits of those that match, and of those without a pattern.
    pub(crate) fn open(&self, text: &[u8]) -> u64 {
        MATCHED.with_borrow_mut(|matched| {
            if matched.capacity() != self.bits.len() {
                *matched = PatternSet::new(self.bits.len());
            }
            matched.clear();
            self.all.which_overlapping_matches(&Input::new(text), matched);
            matched.iter().fold(self.free, |open, number| open | self.bits[number.as_usize()])
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_opens_for_what_matches_and_for_what_has_no_pattern() {
        let texts = ["^/a/[0-9]+", "", "^/[a-z]+/1$|x$", "", "(?-u)^/\\xff", "^/A/."];
        let patterns: Vec<Option<Pattern>> =
            texts.iter().map(|text| (!text.is_empty()).then(|| Pattern::new(text, Dialect::Bytes).unwrap())).collect();
        let screen = Screen::new(patterns.iter().map(Option::as_ref)).unwrap();
        for (path, open) in [
            (&b"/a/1"[..], 0b1111),
            (b"/a/12/x", 0b1111),
            (b"/b/1", 0b1110),
            (b"/b/2", 0b1010),
            (b"/\xff\xfe", 0b1_1010),
            (b"/A/\xc3\xa9", 0b10_1010),
            (b"", 0b1010),
        ] {
            assert_eq!(screen.open(path), open, "{path:?}");
        }
        let large = Pattern::new("^/\\pL{90}", Dialect::Rust).unwrap();
        assert!(Screen::new(std::iter::repeat_n(Some(&large), 64)).is_none());
    }
}
