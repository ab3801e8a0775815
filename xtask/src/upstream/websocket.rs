//! The WebSocket echo of the upstream (RFC 6455): the handshake's hash, and every frame sent back unmasked.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

/// RFC 6455, section 1.3.
const PROTOCOL_ID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const LONGEST_FRAME: u64 = 1024 * 1024;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

pub(super) fn echo(reader: &mut BufReader<&TcpStream>, key: &str) -> std::io::Result<()> {
    let accept = accept_value(key);
    write!(
        reader.get_mut(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    loop {
        let (first, payload) = read_frame(reader)?;
        let answer = if first & 0x0f == PING { first & 0xf0 | PONG } else { first };
        let mut frame = vec![answer];
        match payload.len() {
            short @ 0..126 => frame.push(short as u8),
            middle @ 126..65_536 => {
                frame.push(126);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        reader.get_mut().write_all(&frame)?;
        if first & 0x0f == CLOSE {
            return Ok(());
        }
    }
}

/// The first byte of a frame (final flag and kind) and its unmasked payload.
fn read_frame(reader: &mut impl BufRead) -> std::io::Result<(u8, Vec<u8>)> {
    let [first, second] = read_array(reader)?;
    let length = match second & 0x7f {
        126 => u64::from(u16::from_be_bytes(read_array(reader)?)),
        127 => u64::from_be_bytes(read_array(reader)?),
        short => u64::from(short),
    };
    // A client must mask, and a server must not take a frame that is not (RFC 6455, section 5.1).
    if length > LONGEST_FRAME || second & 0x80 == 0 {
        return Err(ErrorKind::InvalidData.into());
    }
    let mask: [u8; 4] = read_array(reader)?;
    let mut payload = Vec::new();
    reader.take(length).read_to_end(&mut payload)?;
    if payload.len() as u64 != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((first, payload))
}

fn read_array<const N: usize>(reader: &mut impl BufRead) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn accept_value(key: &str) -> String {
    base64(&sha1(format!("{key}{PROTOCOL_ID}").as_bytes()))
}

/// FIPS 180-4, section 6.1. Only the handshake's checksum: nothing secret rests on it.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        let mut words: Vec<u32> =
            block.chunks_exact(4).map(|b| b.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))).collect();
        for t in 16..80 {
            words.push((words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (t, word) in words.iter().enumerate() {
            let (mixed, constant) = match t / 20 {
                0 => (b & c | !b & d, 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = ALPHABET[bits >> (18 - 6 * place) & 63];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests;
