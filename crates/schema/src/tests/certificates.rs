//! Certificates and keys.

use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm,
};

use super::{Catalog, context};
use crate::validators::{KeyKind, certificate_key_kind, key_matches_certificate, public_key};
use crate::{Value, json, typedefs};

/// A 1024 bit key, which rustls would refuse and Kong takes.
const SMALL_RSA: &str = include_str!("rsa_1024.pem");

fn pair(algorithm: &'static SignatureAlgorithm) -> (String, String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = CertificateParams::new(vec!["a.test".into()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem(), key.public_key_pem())
}

fn check(field: &crate::Field, value: &Value) -> Option<String> {
    let catalog = Catalog::new();
    field.validate(value, &context(&catalog)).err().map(|error| error.as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_certificate_matches_its_key_alone() {
    for (algorithm, kind) in [
        (&PKCS_ECDSA_P256_SHA256, KeyKind::Ec),
        (&PKCS_ECDSA_P384_SHA384, KeyKind::Ec),
        (&PKCS_ED25519, KeyKind::Ed25519),
    ] {
        let (certificate, key, public) = pair(algorithm);
        let (_, other, other_public) = pair(algorithm);
        assert_eq!(key_matches_certificate(&certificate, &key), Ok(true));
        assert_eq!(key_matches_certificate(&certificate, &other), Ok(false));
        assert_eq!(certificate_key_kind(&certificate), Ok(kind));
        assert_eq!(public_key(&public), Ok(kind));
        let pem = typedefs::pem();
        assert_eq!(check(&pem, &json!({ "private_key": key, "public_key": public })), None);
        assert_eq!(
            check(&pem, &json!({ "private_key": key, "public_key": other_public })).as_deref(),
            Some("public key does not match private key")
        );
    }
}

#[test]
fn text_that_is_no_certificate_or_key_is_refused_in_openssls_words() {
    let (certificate, key, _) = pair(&PKCS_ECDSA_P256_SHA256);
    assert_eq!(check(&typedefs::certificate(), &certificate.clone().into()), None);
    assert_eq!(check(&typedefs::key(), &key.clone().into()), None);
    for bad in ["x", key.as_str(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = check(&typedefs::certificate(), &bad.into()).unwrap();
        assert!(error.starts_with("invalid certificate: x509.new: error:"), "{error}");
    }
    for bad in ["x", certificate.as_str()] {
        let error = check(&typedefs::key(), &bad.into()).unwrap();
        assert!(error.starts_with("invalid key: pkey.new:load_key: error:"), "{error}");
    }
    assert_eq!(check(&typedefs::pem(), &json!({ "public_key": "x" })).as_deref(), Some("could not load public key"));
    let error = check(&typedefs::pem(), &json!({ "private_key": "x" })).unwrap();
    assert!(error.starts_with("could not load private keypkey.new:load_key: error:"), "{error}");
}

#[test]
fn keys_of_any_size_are_taken() {
    assert_eq!(check(&typedefs::key(), &SMALL_RSA.into()), None);
    assert!(public_key(SMALL_RSA).is_err());
}
