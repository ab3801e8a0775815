//! Random inputs made of known ones, for the tests of parsers: `make fuzz` runs them for minutes, `make test` for a moment
//! with the same inputs each time.
//!
//! A check says what became of an input as a number of its choice. An input with an outcome that no other one had is kept,
//! and further ones are made of it: that leads into the corners of a parser without instruments in its code.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How many seconds a check runs (`make fuzz` sets it).
pub const SECONDS: &str = "FUZZ_SECONDS";
/// Inputs of a run where nobody says for how long.
const SHORT: usize = 4_000;
/// Inputs that are kept to make others of, and their length.
const KEPT: usize = 4_096;
const LONGEST: usize = 4_096;

/// Runs `check` with the seeds and with what becomes of them by random changes, among them insertions of `words`.
///
/// # Panics
/// Where `check` does, with the input that did it.
pub fn check<T: Hash>(seeds: &[&[u8]], words: &[&[u8]], mut check: impl FnMut(&[u8]) -> T) {
    let seconds = seconds();
    let outcomes = RandomState::new();
    let mut random = Random(if seconds.is_some() { outcomes.hash_one(0) } else { 0x5eed });
    let mut seen = HashSet::new();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut judge = |input: Vec<u8>, kept: &mut Vec<Vec<u8>>, random: &mut Random| {
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| check(&input))) else {
            panic!("the check above failed for b\"{}\"", input.escape_ascii());
        };
        if !seen.insert(outcomes.hash_one(outcome)) && !kept.is_empty() {
            return;
        }
        if kept.len() < KEPT {
            kept.push(input);
        } else {
            let at = random.below(KEPT);
            kept[at] = input;
        }
    };
    for seed in seeds {
        judge(seed.to_vec(), &mut kept, &mut random);
    }
    let end = seconds.map(|seconds| Instant::now() + seconds);
    for count in 0.. {
        match end {
            None if count >= SHORT => return,
            Some(end) if count % 64 == 0 && Instant::now() >= end => return told(seeds.len() + count, kept.len()),
            _ => {}
        }
        // Seeds come up as often as all that was kept together: they reach the depths by themselves.
        let from = if random.below(2) == 0 && !seeds.is_empty() {
            seeds[random.below(seeds.len())].to_vec()
        } else {
            kept[random.below(kept.len())].clone()
        };
        let input = change(from, &kept, words, &mut random);
        judge(input, &mut kept, &mut random);
    }
}

/// What a run of minutes was worth.
#[expect(clippy::print_stderr, reason = "for the person who runs `make fuzz`")]
fn told(inputs: usize, kept: usize) {
    eprintln!("{inputs} inputs, none failed; {kept} of them led further");
}

fn seconds() -> Option<Duration> {
    #[expect(clippy::disallowed_methods, reason = "the ban protects the program; this is for its tests")]
    let told = std::env::var(SECONDS);
    told.ok()?.parse().ok().map(Duration::from_secs)
}

/// One to eight changes.
fn change(mut input: Vec<u8>, kept: &[Vec<u8>], words: &[&[u8]], random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at + 1).min(32));
        match random.below(9) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.byte();
                }
            }
            2 => input.insert(at, random.byte()),
            3 => drop(input.drain(at..end)),
            4 => {
                let piece = input[at..end].to_vec();
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            5 => {
                let other = &kept[random.below(kept.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 => input.truncate(at),
            _ if words.is_empty() => {}
            7 => {
                let word = words[random.below(words.len())];
                input.splice(at..at, word.iter().copied());
            }
            _ => {
                let word = words[random.below(words.len())];
                input.splice(at..end, word.iter().copied());
            }
        }
        input.truncate(LONGEST);
    }
    input
}

/// xorshift64*: its numbers need not be good, only the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0 = self.0.max(1);
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }

    /// Bytes that parsers care about come more often.
    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\0\t\n\r \"#%'(),-./0:;=?@[\\]{}~\x7f\x80\xff";
        let any = self.next().to_le_bytes()[5];
        if any.is_multiple_of(2) { TELLING[self.below(TELLING.len())] } else { any.rotate_left(1) }
    }
}
