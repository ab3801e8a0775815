//! What must hold of the parsers of HTTP/1 for any input: they never panic, read a message the same way however it comes in
//! pieces, and as a second parser that was written for this reads it. Each check panics otherwise. `make fuzz` looks for inputs.

use super::chunked::{self, Decoded, Decoder};
use super::head::{self, Framing, HeadLimits};
use bytes::BytesMut;
use pdk::BodyError;

const LIMITS: HeadLimits = HeadLimits { line: 256, total: 1024, fields: 16 };

/// The lines of a head, with names in lower case; `None` for what is not even that.
fn lines(head: &[u8]) -> Option<(String, Vec<(String, String)>)> {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
    let first = lines.next()?.to_owned();
    let fields =
        lines.map(|line| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim_matches(' ').to_owned())));
    Some((first, fields.collect::<Option<Vec<_>>>()?))
}

/// # Panics
/// Where two readings differ, or what was taken breaks RFC 9112.
pub fn request_head(input: &[u8]) {
    let found = head::find_end(input, &LIMITS);
    // What has come so far decides as the whole does, or not yet.
    for known in 0..input.len() {
        match (head::find_end(&input[..known], &LIMITS), found) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(end)), Ok(Some(whole))) => assert!(end == whole && end <= known, "{known}"),
            // The first bytes can be refused at once where the whole is taken apart only later.
            (Err(_), Ok(Some(end))) => assert!(head::parse_request(&input[..end], &LIMITS).is_err(), "{known}"),
            (early, _) => panic!("{known}: {early:?}, then {found:?}"),
        }
    }
    let Ok(Some(end)) = found else { return };
    assert!(end <= LIMITS.total + 4 && input[..end].ends_with(b"\r\n\r\n"));
    let Ok(parsed) = head::parse_request(&input[..end], &LIMITS) else { return };
    let (first, fields) = lines(&input[..end]).expect("what was taken has lines");
    let all = |name: &str| fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
    let framing = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) | (["0"], []) => Framing::None,
        ([length], []) => length.parse().map_or(Framing::Close, |length: u64| match length {
            0 => Framing::None,
            length => Framing::Length(length),
        }),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        other => panic!("taken with {other:?}"),
    };
    assert_eq!(parsed.framing, framing);
    let hosts = all("host");
    // nginx takes blanks behind the version, and noughts in it.
    let words: Vec<&str> = first.trim_end_matches(' ').split(' ').collect();
    let [_, target, version] = words[..] else { panic!("taken: {first}") };
    let minor = version.strip_prefix("HTTP/1.").expect("what was taken is HTTP/1");
    let is_old = minor.bytes().all(|digit| digit == b'0');
    assert!(hosts.len() <= 1 && (hosts.len() == 1 || is_old), "{hosts:?}");
    // In a query it is as good as any other byte.
    assert!(!target.split('?').next().is_some_and(|uri| uri.contains("%00")), "{first}");
    for (name, value) in parsed.request.headers.iter() {
        assert!(!name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b)));
        assert!(!value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')));
    }
    assert!(parsed.request.target().starts_with(b"/"));
}

