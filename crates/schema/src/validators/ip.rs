//! IP addresses and ranges.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::text;

pub fn ip(value: &Value) -> Result<(), String> {
    let given = text(value);
    if given.parse::<IpAddr>().is_ok() { Ok(()) } else { Err(format!("not an ip address: {given}")) }
}

pub fn ip_or_cidr(value: &Value) -> Result<(), String> {
    let given = text(value);
    if is_range(given) { Ok(()) } else { Err(format!("invalid ip or cidr range: '{given}'")) }
}

pub fn cidr_v4(value: &Value) -> Result<(), String> {
    let given = text(value);
    let (address, bits) = split(given);
    let valid = address.parse::<Ipv4Addr>().is_ok() && bits.is_none_or(|bits| within(bits, 32));
    if valid { Ok(()) } else { Err(format!("invalid ipv4 cidr range: '{given}'")) }
}

fn is_range(given: &str) -> bool {
    let (address, bits) = split(given);
    match address.parse::<IpAddr>() {
        Ok(address) => bits.is_none_or(|bits| within(bits, if address.is_ipv4() { 32 } else { 128 })),
        Err(_) => false,
    }
}

fn split(given: &str) -> (&str, Option<&str>) {
    given.split_once('/').map_or((given, None), |(address, bits)| (address, Some(bits)))
}

fn within(bits: &str, most: u8) -> bool {
    bits.bytes().all(|byte| byte.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}
