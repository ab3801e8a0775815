//! The heads of HTTP/1 messages (RFC 9112, 2 to 5): parsed strictly, so that no two parsers can read them differently.

use memchr::memmem::Finder;
use pdk::{Headers, Method, Request, Span, Version, ends_line, is_same_name};
use std::sync::LazyLock;

/// A line's end counts as a part of it, as in nginx's buffers.
const LINE_END: usize = 2;

/// Limits of a request head (`large_client_header_buffers`).
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of one line.
    pub line: usize,
    /// Bytes of the whole head.
    pub total: usize,
    /// Number of fields.
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { line: 8 * 1024, total: 32 * 1024, fields: 1000 }
    }
}

/// Why a request head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// 400.
    Malformed,
    /// 414.
    UriTooLong,
    /// 400 in Kong (nginx's 494).
    FieldsTooLarge,
    /// 505.
    Version,
    /// 501: a transfer coding other than chunked.
    Coding,
}

/// How a message's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Until the connection closes (responses only).
    Close,
}

/// A request head, understood.
pub(crate) struct RequestHead {
    pub(crate) request: Request,
    pub(crate) framing: Framing,
    /// What the `Connection` field and the version say.
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
}

pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A byte of a name that goes upstream. Names with others are dropped, as nginx does (`ignore_invalid_headers`).
const PLAIN: [bool; 256] = alphanumeric_and(b"-_");
/// A byte of a host's name (RFC 3986, 3.2.2) below 128.
const HOST: [bool; 256] = alphanumeric_and(b"-._~!$&'()*+;=%");

const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

/// Bytes that no field's name goes on after: the colon, and what no name may have.
const ENDS_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        table[byte] = true;
        byte += 1;
    }
    table[127] = true;
    table[b':' as usize] = true;
    table
};

/// The length of the name that a field's line begins with, up to its colon.
fn name_length(line: &[u8]) -> Option<usize> {
    let end = line.iter().position(|byte| ENDS_NAME[usize::from(*byte)])?;
    (end > 0 && line[end] == b':').then_some(end)
}

/// Writes a field line.
#[inline]
pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Made once: making a finder costs more than finding.
static EMPTY_LINE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// The length of the head at the start of `input` (with its empty line), once it is whole. What cannot become a
/// well-formed head is refused before the rest has come.
pub(crate) fn find_end(input: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
    if let Some(end) = EMPTY_LINE.find(&input[..input.len().min(limits.total + 4)]) {
        return Ok(Some(end + 4));
    }
    if input.first().is_some_and(|b| !is_method_byte(*b)) {
        return Err(HeadError::Malformed);
    }
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', input) {
        if end == start || input[end - 1] != b'\r' {
            return Err(HeadError::Malformed);
        }
        if start == 0 {
            check_request_line(&input[..end - 1], limits)?;
        } else if end - start > limits.line {
            return Err(HeadError::FieldsTooLarge);
        }
        start = end + 1;
    }
    match input.len() - start {
        left if left > limits.line && start == 0 => Err(HeadError::UriTooLong),
        left if left > limits.line || input.len() > limits.total => Err(HeadError::FieldsTooLarge),
        _ => Ok(None),
    }
}

fn check_request_line(line: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    request_line(line, limits).map(|_| ())
}

fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_' || byte == b'-'
}

struct RequestLine {
    method: std::ops::Range<usize>,
    target: std::ops::Range<usize>,
    version: Version,
}

/// `method SP request-target SP HTTP-version`: single spaces, but for those that nginx takes at the end.
fn request_line(line: &[u8], limits: &HeadLimits) -> Result<RequestLine, HeadError> {
    if line.len() + LINE_END > limits.line {
        return Err(HeadError::UriTooLong);
    }
    let method_end = memchr::memchr(b' ', line).ok_or(HeadError::Malformed)?;
    let target_end = method_end + 1 + memchr::memchr(b' ', &line[method_end + 1..]).ok_or(HeadError::Malformed)?;
    let target = method_end + 1..target_end;
    if method_end == 0 || !line[..method_end].iter().all(|b| is_method_byte(*b)) {
        return Err(HeadError::Malformed);
    }
    let begins_well = line[target.clone()].first().is_some_and(|b| *b == b'/' || b.is_ascii_alphabetic());
    if !begins_well || line[target.clone()].iter().any(|b| *b <= b' ' || *b == 127) {
        return Err(HeadError::Malformed);
    }
    let version = match &line[target_end + 1..] {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        version => unusual_version(version)?,
    };
    Ok(RequestLine { method: 0..method_end, target, version })
}

