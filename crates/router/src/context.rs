//! The state of one look-up: the query, and what has been worked out from it so far.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::definition::split_host;
use crate::matched::Captures;
use crate::{Protocol, Query};

/// Arguments beyond these are not looked at, as in Kong.
const MAX_ARGUMENTS: usize = 100;

type Headers<'a> = SmallVec<[(&'a [u8], &'a [u8]); 24]>;
type Argument<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

pub(crate) struct Context<'a> {
    pub(crate) query: Query<'a>,
    /// Without the port.
    pub(crate) host: Option<&'a [u8]>,
    /// What a port in a route's `hosts` is compared with.
    pub(crate) host_port: Option<u16>,
    headers: Option<Headers<'a>>,
    arguments: Option<Vec<Argument<'a>>>,
}

/// Which port stands in for one that the Host header does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultPort {
    /// The one connected to.
    Destination,
    /// The scheme's.
    Scheme,
}

/// What a match has found out about the path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found<'a> {
    pub(crate) prefix: Option<&'a [u8]>,
    /// Of the regex that matched the path, if it has groups.
    pub(crate) captures: Option<Captures<'a>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(query: Query<'a>, default_port: DefaultPort) -> Self {
        let (host, port) = match query.host {
            Some(host) => {
                let (name, port) = split_host(host);
                (Some(name), port)
            }
            None => (None, None),
        };
        let host_port = port.or_else(|| match default_port {
            DefaultPort::Destination => query.destination.map(|address| address.port()),
            DefaultPort::Scheme => Some(if query.protocol == Protocol::Https { 443 } else { 80 }),
        });
        Context { query, host, host_port, headers: None, arguments: None }
    }

    pub(crate) fn headers(&mut self) -> &[(&'a [u8], &'a [u8])] {
        let fields = self.query.fields;
        self.headers.get_or_insert_with(|| {
            let mut headers = Headers::new();
            fields.headers(&mut |name, value| headers.push((name, value)));
            headers
        })
    }

    /// Decoded names and values of the query string; a name without value has an empty one.
    pub(crate) fn arguments(&mut self) -> &[Argument<'a>] {
        let fields = self.query.fields;
        self.arguments.get_or_insert_with(|| {
            let pairs = fields.query().split(|byte| *byte == b'&').map(|pair| {
                let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
                let (name, value) = pair.split_at(equals);
                (decode(name), decode(value.strip_prefix(b"=").unwrap_or(value)))
            });
            pairs.filter(|(name, _)| !name.is_empty()).take(MAX_ARGUMENTS).collect()
        })
    }
}

/// Form decoding: `+` is a space; what is no valid escape stays as it is.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => decoded.push(b' '),
            b'%' => match crate::path::escaped_byte(after) {
                Some(byte) => {
                    decoded.push(byte);
                    rest = &after[2..];
                }
                None => decoded.push(b'%'),
            },
            byte => decoded.push(*byte),
        }
    }
    Cow::Owned(decoded)
}
