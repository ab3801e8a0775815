//! What a thread has learnt lately of texts that come again and again. A text is compared whole: no digest stands for it.

use ahash::RandomState;
use hashbrown::HashTable;

/// Two halves: when the younger one is full, the older one is forgotten.
pub(crate) struct Lately<V> {
    /// How many texts each half holds.
    most: usize,
    hasher: RandomState,
    young: HashTable<Known<V>>,
    old: HashTable<Known<V>>,
}

struct Known<V> {
    hash: u64,
    text: Box<[u8]>,
    value: V,
}

impl<V> Lately<V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, hasher: RandomState::default(), young: HashTable::new(), old: HashTable::new() }
    }

    /// What is known of a text; of several values the first that is meant.
    pub(crate) fn find(&self, text: &[u8], is_meant: impl Fn(&V) -> bool) -> Option<&V> {
        let hash = self.hasher.hash_one(text);
        let is = |known: &Known<V>| *known.text == *text && is_meant(&known.value);
        let known = self.young.find(hash, is).or_else(|| self.old.find(hash, is))?;
        Some(&known.value)
    }

    pub(crate) fn keep(&mut self, text: &[u8], value: V) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        let hash = self.hasher.hash_one(text);
        self.young.insert_unique(hash, Known { hash, text: text.into(), value }, |known| known.hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_whole_and_with_the_value_that_is_meant() {
        let mut lately = Lately::new(10);
        lately.keep(b"a.b.c", 1);
        lately.keep(b"a.b.c", 2);
        let any = |text: &str| lately.find(text.as_bytes(), |_| true).is_some();
        assert_eq!(["a.b.c", "a.b.d", "a.b.c=", ""].map(any), [true, false, false, false]);
        for (value, is_known) in [(1, true), (2, true), (3, false)] {
            assert_eq!(lately.find(b"a.b.c", |known| *known == value).is_some(), is_known, "{value}");
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut lately = Lately::new(10);
        for n in 0..55 {
            lately.keep(n.to_string().as_bytes(), n);
        }
        assert!(lately.young.len() + lately.old.len() <= 20);
        assert_eq!(lately.find(b"54", |_| true), Some(&54));
        assert_eq!(lately.find(b"0", |_| true), None);
    }
}