/// A version as nginx reads it: the digits of each part are a number, and every 1.x but 1.0 counts as 1.1.
fn unusual_version(text: &[u8]) -> Result<Version, HeadError> {
    let digits = text.strip_prefix(b"HTTP/").ok_or(HeadError::Malformed)?;
    let minor = match digits {
        [b'1', b'.', minor @ ..] => minor,
        [b'2'..=b'9', ..] | [b'1', b'0'..=b'9', ..] => return Err(HeadError::Version),
        _ => return Err(HeadError::Malformed),
    };
    let end = minor.iter().position(|b| *b == b' ').unwrap_or(minor.len());
    let (minor, spaces) = minor.split_at(end);
    if !(1..=3).contains(&minor.len()) || !minor.iter().all(u8::is_ascii_digit) || spaces.iter().any(|b| *b != b' ') {
        return Err(HeadError::Malformed);
    }
    Ok(if minor.iter().all(|b| *b == b'0') { Version::Http10 } else { Version::Http11 })
}

/// Parses a whole request head (`head` ends with its empty line).
pub(crate) fn parse_request(head: &[u8], limits: &HeadLimits) -> Result<RequestHead, HeadError> {
    let first_end = memchr::memchr(b'\n', head).ok_or(HeadError::Malformed)?;
    if first_end == 0 || head[first_end - 1] != b'\r' {
        return Err(HeadError::Malformed);
    }
    let line = request_line(&head[..first_end - 1], limits)?;
    let method = std::str::from_utf8(&head[line.method.clone()]).map_err(|_| HeadError::Malformed)?;
    let method = Method::from_name(method);
    let mut headers = Headers::from_arena(with_room(head));
    let mut seen = Seen::default();
    fields(head, first_end + 1, limits.line, limits.fields, &mut |name, value| {
        seen.note(head, name, value)?;
        if head[range(name)].iter().all(|b| PLAIN[usize::from(*b)]) {
            headers.push_parsed(name, value);
        }
        Ok(())
    })?;
    let (target, authority) = target(head, line.target, &mut headers)?;
    let host = seen.host.unwrap_or_default();
    match seen.host {
        Some(host) if !is_host(&head[range(host)]) => return Err(HeadError::Malformed),
        None if line.version == Version::Http11 => return Err(HeadError::Malformed),
        _ => {}
    }
    let framing = seen.framing(line.version)?;
    let keep_alive = if line.version == Version::Http10 { seen.keep_alive && !seen.close } else { !seen.close };
    // nginx refuses these before it looks whether the connection goes on.
    let keep_alive = keep_alive && !matches!(method, Method::Trace | Method::Connect);
    let mut request = Request::new(method, line.version, headers, target, host);
    if let Some(authority) = authority {
        request = request.with_authority(authority);
    }
    request.head_size = head.len() as u64;
    Ok(RequestHead {
        request,
        framing,
        keep_alive,
        expects_continue: seen.expects_continue && line.version == Version::Http11,
    })
}

