//! Certificates and keys in PEM, and whether they belong together.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::der::{self, BIT_STRING, INTEGER, OCTET_STRING, OID, SEQUENCE};
use super::text;

/// What OpenSSL, and so Kong, says of text without a usable certificate.
const NO_CERTIFICATE: &str = "x509.new: error:0480006C:PEM routines:get_name:no start line:crypto/pem/pem_lib.c:763:";
/// The same for keys.
const NO_KEY: &str = "pkey.new:load_key: error:1E08010C:DECODER routines:OSSL_DECODER_from_bio:unsupported:crypto/encode_decode/decoder_lib.c:102:";

/// The algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Rsa,
    Ec,
    Ed25519,
    Other,
}

/// Text that is no usable PEM; its display is OpenSSL's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PemError(&'static str);

/// A public key: its algorithm and the bits of its SubjectPublicKeyInfo.
#[derive(Debug, PartialEq, Eq)]
struct Public {
    kind: KeyKind,
    bits: Vec<u8>,
}

pub fn certificate(value: &Value) -> Result<(), String> {
    certificate_public(text(value)).map(|_| ()).map_err(|err| format!("invalid certificate: {err}"))
}

pub fn key(value: &Value) -> Result<(), String> {
    private_public(text(value)).map(|_| ()).map_err(|err| format!("invalid key: {err}"))
}

/// A public key: `Err` when OpenSSL could not load it as one.
pub fn public_key(pem: &str) -> Result<KeyKind, PemError> {
    stated_public(pem).map(|public| public.kind)
}

/// The kind of key a certificate is for.
pub fn certificate_key_kind(certificate: &str) -> Result<KeyKind, PemError> {
    certificate_public(certificate).map(|public| public.kind)
}

/// Whether the private key is the one the certificate was made for.
pub fn key_matches_certificate(certificate: &str, key: &str) -> Result<bool, PemError> {
    Ok(certificate_public(certificate)? == private_public(key)?)
}

/// A record of `private_key` and `public_key`.
pub fn pem(value: &Value) -> Result<(), String> {
    let empty = Map::new();
    let record = value.as_object().unwrap_or(&empty);
    let part =
        |name: &str| record.get(name).filter(|value| !crate::validate::is_reference(value)).and_then(Value::as_str);
    let public = part("public_key").map(stated_public).transpose().map_err(|_| "could not load public key")?;
    let private = part("private_key")
        .map(private_public)
        .transpose()
        .map_err(|err| format!("could not load private key{err}"))?;
    match (public, private) {
        (Some(public), Some(private)) if public != private => Err("public key does not match private key".into()),
        _ => Ok(()),
    }
}

/// The sections of a PEM text; broken ones end it.
fn sections(text: &str) -> impl Iterator<Item = (SectionKind, Vec<u8>)> {
    <(SectionKind, Vec<u8>) as PemObject>::pem_slice_iter(text.as_bytes()).map_while(Result::ok)
}

fn certificate_public(text: &str) -> Result<Public, PemError> {
    let der = sections(text)
        .find_map(|(kind, der)| matches!(kind, SectionKind::Certificate).then_some(der))
        .ok_or(PemError(NO_CERTIFICATE))?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| PemError(NO_CERTIFICATE))?;
    spki(certificate.public_key().raw).ok_or(PemError(NO_CERTIFICATE))
}

/// The public half of a private key.
fn private_public(text: &str) -> Result<Public, PemError> {
    sections(text)
        .find_map(|(kind, der)| match kind {
            SectionKind::PrivateKey => pkcs8(&der),
            SectionKind::RsaPrivateKey => rsa(&der),
            SectionKind::EcPrivateKey => ec(&der),
            _ => None,
        })
        .ok_or(PemError(NO_KEY))
}

/// A public key in a section of its own; a private key is none.
fn stated_public(text: &str) -> Result<Public, PemError> {
    sections(text)
        .find_map(|(kind, der)| matches!(kind, SectionKind::PublicKey).then(|| spki(&der)).flatten())
        .or_else(|| pkcs1_public(text))
        .ok_or(PemError(NO_KEY))
}

