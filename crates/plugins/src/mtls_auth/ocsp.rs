//! The Online Certificate Status Protocol (RFC 6960), as much as asking for one certificate takes.

use super::chain::Places;
use crate::ber::{ENUMERATED, INTEGER, OCTETS, Reader, SEQUENCE, element};
use crate::calendar::days;
use crate::certificate::parse;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

const OID: u8 = 0x06;
const NULL: [u8; 2] = [0x05, 0x00];
const BIT_STRING: u8 = 0x03;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, `[1]`, ... that wrap another element.
const WRAPPED: u8 = 0xa0;
/// The choices of a certificate's status: good, revoked; the third, unknown, is whatever else.
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;

const SHA1: [u8; 5] = [0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// id-pkix-ocsp-basic, id-pkix-ocsp-nonce.
const BASIC: [u8; 9] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
const NONCE: [u8; 9] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];

/// How far the responder's clock may be ahead, and how long an answer counts that does not say it.
const SKEW: Duration = Duration::from_secs(300);
const LASTS: Duration = Duration::from_secs(3600);
/// How many certificates of an answer are looked at for its signer's.
const MOST_SIGNERS: usize = 4;

/// What a responder says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is good until then (since the epoch).
    Good(Duration),
    Revoked(Duration),
    /// The responder does not know it.
    Unknown,
}

/// Why an answer says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Useless {
    #[error("the answer is no OCSP response")]
    Malformed,
    #[error("the responder says that it failed ({0})")]
    Failed(u8),
    #[error("the answer is not signed by the certificate's issuer or for it")]
    Unsigned,
    #[error("the answer is of another certificate or another request")]
    Other,
    #[error("the answer is not of now")]
    Stale,
}

impl From<crate::ber::Malformed> for Useless {
    fn from(_: crate::ber::Malformed) -> Self {
        Self::Malformed
    }
}

/// A question, and what its answer must fit.
pub(super) struct Question<'a> {
    places: &'a Places,
    name_hash: Vec<u8>,
    key_hash: Vec<u8>,
    nonce: [u8; 16],
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

fn key(info: &[u8]) -> Result<SubjectPublicKeyInfo<'_>, Useless> {
    SubjectPublicKeyInfo::from_der(info).map(|(_, key)| key).map_err(|_| Useless::Malformed)
}

impl<'a> Question<'a> {
    pub(super) fn new(places: &'a Places, nonce: [u8; 16]) -> Result<Self, Useless> {
        let key_hash = sha1(&key(&places.issuer_key)?.subject_public_key.data);
        Ok(Self { places, name_hash: sha1(&places.issuer), key_hash, nonce })
    }

    /// The OCSPRequest, DER.
    pub(super) fn encode(&self) -> Vec<u8> {
        let id = sequence(&[
            &sequence(&[&element(OID, &SHA1), &NULL]),
            &element(OCTETS, &self.name_hash),
            &element(OCTETS, &self.key_hash),
            &element(INTEGER, &self.places.serial),
        ]);
        let nonce = sequence(&[&element(OID, &NONCE), &element(OCTETS, &element(OCTETS, &self.nonce))]);
        let extensions = element(WRAPPED | 2, &sequence(&[&nonce]));
        sequence(&[&sequence(&[&sequence(&[&sequence(&[&id])]), &extensions])])
    }

    /// What an OCSPResponse says of the certificate.
    pub(super) fn read(&self, answer: &[u8], now: Duration) -> Result<Said, Useless> {
        let mut outer = Reader::new(Reader::new(answer).expect(SEQUENCE)?);
        match outer.expect(ENUMERATED)? {
            [0] => {}
            other => return Err(Useless::Failed(other.last().copied().unwrap_or_default())),
        }
        let mut bytes = Reader::new(Reader::new(outer.expect(WRAPPED)?).expect(SEQUENCE)?);
        if bytes.expect(OID)? != BASIC {
            return Err(Useless::Malformed);
        }
        let mut basic = Reader::new(Reader::new(bytes.expect(OCTETS)?).expect(SEQUENCE)?);
        let (_, signed, data) = basic.whole()?;
        let algorithm = basic.expect(SEQUENCE)?;
        let signature = bits(basic.expect(BIT_STRING)?)?;
        let certificates =
            if basic.is_empty() { &[][..] } else { Reader::new(basic.expect(WRAPPED)?).expect(SEQUENCE)? };
        if !self.is_signed(signed, algorithm, signature, certificates, now)? {
            return Err(Useless::Unsigned);
        }
        self.read_data(data, now)
    }

    /// By the issuer itself, or by whom it has made a certificate for this (RFC 6960, 4.2.2.2).
    fn is_signed(
        &self,
        signed: &[u8],
        algorithm: &[u8],
        signature: &[u8],
        certificates: &[u8],
        now: Duration,
    ) -> Result<bool, Useless> {
        if verifies(&key(&self.places.issuer_key)?, signed, algorithm, signature) {
            return Ok(true);
        }
        let mut certificates = Reader::new(certificates);
        for _ in 0..MOST_SIGNERS {
            if certificates.is_empty() {
                break;
            }
            let (_, der, _) = certificates.whole()?;
            let Some(signer) = parse(der) else { continue };
            if verifies(signer.public_key(), signed, algorithm, signature) {
                return self.is_delegate(&signer, der, now);
            }
        }
        Ok(false)
    }