/// What is known of a request that is refused: its first line where that is well-formed, and the fields up to the one that is
/// not. It is for logs; nothing of it may go upstream.
pub(crate) fn understood(input: &[u8], limits: &HeadLimits) -> Request {
    let input = &input[..input.len().min(limits.total + 4)];
    let method_end = input.iter().position(|b| !is_method_byte(*b)).unwrap_or(0);
    let method = if input.get(method_end) == Some(&b' ') { &input[..method_end] } else { b"" };
    let method = Method::from_name(std::str::from_utf8(method).unwrap_or_default());
    let first_end = memchr::memchr(b'\n', input).unwrap_or(0);
    let line = input[..first_end].strip_suffix(b"\r").and_then(|line| request_line(line, limits).ok());
    let mut headers = Headers::from_arena(input.to_vec());
    let Some((version, (target, authority))) =
        line.and_then(|line| Some((line.version, target(input, line.target, &mut headers).ok()?)))
    else {
        return Request::new(method, Version::Http10, Headers::new(), Span::default(), Span::default());
    };
    let (mut seen, mut host) = (Seen::default(), None);
    let _ = fields(input, first_end + 1, limits.line, limits.fields, &mut |name, value| {
        if input[range(name)].iter().all(|b| PLAIN[usize::from(*b)]) {
            headers.push_parsed(name, value);
        }
        seen.note(input, name, value)?;
        host = host.or(seen.host.filter(|host| is_host(&input[range(*host)])));
        Ok(())
    });
    let mut request = Request::new(method, version, headers, target, host.unwrap_or_default());
    request.head_size = input.len() as u64;
    match authority {
        Some(authority) => request.with_authority(authority),
        None => request,
    }
}

/// A copy with room for what the phases add: up to a size that allocators keep at hand (glibc: 1,032 bytes), growing costs
/// more than the room.
fn with_room(head: &[u8]) -> Vec<u8> {
    let mut arena = Vec::with_capacity((head.len() + 384).max(1000));
    arena.extend_from_slice(head);
    arena
}

fn range(span: Span) -> std::ops::Range<usize> {
    span.start as usize..(span.start + span.len) as usize
}

/// Calls `each` with the name and value of every field line from `at` on.
fn fields(
    head: &[u8],
    mut at: usize,
    line_limit: usize,
    count_limit: usize,
    each: &mut dyn FnMut(Span, Span) -> Result<(), HeadError>,
) -> Result<(), HeadError> {
    let mut count = 0;
    loop {
        let end = at + memchr::memchr(b'\n', &head[at..]).ok_or(HeadError::Malformed)?;
        if end == at || head[end - 1] != b'\r' {
            return Err(HeadError::Malformed);
        }
        let line = &head[at..end - 1];
        if line.is_empty() {
            return Ok(());
        }
        count += 1;
        if line.len() + LINE_END > line_limit || count > count_limit {
            return Err(HeadError::FieldsTooLarge);
        }
        let colon = name_length(line).ok_or(HeadError::Malformed)?;
        let mut value = colon + 1;
        while line.get(value) == Some(&b' ') {
            value += 1;
        }
        let mut value_end = line.len();
        while value_end > value && line[value_end - 1] == b' ' {
            value_end -= 1;
        }
        if ends_line(&line[value..value_end]) {
            return Err(HeadError::Malformed);
        }
        each(Span::new(at, at + colon), Span::new(at + value, at + value_end))?;
        at = end + 1;
    }
}

/// Fields that nginx refuses a second one of: one parser may heed the first, another one the second.
const ONCE: [&[u8]; 7] = [
    b"authorization",
    b"expect",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
];

/// The fields that decide on framing and connection.
#[derive(Default)]
struct Seen {
    host: Option<Span>,
    length: Option<u64>,
    codings: usize,
    is_chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    /// A bit for each of [`ONCE`].
    once: u8,
}