/// `RSA PUBLIC KEY`, a section rustls has no name for.
fn pkcs1_public(text: &str) -> Option<Public> {
    const BEGIN: &str = "-----BEGIN RSA PUBLIC KEY-----";
    const END: &str = "-----END RSA PUBLIC KEY-----";
    if !text.contains(BEGIN) {
        return None;
    }
    let renamed = text.replace(BEGIN, "-----BEGIN PUBLIC KEY-----").replace(END, "-----END PUBLIC KEY-----");
    let (_, bits) = sections(&renamed).next()?;
    let (body, _) = der::element(&bits, SEQUENCE)?;
    let (_, rest) = der::element(body, INTEGER)?;
    der::element(rest, INTEGER)?;
    Some(Public { kind: KeyKind::Rsa, bits })
}

/// SubjectPublicKeyInfo.
fn spki(der: &[u8]) -> Option<Public> {
    let (body, _) = der::element(der, SEQUENCE)?;
    let (algorithm, rest) = der::element(body, SEQUENCE)?;
    let (oid, _) = der::element(algorithm, OID)?;
    let (bits, _) = der::element(rest, BIT_STRING)?;
    let (_unused, bits) = bits.split_first()?;
    Some(Public { kind: kind_of(oid), bits: bits.to_vec() })
}

fn kind_of(oid: &[u8]) -> KeyKind {
    match oid {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 | 0x0a] => KeyKind::Rsa,
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => KeyKind::Ec,
        [0x2b, 0x65, 0x70] => KeyKind::Ed25519,
        _ => KeyKind::Other,
    }
}

fn pkcs8(der: &[u8]) -> Option<Public> {
    let (body, _) = der::element(der, SEQUENCE)?;
    let (_version, rest) = der::element(body, INTEGER)?;
    let (algorithm, rest) = der::element(rest, SEQUENCE)?;
    let (oid, parameters) = der::element(algorithm, OID)?;
    let (key, _) = der::element(rest, OCTET_STRING)?;
    match kind_of(oid) {
        KeyKind::Rsa => rsa(key),
        KeyKind::Ec => ec_pair(|algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok()).or_else(|| ec_stated(key)),
        KeyKind::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
            Some(Public { kind: KeyKind::Ed25519, bits: pair.public_key().as_ref().to_vec() })
        }
        KeyKind::Other => {
            // Known to OpenSSL by its name and parameters alone: never equal to another key.
            Some(Public { kind: KeyKind::Other, bits: [oid, parameters, key].concat() })
        }
    }
}

/// RSAPrivateKey: its modulus and exponent are the public key. Sizes are the administrator's business.
fn rsa(der: &[u8]) -> Option<Public> {
    let (body, _) = der::element(der, SEQUENCE)?;
    let (_version, rest) = der::element(body, INTEGER)?;
    let (modulus, rest) = der::element(rest, INTEGER)?;
    let (exponent, rest) = der::element(rest, INTEGER)?;
    der::element(rest, INTEGER)?;
    let numbers = [der::write(INTEGER, modulus), der::write(INTEGER, exponent)].concat();
    Some(Public { kind: KeyKind::Rsa, bits: der::write(SEQUENCE, &numbers) })
}

fn ec(der: &[u8]) -> Option<Public> {
    ec_pair(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok()).or_else(|| ec_stated(der))
}

fn ec_pair(load: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>) -> Option<Public> {
    let curves = [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
        &ECDSA_P521_SHA512_ASN1_SIGNING,
        &ECDSA_P256K1_SHA256_ASN1_SIGNING,
    ];
    let pair = curves.into_iter().find_map(load)?;
    Some(Public { kind: KeyKind::Ec, bits: pair.public_key().as_ref().to_vec() })
}

/// ECPrivateKey of another curve: the public key it states.
fn ec_stated(der: &[u8]) -> Option<Public> {
    const PUBLIC: u8 = 0xa1;
    let (body, _) = der::element(der, SEQUENCE)?;
    let (_version, rest) = der::element(body, INTEGER)?;
    let (_private, mut rest) = der::element(rest, OCTET_STRING)?;
    while let Some((tag, content, after)) = der::any(rest) {
        if tag == PUBLIC {
            let (bits, _) = der::element(content, BIT_STRING)?;
            let (_unused, bits) = bits.split_first()?;
            return Some(Public { kind: KeyKind::Ec, bits: bits.to_vec() });
        }
        rest = after;
    }
    None
}
