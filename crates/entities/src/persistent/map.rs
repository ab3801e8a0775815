//! A persistent hash map, as a trie over the bits of the keys' hashes (CHAMP: Steindorfer and Vinju, 2015).

use std::borrow::Borrow;
use std::hash::Hash;
use std::{iter, ptr};

use ahash::RandomState;

use super::SharedArray;

/// Bits of a hash that one branch goes by: an array of branches is 640 bytes at most.
const BITS: u32 = 4;
/// How many branches use up a hash: keys that have all of its bits in common lie there side by side.
const DEEPEST: u32 = u64::BITS / BITS;

/// A copy costs two counters; a change of the copy copies five short arrays where there are 100,000 keys.
#[derive(Debug)]
pub struct SharedMap<K, V> {
    root: Branch<K, V>,
    hasher: RandomState,
    len: usize,
}

/// All keys whose hashes begin alike. Below the root there are at least two.
#[derive(Debug)]
struct Branch<K, V> {
    /// Which of the next bits one key alone has, and which several.
    ones: u16,
    several: u16,
    /// In the order of these bits; where a hash is used up, in any order.
    pairs: SharedArray<(K, V)>,
    branches: SharedArray<Branch<K, V>>,
}

/// What a branch has for a hash.
enum At {
    Nothing,
    /// The pair at this place; perhaps another key's.
    Pair(usize),
    Branch(usize),
}

/// The bits of a hash that are left, the next ones lowest.
#[derive(Clone, Copy)]
struct Rest {
    hash: u64,
    depth: u32,
}

impl Rest {
    fn bit(self) -> u16 {
        1 << (self.hash & ((1 << BITS) - 1))
    }

    fn next(self) -> Self {
        Self { hash: self.hash >> BITS, depth: self.depth + 1 }
    }

    /// What is left of another hash at the same depth.
    fn of(self, hash: u64) -> Self {
        Self { hash: hash.checked_shr(self.depth * BITS).unwrap_or_default(), depth: self.depth }
    }

    fn is_over(self) -> bool {
        self.depth >= DEEPEST
    }
}

/// The place in an array that holds something for each of these bits.
fn place(bits: u16, bit: u16) -> usize {
    (bits & (bit - 1)).count_ones() as usize
}

impl<K, V> Default for Branch<K, V> {
    fn default() -> Self {
        Self { ones: 0, several: 0, pairs: SharedArray::default(), branches: SharedArray::default() }
    }
}

impl<K, V> Clone for Branch<K, V> {
    fn clone(&self) -> Self {
        let (pairs, branches) = (self.pairs.clone(), self.branches.clone());
        Self { ones: self.ones, several: self.several, pairs, branches }
    }
}

impl<K, V> Branch<K, V> {
    fn at<Q: Eq + ?Sized>(&self, rest: Rest, key: &Q) -> At
    where
        K: Borrow<Q>,
    {
        if rest.is_over() {
            return self.pairs.iter().position(|(known, _)| known.borrow() == key).map_or(At::Nothing, At::Pair);
        }
        let bit = rest.bit();
        if self.several & bit != 0 {
            At::Branch(place(self.several, bit))
        } else if self.ones & bit != 0 {
            At::Pair(place(self.ones, bit))
        } else {
            At::Nothing
        }
    }

    fn get<Q: Eq + ?Sized>(&self, mut rest: Rest, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut branch = self;
        loop {
            match branch.at(rest, key) {
                At::Nothing => return None,
                At::Pair(at) => {
                    let (known, value) = branch.pairs.get(at)?;
                    return (known.borrow() == key).then_some(value);
                }
                At::Branch(at) => branch = branch.branches.get(at)?,
            }
            rest = rest.next();
        }
    }
}

impl<K: Clone + Hash + Eq, V: Clone> Branch<K, V> {
    /// The value of a key, made if there is none, and whether it was.
    fn entry(&mut self, hasher: &RandomState, rest: Rest, key: K, new: impl FnOnce() -> V) -> (&mut V, bool) {
        let found = match self.at(rest, &key) {
            At::Branch(at) => return self.branches.make_mut()[at].entry(hasher, rest.next(), key, new),
            At::Pair(at) if self.pairs[at].0 != key => {
                self.lower(at, hasher, rest);
                return self.entry(hasher, rest, key, new);
            }
            At::Pair(at) => Some(at),
            At::Nothing => None,
        };
        let at = found.unwrap_or_else(|| self.add(rest, (key, new())));
        (&mut self.pairs.make_mut()[at].1, found.is_none())
    }

