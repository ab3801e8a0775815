//! What is left to check once the index has narrowed things down.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::Protocol;
use crate::context::Context;
use crate::definition::{HostRule, NameRule, Net, Protocols};
use crate::pattern::Pattern;

/// One remaining condition of a candidate. All of them must hold.
#[derive(Debug)]
pub(crate) enum Check {
    Methods(Box<[String]>),
    Protocols(Protocols),
    Sources(Box<[Net]>),
    Destinations(Box<[Net]>),
    ServerNames {
        names: Box<[NameRule]>,
        /// The names count on this protocol alone; on others the check holds.
        on: OnProtocol,
    },
    /// Hosts that the index has no key for.
    Hosts(Box<[HostRule]>),
    Header(HeaderCheck),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnProtocol {
    Only(Protocol),
    AllBut(Protocol),
}

#[derive(Debug)]
pub(crate) struct HeaderCheck {
    pub(crate) name: HeaderName,
    /// What counts where the request has no field of the name.
    pub(crate) instead: Option<HeaderName>,
    /// One of them must do.
    pub(crate) values: Box<[HeaderValue]>,
}

#[derive(Debug)]
pub(crate) enum HeaderValue {
    /// In lower case.
    Literal(Box<[u8]>),
    Regex(Pattern),
}

/// A header's name in lower case, and whether `-` and `_` are the same in it.
#[derive(Debug)]
pub(crate) struct HeaderName {
    text: Box<str>,
    folds_dashes: bool,
}

impl HeaderName {
    pub(crate) fn exact(name: &str) -> Self {
        HeaderName { text: name.to_ascii_lowercase().into(), folds_dashes: false }
    }

    pub(crate) fn folded(name: &str) -> Self {
        HeaderName { text: name.replace('-', "_").into(), folds_dashes: true }
    }

    pub(crate) fn is(&self, name: &[u8]) -> bool {
        if self.text.len() != name.len() {
            return false;
        }
        let fold = |byte: u8| if self.folds_dashes && byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
        self.text.bytes().zip(name).all(|(own, other)| own == fold(*other))
    }
}

impl Check {
    pub(crate) fn holds(&self, cx: &mut Context<'_>) -> bool {
        match self {
            Check::Methods(methods) => methods.iter().any(|method| method == cx.query.method),
            Check::Protocols(protocols) => protocols.contains(cx.query.protocol),
            Check::Sources(nets) => any_net(nets, cx.query.source),
            Check::Destinations(nets) => any_net(nets, cx.query.destination),
            Check::ServerNames { names, on } => {
                let counts = match on {
                    OnProtocol::Only(protocol) => cx.query.protocol == *protocol,
                    OnProtocol::AllBut(protocol) => cx.query.protocol != *protocol,
                };
                !counts || cx.query.sni.is_some_and(|sni| names.iter().any(|name| name.matches(sni)))
            }
            Check::Hosts(hosts) => {
                let name = cx.host.and_then(|host| std::str::from_utf8(host).ok());
                let port = cx.host_port;
                name.is_some_and(|name| {
                    hosts.iter().any(|host| (host.port.is_none() || host.port == port) && host.name.matches(name))
                })
            }
            Check::Header(check) => check.holds(cx),
        }
    }
}

impl HeaderCheck {
    fn holds(&self, cx: &mut Context<'_>) -> bool {
        let headers = cx.headers();
        let name = match &self.instead {
            Some(instead) if !headers.iter().any(|(name, _)| self.name.is(name)) => instead,
            _ => &self.name,
        };
        let mut values = headers.iter().filter(|(other, _)| name.is(other));
        values.any(|(_, value)| {
            self.values.iter().any(|wanted| match wanted {
                HeaderValue::Literal(literal) => lower_equals(value, literal),
                HeaderValue::Regex(pattern) => pattern.is_match(&lower(value)),
            })
        })
    }
}

fn any_net(nets: &[Net], address: Option<SocketAddr>) -> bool {
    let Some(address) = address else { return false };
    nets.iter().any(|net| {
        // An address that could not be read is None although there is a text: it matches nothing.
        let ip = net.text.is_none() || net.address.is_some_and(|own| own.contains(address.ip()));
        ip && net.port.is_none_or(|port| port == address.port())
    })
}

/// Whether a text equals a literal that is in lower case.
pub(crate) fn lower_equals(text: &[u8], literal: &[u8]) -> bool {
    if text.is_ascii() {
        text.eq_ignore_ascii_case(literal) && text.len() == literal.len()
    } else {
        *lower(text) == *literal
    }
}

/// In lower case, by Unicode's rules if the text is UTF-8.
pub(crate) fn lower(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        if text.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    } else if let Ok(text) = std::str::from_utf8(text) {
        Cow::Owned(text.to_lowercase().into_bytes())
    } else {
        Cow::Owned(text.to_ascii_lowercase())
    }
}
