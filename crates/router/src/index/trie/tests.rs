use std::sync::Arc;

use uuid::Uuid;

use super::{Lists, Node};
use crate::compile::plans;
use crate::definition::Definition;
use crate::index::Entry;
use crate::tests::naive::Dice;
use crate::tests::route;
use crate::{Flavor, Route};

type Trie = Arc<Node<Arc<Route>>>;

/// A route's entry without further checks.
fn entry(number: u128) -> Entry<Arc<Route>> {
    let route = route(number, "paths=/a");
    Entry::new(&plans(Flavor::default(), &Definition::from(&*route)).unwrap()[0], None, None, route)
}

/// Nodes, leaves and entries of all kinds, whichever order they are in; leaves are where leaves can be.
fn shape(node: &Node<Arc<Route>>, is_root: bool) -> [usize; 3] {
    let parts = node.inner.len() + node.leaves.len() + node.entries.len();
    assert!(is_root || parts > 1, "a node of no use");
    assert!(node.inner.iter().all(|child| child.inner.len() + child.leaves.len() + child.entries.len() > 1));
    assert_eq!(node.text.len(), node.rests() + node.leaves.iter().map(|leaf| leaf.rest.1 as usize).sum::<usize>());
    assert_eq!(node.has_entries.then_some(node.major), node.entries.first().map(|first| first.major));
    let own = [1, node.leaves.len(), node.entries.len()];
    let below = node.inner.iter().map(|child| shape(child, false));
    below.fold(own, |sum, more| std::array::from_fn(|at| sum[at] + more[at]))
}

fn found(trie: &Trie, path: &[u8]) -> Vec<Uuid> {
    let mut lists = Lists::new();
    trie.collect(path, &mut lists);
    let mut found: Vec<_> = lists.iter().flat_map(|list| list.entries).map(Entry::id).collect();
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
fn a_step_of_a_look_up_is_one_line_of_the_cache() {
    /// As large as what the proxy keeps.
    type Kept = [u64; 3];
    assert_eq!(size_of::<Entry<Kept>>(), 64);
    assert_eq!(align_of::<Entry<Kept>>(), 64);
    assert_eq!(std::mem::offset_of!(Node<Kept>, major), 64);
}
