//! Whether the authorities of a plugin vouch for a client's certificate (RFC 5280, 6), and what it says of the client.

use crate::ber;
use crate::certificate::{alternative_names, common_name, distinguished_name, parse};
use entities::CaCertificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP;

/// The longest chain that is looked at, the client's own certificate included, and the longest certificate in bytes.
const LONGEST_CHAIN: usize = 10;
const LONGEST_CERTIFICATE: usize = 32 << 10;
/// How many places of each kind a certificate may name where its revocation is told.
const MOST_PLACES: usize = 2;

/// Why a chain is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Distrusted {
    #[error("the chain has more than {LONGEST_CHAIN} certificates, or one of more than {LONGEST_CERTIFICATE} bytes")]
    TooLong,
    #[error("the certificate cannot be read")]
    Malformed,
    #[error("{0}")]
    Path(#[from] webpki::Error),
}

/// An authority as the configuration has it.
struct Authority {
    id: Uuid,
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    is_self_signed: bool,
    /// Since the epoch, in seconds.
    valid: std::ops::RangeInclusive<i64>,
}

/// The authorities of a plugin.
pub(super) struct Authorities {
    all: Vec<Authority>,
    /// Whether a chain may end at an authority that another one has signed.
    takes_partial: bool,
}

/// What is known of a certificate that the authorities vouch for.
pub(super) struct Verified {
    /// The Subject Alternative Names, then the Common Name: what consumers are found by.
    pub(super) names: Vec<String>,
    pub(super) common_name: Option<String>,
    pub(super) distinguished_name: String,
    pub(super) alternative_names: String,
    /// Those of the configured authorities that are in its chain.
    pub(super) authorities: Vec<Uuid>,
    /// Since the epoch.
    pub(super) not_after: Duration,
    pub(super) places: Places,
}

/// What is needed to ask whether a certificate was revoked.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) ocsp: Vec<String>,
    pub(super) crls: Vec<String>,
    /// The issuer's name and its SubjectPublicKeyInfo, DER.
    pub(super) issuer: Vec<u8>,
    pub(super) issuer_key: Vec<u8>,
    /// The content of the serial number's INTEGER.
    pub(super) serial: Vec<u8>,
}

impl Authorities {
    pub(super) fn new(configured: &[Arc<CaCertificate>], takes_partial: bool) -> Result<Self, String> {
        let all = configured.iter().map(|entity| {
            let of = |what: &str| format!("CA certificate {} {what}", entity.id);
            let der = CertificateDer::from_pem_slice(entity.cert.as_bytes()).map_err(|_| of("is no PEM"))?;
            let anchor =
                webpki::anchor_from_trusted_cert(&der).map_err(|e| of(&format!("cannot be used: {e}")))?.to_owned();
            let parsed = parse(&der).ok_or_else(|| of("cannot be read"))?;
            let validity = parsed.validity();
            let valid = validity.not_before.timestamp()..=validity.not_after.timestamp();
            let is_self_signed = parsed.issuer().as_raw() == parsed.subject().as_raw();
            drop(parsed);
            Ok(Authority { id: entity.id, anchor, is_self_signed, valid, der })
        });
        Ok(Self { all: all.collect::<Result<_, String>>()?, takes_partial })
    }

    /// The subjects' names, DER.
    pub(super) fn names(&self) -> Vec<Vec<u8>> {
        self.all.iter().map(|authority| ber::element(ber::SEQUENCE, &authority.anchor.subject)).collect()
    }

    /// Builds a chain from a client's certificates (its own first) to one of the authorities. Path building has a budget of
    /// its own, so that certificates cannot be made to cost more than a hundred signatures.
    pub(super) fn verify(&self, shown: &[Vec<u8>], now: Duration) -> Result<Verified, Distrusted> {
        self.verify_with(shown, now, None)
    }

    pub(super) fn verify_with(
        &self,
        shown: &[Vec<u8>],
        now: Duration,
        revocation: Option<webpki::RevocationOptions<'_>>,
    ) -> Result<Verified, Distrusted> {
        if shown.len() > LONGEST_CHAIN || shown.iter().any(|der| der.len() > LONGEST_CERTIFICATE) {
            return Err(Distrusted::TooLong);
        }
        let (own, others) = shown.split_first().ok_or(Distrusted::Malformed)?;
        let own_der = CertificateDer::from(own.as_slice());
        let own_parsed = parse(own).ok_or(Distrusted::Malformed)?;
        let leaf = EndEntityCert::try_from(&own_der)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let valid = || self.all.iter().filter(|authority| authority.valid.contains(&seconds));
        let ends = |authority: &&Authority| authority.is_self_signed || self.takes_partial;
        let anchors: Vec<TrustAnchor<'_>> = valid().filter(ends).map(|authority| authority.anchor.clone()).collect();
        let between = valid().filter(|authority| !ends(authority)).map(|authority| authority.der.clone());
        let others: Vec<CertificateDer<'_>> =
            others.iter().map(|der| CertificateDer::from(der.as_slice())).chain(between).collect();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let path = leaf.verify_for_usage(
            provider.signature_verification_algorithms.all,
            &anchors,
            &others,
            UnixTime::since_unix_epoch(now),
            KeyUsage::client_auth(),
            revocation,
            None,
        )?;
        Ok(self.describe(&own_parsed, &path))
    }

    fn describe(&self, own: &X509Certificate<'_>, path: &VerifiedPath<'_>) -> Verified {
        let issuer_key = match path.intermediate_certificates().next() {
            Some(certificate) => certificate.subject_public_key_info().to_vec(),
            None => ber::element(ber::SEQUENCE, &path.anchor().subject_public_key_info),
        };
        let is_in_path = |authority: &&Authority| {
            (authority.anchor.subject == path.anchor().subject
                && authority.anchor.subject_public_key_info == path.anchor().subject_public_key_info)
                || path.intermediate_certificates().any(|certificate| certificate.der() == authority.der)
        };
        let common_name = common_name(own);
        let alternative = alternative_names(own);
        Verified {
            alternative_names: alternative.join(", "),
            names: alternative.into_iter().chain(common_name.clone()).collect(),
            common_name,
            distinguished_name: distinguished_name(own.subject()),
            authorities: self.all.iter().filter(is_in_path).map(|authority| authority.id).collect(),
            not_after: Duration::from_secs(own.validity().not_after.timestamp().max(0).unsigned_abs()),
            places: Places {
                ocsp: responders(own),
                crls: lists(own),
                issuer: own.issuer().as_raw().to_vec(),
                issuer_key,
                serial: own.raw_serial().to_vec(),
            },
        }
    }
}

fn url(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(url) if url.starts_with("http://") || url.starts_with("https://") => Some((*url).to_owned()),
        _ => None,
    }
}

/// Where OCSP is spoken (RFC 5280, 4.2.2.1).
fn responders(certificate: &X509Certificate<'_>) -> Vec<String> {
    let all = certificate.iter_extensions().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(&access.accessdescs),
        _ => None,
    });
    let of_ocsp = all.flatten().filter(|access| access.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP);
    of_ocsp.filter_map(|access| url(&access.access_location)).take(MOST_PLACES).collect()
}

/// Where lists of revoked certificates are (RFC 5280, 4.2.1.13).
fn lists(certificate: &X509Certificate<'_>) -> Vec<String> {
    let all = certificate.iter_extensions().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::CRLDistributionPoints(points) => Some(&points.points),
        _ => None,
    });
    let names = all.flatten().filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    names.flatten().filter_map(url).take(MOST_PLACES).collect()
}
