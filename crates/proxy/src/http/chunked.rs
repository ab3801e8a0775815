//! The chunked transfer coding (RFC 9112, 7.1): strict decoder, encoder.

use bytes::{Buf, Bytes, BytesMut};
use pdk::{BodyError, Headers, Span};

/// How long a chunk-size line or a trailer section may be.
const LINE: usize = 4096;
const TRAILERS: usize = 16 * 1024;

/// The largest size of a chunk: no body is as long, and lengths of whole bodies stay far from overflowing.
const LARGEST: u64 = 1 << 60;

/// How much is taken that the grammar does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    Strict,
    Lenient,
}

/// Where the decoder stands.
#[derive(Debug, Default)]
pub(crate) enum Decoder {
    #[default]
    Size,
    Data(u64),
    /// The line end behind a chunk's data.
    DataEnd,
    Trailers,
    Done,
}

/// What the input holds next.
pub(crate) enum Decoded {
    Data(Bytes),
    /// The body has ended; its trailer fields, if any.
    End(Option<Headers>),
    /// More input is needed.
    More,
}

impl Decoder {
    /// Bytes of the current chunk still to come.
    pub(crate) fn expected(&self) -> u64 {
        if let Self::Data(left) = self { *left } else { 0 }
    }

    /// What a client sends, by the letter: where its request ends must be told by everybody alike.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, BodyError> {
        self.decode_by(Rules::Strict, input)
    }

    /// What an upstream sends. Its answer is framed anew, so what nginx takes of it is taken: a line feed alone as a line's
    /// end, blanks behind a size.
    pub(crate) fn decode_leniently(&mut self, input: &mut BytesMut) -> Result<Decoded, BodyError> {
        self.decode_by(Rules::Lenient, input)
    }

    fn decode_by(&mut self, rules: Rules, input: &mut BytesMut) -> Result<Decoded, BodyError> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = line(input, LINE, rules)? else { return Ok(Decoded::More) };
                    let size = size(&line, rules)?;
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(left) => {
                    if input.is_empty() {
                        return Ok(Decoded::More);
                    }
                    let count = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= count as u64;
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Decoded::Data(input.split_to(count).freeze()));
                }
                Self::DataEnd => match input.as_ref() {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        *self = Self::Size;
                    }
                    [b'\n', ..] if rules == Rules::Lenient => {
                        input.advance(1);
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(Decoded::More),
                    _ => return Err(BodyError::Malformed),
                },
                Self::Trailers => return self.trailers(rules, input),
                Self::Done => return Ok(Decoded::End(None)),
            }
        }
    }

    fn trailers(&mut self, rules: Rules, input: &mut BytesMut) -> Result<Decoded, BodyError> {
        let mut at = 0;
        let mut fields = Vec::new();
        loop {
            let rest = &input[at..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                let lone = rest.iter().position(|b| *b == b'\r').is_some_and(|r| r + 1 < rest.len());
                return if input.len() > TRAILERS || lone { Err(BodyError::Malformed) } else { Ok(Decoded::More) };
            };
            // The first carriage return ends the line, or the message is malformed, whatever has come of it so far.
            let length = match rest[..end].iter().position(|b| *b == b'\r') {
                Some(length) if length + 1 == end => length,
                None if rules == Rules::Lenient => end,
                _ => return Err(BodyError::Malformed),
            };
            if at + end > TRAILERS {
                return Err(BodyError::Malformed);
            }
            at += end + 1;
            if length == 0 {
                break;
            }
            fields.push((at - end - 1, at - end - 1 + length));
        }
        *self = Self::Done;
        let arena = input.split_to(at).to_vec();
        if fields.is_empty() {
            return Ok(Decoded::End(None));
        }
        let spans = fields.iter().map(|(from, to)| trailer(&arena, *from, *to)).collect::<Option<Vec<_>>>();
        let mut spans = spans.ok_or(BodyError::Malformed)?;
        spans.retain(|(name, _)| may_be_trailer(&arena[name.start as usize..(name.start + name.len) as usize]));
        let mut trailers = Headers::from_arena(arena);
        for (name, value) in spans {
            trailers.push_parsed(name, value);
        }
        Ok(Decoded::End(Some(trailers)))
    }
}

fn trailer(arena: &[u8], from: usize, to: usize) -> Option<(Span, Span)> {
    let line = &arena[from..to];
    let colon = memchr::memchr(b':', line)?;
    let is_clean = line.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 127));
    if colon == 0 || !is_clean || !line[..colon].iter().all(|b| super::head::is_token(*b)) {
        return None;
    }
    let value = &line[colon + 1..];
    let start = from + colon + 1 + (value.len() - value.trim_ascii_start().len());
    Some((Span::new(from, from + colon), Span::new(start, (start + value.trim_ascii().len()).min(to))))
}

/// Whether a field may come behind a body: those that frame, route or admit a message count in its head alone, and who
/// merges both would take them for it (RFC 9110, 6.5.1). They are dropped.
fn may_be_trailer(name: &[u8]) -> bool {
    const HEAD_ONLY: [&[u8]; 10] = [
        b"content-length",
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"host",
        b"te",
        b"trailer",
        b"authorization",
        b"proxy-authorization",
        b"cookie",
    ];
    !super::h2::is_connection_field(name) && !HEAD_ONLY.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The next line without its end: CRLF, by the strict rules.
fn line(input: &mut BytesMut, limit: usize, rules: Rules) -> Result<Option<BytesMut>, BodyError> {
    match memchr::memchr(b'\n', input) {
        Some(end) if end <= limit && (rules == Rules::Lenient || input[..end].ends_with(b"\r")) => {
            let mut line = input.split_to(end + 1);
            line.truncate(if line[..end].ends_with(b"\r") { end - 1 } else { end });
            if line.contains(&b'\r') { Err(BodyError::Malformed) } else { Ok(Some(line)) }
        }
        Some(_) => Err(BodyError::Malformed),
        None if input.len() > limit || input.first().is_some_and(|b| !b.is_ascii_hexdigit()) => {
            Err(BodyError::Malformed)
        }
        None => Ok(None),
    }
}

/// `chunk-size [ chunk-ext ]`; by the strict rules nothing may stand between the size and the `;`.
fn size(line: &[u8], rules: Rules) -> Result<u64, BodyError> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let mut rest = &line[digits..];
    if rules == Rules::Lenient {
        rest = rest.trim_ascii_start();
    }
    let is_clean = rest.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 127));
    if digits == 0 || !is_clean || !matches!(rest.first(), None | Some(b';')) {
        return Err(BodyError::Malformed);
    }
    let mut size = 0_u64;
    for digit in &line[..digits] {
        let value = u64::from((*digit as char).to_digit(16).unwrap_or_default());
        size = size.checked_mul(16).and_then(|s| s.checked_add(value)).ok_or(BodyError::Malformed)?;
    }
    if size > LARGEST { Err(BodyError::Malformed) } else { Ok(size) }
}

/// Writes the line that goes before a chunk's data.
pub(crate) fn write_size(out: &mut Vec<u8>, size: usize) {
    let mut digits = [0_u8; 16];
    let mut at = digits.len();
    let mut left = size;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the trailer fields.
pub(crate) fn write_end(out: &mut Vec<u8>, trailers: Option<&Headers>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter().flat_map(|t| t.iter()) {
        super::head::write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
