//! The keys that tokens are verified with, made ready once and kept.

use super::token::decode;
use ahash::HashMap;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use ed448_goldilocks_plus::{Signature, VerifyingKey};
use entities::JwtSecret;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;
use x509_parser::prelude::{FromDer, Pem, SubjectPublicKeyInfo};

/// The algorithms there are.
pub(super) const ALGORITHMS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
];

/// How many keys a thread keeps ready.
const KEPT: usize = 1024;

/// What verifies the signatures of one key and one algorithm.
pub(super) enum Verifier {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
    Ed448(Box<VerifyingKey>),
}

impl Verifier {
    /// The algorithm decides what kind of key it is, never the token: a public key is no secret of HS algorithms.
    pub(super) fn secret(algorithm: &str, secret: &[u8]) -> Option<Self> {
        let algorithm = match algorithm {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            _ => return None,
        };
        Some(Self::Secret(Box::new(hmac::Key::new(algorithm, secret))))
    }

    /// From PEM: a public key or a certificate.
    pub(super) fn pem(algorithm: &str, pem: &str) -> Option<Self> {
        let pem = Pem::iter_from_buffer(pem.as_bytes()).find_map(Result::ok)?;
        if pem.label == "CERTIFICATE" {
            return Self::public(algorithm, pem.parse_x509().ok()?.public_key().raw);
        }
        Self::public(algorithm, &pem.contents)
    }

    /// From the DER of a SubjectPublicKeyInfo, or of an RSAPublicKey.
    pub(super) fn public(algorithm: &str, der: &[u8]) -> Option<Self> {
        const ED448: &str = "1.3.101.113";
        if algorithm == "EdDSA" {
            let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
            if info.algorithm.algorithm.to_id_string() == ED448 {
                return Self::ed448(&info.subject_public_key.data);
            }
        }
        Self::parsed(algorithm, der)
    }

    /// From the key alone: an RSAPublicKey, a point of a curve, or the bytes of an Edwards key.
    pub(super) fn raw(algorithm: &str, key: &[u8]) -> Option<Self> {
        const ED448_LENGTH: usize = 57;
        if algorithm == "EdDSA" && key.len() == ED448_LENGTH { Self::ed448(key) } else { Self::parsed(algorithm, key) }
    }

    fn parsed(algorithm: &str, key: &[u8]) -> Option<Self> {
        let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            "RS384" => &RSA_PKCS1_2048_8192_SHA384,
            "RS512" => &RSA_PKCS1_2048_8192_SHA512,
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "PS384" => &RSA_PSS_2048_8192_SHA384,
            "PS512" => &RSA_PSS_2048_8192_SHA512,
            "ES256" => &ECDSA_P256_SHA256_FIXED,
            "ES384" => &ECDSA_P384_SHA384_FIXED,
            "ES512" => &ECDSA_P521_SHA512_FIXED,
            "EdDSA" => &ED25519,
            _ => return None,
        };
        ParsedPublicKey::new(algorithm, key).ok().map(Self::Public)
    }

    fn ed448(key: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
        Some(Self::Ed448(Box::new(key)))
    }

    /// Whether verifying costs so much that what was verified is worth remembering.
    pub(super) fn is_slow(&self) -> bool {
        !matches!(self, Self::Secret(_))
    }

    /// Whether the signature is the message's; takes the same time whatever the difference.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
            Self::Ed448(key) => {
                Signature::from_slice(signature).is_ok_and(|signature| key.verify_raw(&signature, message).is_ok())
            }
        }
    }
}

struct Kept {
    secret: Arc<JwtSecret>,
    is_base64: bool,
    verifier: Option<Rc<Verifier>>,
}

thread_local! {
    static KEYS: RefCell<HashMap<Uuid, Kept>> = RefCell::default();
}

/// What verifies the tokens of a credential; `None` where its key cannot be used.
pub(super) fn verifier(secret: &Arc<JwtSecret>, is_base64: bool) -> Option<Rc<Verifier>> {
    KEYS.with_borrow_mut(|keys| {
        if let Some(kept) = keys.get(&secret.id)
            && kept.is_base64 == is_base64
            && Arc::ptr_eq(&kept.secret, secret)
        {
            return kept.verifier.clone();
        }
        if keys.len() >= KEPT {
            keys.clear();
        }
        let verifier = make(secret, is_base64).map(Rc::new);
        keys.insert(secret.id, Kept { secret: secret.clone(), is_base64, verifier: verifier.clone() });
        verifier
    })
}

fn make(secret: &JwtSecret, is_base64: bool) -> Option<Verifier> {
    let algorithm = algorithm(secret);
    if algorithm.starts_with("HS") {
        let shared = secret.secret.as_deref()?.as_bytes();
        return if is_base64 {
            Verifier::secret(algorithm, &decode(shared)?)
        } else {
            Verifier::secret(algorithm, shared)
        };
    }
    // Kong takes the Base64 of a PEM for what it decodes, too, which is nothing.
    let pem = secret.rsa_public_key.as_deref().filter(|_| !is_base64)?;
    Verifier::pem(algorithm, pem)
}

/// How a credential's tokens are signed.
pub(super) fn algorithm(secret: &JwtSecret) -> &str {
    secret.algorithm.as_deref().unwrap_or("HS256")
}
