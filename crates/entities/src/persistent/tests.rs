use super::{SharedArray, SharedMap};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// A key whose hash says nothing but its last digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alike(u32, u32);

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 % self.1).hash(state);
    }
}

/// Holds a map against one of the standard library through thousands of changes, and copies of both against what becomes of
/// them.
fn lives<K: Clone + Ord + Hash + std::fmt::Debug>(key: impl Fn(u32) -> K) {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
    let mut before = Vec::new();
    for step in 0..3000 {
        let key = key(random.u32(..400));
        match random.u32(..4) {
            0 => assert_eq!(map.remove(&key), model.remove(&key)),
            1 => {
                let change = |value: &mut u32| {
                    *value += 1;
                    value.is_multiple_of(3)
                };
                map.reduce(&key, change);
                if model.get_mut(&key).is_some_and(change) {
                    model.remove(&key);
                }
            }
            2 => {
                *map.entry(key.clone(), || 5) += 1;
                *model.entry(key).or_insert(5) += 1;
            }
            _ => {
                map.insert(key.clone(), step);
                model.insert(key, step);
            }
        }
        if step % 500 == 0 {
            before.push((map.clone(), model.clone()));
        }
    }
    before.push((map, model));
    for (map, model) in before {
        let mut all: Vec<_> = map.iter().collect();
        all.sort_unstable();
        assert_eq!(all, model.iter().collect::<Vec<_>>());
        assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
        for number in 0..400 {
            assert_eq!(map.get(&key(number)), model.get(&key(number)));
        }
    }
}

#[test]
fn a_map_is_as_any_other_and_its_copies_stay_as_they_were() {
    lives(|number| number);
}

#[test]
fn keys_of_one_hash_lie_side_by_side() {
    lives(|number| Alike(number, 1));
    lives(|number| Alike(number, 40));
}

#[test]
fn what_has_been_emptied_holds_nothing() {
    let empty = SharedMap::default();
    let mut map = empty.clone();
    (0..1000).for_each(|number| map.insert(number, number));
    (0..1000).for_each(|number| assert_eq!(map.remove(&number), Some(number)));
    assert_eq!((map.len(), map.iter().count()), (0, 0));
    assert_eq!(format!("{map:?}"), format!("{empty:?}"));
}

#[test]
fn a_change_copies_little() {
    let mut map = SharedMap::default();
    (0..10_000).for_each(|number| map.insert(number, number));
    let old = map.clone();
    assert_eq!(map.not_shared_with(&old), 0);
    map.insert(7, 8);
    assert!((1..=16).contains(&map.not_shared_with(&old)));
    map.insert(10_001, 1);
    assert!((2..=32).contains(&map.not_shared_with(&old)));
}

/// Whatever happened before, keys lie where they lie in a map that has never held others.
#[test]
fn a_map_has_the_form_of_a_new_one_with_its_keys() {
    let empty = SharedMap::default();
    let mut random = fastrand::Rng::with_seed(11);
    let mut map = empty.clone();
    for _ in 0..5_000 {
        let key = random.u32(..600);
        if random.bool() {
            map.insert(key, key);
        } else {
            map.remove(&key);
        }
    }
    let mut new = empty;
    map.iter().for_each(|(key, value)| new.insert(*key, *value));
    assert_eq!(format!("{map:?}"), format!("{new:?}"));
}

#[test]
fn an_array_is_changed_and_its_copies_are_not() {
    let mut array = SharedArray::default();
    assert!(array.make_mut().is_empty());
    for (at, item) in [(0, 1), (0, 2), (1, 3), (9, 4)] {
        array.insert(at, item);
    }
    let copy = array.clone();
    array.make_mut()[0] = 7;
    array.remove(2);
    array.remove(9);
    assert_eq!((&*array, &*copy), (&[7, 3, 4][..], &[2, 3, 1, 4][..]));
    (0..3).for_each(|_| array.remove(0));
    assert!(array.is_empty());
}
