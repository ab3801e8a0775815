//! Random inputs made of known ones, always the same, for the tests of parsers: what `make fuzz` looks for with coverage and
//! for minutes, `make test` does for a moment.
//!
//! Both share the inputs of fuzz/seeds and the words of fuzz/words. What a run of `make fuzz` finds goes among the seeds, and
//! every later `make test` has it.

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Inputs that are made beside the seeds themselves.
const INPUTS: usize = 4_000;
const LONGEST: usize = 4_096;
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");

/// Runs `check` with the seeds of that target and with what becomes of them by random changes, among them insertions of
/// its words.
///
/// # Panics
/// Where `check` does, with the input that did it; and where there are no seeds.
pub fn check(target: &str, check: impl Fn(&[u8])) {
    run(&seeds(target), &words(target), check);
}

fn run(seeds: &[Vec<u8>], words: &[Vec<u8>], check: impl Fn(&[u8])) {
    let judge = |input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| check(input))).is_err() {
            panic!("the check above failed for b\"{}\"", input.escape_ascii());
        }
    };
    seeds.iter().for_each(|seed| judge(seed));
    let mut random = Random(0x5eed);
    for _ in 0..INPUTS {
        let seed = seeds[random.below(seeds.len())].clone();
        judge(&change(seed, seeds, words, &mut random));
    }
}

/// In the order of their names, so that a run is the same on every machine.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(FOLDER).join("seeds").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a seed can be read")).collect()
}

fn words(target: &str) -> Vec<Vec<u8>> {
    let file = Path::new(FOLDER).join("words").join(target);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let lines = text.lines().filter(|line| line.starts_with('"'));
    lines.map(|line| word(line).unwrap_or_else(|| panic!("{}: {line}", file.display()))).collect()
}

/// A line of a dictionary of libFuzzer: `"text"`, with `\\`, `\"` and `\xNN`.
fn word(line: &str) -> Option<Vec<u8>> {
    let mut bytes = line.strip_prefix('"')?.strip_suffix('"')?.bytes();
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        word.push(match byte {
            b'\\' => match bytes.next()? {
                b'x' => {
                    let mut digit = || char::from(bytes.next()?).to_digit(16);
                    u8::try_from(digit()? * 16 + digit()?).ok()?
                }
                plain @ (b'\\' | b'"') => plain,
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(word)
}

/// One to eight changes.
fn change(mut input: Vec<u8>, others: &[Vec<u8>], words: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
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
                let other = &others[random.below(others.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 => input.truncate(at),
            _ if words.is_empty() => {}
            7 => {
                let word = &words[random.below(words.len())];
                input.splice(at..at, word.iter().copied());
            }
            _ => {
                let word = &words[random.below(words.len())];
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
