//! Where the examples of plugins that log and measure send to: what arrived there, held to the format of each protocol.

use super::{is_like, value_fits};
use crate::client::get;
use crate::gateway::{Gateway, eventually};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The sink of the examples, over UDP and TCP, and their file.
const SINK: &str = "127.0.0.1:9999";
const FILE: &str = "/var/log/gateway/orders.log";
const SYSLOG: &str = "/dev/log";

type Datagrams = Arc<Mutex<Vec<Vec<u8>>>>;

/// The sinks of a page.
pub(super) struct Sinks {
    at: SocketAddr,
    datagrams: Datagrams,
    stream: Arc<Mutex<Vec<u8>>>,
    folder: tempfile::TempDir,
    syslog: Option<Syslog>,
}

/// The syslog of this host, which is the test's own while the value lives.
struct Syslog(Datagrams);

impl Syslog {
    /// Nothing where this host has one, or where it may not be made.
    fn start() -> Option<Syslog> {
        let is_left_over = Path::new(SYSLOG).exists() && UnixDatagram::unbound().ok()?.connect(SYSLOG).is_err();
        if is_left_over {
            fs::remove_file(SYSLOG).ok()?;
        }
        let socket = UnixDatagram::bind(SYSLOG).ok()?;
        let datagrams = Datagrams::default();
        let seen = Arc::clone(&datagrams);
        std::thread::spawn(move || keep(&seen, |room| socket.recv(room)));
        Some(Syslog(datagrams))
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        let _ = fs::remove_file(SYSLOG);
    }
}

/// Keeps each datagram that is received.
fn keep(datagrams: &Datagrams, mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>) {
    let mut room = vec![0; 1 << 16];
    while let Ok(length) = receive(&mut room) {
        datagrams.lock().unwrap().push(room[..length].to_vec());
    }
}