impl Seen {
    fn note(&mut self, head: &[u8], name: Span, value: Span) -> Result<(), HeadError> {
        let text = &head[range(value)];
        if let 6 | 8 | 13 | 17 | 19 = name.len
            && let Some(at) = ONCE.iter().position(|once| is(head, name, once))
        {
            if self.once & (1 << at) != 0 {
                return Err(HeadError::Malformed);
            }
            self.once |= 1 << at;
        }
        match name.len {
            4 if is(head, name, b"host") => {
                let earlier = self.host.replace(value);
                if earlier.is_some() {
                    return Err(HeadError::Malformed);
                }
            }
            6 if is(head, name, b"expect") => self.expects_continue = text.eq_ignore_ascii_case(b"100-continue"),
            10 if is(head, name, b"connection") => {
                for option in text.split(|b| *b == b',') {
                    let option = option.trim_ascii();
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is(head, name, b"content-length") => {
                let length = length(text).ok_or(HeadError::Malformed)?;
                if self.length.replace(length).is_some() {
                    return Err(HeadError::Malformed);
                }
            }
            17 if is(head, name, b"transfer-encoding") => {
                self.codings += 1;
                self.is_chunked = text.eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112, 6.3, without its leniencies: each of them has been a way to smuggle a request.
    fn framing(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.codings, self.length) {
            (0, None) => Ok(Framing::None),
            (0, Some(0)) => Ok(Framing::None),
            (0, Some(length)) => Ok(Framing::Length(length)),
            (1, _) if version == Version::Http10 => Err(HeadError::Malformed),
            (1, _) if !self.is_chunked => Err(HeadError::Coding),
            (1, None) => Ok(Framing::Chunked),
            _ => Err(HeadError::Malformed),
        }
    }
}

fn is(head: &[u8], name: Span, lower: &[u8]) -> bool {
    is_same_name(&head[range(name)], lower)
}

/// `1*DIGIT` below 2^63.
fn length(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (value <= i64::MAX as u64).then_some(value)
}

/// The origin form of a target, and the authority of an absolute one.
fn target(head: &[u8], at: std::ops::Range<usize>, headers: &mut Headers) -> Result<(Span, Option<Span>), HeadError> {
    let text = &head[at.clone()];
    if text[0] == b'/' {
        check_escapes(text)?;
        return Ok((without_fragment(text, at.start), None));
    }
    let scheme = memchr::memmem::find(text, b"://").ok_or(HeadError::Malformed)?;
    if !text[..scheme].iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)) {
        return Err(HeadError::Malformed);
    }
    let rest = &text[scheme + 3..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    // Stricter than in a Host field, as nginx is.
    let is_plain = |host: &[u8]| host.iter().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(b));
    if !is_host(&rest[..end]) || !is_plain(&rest[..end]) {
        return Err(HeadError::Malformed);
    }
    check_escapes(&rest[end..])?;
    let start = at.start + scheme + 3;
    let authority = Span::new(start, start + end);
    let target = match rest.get(end) {
        Some(b'/') => without_fragment(&rest[end..], start + end),
        Some(b'?') => {
            let path = [b"/", &rest[end..]].concat();
            headers.store(&path)
        }
        _ => headers.store(b"/"),
    };
    Ok((target, Some(authority)))
}

fn without_fragment(text: &[u8], start: usize) -> Span {
    let end = memchr::memchr(b'#', text).unwrap_or(text.len());
    Span::new(start, start + end)
}

/// Every `%` of a path or a host's name begins a triplet, and none says NUL.
pub(crate) fn check_escapes(target: &[u8]) -> Result<(), HeadError> {
    let path = memchr::memchr(b'?', target).map_or(target, |at| &target[..at]);
    for at in memchr::memchr_iter(b'%', path) {
        match path.get(at + 1..at + 3) {
            Some(b"00") | None => return Err(HeadError::Malformed),
            Some(digits) if !digits.iter().all(u8::is_ascii_hexdigit) => return Err(HeadError::Malformed),
            _ => {}
        }
    }
    Ok(())
}

/// `uri-host [ ":" port ]` of RFC 3986, without user information.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = if host.first() == Some(&b'[') {
        let Some(end) = memchr::memchr(b']', host) else { return false };
        let literal = &host[1..end];
        let is_ipv6 =
            literal.contains(&b':') && literal.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'%'));
        if !is_ipv6 {
            return false;
        }
        (&host[..0], &host[end + 1..])
    } else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        if end == 0 {
            return false;
        }
        (&host[..end], &host[end..])
    };
    let port_ok = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let dots_ok = name != b"." && !name.windows(2).any(|two| two == b"..");
    port_ok && dots_ok && name.iter().all(|b| HOST[usize::from(*b)] || *b >= 128) && check_escapes(name).is_ok()
}

