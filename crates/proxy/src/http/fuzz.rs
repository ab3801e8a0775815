//! The parsers of HTTP/1 under random inputs (`make fuzz`): they never panic, read a message the same way however it comes in
//! pieces, and as a second parser that was written for this reads it.

use super::chunked::{self, Decoded, Decoder};
use super::head::{self, Framing, HeadLimits};
use bytes::BytesMut;
use pdk::BodyError;

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b" ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close, content-length\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: b\r\n",
    b"Host: [::1]:80\r\n",
    b"http://a.test",
    b"%2F",
    b"%00",
    b"/../",
    b"\0",
    b"\t",
];

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a%20b?c=d HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST http://a.test:80/x?y HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello",
    b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"POST http://a.test%00:80/x?y HTTP/1.1\r\nHost: b\r\n\r\n",
    b"POST http://a.test:80/x?Transfe://a.test%00:80/x?y HTTP/1.1\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\nAuthorization: x\r\nX_A:  v \r\nConnection: a, Upgrade\r\nUpgrade: h2c\r\n\r\n",
];

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

#[test]
fn a_request_head_is_read_one_way_only() {
    mutation::check(REQUESTS, WORDS, |input| {
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
        let Ok(Some(end)) = found else { return format!("{found:?}") };
        assert!(end <= LIMITS.total + 4 && input[..end].ends_with(b"\r\n\r\n"));
        let parsed = match head::parse_request(&input[..end], &LIMITS) {
            Ok(parsed) => parsed,
            Err(error) => return format!("{error:?}"),
        };
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
        assert!(hosts.len() <= 1 && (hosts.len() == 1 || first.ends_with("HTTP/1.0")), "{hosts:?}");
        assert_eq!(first.split(' ').count(), 3, "{first}");
        // In a query it is as good as any other byte.
        let uri = first.split(' ').nth(1).and_then(|target| target.split('?').next());
        assert!(uri.is_some_and(|uri| !uri.contains("%00")), "{first}");
        for (name, value) in parsed.request.headers.iter() {
            assert!(!name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b)));
            assert!(!value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')));
        }
        assert!(parsed.request.target().starts_with(b"/"));
        format!("{:?} {} {}", parsed.framing, parsed.keep_alive, parsed.request.headers.len())
    });
}

#[test]
fn a_response_head_is_read_one_way_only() {
    let seeds: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 404 \r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 204\nX: y\n\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n",
    ];
    mutation::check(seeds, WORDS, |input| {
        let found = head::find_response_end(input, 1024);
        for known in 0..input.len() {
            if let Ok(Some(end)) = head::find_response_end(&input[..known], 1024) {
                assert_eq!(found.as_ref().ok(), Some(&Some(end)), "{known}");
            }
        }
        let Ok(Some(end)) = found else { return format!("{found:?}") };
        let Ok(parsed) = head::parse_response(&input[..end], false) else { return "refused".to_owned() };
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
        format!("{} {:?} {}", parsed.status / 100, parsed.framing, parsed.keep_alive)
    });
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

#[test]
fn a_chunked_body_is_read_one_way_only() {
    let seeds: &[&[u8]] = &[
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
        b"5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-T: 1\r\nTE: x\r\n\r\n",
        b"ffffffffffffffff\r\nx\r\n0\r\n\r\n",
    ];
    let words: &[&[u8]] =
        &[b"\r\n", b"0\r\n\r\n", b"1\r\na\r\n", b";", b"\n", b"\r", b"0x", b"7fffffffffffffff", b"X: y\r\n", b":"];
    mutation::check(seeds, words, |input| {
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
        let mut again = Vec::new();
        chunked::write_size(&mut again, whole.0.len());
        format!("{} {:?} {}", whole.0.len().min(8), whole.1.as_ref().map(Option::is_some), again.len())
    });
}