impl Sinks {
    pub(super) fn start() -> Sinks {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (tcp, udp);
            }
        };
        let sinks = Sinks {
            at: tcp.local_addr().unwrap(),
            datagrams: Datagrams::default(),
            stream: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
            syslog: None,
        };
        let (datagrams, stream) = (Arc::clone(&sinks.datagrams), Arc::clone(&sinks.stream));
        std::thread::spawn(move || keep(&datagrams, |room| udp.recv(room)));
        std::thread::spawn(move || {
            for mut connection in tcp.incoming().flatten() {
                let mut room = [0; 4096];
                while let Ok(length @ 1..) = connection.read(&mut room) {
                    stream.lock().unwrap().extend_from_slice(&room[..length]);
                }
            }
        });
        sinks
    }

    /// A kong.yml of a page with these sinks in place of those it names. Those of the host are there from now on.
    pub(super) fn replace(&mut self, text: &str) -> String {
        if text.contains("name: syslog") {
            self.syslog = Syslog::start();
        }
        let (host, port) = SINK.split_once(':').unwrap();
        let named = |port: &str| format!("host: {host}\n          port: {port}\n");
        text.replace(FILE, &self.file()).replace(&named(port), &named(&self.at.port().to_string()))
    }

    fn file(&self) -> String {
        self.folder.path().join("orders.log").display().to_string()
    }

    fn datagrams(&self) -> Vec<Vec<u8>> {
        self.datagrams.lock().unwrap().clone()
    }

    /// Holds what arrived to a block of a page; says whether the block is of a sink.
    pub(super) fn check(&self, kind: &str, written: &str, gateway: &Gateway) -> Result<bool, String> {
        let wait = |count: usize, datagrams: &dyn Fn() -> Vec<Vec<u8>>| {
            eventually(&format!("{kind}: {count} have arrived: {written}"), || datagrams().len() >= count);
            datagrams()
        };
        match kind {
            "json udp" => documents(&wait(1, &|| self.datagrams()), written)?,
            "json tcp" => {
                eventually("a line has arrived", || self.stream.lock().unwrap().ends_with(b"\n"));
                documents(&lines(&self.stream.lock().unwrap())?, written)?;
            }
            "json file" => {
                let read = || fs::read(self.file()).unwrap_or_default();
                eventually("a line is in the file", || read().ends_with(b"\n"));
                documents(&lines(&read())?, written)?;
                let mode = fs::metadata(self.file()).unwrap().permissions().mode() & 0o777;
                must(mode == 0o644, || format!("mode {mode:o}"))?;
            }
            "text syslog" => {
                let Some(Syslog(datagrams)) = &self.syslog else {
                    eprintln!("{SYSLOG} is not the test's to have: what arrives there is not checked");
                    return Ok(true);
                };
                message(&wait(1, &|| datagrams.lock().unwrap().clone()), written, rfc3164)?;
            }
            "text loggly" => message(&wait(1, &|| self.datagrams()), written, rfc5424)?,
            "text statsd" | "text dogstatsd" => {
                let wanted: Vec<&str> = written.lines().collect();
                let got = wait(wanted.len(), &|| self.datagrams());
                must(got.len() == wanted.len(), || format!("{} datagrams", got.len()))?;
                for (got, wanted) in got.iter().zip(wanted) {
                    let got = std::str::from_utf8(got).map_err(|error| error.to_string())?;
                    metric(got, kind == "text dogstatsd")?;
                    must(is_like(wanted, got), || format!("{got} is not {wanted}"))?;
                }
            }
            "text metrics" => {
                for wanted in written.lines() {
                    eventually(&format!("/metrics has {wanted}"), || {
                        let scrape = get(gateway.ports.status, "/metrics", &[]).body;
                        scrape.lines().any(|line| is_like(wanted, line))
                    });
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn must(is_so: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
    is_so.then_some(()).ok_or_else(wrong)
}

/// The lines of a text whose last one ends, too.
fn lines(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let all = bytes.strip_suffix(b"\n").ok_or("the last line does not end")?;
    Ok(all.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
}

/// A single document: an object of JSON on one line, with nothing before or behind it.
fn documents(got: &[Vec<u8>], written: &str) -> Result<(), String> {
    let [only] = got else { return Err(format!("{} messages", got.len())) };
    let text = std::str::from_utf8(only).map_err(|error| error.to_string())?;
    must(!text.contains(char::is_control), || format!("a control character in {text:?}"))?;
    must(text.starts_with('{') && text.ends_with('}'), || format!("no object alone: {text:?}"))?;
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    let written: Value = serde_json::from_str(written).map_err(|error| format!("{error}: {written}"))?;
    must(value_fits(&written, &value), || format!("{value:#} has not what is written"))
}

/// A single message of syslog that ends in a document; `head` says what is wrong with what stands before it.
fn message(got: &[Vec<u8>], written: &str, head: fn(&str) -> Result<(), String>) -> Result<(), String> {
    let [only] = got else { return Err(format!("{} messages", got.len())) };
    let text = std::str::from_utf8(only).map_err(|error| error.to_string())?;
    let split = |text: &str| text.split_once('{').map(|(head, rest)| (head.to_owned(), format!("{{{rest}")));
    let (before, document) = split(text).ok_or("no document")?;
    let (written, fields) = split(written).ok_or("no document is written")?;
    head(&before)?;
    must(is_like(&written, &before), || format!("{before:?} is not {written:?}"))?;
    documents(&[document.into_bytes()], &fields)
}

/// The priority at the start of a message, and the rest.
fn priority(text: &str) -> Result<(u16, &str), String> {
    let (number, rest) = text.strip_prefix('<').and_then(|text| text.split_once('>')).ok_or("no priority")?;
    let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    must(is_plain && (number == "0" || !number.starts_with('0')), || format!("priority {number}"))?;
    let number = number.parse().map_err(|_| format!("priority {number}"))?;
    must(number <= 191, || format!("priority {number}"))?;
    Ok((number, rest))
}

/// Whether a text has digits where the pattern has `0`, and what the pattern has elsewhere.
fn has_form(text: &str, pattern: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

/// `<priority>Mmm dd hh:mm:ss tag: ` (RFC 3164, 4.1; as syslog(3) writes to its socket, without a host).
fn rfc3164(head: &str) -> Result<(), String> {
    let (_, rest) = priority(head)?;
    let (time, tag) = rest.split_at_checked(16).ok_or("no time")?;
    let (month, time) = time.split_at_checked(3).ok_or("no month")?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    must(months.contains(&month), || format!("month {month}"))?;
    // A day below ten stands behind a space.
    must(has_form(time, " 00 00:00:00 ") || has_form(time, "  0 00:00:00 "), || format!("time {time:?}"))?;
    let name = tag.strip_suffix(": ").ok_or_else(|| format!("tag {tag:?}"))?;
    must(name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()), || format!("tag {name:?}"))
}

/// `<priority>1 time host app procid msgid [element] ` (RFC 5424, 6).
fn rfc5424(head: &str) -> Result<(), String> {
    let (_, rest) = priority(head)?;
    let mut parts = rest.splitn(7, ' ');
    let mut next = |what: &str| parts.next().filter(|part| !part.is_empty()).ok_or_else(|| format!("no {what}"));
    must(next("version")? == "1", || format!("version: {rest}"))?;
    let time = next("time")?;
    must(has_form(time, "0000-00-00T00:00:00Z"), || format!("time {time}"))?;
    for (what, longest) in [("host", 255), ("app", 48), ("procid", 128), ("msgid", 32)] {
        let part = next(what)?;
        must(part.len() <= longest && part.bytes().all(|byte| byte.is_ascii_graphic()), || format!("{what} {part}"))?;
    }
    let element = next("element")?;
    let element = element.strip_prefix('[').and_then(|text| text.strip_suffix("] ")).ok_or("no element")?;
    let mut parts = element.split(' ');
    let (name, number) = parts.next().and_then(|id| id.split_once('@')).ok_or("no private name")?;
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"=]\"@".contains(&b));
    must(is_name(name) && number == "41058", || format!("element {element}"))?;
    for part in parts {
        let value = part.split_once("=\"").filter(|(name, _)| is_name(name)).and_then(|(_, v)| v.strip_suffix('"'));
        must(value.is_some_and(|value| !value.contains(['"', ']', '\\'])), || format!("parameter {part}"))?;
    }
    Ok(())
}

/// `name:value|type[|@rate]` (StatsD), with `|#tags` at the end in DogStatsD.
fn metric(text: &str, has_tags: bool) -> Result<(), String> {
    must(!text.contains(|c: char| c.is_control() || c.is_whitespace()), || format!("{text:?} is more than a metric"))?;
    let (text, tags) = match text.split_once("|#") {
        Some((text, tags)) => (text, Some(tags)),
        None => (text, None),
    };
    must(tags.is_some() == has_tags, || format!("tags of {text}"))?;
    for tag in tags.iter().flat_map(|tags| tags.split(',')) {
        let is_tag = tag.starts_with(|c: char| c.is_ascii_alphabetic()) && !tag.contains(['|', '#']);
        must(is_tag, || format!("tag {tag}"))?;
    }
    let (name, rest) = text.split_once(':').ok_or_else(|| format!("no name: {text}"))?;
    must(!name.is_empty() && !name.contains(['|', '@', '#']), || format!("name {name}"))?;
    let mut parts = rest.split('|');
    let (value, kind, rate) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let kinds: &[&str] = if has_tags { &["c", "g", "ms", "h", "s", "d"] } else { &["c", "g", "ms", "h", "m", "s"] };
    must(kind.is_some_and(|kind| kinds.contains(&kind)), || format!("kind of {text}"))?;
    must(kind == Some("s") || value.parse::<f64>().is_ok_and(|value| value >= 0.0), || format!("value of {text}"))?;
    let is_rate = |rate: &str| rate.strip_prefix('@').is_some_and(|rate| rate.parse::<f64>().is_ok_and(|r| r > 0.0));
    must(rate.is_none_or(is_rate) && parts.next().is_none(), || format!("rate of {text}"))
}

#[test]
fn sinks_take_nothing_but_their_formats() {
    for (head, is_taken) in [
        ("<134>Nov 29 19:14:46 kong: ", true),
        ("<0>Jan  1 00:00:30 kong: ", true),
        ("<192>Nov 29 19:14:46 kong: ", false),
        ("<014>Nov 29 19:14:46 kong: ", false),
        ("<14>nov 29 19:14:46 kong: ", false),
        ("<14>Jan 1 00:00:30 kong: ", false),
        ("<14>Jan 01 00:00:30 host kong: ", false),
        ("<14>Nov 29 19:14:46 kong:", false),
    ] {
        assert_eq!(rfc3164(head).is_ok(), is_taken, "{head}");
    }
    for (head, is_taken) in [
        ("<14>1 2026-01-01T00:00:30Z node.test kong - - [k-1@41058 tag=\"a\" tag=\"b\"] ", true),
        ("<14>1 2026-01-01T00:00:30Z node.test kong - - [k-1@41058] ", true),
        ("<14>2 2026-01-01T00:00:30Z node.test kong - - [k@41058] ", false),
        ("<14>1 2026-01-01 00:00:30 node.test kong - - [k@41058] ", false),
        ("<14>1 2026-01-01T00:00:30Z node.test kong - [k@41058] ", false),
        ("<14>1 2026-01-01T00:00:30Z node.test kong - - [k=x@41058] ", false),
        ("<14>1 2026-01-01T00:00:30Z node.test kong - - [k@41058 tag=\"a\"\"] ", false),
        ("<14>1 2026-01-01T00:00:30Z node.test kong - - [k@1] ", false),
    ] {
        assert_eq!(rfc5424(head).is_ok(), is_taken, "{head}");
    }
    for (text, has_tags, is_taken) in [
        ("kong.service.s.request.count:1|c", false, true),
        ("a.b:1.5|ms|@0.5", false, true),
        ("a:alice|s", false, true),
        ("a:1|c|#env:x,b", true, true),
        ("a:1|c|@0.5|#name:,status:200", true, true),
        ("a:1|c|#env:x", false, false),
        ("a:1|c", true, false),
        ("a:x|c", false, false),
        ("a:-1|c", false, false),
        ("a:1", false, false),
        ("a:1|q", false, false),
        ("a:1|c|0.5", false, false),
        ("a:1|c\n", false, false),
        ("a|b:1|c", false, false),
        ("a:1|c|#env:x,,y", true, false),
    ] {
        assert_eq!(metric(text, has_tags).is_ok(), is_taken, "{text}: {:?}", metric(text, has_tags));
    }
    let is_document = |text: &str| documents(&[text.as_bytes().to_vec()], "{\"a\": \"...\"}").is_ok();
    for (text, is_taken) in [
        ("{\"a\":\"x\"}", true),
        ("{\"a\":1}", false),
        ("{\"a\":\"x\"}\n", false),
        ("[{\"a\":\"x\"}]", false),
        ("{", false),
    ] {
        assert_eq!(is_document(text), is_taken, "{text}");
    }
    assert_eq!(lines(b"a\nb\n").unwrap(), [b"a", b"b"]);
    assert!(lines(b"a\nb").is_err());
}
