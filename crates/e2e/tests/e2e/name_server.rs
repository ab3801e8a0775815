//! A DNS server on a thread: A records that change, and every way to fail.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Answers,
    Silent,
    /// Answers with this code to every question.
    Code(u8),
    Garbage,
}

pub(crate) struct NameServer {
    pub(crate) at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    mood: Mutex<Mood>,
    zone: Mutex<HashMap<String, (Vec<Ipv4Addr>, u32)>>,
    asked: AtomicUsize,
}

impl NameServer {
    pub(crate) fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        let zone = Mutex::default();
        let shared = Arc::new(Shared { mood: Mutex::new(Mood::Answers), zone, asked: AtomicUsize::new(0) });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                serving.asked.fetch_add(1, Ordering::SeqCst);
                if let Some(reply) = reply(&query[..length], &serving) {
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        NameServer { at, shared }
    }

    pub(crate) fn set(&self, name: &str, ips: &[&str], ttl: u32) {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        self.shared.zone.lock().unwrap().insert(name.to_owned(), (ips, ttl));
    }

    pub(crate) fn mood(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// Questions so far.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

fn reply(query: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let length = usize::from(query[at]);
        name.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    let (is_a, question) = (query[at + 1..at + 3] == [0, 1], &query[12..at + 5]);
    let zone = shared.zone.lock().unwrap();
    let known = zone.get(&name.join("."));
    let (ips, ttl) = known.filter(|_| is_a).cloned().unwrap_or_default();
    let code = match *shared.mood.lock().unwrap() {
        Mood::Answers => {
            if known.is_some() {
                0
            } else {
                3
            }
        }
        Mood::Code(code) => code,
        Mood::Silent => return None,
        Mood::Garbage => return Some(vec![0xff; 7]),
    };
    let ips = if code == 0 { ips } else { Vec::new() };
    let mut message = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, ips.len() as u8, 0, 0, 0, 0];
    message.extend(question);
    for ip in ips {
        // A pointer to the name, type and class.
        message.extend([0xc0, 12, 0, 1, 0, 1]);
        message.extend(ttl.to_be_bytes());
        message.extend([0, 4]);
        message.extend(ip.octets());
    }
    Some(message)
}