/// # Panics
/// Where two readings differ, or the framing is not that of the fields.
pub fn response_head(input: &[u8]) {
    let found = head::find_response_end(input, 1024);
    for known in 0..input.len() {
        if let Ok(Some(end)) = head::find_response_end(&input[..known], 1024) {
            assert_eq!(found.as_ref().ok(), Some(&Some(end)), "{known}");
        }
    }
    let Ok(Some(end)) = found else { return };
    let Ok(parsed) = head::parse_response(&input[..end], false) else { return };
    for (name, value) in parsed.headers.iter() {
        assert!(!name.is_empty() && !name.iter().any(|b| *b <= b' ' || *b == b':'));
        assert!(!value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')));
    }
    let has = |name: &str| parsed.headers.get(name).is_some();
    match parsed.framing {
        Framing::Chunked => assert!(has("transfer-encoding") && !has("content-length")),
        Framing::Length(_) => assert!(has("content-length") && !has("transfer-encoding")),
        Framing::Close => assert!(!has("content-length") && !has("transfer-encoding") && !parsed.keep_alive),
        Framing::None => {}
    }
}

/// The trailers of a body, and what follows it.
type Ended = (Vec<u8>, Vec<u8>);

/// Decodes input that comes in pieces of this size: the data, and how it ended, if it did.
fn decode(input: &[u8], size: usize) -> (Vec<u8>, Result<Option<Ended>, BodyError>) {
    let (mut decoder, mut buffer, mut out) = (Decoder::default(), BytesMut::new(), Vec::new());
    let mut came = 0;
    for piece in input.chunks(size) {
        buffer.extend_from_slice(piece);
        came += piece.len();
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Decoded::Data(data)) => out.extend_from_slice(&data),
                Ok(Decoded::More) => break,
                Ok(Decoded::End(trailers)) => {
                    let mut fields = Vec::new();
                    for (name, value) in trailers.iter().flat_map(|t| t.iter()) {
                        head::write_field(&mut fields, name, value);
                    }
                    let rest = [&buffer, &input[came..]].concat();
                    return (out, Ok(Some((fields, rest))));
                }
                Err(error) => return (out, Err(error)),
            }
        }
    }
    (out, Ok(None))
}

/// RFC 9112, 7.1, by its letter: the data and how long the whole is.
fn decode_by_the_letter(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut at, mut out) = (0, Vec::new());
    loop {
        let (line, next) = line_at(input, at)?;
        let digits = std::str::from_utf8(line.split(|b| *b == b';').next()?).ok()?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(digits, 16).ok()?;
        if size == 0 {
            at = next;
            break;
        }
        let end = next.checked_add(size)?;
        out.extend_from_slice(input.get(next..end)?);
        if input.get(end..end + 2)? != b"\r\n" {
            return None;
        }
        at = end + 2;
    }
    loop {
        let (line, next) = line_at(input, at)?;
        if line.is_empty() {
            return Some((out, next));
        }
        let name = line.split(|b| *b == b':').next()?;
        if name.len() == line.len() || name.is_empty() || !name.iter().all(|b| head::is_token(*b)) {
            return None;
        }
        at = next;
    }
}

/// A line of text without its end, and where the next one begins.
fn line_at(input: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let end = at + input[at..].windows(2).position(|pair| pair == b"\r\n")?;
    let line = &input[at..end];
    line.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 127)).then_some((line, end + 2))
}

/// # Panics
/// Where pieces are read differently from the whole, or the whole from RFC 9112, or what is sent on from what came.
pub fn chunked(input: &[u8]) {
    let whole = decode(input, input.len().max(1));
    for size in [1, 2, 3, 7] {
        let (data, end) = decode(input, size);
        match (&end, &whole.1) {
            // What comes in pieces is refused at the same place, or a little earlier.
            (Err(_), Err(_)) => {}
            (Ok(None), Ok(None)) | (Ok(Some(_)), Ok(Some(_))) => {
                assert_eq!((&data, &end), (&whole.0, &whole.1), "{size}")
            }
            other => panic!("in pieces of {size}: {other:?}"),
        }
    }
    match (&whole.1, decode_by_the_letter(input)) {
        (Ok(Some((_, rest))), Some((data, used))) => {
            assert_eq!((&whole.0, rest.len()), (&data, input.len() - used));
        }
        // A size beyond 63 bits is no size here.
        (Ok(Some(_)), None) => panic!("taken, against the letter"),
        _ => {}
    }
    // What was taken is read the same again in the form in which it is sent on.
    if let Ok(Some((trailers, _))) = &whole.1 {
        let mut again = Vec::new();
        if !whole.0.is_empty() {
            chunked::write_size(&mut again, whole.0.len());
            again.extend_from_slice(&whole.0);
            again.extend_from_slice(b"\r\n");
        }
        again.extend_from_slice(b"0\r\n");
        again.extend_from_slice(trailers);
        again.extend_from_slice(b"\r\n");
        assert_eq!(decode(&again, again.len()), (whole.0, Ok(Some((trailers.clone(), Vec::new())))));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn messages_are_read_one_way_only() {
        mutation::check("request_head", super::request_head);
        mutation::check("response_head", super::response_head);
        mutation::check("chunked", super::chunked);
    }
}