    fn is_delegate(&self, signer: &X509Certificate<'_>, der: &[u8], now: Duration) -> Result<bool, Useless> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = signer.validity();
        let is_valid = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds);
        let is_for_ocsp = signer.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.ocsp_signing);
        if !is_valid || !is_for_ocsp || signer.issuer().as_raw() != self.places.issuer {
            return Ok(false);
        }
        let mut parts = Reader::new(Reader::new(der).expect(SEQUENCE)?);
        let (_, to_be_signed, _) = parts.whole()?;
        let algorithm = parts.expect(SEQUENCE)?;
        let signature = bits(parts.expect(BIT_STRING)?)?;
        Ok(verifies(&key(&self.places.issuer_key)?, to_be_signed, algorithm, signature))
    }

    /// ResponseData.
    fn read_data(&self, data: &[u8], now: Duration) -> Result<Said, Useless> {
        let mut data = Reader::new(data);
        if data.peek() == Some(WRAPPED) {
            data.next()?;
        }
        let (responder, produced) = (data.next()?, data.expect(GENERALIZED_TIME)?);
        if !matches!(responder.0, 0xa1 | 0xa2) || time(produced).ok_or(Useless::Malformed)? > now + SKEW {
            return Err(Useless::Malformed);
        }
        let mut responses = Reader::new(data.expect(SEQUENCE)?);
        if !data.is_empty() {
            self.check_nonce(Reader::new(data.expect(WRAPPED | 1)?).expect(SEQUENCE)?)?;
        }
        while !responses.is_empty() {
            let mut single = Reader::new(responses.expect(SEQUENCE)?);
            if !self.is_own(single.expect(SEQUENCE)?)? {
                continue;
            }
            let (status, _) = single.next()?;
            let from = time(single.expect(GENERALIZED_TIME)?).ok_or(Useless::Malformed)?;
            let until = match single.peek() {
                Some(WRAPPED) => time(Reader::new(single.expect(WRAPPED)?).expect(GENERALIZED_TIME)?),
                _ => Some(from + LASTS),
            };
            let until = until.ok_or(Useless::Malformed)?;
            if from > now + SKEW || until + SKEW < now {
                return Err(Useless::Stale);
            }
            return Ok(match status {
                GOOD => Said::Good(until),
                REVOKED => Said::Revoked(until),
                _ => Said::Unknown,
            });
        }
        Err(Useless::Other)
    }

    /// A nonce that comes back must be the one that was sent; responders that prepare their answers send none.
    fn check_nonce(&self, extensions: &[u8]) -> Result<(), Useless> {
        let mut extensions = Reader::new(extensions);
        while !extensions.is_empty() {
            let mut extension = Reader::new(extensions.expect(SEQUENCE)?);
            if extension.expect(OID)? != NONCE {
                continue;
            }
            let value = Reader::new(extension.expect(OCTETS)?).expect(OCTETS)?;
            if value != self.nonce {
                return Err(Useless::Other);
            }
        }
        Ok(())
    }

    /// Whether a CertID is that of the question.
    fn is_own(&self, id: &[u8]) -> Result<bool, Useless> {
        let mut id = Reader::new(id);
        let algorithm = Reader::new(id.expect(SEQUENCE)?).expect(OID)?;
        let (name, key, serial) = (id.expect(OCTETS)?, id.expect(OCTETS)?, id.expect(INTEGER)?);
        Ok(algorithm == SHA1 && name == self.name_hash && key == self.key_hash && serial == self.places.serial)
    }
}

/// The content of a BIT STRING of whole bytes.
fn bits(content: &[u8]) -> Result<&[u8], Useless> {
    match content.split_first() {
        Some((0, bits)) => Ok(bits),
        _ => Err(Useless::Malformed),
    }
}

/// Whether a key has signed this; `algorithm` is the content of an AlgorithmIdentifier.
fn verifies(key: &SubjectPublicKeyInfo<'_>, signed: &[u8], algorithm: &[u8], signature: &[u8]) -> bool {
    let Ok(of_key) = Reader::new(key.raw).expect(SEQUENCE).and_then(|info| Reader::new(info).expect(SEQUENCE)) else {
        return false;
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let known = provider.signature_verification_algorithms.all.iter();
    let mut fitting =
        known.filter(|known| *known.signature_alg_id() == *algorithm && *known.public_key_alg_id() == *of_key);
    fitting.any(|known| known.verify_signature(&key.subject_public_key.data, signed, signature).is_ok())
}

/// `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5.2), since the epoch.
fn time(text: &[u8]) -> Option<Duration> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    Some(Duration::from_secs(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second))
}