/// A response head, understood.
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) reason: Span,
    pub(crate) headers: Headers,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
}

/// The upstream's answer is not HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadResponse;

/// The length of the response head at the start of `input`, once it is whole. Lines may end with a line feed alone.
pub(crate) fn find_response_end(input: &[u8], limit: usize) -> Result<Option<usize>, BadResponse> {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', input) {
        let line = &input[start..end];
        if start > 0 && (line.is_empty() || line == b"\r") {
            return Ok(Some(end + 1));
        }
        if start == 0 {
            status_line(line.strip_suffix(b"\r").unwrap_or(line))?;
        }
        start = end + 1;
    }
    let is_http = input.iter().zip(b"HTTP/1.").all(|(a, b)| a == b);
    if !is_http || input.len() > limit { Err(BadResponse) } else { Ok(None) }
}

/// The version's minor digit, the status and where the reason starts.
fn status_line(line: &[u8]) -> Result<(u8, u16, usize), BadResponse> {
    let rest = line.strip_prefix(b"HTTP/1.").ok_or(BadResponse)?;
    let [minor @ b'0'..=b'9', b' ', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', tail @ ..] = rest else {
        return Err(BadResponse);
    };
    if !matches!(tail.first(), None | Some(b' ')) {
        return Err(BadResponse);
    }
    let digit = |d: &u8| u16::from(d - b'0');
    Ok((*minor, digit(a) * 100 + digit(b) * 10 + digit(c), line.len() - tail.len() + usize::from(!tail.is_empty())))
}

/// Parses a whole response head. `no_body`: the request was a HEAD, or the status allows none.
pub(crate) fn parse_response(head: &[u8], is_head: bool) -> Result<ResponseHead, BadResponse> {
    let first_end = memchr::memchr(b'\n', head).ok_or(BadResponse)?;
    let line = head[..first_end].strip_suffix(b"\r").unwrap_or(&head[..first_end]);
    let (minor, status, reason) = status_line(line)?;
    let reason = Span::new(reason, line.len());
    let mut headers = Headers::from_arena(with_room(head));
    let (mut length, mut codings, mut chunked, mut close, mut keep) = (None, 0, false, false, false);
    let mut at = first_end + 1;
    while let Some(end) = memchr::memchr(b'\n', &head[at..]) {
        let line = &head[at..at + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let (name, value) = response_field(line, at)?;
        let text = &head[range(value)];
        match name.len {
            10 if is(head, name, b"connection") => {
                for option in text.split(|b| *b == b',') {
                    close |= option.trim_ascii().eq_ignore_ascii_case(b"close");
                    keep |= option.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is(head, name, b"content-length") => {
                let parsed = self::length(text).ok_or(BadResponse)?;
                if length.replace(parsed).is_some() {
                    return Err(BadResponse);
                }
            }
            17 if is(head, name, b"transfer-encoding") => {
                codings += 1;
                chunked = text.eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
        headers.push_parsed(name, value);
        at += end + 1;
    }
    let framing = match (codings, length) {
        _ if is_head || !pdk::Response::may_have_body(status) => Framing::None,
        (0, None) => Framing::Close,
        (0, Some(0)) => Framing::None,
        (0, Some(length)) => Framing::Length(length),
        (1, None) if chunked => Framing::Chunked,
        _ => return Err(BadResponse),
    };
    let keep_alive = framing != Framing::Close && !close && (minor != b'0' || keep);
    Ok(ResponseHead { status, reason, headers, framing, keep_alive })
}

fn response_field(line: &[u8], at: usize) -> Result<(Span, Span), BadResponse> {
    let colon = name_length(line).ok_or(BadResponse)?;
    let value = &line[colon + 1..];
    if ends_line(value) {
        return Err(BadResponse);
    }
    let lead = value.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let trail = value[lead..].iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let start = at + colon + 1 + lead;
    Ok((Span::new(at, at + colon), Span::new(start, at + line.len() - trail)))
}

#[cfg(test)]
mod tests;
