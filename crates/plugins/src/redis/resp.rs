//! RESP2, the protocol of Redis: commands out, replies in. Whatever is no reply, or a too large one, is an error: the
//! connection is given up.

/// A reply of more bytes than this, or more deeply nested, is none that was asked for.
const MAX_BULK: usize = 8 << 20;
const MAX_ITEMS: usize = 16 * 1024;
/// No reply has more bytes, or more replies in it, at whatever depth.
pub(super) const MAX_REPLY: usize = 16 << 20;
const MAX_REPLIES: usize = 256 * 1024;
const MAX_DEPTH: usize = 4;
/// The longest line: a status, an error, a number.
const MAX_LINE: usize = 64 * 1024;

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(String),
    Error(String),
    Number(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    /// For a message; one that nobody asked for may be long.
    pub(super) fn shortened(&self) -> String {
        let mut text = match self {
            Self::Error(text) | Self::Status(text) => text.clone(),
            other => format!("{other:?}"),
        };
        text.truncate(text.floor_char_boundary(200));
        text
    }
}

/// The bytes are no reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Garbage;

/// A command as an array of bulk strings.
pub(crate) fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut number = |kind: u8, value: usize| {
        out.push(kind);
        out.extend_from_slice(value.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    number(b'*', parts.len());
    for part in parts {
        out.push(b'$');
        out.extend_from_slice(part.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// How far bytes were looked at that come piece by piece, so that none is looked at again with each piece.
pub(super) struct Progress {
    at: usize,
    /// Where the search for the end of a line goes on.
    searched: usize,
    /// Replies that are not whole yet, and all that were announced.
    missing: usize,
    announced: usize,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { at: 0, searched: 0, missing: 1, announced: 1 }
    }

    /// Whether the reply at the start of the bytes is whole; they are those of the last call and what has come since.
    pub(super) fn is_whole(&mut self, bytes: &[u8]) -> Result<bool, Garbage> {
        while self.missing > 0 {
            let from = self.searched.max(self.at);
            let Some(end) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) else {
                self.searched = bytes.len();
                return if bytes.len() - self.at > MAX_LINE { Err(Garbage) } else { Ok(false) };
            };
            let after = from + end + 1;
            let line = bytes.get(self.at..after).and_then(|line| line.strip_suffix(b"\r\n")).ok_or(Garbage)?;
            let (kind, text) = line.split_first().ok_or(Garbage)?;
            let number = || std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()).ok_or(Garbage);
            let mut next = after;
            match kind {
                b'+' | b'-' | b':' => {}
                b'$' | b'*' if number()? == -1 => {}
                b'$' => {
                    let length = usize::try_from(number()?).ok().filter(|length| *length <= MAX_BULK).ok_or(Garbage)?;
                    next = after + length + 2;
                    if bytes.len() < next {
                        return Ok(false);
                    }
                }
                b'*' => {
                    let count = usize::try_from(number()?).ok().filter(|count| *count <= MAX_ITEMS).ok_or(Garbage)?;
                    self.missing += count;
                    self.announced += count;
                    if self.announced > MAX_REPLIES {
                        return Err(Garbage);
                    }
                }
                _ => return Err(Garbage),
            }
            self.at = next;
            self.missing -= 1;
        }
        Ok(true)
    }
}

/// The reply at the start of the bytes, and its length; `None` where more bytes are needed.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Garbage> {
    let mut cursor = Cursor { bytes, at: 0 };
    match cursor.reply(0) {
        Ok(reply) => Ok(Some((reply, cursor.at))),
        Err(Stop::More) => Ok(None),
        Err(Stop::Garbage) => Err(Garbage),
    }
}

enum Stop {
    More,
    Garbage,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return Err(if rest.len() > MAX_LINE { Stop::Garbage } else { Stop::More });
        };
        self.at += end + 1;
        rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Stop::Garbage)
    }

    fn reply(&mut self, depth: usize) -> Result<Reply, Stop> {
        let line = self.line()?;
        let (kind, text) = line.split_first().ok_or(Stop::Garbage)?;
        let text = std::str::from_utf8(text).map_err(|_| Stop::Garbage)?;
        let number = || text.parse::<i64>().map_err(|_| Stop::Garbage);
        Ok(match kind {
            b'+' => Reply::Status(text.to_owned()),
            b'-' => Reply::Error(text.to_owned()),
            b':' => Reply::Number(number()?),
            b'$' | b'*' if number()? == -1 => Reply::Nil,
            b'$' => {
                let length = usize::try_from(number()?).map_err(|_| Stop::Garbage)?;
                if length > MAX_BULK {
                    return Err(Stop::Garbage);
                }
                let whole = self.bytes.get(self.at..self.at + length + 2).ok_or(Stop::More)?;
                self.at += length + 2;
                Reply::Bulk(whole.strip_suffix(b"\r\n").ok_or(Stop::Garbage)?.to_vec())
            }
            b'*' => {
                let count = usize::try_from(number()?).map_err(|_| Stop::Garbage)?;
                if count > MAX_ITEMS || depth >= MAX_DEPTH {
                    return Err(Stop::Garbage);
                }
                Reply::Array((0..count).map(|_| self.reply(depth + 1)).collect::<Result<_, _>>()?)
            }
            _ => return Err(Stop::Garbage),
        })
    }
}
