//! Tests of `certificate`.

use super::*;
use crate::ber::SEQUENCE;

const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const CN: &[u8] = &[0x55, 4, 3];
const OU: &[u8] = &[0x55, 4, 11];

/// An attribute's type, the tag of its value, and the value.
type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

/// A distinguished name of these parts.
fn name(parts: &[&[Attribute<'_>]]) -> Vec<u8> {
    let attribute = |(oid, tag, value): &Attribute<'_>| {
        ber::element(SEQUENCE, &[ber::element(OID, oid), ber::element(*tag, value)].concat())
    };
    let parts = parts.iter().map(|part| ber::element(SET, &part.iter().map(attribute).collect::<Vec<_>>().concat()));
    ber::element(SEQUENCE, &parts.collect::<Vec<_>>().concat())
}

#[test]
fn distinguished_names_are_text_that_a_header_field_can_hold() {
    for (parts, want) in [
        (&[&[(OU, UTF8, &b"a"[..])][..], &[(CN, UTF8, b"b")]][..], "CN=b,OU=a"),
        (&[&[(CN, UTF8, b"b"), (OU, UTF8, b"c")]], "CN=b+OU=c"),
        (&[&[(CN, UTF8, b"a\r\nX-Admin: 1")]], "CN=a\\0D\\0AX-Admin: 1"),
        (&[&[(CN, UTF8, b"a,CN=root+OU=\"x\";<y>\\")]], "CN=a\\,CN=root\\+OU=\\\"x\\\"\\;\\<y\\>\\\\"),
        (&[&[(CN, UTF8, b" #a ")]], "CN=\\ #a\\ "),
        (&[&[(CN, UTF8, b"#a")]], "CN=\\#a"),
        (&[&[(CN, UTF8, "ö\0".as_bytes())]], "CN=\\C3\\B6\\00"),
        (&[&[(CN, 30, b"\0a\x20\xac")]], "CN=a\\E2\\82\\AC"),
        (&[&[(CN, 20, b"\xe4")]], "CN=\\C3\\A4"),
        (&[&[(CN, UTF8, b"\xff")]], "CN=#0C01FF"),
        (&[&[(&[0x2a, 3], UTF8, b"x")]], "1.2.3=#0C0178"),
        (&[], ""),
    ] {
        let der = name(parts);
        let (_, parsed) = X509Name::from_der(&der).unwrap();
        let text = distinguished_name(&parsed);
        assert_eq!(text, want, "{parts:?}");
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    }
}

#[test]
fn names_with_control_characters_are_nobodys() {
    for (text, want) in [
        ("a", true),
        ("a b", true),
        ("ö", true),
        ("", false),
        ("a\0", false),
        ("a\r\nb", false),
        ("\u{7f}", false),
        ("a\u{85}", false),
    ] {
        assert_eq!(plain(text).is_some(), want, "{text:?}");
    }
}

#[test]
fn bytes_that_are_no_certificate_are_none() {
    let good = include_str!("../tls_metadata_headers/client.pem");
    let der = x509_parser::pem::parse_x509_pem(good.as_bytes()).unwrap().1.contents;
    assert_eq!(pem(&der), good);
    assert!(parse(&der).is_some());
    for at in 0..der.len() {
        assert!(parse(&der[..at]).is_none(), "cut off at {at}");
        let mut changed = der.clone();
        changed[at] ^= 0xff;
        // Whatever it becomes, it is read without a panic.
        if let Some(certificate) = parse(&changed) {
            let _ =
                (alternative_names(&certificate), common_name(&certificate), distinguished_name(certificate.subject()));
        }
    }
}