    /// The value of a key that is there, to be changed in place.
    fn get_mut<Q: Eq + ?Sized>(&mut self, rest: Rest, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match self.at(rest, key) {
            At::Nothing => None,
            At::Pair(at) => Some(&mut self.pairs.make_mut()[at].1),
            At::Branch(at) => self.branches.make_mut()[at].get_mut(rest.next(), key),
        }
    }

    /// Takes out a key that is there.
    fn remove<Q: Eq + ?Sized>(&mut self, rest: Rest, key: &Q)
    where
        K: Borrow<Q>,
    {
        match self.at(rest, key) {
            At::Nothing => {}
            At::Pair(at) => {
                debug_assert!(self.pairs[at].0.borrow() == key, "the key is there");
                self.pairs.remove(at);
                self.ones &= !rest.bit();
            }
            At::Branch(at) => {
                let lower = &mut self.branches.make_mut()[at];
                lower.remove(rest.next(), key);
                // What leads to one pair only is that pair.
                if let ([pair], []) = (&*lower.pairs, &*lower.branches) {
                    let pair = pair.clone();
                    self.branches.remove(at);
                    self.several &= !rest.bit();
                    self.add(rest, pair);
                }
            }
        }
    }

    /// Adds a pair for which there is nothing yet, and says where.
    fn add(&mut self, rest: Rest, pair: (K, V)) -> usize {
        let at = if rest.is_over() { self.pairs.len() } else { place(self.ones, rest.bit()) };
        self.pairs.insert(at, pair);
        self.ones |= rest.bit();
        at
    }

    /// Makes a branch of the pair at that place.
    fn lower(&mut self, at: usize, hasher: &RandomState, rest: Rest) {
        let pair = self.pairs[at].clone();
        self.pairs.remove(at);
        self.ones &= !rest.bit();
        let mut lower = Self::default();
        lower.add(rest.next().of(hasher.hash_one(&pair.0)), pair);
        self.branches.insert(place(self.several, rest.bit()), lower);
        self.several |= rest.bit();
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { root: Branch::default(), hasher: RandomState::new(), len: 0 }
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), hasher: self.hasher.clone(), len: self.len }
    }
}

impl<K, V> SharedMap<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut branches = vec![&self.root];
        let all = iter::from_fn(move || {
            let next = branches.pop()?;
            branches.extend(next.branches.iter());
            Some(next)
        });
        all.flat_map(|branch| branch.pairs.iter().map(|(key, value)| (key, value)))
    }
}

impl<K: Clone + Hash + Eq, V: Clone> SharedMap<K, V> {
    fn rest<Q: Hash + ?Sized>(&self, key: &Q) -> Rest {
        Rest { hash: self.hasher.hash_one(key), depth: 0 }
    }

    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if self.len == 0 {
            return None;
        }
        self.root.get(self.rest(key), key)
    }

    /// The value of the key, made if there is none, to be changed in place.
    pub fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let rest = self.rest(&key);
        let (value, is_new) = self.root.entry(&self.hasher, rest, key, new);
        self.len += usize::from(is_new);
        value
    }

    /// Sets the value of the key.
    pub fn insert(&mut self, key: K, value: V) {
        let place = self.entry(key, || value.clone());
        *place = value;
    }

    /// Lets `change` alter the value of the key, and drops the key if it answers that nothing is left.
    pub fn reduce<Q: Hash + Eq + ?Sized>(&mut self, key: &Q, change: impl FnOnce(&mut V) -> bool)
    where
        K: Borrow<Q>,
    {
        if self.get(key).is_none() {
            return;
        }
        let rest = self.rest(key);
        if self.root.get_mut(rest, key).is_some_and(change) {
            self.root.remove(rest, key);
            self.len -= 1;
        }
    }

    /// Takes out the key.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.get(key)?.clone();
        self.root.remove(self.rest(key), key);
        self.len -= 1;
        Some(value)
    }

    /// How many values lie elsewhere than in another map: a change copies those around it, too.
    pub fn not_shared_with(&self, other: &Self) -> usize {
        self.iter().filter(|(key, value)| !other.get(*key).is_some_and(|known| ptr::eq(*value, known))).count()
    }
}
