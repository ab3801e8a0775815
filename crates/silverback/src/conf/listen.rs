//! The listener properties: `[off] | <ip>:<port> [flag]... | unix:<path> [flag]...`, separated by commas.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kinds::{Kind, Wrong, split_list};
use super::units::parse_time;

const HTTP_FLAGS: [&str; 12] = [
    "ssl",
    "http2",
    "proxy_protocol",
    "deferred",
    "bind",
    "reuseport",
    "backlog=%d+",
    "ipv6only=on",
    "ipv6only=off",
    "so_keepalive=on",
    "so_keepalive=off",
    "so_keepalive=%w*:%w*:%d*",
];

const STREAM_FLAGS: [&str; 11] = [
    "udp",
    "ssl",
    "proxy_protocol",
    "bind",
    "reuseport",
    "backlog=%d+",
    "ipv6only=on",
    "ipv6only=off",
    "so_keepalive=on",
    "so_keepalive=off",
    "so_keepalive=%w*:%w*:%d*",
];

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// IP address or host name; IPv6 without brackets. Empty for a socket of the file system.
    pub host: String,
    pub port: u16,
    /// The socket's file, absolute or below the prefix.
    #[serde(default)]
    pub path: Option<PathBuf>,
    pub ssl: bool,
    pub http2: bool,
    pub proxy_protocol: bool,
    pub deferred: bool,
    pub bind: bool,
    pub reuseport: bool,
    pub udp: bool,
    pub backlog: Option<i32>,
    pub ipv6only: Option<bool>,
    pub so_keepalive: Option<KeepAlive>,
    /// The flags as they were written.
    flags: Vec<String>,
}

/// TCP keepalive of accepted connections; `None` inside `On` leaves the system's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeepAlive {
    Off,
    On { idle: Option<Duration>, interval: Option<Duration>, count: Option<u32> },
}

/// A listener property of an HTTP server.
pub type HttpListens = Listens<false>;
/// A listener property of the stream server.
pub type StreamListens = Listens<true>;

/// The addresses of one listener property; none when it is `off`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listens<const STREAM: bool> {
    listens: Vec<Listen>,
    texts: Vec<String>,
}

impl<const STREAM: bool> Deref for Listens<STREAM> {
    type Target = [Listen];

    fn deref(&self) -> &[Listen] {
        &self.listens
    }
}

impl<const STREAM: bool> Listens<STREAM> {
    /// The `*_listeners` of the Admin API's dump, with Kong's odd keys.
    pub(super) fn dump_parsed(&self) -> Value {
        self.iter().map(|listen| listen.dump(if STREAM { &STREAM_FLAGS } else { &HTTP_FLAGS })).collect()
    }
}

impl<const STREAM: bool> Kind for Listens<STREAM> {
    const TYPE: &'static str = "listeners";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let texts = split_list(text);
        let flags: &[&str] = if STREAM { &STREAM_FLAGS } else { &HTTP_FLAGS };
        if texts.first().is_some_and(|first| first == "off") {
            return Ok(Self { listens: Vec::new(), texts });
        }
        let usage = |entry: &str, reason: &str| {
            let flags = flags.join("] [");
            let place = if entry.is_empty() { String::new() } else { format!(" ('{entry}': {reason})") };
            Wrong::Because(format!("must be of form: [off] | <ip>:<port> [{flags}], [... next entry ...]{place}"))
        };
        if texts.is_empty() {
            return Err(usage("", ""));
        }
        let parse = |entry: &String| Listen::parse(entry, flags).map_err(|reason| usage(entry, &reason));
        Ok(Self { listens: texts.iter().map(parse).collect::<Result<_, _>>()?, texts })
    }

    fn dump(&self) -> Value {
        Value::from(self.texts.clone())
    }
}

impl Listen {
    fn parse(entry: &str, flags: &[&str]) -> Result<Self, String> {
        let mut words = entry.split_whitespace();
        let address = words.next().unwrap_or_default();
        let (host, port, path) = match address.strip_prefix("unix:") {
            Some("") => return Err("a path follows unix:".to_owned()),
            Some(path) if flags.contains(&"udp") => return Err(format!("stream listeners know no unix:{path}")),
            Some(path) => (String::new(), 0, Some(PathBuf::from(path))),
            None => {
                let (host, port) = split_address(address)?;
                (host, port, None)
            }
        };
        let mut listen = Self {
            host,
            port,
            path,
            ssl: false,
            http2: false,
            proxy_protocol: false,
            deferred: false,
            bind: false,
            reuseport: false,
            udp: false,
            backlog: None,
            ipv6only: None,
            so_keepalive: None,
            flags: Vec::new(),
        };
        for flag in words {
            if !flags.iter().any(|known| known.split('=').next() == flag.split('=').next()) {
                return Err(format!("unknown flag '{flag}'"));
            }
            if listen.path.is_some() && matches!(flag.split('=').next(), Some("so_keepalive" | "ipv6only")) {
                return Err(format!("'{flag}' means nothing for a unix: socket"));
            }
            listen.set(flag)?;
            listen.flags.push(flag.to_owned());
        }
        Ok(listen)
    }

