//! Certificates of clients taken apart: the names that are looked up, and the text that header fields tell.

use crate::ber;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, Oid};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// How OpenSSL, and so nginx, calls attributes of a distinguished name.
const ATTRIBUTES: [(&str, &str); 19] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A certificate of DER; nothing may follow it.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

/// A name that is text without control characters, which neither a look-up nor a header field has a use for.
fn plain(name: &str) -> Option<&str> {
    (!name.is_empty() && !name.chars().any(char::is_control)).then_some(name)
}

/// The Subject Alternative Names in their order: DNS names, mail addresses, URIs and IP addresses.
pub(crate) fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            plain(name).map(str::to_owned)
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(|bytes| Ipv6Addr::from(bytes).to_string())).ok()
        }
        _ => None,
    });
    names.collect()
}

/// The Common Name of the subject; the last, which is the most specific, of several.
pub(crate) fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject().iter_attributes().filter(|a| *a.attr_type() == OID_X509_COMMON_NAME);
    names.last().and_then(text).and_then(|name| plain(&name).map(str::to_owned))
}

/// The value of an attribute that is text.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    const BMP: u32 = 30;
    const TELETEX: u32 = 20;
    let bytes = attribute.as_slice();
    match attribute.attr_value().tag().0 {
        BMP => {
            let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()
        }
        // As OpenSSL reads it: ISO 8859-1.
        TELETEX => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        _ => attribute.as_str().ok().map(str::to_owned),
    }
}

/// A distinguished name as RFC 4514 (and nginx's `$ssl_client_s_dn`) writes it: the most specific part first, everything
/// but printable ASCII escaped, so that a header field can hold it.
pub(crate) fn distinguished_name(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name.iter().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid: &Oid<'_> = attribute.attr_type();
    let oid = oid.to_id_string();
    let known = ATTRIBUTES.iter().find(|(id, _)| *id == oid);
    match (known, text(attribute)) {
        (Some((_, name)), Some(value)) => format!("{name}={}", escape(&value)),
        _ => {
            let tag = u8::try_from(attribute.attr_value().tag().0).unwrap_or_default();
            let mut out = format!("{}=#", known.map_or(oid.as_str(), |(_, name)| name));
            for byte in ber::element(tag, attribute.as_slice()) {
                let _ = write!(out, "{byte:02X}");
            }
            out
        }
    }
}

/// RFC 4514, 2.4.
fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
    out
}

/// The certificate in PEM.
pub(crate) fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}

/// Bytes in hexadecimal, with lower-case letters.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests;
