//! A DNS server on loopback for tests: hand-made packets, every failure a server can have, a log of what was asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Debug)]
pub(in crate::upstream) enum Reply {
    Records(Vec<Data>, u32),
    /// NOERROR without records.
    Empty,
    NxDomain,
    Code(u8),
    /// No reply at all.
    Silence,
    /// Bytes that are no DNS message, then nothing.
    Garbage,
    /// A reply to another question's id, then the right one.
    ForeignFirst(Vec<Data>, u32),
    /// Cut short over UDP, whole over TCP.
    Truncated(Vec<Data>, u32),
}

#[derive(Clone, Debug)]
pub(in crate::upstream) enum Data {
    Ip(IpAddr),
    /// An alias and, for its name, the address that follows it.
    Alias(&'static str, IpAddr),
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: &'static str,
    },
}

type Zone = HashMap<(String, u16), Reply>;

#[derive(Clone)]
pub(in crate::upstream) struct Server {
    pub(in crate::upstream) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<String>>>,
}

pub(in crate::upstream) const A: u16 = 1;
pub(in crate::upstream) const CNAME: u16 = 5;
pub(in crate::upstream) const AAAA: u16 = 28;
pub(in crate::upstream) const SRV: u16 = 33;

impl Server {
    pub(in crate::upstream) fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let server = Self { address: udp.local_addr().unwrap(), zone: Arc::default(), asked: Arc::default() };
        let over_udp = server.clone();
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut query) {
                for reply in over_udp.replies(&query[..length], false) {
                    let _ = udp.send_to(&reply, from);
                }
            }
        });
        let over_tcp = server.clone();
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let server = over_tcp.clone();
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    let mut length = [0; 2];
                    while stream.read_exact(&mut length).is_ok() {
                        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                        stream.read_exact(&mut query).unwrap();
                        for reply in server.replies(&query, true) {
                            stream.write_all(&(reply.len() as u16).to_be_bytes()).unwrap();
                            stream.write_all(&reply).unwrap();
                        }
                    }
                });
            }
        });
        server
    }

    pub(in crate::upstream) fn set(&self, name: &str, record_type: u16, reply: Reply) {
        self.zone.lock().unwrap().insert((name.to_owned(), record_type), reply);
    }

    pub(in crate::upstream) fn set_ips(&self, name: &str, ips: &[&str], ttl: u32) {
        let ips = ips.iter().map(|ip| Data::Ip(ip.parse().unwrap())).collect();
        self.set(name, A, Reply::Records(ips, ttl));
    }

    /// What was asked since the last call: `A name`.
    pub(in crate::upstream) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn replies(&self, query: &[u8], is_tcp: bool) -> Vec<Vec<u8>> {
        let (name, end) = name_at(query, 12);
        let record_type = u16::from_be_bytes([query[end], query[end + 1]]);
        let question = &query[12..end + 4];
        let kind = match record_type {
            A => "A",
            AAAA => "AAAA",
            SRV => "SRV",
            _ => "?",
        };
        let transport = if is_tcp { " tcp" } else { "" };
        self.asked.lock().unwrap().push(format!("{kind} {name}{transport}"));
        let reply = self.zone.lock().unwrap().get(&(name.clone(), record_type)).cloned();
        // A name that has any records exists.
        let is_known = self.zone.lock().unwrap().keys().any(|(known, _)| *known == name);
        let unknown = if is_known { Reply::Empty } else { Reply::NxDomain };
        let message = |data: &[Data], ttl, code, flags| message(query, question, record_type, data, ttl, code, flags);
        match reply.unwrap_or(unknown) {
            Reply::Records(data, ttl) => vec![message(&data, ttl, 0, 0)],
            Reply::Empty => vec![message(&[], 0, 0, 0)],
            Reply::NxDomain => vec![message(&[], 0, 3, 0)],
            Reply::Code(code) => vec![message(&[], 0, code, 0)],
            Reply::Silence => Vec::new(),
            Reply::Garbage => vec![vec![0xff; 7]],
            Reply::ForeignFirst(data, ttl) => {
                let right = message(&data, ttl, 0, 0);
                let mut foreign = message(&[Data::Ip([6, 6, 6, 6].into())], ttl, 0, 0);
                foreign[0] ^= 0x55;
                vec![foreign, right]
            }
            Reply::Truncated(data, ttl) if is_tcp => vec![message(&data, ttl, 0, 0)],
            Reply::Truncated(..) => vec![message(&[], 0, 0, 0x02)],
        }
    }
}

fn message(query: &[u8], question: &[u8], kind: u16, data: &[Data], ttl: u32, code: u8, flags: u8) -> Vec<u8> {
    let mut records = Vec::new();
    let mut count = 0_u16;
    for data in data {
        let (owner, data) = match data {
            Data::Alias(alias, ip) => {
                let target = name_of(alias);
                // The alias lives half as long as the address.
                record(&mut records, &[0xc0, 12], CNAME, ttl / 2, &target);
                count += 1;
                (target, &Data::Ip(*ip))
            }
            data => (vec![0xc0, 12], data),
        };
        let bytes = match data {
            Data::Ip(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Data::Ip(IpAddr::V6(ip)) => ip.octets().to_vec(),
            Data::Srv { priority, weight, port, target } => {
                let numbers = [*priority, *weight, *port].into_iter().flat_map(u16::to_be_bytes);
                numbers.chain(name_of(target)).collect()
            }
            Data::Alias(..) => Vec::new(),
        };
        record(&mut records, &owner, kind, ttl, &bytes);
        count += 1;
    }
    let mut message = vec![query[0], query[1], 0x81 | flags, 0x80 | code, 0, 1];
    message.extend(count.to_be_bytes());
    message.extend([0; 4]);
    message.extend(question);
    message.extend(records);
    message
}

fn record(into: &mut Vec<u8>, owner: &[u8], kind: u16, ttl: u32, data: &[u8]) {
    into.extend(owner);
    into.extend(kind.to_be_bytes());
    into.extend(1_u16.to_be_bytes());
    into.extend(ttl.to_be_bytes());
    into.extend((data.len() as u16).to_be_bytes());
    into.extend(data);
}

fn name_of(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn name_at(message: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    (labels.join("."), at + 1)
}
