//! A cluster: each of 16384 slots of keys is served by one node. Which, is learned when a node sends a command on, and
//! while a node is out of reach.

use super::Failure;
use super::node::{FIRST_PAUSE, LONGEST_PAUSE, Node, address};
use super::resp::{self, Reply};
use super::settings::{Access, Address, Nodes, Place};
use crate::background;
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use tokio::time::sleep;

const SLOTS: u16 = 16384;

pub(super) struct Cluster {
    nodes: Nodes,
    access: Access,
    seeds: Vec<Arc<Node>>,
    map: ArcSwap<Map>,
    is_learning: AtomicBool,
}

/// Slots and who serves them, in order.
type Map = Vec<Served>;

struct Served {
    first: u16,
    last: u16,
    by: Arc<Node>,
}

/// Where a node sends a command on to.
enum Elsewhere {
    /// From now on.
    Moved(Address),
    /// This once.
    Ask(Address),
}

impl Cluster {
    pub(super) fn new(nodes: Nodes, access: Access) -> Arc<Self> {
        let at = |address: &Address| Node::of(Place::At(address.clone()), access.clone());
        let seeds = nodes.seeds.iter().map(at).collect();
        Arc::new(Self { nodes, access, seeds, map: ArcSwap::default(), is_learning: AtomicBool::new(false) })
    }

    pub(super) async fn call(self: &Arc<Self>, key: &[u8], command: Vec<u8>) -> Result<Reply, Failure> {
        let slot = slot(key);
        let mut node = self.serving(slot)?;
        let mut is_asking = false;
        // However often it is sent on, it does not wait for longer.
        let until = node.until();
        for _ in 0..=self.nodes.redirections {
            let answer = if is_asking {
                node.call_until(until, [&b"*1\r\n$6\r\nASKING\r\n"[..], &command].concat(), 1).await
            } else {
                node.call_until(until, command.clone(), 0).await
            };
            match answer {
                Ok(Reply::Error(text)) => match Elsewhere::read(&text, node.host()) {
                    Some(Elsewhere::Moved(to)) => {
                        self.learn();
                        (node, is_asking) = (self.at(to), false);
                    }
                    Some(Elsewhere::Ask(to)) => (node, is_asking) = (self.at(to), true),
                    None if ["CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN"]
                        .iter()
                        .any(|c| text.starts_with(c)) =>
                    {
                        self.learn();
                        return Err(Failure::Other(text));
                    }
                    None => return Ok(Reply::Error(text)),
                },
                Ok(reply) => return Ok(reply),
                Err(failure) => {
                    self.learn();
                    let is_seed = self.map.load().is_empty();
                    match self.serving(slot) {
                        // Nobody knows yet who serves what: another seed may.
                        Ok(other) if is_seed && !Arc::ptr_eq(&other, &node) => node = other,
                        _ => return Err(failure),
                    }
                }
            }
        }
        Err(Failure::new("sent on too often"))
    }

    /// The nodes that serve slots.
    pub(super) fn parts(self: &Arc<Self>) -> Vec<Arc<Node>> {
        let map = self.map.load();
        let mut nodes: Vec<Arc<Node>> = map.iter().map(|served| served.by.clone()).collect();
        if nodes.is_empty() {
            self.learn();
            nodes.clone_from(&self.seeds);
        }
        nodes.sort_by_key(Arc::as_ptr);
        nodes.dedup_by_key(|node| Arc::as_ptr(node));
        nodes
    }

    fn at(&self, address: Address) -> Arc<Node> {
        Node::of(Place::At(address), self.access.clone())
    }

    /// Who serves a slot, as far as it is known; else any node in reach.
    fn serving(&self, slot: u16) -> Result<Arc<Node>, Failure> {
        let map = self.map.load();
        let at = map.partition_point(|served| served.last < slot);
        match map.get(at).filter(|served| served.first <= slot) {
            Some(served) => Ok(served.by.clone()),
            None => {
                let mut known = self.seeds.iter().chain(map.iter().map(|served| &served.by));
                known.find(|node| !node.is_down()).cloned().ok_or_else(|| Failure::new("out of reach"))
            }
        }
    }

    /// Learns in the background who serves what, until all of them are in reach.
    fn learn(self: &Arc<Self>) {
        if self.is_learning.swap(true, Relaxed) {
            return;
        }
        match background::runtime() {
            Some(runtime) => {
                runtime.spawn(learn(Arc::downgrade(self)));
            }
            None => self.is_learning.store(false, Relaxed),
        }
    }

    /// Asks one node in reach after the other.
    async fn fetch(&self) -> Option<Map> {
        let mut command = Vec::new();
        resp::command(&mut command, &[b"CLUSTER", b"SLOTS"]);
        let map = self.map.load_full();
        for node in map.iter().map(|served| &served.by).chain(&self.seeds).filter(|node| !node.is_down()) {
            if let Ok(Reply::Array(told)) = node.call(command.clone()).await
                && let Some(map) = self.read(&told, node.host())
            {
                return Some(map);
            }
        }
        None
    }

