use std::sync::Arc;

use uuid::Uuid;

use super::{Lists, Node};
use crate::compile::plans;
use crate::definition::Definition;
use crate::index::Entry;
use crate::tests::naive::Dice;
use crate::tests::route;
use crate::{Flavor, Route};

type Trie = Node<Arc<Route>>;

/// A route's entry without further checks.
fn entry(number: u128) -> Entry<Arc<Route>> {
    let route = route(number, "paths=/a");
    Entry::new(&plans(Flavor::default(), &Definition::from(&*route)).unwrap()[0], None, None, route)
}

/// How many nodes and entries there are, whichever order they are in; a node leads to more than one thing.
fn shape(node: &Trie, is_root: bool) -> [usize; 2] {
    let (children, entries) = (&*node.children, node.entries().count());
    assert!(node.is_empty() && is_root || children.len() + entries.min(1) > 1 || entries > 0, "a node of no use");
    assert_eq!(node.text.len(), node.label().len() + children.len());
    assert_eq!(node.has_entries.then_some(node.major), node.entries().next().map(|first| first.major));
    assert!(node.entries().zip(node.entries().skip(1)).all(|(before, after)| before.precedes(after)));
    let below = children.iter().map(|child| shape(child, false));
    below.fold([1, entries], |sum, more| std::array::from_fn(|at| sum[at] + more[at]))
}

fn found(trie: &Trie, path: &[u8]) -> Vec<Uuid> {
    let mut lists = Lists::new();
    trie.collect(path, &mut lists);
    let mut found = Vec::new();
    for list in lists {
        let mut left = Some(list);
        while let Some((list, (entry, may_match))) = left.and_then(|list| Some((list, list.first()?))) {
            found.extend(may_match.then(|| entry.id()));
            left = if may_match { list.rest() } else { list.screened(path) };
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn a_trie_has_the_same_nodes_whichever_way_it_came_about() {
    let mut dice = Dice(7);
    let key = |dice: &mut Dice| (0..dice.roll(6)).map(|_| b"abc"[dice.roll(3)]).collect::<Vec<u8>>();
    for _ in 0..200 {
        let (mut trie, mut keys) = (Trie::default(), Vec::new());
        for number in 0..30 {
            if dice.roll(3) == 0 && !keys.is_empty() {
                let (number, key): (u128, Vec<u8>) = keys.swap_remove(dice.roll(keys.len()));
                trie.remove(&key, Uuid::from_u128(number));
            } else {
                let key = key(&mut dice);
                trie.insert(&key, entry(number));
                keys.push((number, key));
            }
            let mut fresh = Trie::default();
            keys.iter().for_each(|(number, key)| fresh.insert(key, entry(*number)));
            assert_eq!(shape(&trie, true), shape(&fresh, true), "{keys:?}");
            let path = key(&mut dice);
            let mut expected: Vec<_> = keys
                .iter()
                .filter(|(_, key)| path.starts_with(key))
                .map(|(number, _)| Uuid::from_u128(*number))
                .collect();
            expected.sort_unstable();
            assert_eq!(found(&trie, &path), expected, "{path:?} in {keys:?}");
        }
    }
}

#[test]
fn blocks_stay_in_order_and_neither_grow_too_large_nor_become_many() {
    let mut dice = Dice(11);
    let (mut trie, mut numbers) = (Trie::default(), Vec::new());
    for step in 0..3000 {
        // First more and more, then fewer and fewer.
        if dice.roll(10) < if step < 1500 { 2 } else { 8 } && !numbers.is_empty() {
            let number: u128 = numbers.swap_remove(dice.roll(numbers.len()));
            trie.remove(b"/", Uuid::from_u128(number));
        } else {
            let number = dice.roll(1 << 30) as u128;
            trie.insert(b"/", entry(number));
            numbers.push(number);
        }
        if step % 50 == 0 {
            shape(&trie, true);
            let lengths: Vec<usize> = trie.blocks().iter().map(|block| block.entries().len()).collect();
            assert!(lengths.iter().all(|length| (1..=64).contains(length)), "{lengths:?}");
            assert!(lengths.windows(2).all(|pair| pair[0] + pair[1] > 32), "{lengths:?}");
            let mut expected: Vec<_> = numbers.iter().map(|number| Uuid::from_u128(*number)).collect();
            expected.sort_unstable();
            assert_eq!(found(&trie, b"/a"), expected);
        }
    }
}

#[test]
fn a_step_of_a_look_up_reads_two_lines_of_the_cache() {
    /// As large as what the proxy keeps.
    type Kept = [u64; 3];
    assert!(size_of::<Node<Kept>>() <= 128);
    assert!(std::mem::offset_of!(Node<Kept>, others) <= 64);
}
