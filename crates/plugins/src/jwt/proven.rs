//! Signatures that a thread has verified lately. Clients show a token with many requests; its signature says the same each
//! time, and with a public key it costs more than all the rest of a request. Claims are looked at anew with every request.

use super::keys::Verifier;
use super::token::Token;
use ahash::RandomState;
use hashbrown::HashTable;
use std::cell::RefCell;
use std::rc::Rc;

/// How many tokens each half of a thread's memory holds. When the younger half is full, the older one is forgotten.
const MOST: usize = 1024;
/// Longer tokens are verified each time.
const LONGEST: usize = 4 << 10;

/// A token whose signature is right by this key. It is compared whole: no digest stands for it.
struct Proven {
    hash: u64,
    verifier: Rc<Verifier>,
    text: Box<[u8]>,
}

#[derive(Default)]
struct Memory {
    hasher: RandomState,
    young: HashTable<Proven>,
    old: HashTable<Proven>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// Whether a token's signature is right.
pub(super) fn verify(verifier: &Rc<Verifier>, token: &Token<'_>) -> bool {
    let verify = || verifier.verify(token.signed, token.signature);
    if !verifier.is_slow() || token.text.len() > LONGEST {
        return verify();
    }
    MEMORY.with_borrow_mut(|memory| memory.has(verifier, token.text) || (verify() && memory.keep(verifier, token.text)))
}

impl Memory {
    fn has(&self, verifier: &Rc<Verifier>, text: &[u8]) -> bool {
        let hash = self.hasher.hash_one(text);
        let is = |proven: &Proven| Rc::ptr_eq(&proven.verifier, verifier) && *proven.text == *text;
        self.young.find(hash, is).or_else(|| self.old.find(hash, is)).is_some()
    }

    /// Always true.
    fn keep(&mut self, verifier: &Rc<Verifier>, text: &[u8]) -> bool {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        let hash = self.hasher.hash_one(text);
        let proven = Proven { hash, verifier: verifier.clone(), text: text.into() };
        self.young.insert_unique(hash, proven, |proven| proven.hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &[u8]) -> Rc<Verifier> {
        Rc::new(Verifier::secret("HS256", secret).unwrap())
    }

    #[test]
    fn a_token_is_known_by_its_whole_text_and_its_key_alone() {
        let (one, other) = (key(b"a"), key(b"a"));
        let mut memory = Memory::default();
        assert!(!memory.has(&one, b"a.b.c"));
        memory.keep(&one, b"a.b.c");
        for (verifier, text, is_known) in
            [(&one, "a.b.c", true), (&other, "a.b.c", false), (&one, "a.b.d", false), (&one, "a.b.c=", false)]
        {
            assert_eq!(memory.has(verifier, text.as_bytes()), is_known, "{text}");
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let verifier = key(b"a");
        let mut memory = Memory::default();
        for n in 0..5 * MOST {
            memory.keep(&verifier, n.to_string().as_bytes());
        }
        assert!(memory.young.len() + memory.old.len() <= 2 * MOST);
        assert!(memory.has(&verifier, (5 * MOST - 1).to_string().as_bytes()));
        assert!(!memory.has(&verifier, b"0"));
    }
}