    fn set(&mut self, flag: &str) -> Result<(), String> {
        match flag {
            "ssl" => self.ssl = true,
            "http2" => self.http2 = true,
            "proxy_protocol" => self.proxy_protocol = true,
            "deferred" => self.deferred = true,
            "bind" => self.bind = true,
            "reuseport" => self.reuseport = true,
            "udp" => self.udp = true,
            "ipv6only=on" => self.ipv6only = Some(true),
            "ipv6only=off" => self.ipv6only = Some(false),
            "so_keepalive=on" => self.so_keepalive = Some(KeepAlive::On { idle: None, interval: None, count: None }),
            "so_keepalive=off" => self.so_keepalive = Some(KeepAlive::Off),
            _ => match flag.split_once('=') {
                Some(("backlog", length)) => {
                    let length = length.parse().ok().filter(|length| *length > 0);
                    self.backlog = Some(length.ok_or_else(|| format!("'{flag}' is no positive number"))?);
                }
                Some(("so_keepalive", timers)) => {
                    let timers = KeepAlive::parse(timers);
                    self.so_keepalive =
                        Some(timers.ok_or_else(|| format!("'{flag}' is not on, off or idle:intvl:cnt"))?);
                }
                _ => return Err(format!("unknown flag '{flag}'")),
            },
        }
        Ok(())
    }

    /// The addresses to bind; several when a host name has several.
    ///
    /// # Errors
    /// When the host name does not resolve.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// `0.0.0.0:8000`, `[::1]:8000` or `unix:/run/gateway.sock`.
    #[must_use]
    pub fn address(&self) -> String {
        if let Some(path) = &self.path {
            return format!("unix:{}", path.display());
        }
        format!("{}:{}", self.shown_host(), self.port)
    }

    fn shown_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    fn dump(&self, flags: &[&str]) -> Value {
        let mut shown = serde_json::Map::new();
        for flag in flags {
            let name = flag.split('=').next();
            let written = self.flags.iter().find(|written| match *flag {
                "backlog=%d+" => written.split('=').next() == name,
                "so_keepalive=%w*:%w*:%d*" => written.split('=').next() == name && written.contains(':'),
                _ => written == flag,
            });
            let value = match written {
                Some(written) if flag.contains('%') => json!(written),
                written => json!(written.is_some()),
            };
            shown.insert((*flag).to_owned(), value);
        }
        shown.insert("ip".to_owned(), json!(self.shown_host()));
        shown.insert("port".to_owned(), json!(self.port));
        let listener = std::iter::once(self.address()).chain(self.flags.iter().cloned()).collect::<Vec<_>>();
        shown.insert("listener".to_owned(), json!(listener.join(" ")));
        Value::Object(shown)
    }
}

fn split_address(address: &str) -> Result<(String, u16), String> {
    let (host, port) = address.rsplit_once(':').ok_or("expected <ip>:<port>")?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or("the port is a number from 1 to 65535")?;
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let ip = inner.parse::<std::net::Ipv6Addr>().map_err(|_| "no IPv6 address in the brackets")?;
        return Ok((ip.to_string(), port));
    }
    let is_name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let looks_numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) || (is_name && !looks_numeric) {
        Ok((host.to_owned(), port))
    } else if host.contains(':') {
        Err("an IPv6 address goes into brackets".to_owned())
    } else {
        Err(format!("'{host}' is no IP address and no host name"))
    }
}

impl KeepAlive {
    fn parse(timers: &str) -> Option<Self> {
        let mut parts = timers.split(':');
        let (idle, interval, count) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let time = |text: &str| if text.is_empty() { Some(None) } else { parse_time(text).map(Some) };
        let count = if count.is_empty() { None } else { Some(count.parse().ok()?) };
        Some(Self::On { idle: time(idle)?, interval: time(interval)?, count })
    }
}
