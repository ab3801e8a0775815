//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): who the client behind a load balancer is.

use crate::settings::{RealIpHeader, Settings};
use pdk::Client;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpStream;

/// The longest version 1 line, and the longest version 2 header that is read (its TLVs are passed over).
const LONGEST_V1: usize = 107;
const LONGEST_V2: usize = 16 + 4096;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the header tells: source and destination; `None` for a connection of the proxy's own (LOCAL, UNKNOWN).
pub(super) type Told = Option<(SocketAddr, SocketAddr)>;

/// Reads the header and nothing behind it.
pub(super) async fn read(stream: &TcpStream) -> io::Result<Told> {
    let mut buffer = vec![0; LONGEST_V2];
    loop {
        stream.readable().await?;
        let seen = match stream.peek(&mut buffer).await {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(seen) => seen,
            Err(error) => return Err(error),
        };
        match parse(&buffer[..seen]) {
            Ok(Some((length, told))) => {
                consume(stream, length).await?;
                return Ok(told);
            }
            Ok(None) => {
                // Peeking again finds the same bytes at once: the rest is waited for, not asked for.
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            Err(()) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

async fn consume(stream: &TcpStream, mut length: usize) -> io::Result<()> {
    let mut buffer = vec![0; length];
    while length > 0 {
        stream.readable().await?;
        match stream.try_read(&mut buffer[..length]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => length -= read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The header's length and content once it is whole; an error where it is none.
fn parse(input: &[u8]) -> Result<Option<(usize, Told)>, ()> {
    let known = input.len().min(SIGNATURE.len());
    if input[..known] == SIGNATURE[..known] {
        return parse_v2(input);
    }
    let known = input.len().min(6);
    if input[..known] != b"PROXY "[..known] {
        return Err(());
    }
    let Some(end) = memchr::memmem::find(input, b"\r\n") else {
        return if input.len() > LONGEST_V1 { Err(()) } else { Ok(None) };
    };
    if end + 2 > LONGEST_V1 {
        return Err(());
    }
    let line = std::str::from_utf8(&input[..end]).map_err(|_| ())?;
    let words: Vec<&str> = line.split(' ').collect();
    let told = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4" | "TCP6", source, destination, source_port, destination_port] => {
            let address = |ip: &str, port: &str| -> Result<SocketAddr, ()> {
                Ok(SocketAddr::new(ip.parse().map_err(|_| ())?, port.parse().map_err(|_| ())?))
            };
            Some((address(source, source_port)?, address(destination, destination_port)?))
        }
        _ => return Err(()),
    };
    Ok(Some((end + 2, told)))
}

fn parse_v2(input: &[u8]) -> Result<Option<(usize, Told)>, ()> {
    let Some(&[version, family, high, low]) = input.get(12..16) else { return Ok(None) };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if version >> 4 != 2 || length > LONGEST_V2 {
        return Err(());
    }
    let Some(body) = input.get(16..length) else { return Ok(None) };
    let port = |at: usize| body.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or(());
    let told = match (version & 15, family >> 4) {
        (1, 1) => {
            let ip = |at: usize| <[u8; 4]>::try_from(body.get(at..at + 4).unwrap_or_default()).map(Ipv4Addr::from);
            let ends = (ip(0).map_err(|_| ())?, ip(4).map_err(|_| ())?);
            Some((SocketAddr::new(IpAddr::V4(ends.0), port(8)?), SocketAddr::new(IpAddr::V4(ends.1), port(10)?)))
        }
        (1, 2) => {
            let ip = |at: usize| <[u8; 16]>::try_from(body.get(at..at + 16).unwrap_or_default()).map(Ipv6Addr::from);
            let ends = (ip(0).map_err(|_| ())?, ip(16).map_err(|_| ())?);
            Some((SocketAddr::new(IpAddr::V6(ends.0), port(32)?), SocketAddr::new(IpAddr::V6(ends.1), port(34)?)))
        }
        (0 | 1, _) => None,
        _ => return Err(()),
    };
    Ok(Some((length, told)))
}

/// The client that the header names is taken for the client where the peer is trusted and `real_ip_header` says so.
pub(super) fn apply(settings: &Settings, client: &mut Client, told: Told) {
    let Some((source, _)) = told else { return };
    if client.is_trusted && settings.real_ip_header == RealIpHeader::ProxyProtocol {
        client.ip = source.ip();
        client.port = source.port();
    }
}

/// What must hold for any input (`make fuzz`): what has come so far decides as the whole does, or not yet.
///
/// # Panics
/// Where it does not.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check(input: &[u8]) {
    let whole = parse(input);
    for known in 0..input.len() {
        match (parse(&input[..known]), &whole) {
            (Ok(None), _) | (Err(()), Err(())) => {}
            (early, whole) => assert_eq!(early, *whole, "{known}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_versions() {
        let v1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\nGET /";
        let want = Some(("1.2.3.4:1000".parse().unwrap(), "5.6.7.8:443".parse().unwrap()));
        assert_eq!(parse(v1), Ok(Some((37, want))));
        let mut v2 = SIGNATURE.to_vec();
        v2.extend_from_slice(&[0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 3, 232, 1, 187]);
        assert_eq!(parse(&v2), Ok(Some((28, want))));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some((15, None))));
    }

    #[test]
    fn a_header_is_read_one_way_only() {
        mutation::check("proxy_protocol", check);
    }

    #[test]
    fn waits_for_the_rest_and_refuses_garbage() {
        assert_eq!(parse(b"PROXY TCP4 1.2"), Ok(None));
        assert_eq!(parse(&SIGNATURE[..5]), Ok(None));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(()));
        assert_eq!(parse(b"PROXY TCP4 x y 1 2\r\n"), Err(()));
        assert_eq!(parse(&[b"PROXY ".as_slice(), &[b'x'; 200]].concat()), Err(()));
    }
}
