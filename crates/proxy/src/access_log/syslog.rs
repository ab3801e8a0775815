//! Lines to a syslog server, one datagram each, as nginx writes them (RFC 3164).

use crate::http::date::civil;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv", "ftp", "ntp",
    "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// By their numbers.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];

/// The longest datagram that every server takes (RFC 5424, section 6.1).
const LONGEST: usize = 2048;

/// A target `syslog:server=...`, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogTarget {
    server: Server,
    facility: usize,
    severity: usize,
    tag: String,
    with_hostname: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Server {
    Unix(PathBuf),
    /// `host:port`
    Network(String),
}

impl SyslogTarget {
    /// Reads `syslog:server=<address>[:port][,facility=...][,tag=...][,severity=...][,nohostname]`, where the address may be
    /// `unix:/dev/log`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = text.strip_prefix("syslog:").ok_or("expected syslog:server=<address>")?;
        let (mut server, mut facility, mut severity) = (None, 23, 6);
        let (mut tag, mut with_hostname) = ("silverback".to_owned(), true);
        for option in options.split(',') {
            let number = |all: &[&str], name: &str| {
                let found = all.iter().position(|known| *known == name);
                found.ok_or_else(|| format!("'{option}' is not one of {}", all.join(", ")))
            };
            match option.split_once('=') {
                Some(("server", address)) => server = Some(Server::parse(address)?),
                Some(("facility", name)) => facility = number(&FACILITIES, name)?,
                Some(("severity", name)) => severity = number(&SEVERITIES, name)?,
                Some(("tag", name)) => {
                    let is_tag = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                    if name.is_empty() || name.len() > 32 || !is_tag {
                        return Err(format!("'{option}' is not 1 to 32 letters, digits and underscores"));
                    }
                    name.clone_into(&mut tag);
                }
                None if option == "nohostname" => with_hostname = false,
                _ => return Err(format!("'{option}' is not server=, facility=, tag=, severity= or nohostname")),
            }
        }
        let server = server.ok_or("it needs server=<address>")?;
        Ok(Self { server, facility, severity, tag, with_hostname })
    }
}

impl Server {
    fn parse(address: &str) -> Result<Self, String> {
        if let Some(path) = address.strip_prefix("unix:") {
            let path = Path::new(path);
            return match path.is_absolute() {
                true => Ok(Self::Unix(path.to_owned())),
                false => Err(format!("the path of '{address}' must be absolute")),
            };
        }
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')));
        if address.is_empty() {
            return Err("server= needs an address".to_owned());
        }
        Ok(Self::Network(if has_port { address.to_owned() } else { format!("{address}:514") }))
    }
}

enum Socket {
    Unix(UnixDatagram, PathBuf),
    Network(UdpSocket, SocketAddr),
}

/// An open way to a syslog server. Nothing here waits: what the system does not take at once is lost.
pub struct Syslog {
    target: SyslogTarget,
    hostname: String,
    socket: Socket,
    datagram: Vec<u8>,
}

impl Syslog {
    /// # Errors
    /// When the server's name has no address, or there are no sockets. Whether the server listens shows only later.
    pub fn open(target: &SyslogTarget, hostname: &str) -> io::Result<Self> {
        let socket = match &target.server {
            Server::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Socket::Unix(socket, path.clone())
            }
            Server::Network(name) => {
                let address = name.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
                let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(own)?;
                socket.set_nonblocking(true)?;
                Socket::Network(socket, address)
            }
        };
        Ok(Self { target: target.clone(), hostname: hostname.to_owned(), socket, datagram: Vec::new() })
    }

    /// Sends each line of a text; the number of those that were lost. `severity` is the line's own, by its name.
    pub fn send<'a>(&mut self, lines: &'a [u8], severity: impl Fn(&'a [u8]) -> Option<&'a str>) -> usize {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut lost = 0;
        for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let own = severity(line).and_then(|name| SEVERITIES.iter().position(|known| *known == name));
            self.write(line, own.unwrap_or(self.target.severity), now);
            let sent = match &self.socket {
                Socket::Unix(socket, path) => socket.send_to(&self.datagram, path),
                Socket::Network(socket, address) => socket.send_to(&self.datagram, address),
            };
            lost += usize::from(sent.is_err());
        }
        lost
    }

    /// `<190>Nov 21 09:59:59 host tag: line`
    fn write(&mut self, line: &[u8], severity: usize, now: u64) {
        use std::io::Write;
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (_, month, day) = civil(now / 86_400);
        let month = MONTHS[(month as usize + 11) % 12];
        let (hour, minute, second) = (now / 3600 % 24, now / 60 % 60, now % 60);
        self.datagram.clear();
        let priority = self.target.facility * 8 + severity;
        let host = if self.target.with_hostname { format!("{} ", self.hostname) } else { String::new() };
        let tag = &self.target.tag;
        let _ = write!(self.datagram, "<{priority}>{month} {day:>2} {hour:02}:{minute:02}:{second:02} {host}{tag}: ");
        self.datagram.extend_from_slice(line);
        self.datagram.truncate(LONGEST);
    }
}