    /// What CLUSTER SLOTS says. A node that does not know its own address is at the one it was asked at.
    fn read(&self, told: &[Reply], host: &str) -> Option<Map> {
        let mut map = Map::new();
        for range in told {
            let Reply::Array(parts) = range else { return None };
            let [Reply::Number(first), Reply::Number(last), Reply::Array(master), ..] = &**parts else { return None };
            let [at, port, ..] = &**master else { return None };
            let unnamed = matches!(at, Reply::Nil) || *at == Reply::Bulk(Vec::new());
            let named = if unnamed { Reply::Bulk(host.into()) } else { at.clone() };
            let by = self.at(address(&named, port)?);
            let number = |n: i64| u16::try_from(n).ok().filter(|n| *n < SLOTS);
            let (first, last) = (number(*first)?, number(*last)?);
            if first > last {
                return None;
            }
            map.push(Served { first, last, by });
        }
        map.sort_by_key(|served| served.first);
        (!map.is_empty()).then_some(map)
    }
}

async fn learn(cluster: Weak<Cluster>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(this) = cluster.upgrade() else { return };
        if let Some(map) = this.fetch().await {
            let is_whole = map.iter().all(|served| !served.by.is_down());
            this.map.store(Arc::new(map));
            if is_whole {
                // A node that sends commands on whatever it says itself is not asked with each of them.
                sleep(FIRST_PAUSE).await;
                return this.is_learning.store(false, Relaxed);
            }
        }
        drop(this);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Elsewhere {
    /// `MOVED 3999 127.0.0.1:6381`, `ASK 3999 127.0.0.1:6381`; without a host it is the same one's.
    fn read(error: &str, host: &str) -> Option<Self> {
        let mut words = error.split(' ');
        let kind = words.next().filter(|kind| matches!(*kind, "MOVED" | "ASK"))?;
        let (named, port) = words.nth(1)?.rsplit_once(':')?;
        let address = (if named.is_empty() { host } else { named }.to_owned(), port.parse().ok()?);
        Some(if kind == "MOVED" { Self::Moved(address) } else { Self::Ask(address) })
    }
}

/// The slot of a key, or of its part in braces, where it has one.
fn slot(key: &[u8]) -> u16 {
    let tagged = memchr::memchr(b'{', key).and_then(|open| {
        let rest = key.get(open + 1..)?;
        rest.get(..memchr::memchr(b'}', rest)?).filter(|tag| !tag.is_empty())
    });
    crc16(tagged.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as the specification of Redis Cluster says.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, same) in [("{user1000}.following", "user1000"), ("foo{}{bar}", "foo{}{bar}"), ("foo{{bar}}z", "{bar")]
        {
            assert_eq!(slot(key.as_bytes()), crc16(same.as_bytes()) % SLOTS, "{key}");
        }
    }

    #[test]
    fn takes_no_slots_from_garbage() {
        let settings = serde_json::json!({ "cluster_nodes": [{ "ip": "127.0.0.1", "port": 1 }] });
        let settings = crate::redis::Settings::new(serde_json::from_value(settings).unwrap()).unwrap();
        let crate::redis::settings::Servers::Cluster(nodes) = settings.servers else { panic!("no cluster") };
        let cluster = Cluster::new(nodes, settings.access);
        for (told, want) in [
            ("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$1\r\na\r\n:1\r\n", Some("a")),
            ("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$-1\r\n:1\r\n", Some("here")),
            ("*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n", None),
            ("*1\r\n*3\r\n:-1\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n", None),
            // The wrong way round: nobody serves these.
            ("*1\r\n*3\r\n:9\r\n:0\r\n*2\r\n$1\r\na\r\n:1\r\n", None),
            ("*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$1\r\na\r\n:65536\r\n", None),
            ("*1\r\n*3\r\n:0\r\n:9\r\n*1\r\n$1\r\na\r\n", None),
            ("*1\r\n*3\r\n:0\r\n:9\r\n:1\r\n", None),
            ("*1\r\n*2\r\n:0\r\n:9\r\n", None),
            ("*1\r\n:1\r\n", None),
            ("*0\r\n", None),
        ] {
            let Ok(Some((Reply::Array(parts), _))) = resp::parse(told.as_bytes()) else { panic!("{told:?}") };
            let map = cluster.read(&parts, "here");
            assert_eq!(map.as_ref().map(|map| map[0].by.host()), want, "{told:?}");
        }
    }

    #[test]
    fn reads_where_a_command_is_sent_on_to() {
        for (error, want) in [
            ("MOVED 3999 10.0.0.1:6381", Some(("moved", "10.0.0.1", 6381))),
            ("ASK 3999 ::1:6381", Some(("ask", "::1", 6381))),
            ("MOVED 3999 :6381", Some(("moved", "here", 6381))),
            ("MOVED 3999", None),
            ("MOVED 3999 a:b", None),
            ("ERR unknown", None),
        ] {
            let read = Elsewhere::read(error, "here").map(|elsewhere| match elsewhere {
                Elsewhere::Moved((host, port)) => ("moved", host, port),
                Elsewhere::Ask((host, port)) => ("ask", host, port),
            });
            assert_eq!(read, want.map(|(kind, host, port)| (kind, host.to_owned(), port)), "{error}");
        }
    }
}
