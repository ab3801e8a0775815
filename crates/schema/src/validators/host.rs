//! Host names and addresses with and without ports and wildcards.

use std::borrow::Cow;

use serde_json::Value;

use super::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    Name,
    Ipv4,
    Ipv6,
}

/// A host in its normal form: IPv4 without leading zeros, IPv6 fully expanded without brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub kind: HostKind,
    pub host: String,
    pub port: Option<u16>,
}

const BAD_PORT: &str = "invalid port number";

/// A name or address with an optional port, in its normal form.
///
/// # Errors
/// Kong's text of what is wrong.
pub fn normalize_ip(address: &str) -> Result<Address, String> {
    let colons = address.bytes().filter(|byte| *byte == b':').count();
    let numeric = |text: &str| {
        let mut digits = text.bytes().filter(|byte| *byte != b':').peekable();
        digits.peek().is_some() && digits.all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    if colons > 1 {
        let (host, port) = ipv6(address)?;
        Ok(Address { kind: HostKind::Ipv6, host, port })
    } else if numeric(address) {
        let (host, port) = ipv4(address)?;
        Ok(Address { kind: HostKind::Ipv4, host, port })
    } else {
        let (host, port) = hostname(address)?;
        Ok(Address { kind: HostKind::Name, host, port })
    }
}

fn port_number(digits: &str) -> Result<u16, String> {
    digits.parse().map_err(|_| BAD_PORT.to_owned())
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn ipv4(address: &str) -> Result<(String, Option<u16>), String> {
    let invalid = || format!("invalid ipv4 address: {address}");
    let (host, port) = match address.split_once(':') {
        Some((host, port)) if digits(port) => (host, Some(port)),
        Some(_) => return Err(invalid()),
        None => (address, None),
    };
    let octets: Vec<&str> = host.split('.').collect();
    let octet = |text: &&str| if digits(text) && text.len() <= 3 { text.parse::<u8>().ok() } else { None };
    let octets: Option<Vec<u8>> = octets.iter().map(octet).collect();
    let [a, b, c, d] = octets.as_deref().unwrap_or_default() else { return Err(invalid()) };
    Ok((format!("{a}.{b}.{c}.{d}"), port.map(port_number).transpose()?))
}

fn ipv6(address: &str) -> Result<(String, Option<u16>), String> {
    let (check, port) = match bracketed(address) {
        Some((inside, "")) => (inside, None),
        Some((inside, rest)) => {
            let port = rest.strip_prefix(':').filter(|port| digits(port)).ok_or("invalid ipv6 address")?;
            (inside, Some(port_number(port)?))
        }
        None => (address, None),
    };
    let invalid = || format!("invalid ipv6 address: {address}");
    let mut check = check.to_owned();
    if check.starts_with(':') {
        check.insert(0, '0');
    }
    if check.ends_with(':') {
        check.push('0');
    }
    if check.contains("::") {
        let colons = check.bytes().filter(|byte| *byte == b':').count();
        let zeros = format!(":{}", "0:".repeat(8_usize.saturating_sub(colons)));
        check = check.replacen("::", &zeros, 1);
    }
    let groups: Vec<&str> = check.split(':').collect();
    let valid = |group: &&str| (1..=4).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_hexdigit());
    if groups.len() != 8 || !groups.iter().all(valid) {
        return Err(invalid());
    }
    let groups: Vec<String> = groups.iter().map(|group| format!("{:0>4}", group.to_ascii_lowercase())).collect();
    Ok((groups.join(":"), port))
}

/// What is between a leading `[` and its `]`, and what follows.
fn bracketed(address: &str) -> Option<(&str, &str)> {
    let (inside, rest) = address.strip_prefix('[')?.split_once(']')?;
    Some((inside, rest))
}

fn hostname(address: &str) -> Result<(String, Option<u16>), String> {
    let (name, port) = match address.rsplit_once(':') {
        Some((name, port)) if digits(port) => (name, Some(port_number(port)?)),
        _ => (address, None),
    };
    let invalid = || format!("invalid hostname: {address}");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(invalid());
    }
    // A trailing dot leaves an empty last segment, which is fine.
    let segments = name.strip_suffix('.').unwrap_or(name).split('.');
    if segments.into_iter().any(|segment| segment.is_empty() || segment.ends_with('-')) {
        return Err(invalid());
    }
    Ok((name.to_owned(), port))
}

/// A host without a port; `shown` is what the message quotes.
fn without_port(host: &str) -> Result<HostKind, String> {
    match normalize_ip(host) {
        Ok(Address { port: None, kind, .. }) => Ok(kind),
        Ok(_) => Err("must not have a port".into()),
        Err(err) if err == BAD_PORT => Err("must not have a port".into()),
        Err(_) => Err(format!("invalid value: {host}")),
    }
}

/// A name of a host, not its address.
fn name_without_port(host: &str) -> Result<(), String> {
    let kind = normalize_ip(host).map(|address| address.kind);
    match kind {
        Ok(HostKind::Ipv4 | HostKind::Ipv6) => Err("must not be an IP".into()),
        _ => without_port(host).map(|_| ()),
    }
}

pub fn host(value: &Value) -> Result<(), String> {
    without_port(text(value)).map(|_| ())
}

pub fn host_with_optional_port(value: &Value) -> Result<(), String> {
    normalize_ip(text(value)).map(|_| ())
}

/// An element of a route's `hosts`, its wildcard already checked for its place.
pub fn wildcard_hosts(value: &Value) -> Result<(), String> {
    normalize_ip(&text(value).replace('*', "abc")).map(|_| ())
}

pub fn sni(value: &Value) -> Result<(), String> {
    name_without_port(text(value))
}

pub fn wildcard_host(value: &Value) -> Result<(), String> {
    let given = text(value);
    let host = match given.find('*') {
        None => Cow::Borrowed(given),
        Some(at) if at != 0 && at + 1 != given.len() => {
            return Err("wildcard must be leftmost or rightmost character".into());
        }
        Some(_) if given.matches('*').count() > 1 => return Err("only one wildcard must be specified".into()),
        Some(_) => Cow::Owned(given.replace('*', "wildcard")),
    };
    name_without_port(&host)
}
