//! Numbers and addresses as text, without the machinery of formatting.

use std::net::IpAddr;

/// Room for the longest text here: an IPv6 address with an IPv4 address in it.
pub const LONGEST: usize = 46;

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut at = 0;
    while at < pairs.len() {
        pairs[at] = [b'0' + (at / 10) as u8, b'0' + (at % 10) as u8];
        at += 1;
    }
    pairs
};

/// A number in decimal digits.
pub fn decimal<const ROOM: usize>(number: u64, room: &mut [u8; ROOM]) -> &[u8] {
    const { assert!(ROOM >= 20, "the largest number has 20 digits") };
    let mut at = room.len();
    let mut left = number;
    while left >= 100 {
        let pair = PAIRS[(left % 100) as usize];
        left /= 100;
        at -= 2;
        room[at] = pair[0];
        room[at + 1] = pair[1];
    }
    let pair = PAIRS[left as usize];
    at -= 1;
    room[at] = pair[1];
    if left >= 10 {
        at -= 1;
        room[at] = pair[0];
    }
    &room[at..]
}

/// A number in 32 hexadecimal digits, small letters.
pub fn hex(number: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    let quarters = [number >> 96, number >> 64, number >> 32, number];
    for (eight, quarter) in digits.as_chunks_mut().0.iter_mut().zip(quarters) {
        *eight = hex_of(quarter as u32);
    }
    digits
}

/// Eight digits, all at once: each byte of a word becomes one of them.
fn hex_of(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let wide = u64::from(number);
    let wide = (wide | wide << 16) & 0x0000_ffff_0000_ffff;
    let wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (wide | wide << 4) & (ONES * 0x0f);
    let is_letter = ((values + ONES * 6) >> 4) & ONES;
    (values + ONES * u64::from(b'0') + is_letter * u64::from(b'a' - b'0' - 10)).to_be_bytes()
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
        let pair = PAIRS[usize::from(octet % 100)];
        if octet >= 100 {
            room[len] = b'0' + octet / 100;
            len += 1;
        }
        if octet >= 10 {
            room[len] = pair[0];
            len += 1;
        }
        room[len] = pair[1];
        room[len + 1] = b'.';
        len += 2;
    }
    &room[..len - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_formatting_writes() {
        let mut room = [0; LONGEST];
        for number in (0..2000).chain([9_999, 10_000, 1_000_000_000, u64::MAX / 10, u64::MAX]) {
            assert_eq!(decimal(number, &mut room), number.to_string().as_bytes());
        }
        let digits = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        for number in [0, 9, 10, digits, digits << 1, u128::MAX, u128::MAX / 3] {
            assert_eq!(hex(number), *format!("{number:032x}").as_bytes());
        }
        let longest = "1234:1234:1234:1234:1234:1234:1234:1234";
        for text in ["0.0.0.0", "127.0.0.1", "255.10.100.9", "::1", "::ffff:1.2.3.4", longest] {
            assert_eq!(address(text.parse().unwrap(), &mut room), text.as_bytes());
        }
    }
}
