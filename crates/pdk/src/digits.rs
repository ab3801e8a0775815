//! Numbers and addresses as text, without the machinery of formatting.

use std::net::IpAddr;

/// Room for the longest text here: an IPv6 address with an IPv4 address in it.
pub const LONGEST: usize = 46;

/// A number in decimal digits.
pub fn decimal(number: u64, room: &mut [u8; LONGEST]) -> &[u8] {
    let mut at = room.len();
    let mut left = number;
    loop {
        at -= 1;
        room[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break &room[at..];
        }
    }
}

/// An address as it is formatted.
pub fn address(ip: IpAddr, room: &mut [u8; LONGEST]) -> &[u8] {
    let IpAddr::V4(ip) = ip else {
        let text = ip.to_string();
        let used = room.get_mut(..text.len()).unwrap_or_default();
        used.copy_from_slice(text.as_bytes().get(..used.len()).unwrap_or_default());
        return used;
    };
    let mut len = 0;
    for octet in ip.octets() {
        for (power, is_needed) in [(100, octet >= 100), (10, octet >= 10), (1, true)] {
            room[len] = b'0' + octet / power % 10;
            len += usize::from(is_needed);
        }
        room[len] = b'.';
        len += 1;
    }
    &room[..len - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_formatting_writes() {
        let mut room = [0; LONGEST];
        for number in [0, 7, 10, 99, 100, 1_000_000_000, u64::MAX] {
            assert_eq!(decimal(number, &mut room), number.to_string().as_bytes());
        }
        let longest = "1234:1234:1234:1234:1234:1234:1234:1234";
        for text in ["0.0.0.0", "127.0.0.1", "255.10.100.9", "::1", "::ffff:1.2.3.4", longest] {
            assert_eq!(address(text.parse().unwrap(), &mut room), text.as_bytes());
        }
    }
}
