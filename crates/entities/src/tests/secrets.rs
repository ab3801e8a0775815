//! Passwords, secrets and certificates on their way to the store.

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use schema::{Value, json};

use super::{catalog, inserted, refusal, with_context};
use crate::{RouterFlavor, oauth2_credential};

const CONSUMER: &str = "00000000-0000-4000-8000-000000000005";

struct Pair {
    cert: String,
    key: String,
}

fn pair(
    name: &str,
    algorithm: &'static rcgen::SignatureAlgorithm,
    adjust: impl FnOnce(&mut CertificateParams),
) -> Pair {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    adjust(&mut params);
    Pair { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

#[test]
fn a_password_is_stored_as_kong_stores_it() {
    let input = json!({"username": "b", "password": "p", "consumer": {"id": CONSUMER}});
    let stored = inserted(&catalog(RouterFlavor::default()), "basicauth_credentials", input);
    // Recorded from Kong.
    assert_eq!(stored["password"], "6b116b285b47e23a4d23a344473521720721fc66");
}

#[test]
fn a_changed_password_comes_with_its_consumer() {
    let catalog = catalog(RouterFlavor::default());
    let schema = catalog.entity("basicauth_credentials").unwrap();
    let stored = inserted(
        &catalog,
        "basicauth_credentials",
        json!({"username": "b", "password": "p", "consumer": {"id": CONSUMER}}),
    );
    let change = |patch: Value| with_context(&catalog, |cx| schema.update(patch, &stored, cx, &mut ()));
    assert_eq!(change(json!({"username": "c"})).unwrap()["password"], stored["password"]);
    let consumer = json!({"id": CONSUMER});
    assert_eq!(change(json!({"password": "p", "consumer": consumer})).unwrap()["password"], stored["password"]);
    assert_ne!(change(json!({"password": "q", "consumer": consumer})).unwrap()["password"], stored["password"]);
    // Recorded from Kong: the stored consumer does not count.
    let refused = change(json!({"password": "q"})).unwrap_err();
    let text = "all or none of these fields must be set: 'password', 'consumer.id'";
    assert_eq!(refused.fields, Some(json!({"@entity": [text]})));
}

#[test]
fn a_secret_is_hashed_where_asked_for_and_found_again() {
    let catalog = catalog(RouterFlavor::default());
    let credential = |hash_secret: bool| {
        let consumer = json!({"id": CONSUMER});
        let input = json!({"name": "n", "client_secret": "s3cret", "hash_secret": hash_secret, "consumer": consumer});
        inserted(&catalog, "oauth2_credentials", input)["client_secret"].as_str().unwrap().to_owned()
    };
    let (plain, hashed) = (credential(false), credential(true));
    assert_eq!(plain, "s3cret");
    assert!(hashed.starts_with("$pbkdf2-sha512$i=10000,l=32$"), "{hashed}");
    for stored in [plain, hashed] {
        assert!(oauth2_credential::verify_secret("s3cret", &stored));
        assert!(!oauth2_credential::verify_secret("S3cret", &stored));
    }
    assert!(!oauth2_credential::verify_secret("s3cret", "$pbkdf2-sha512$i=10000"));
}

#[test]
fn certificates_fit_their_keys_and_differ_in_kind() {
    let one = pair("a.test", &PKCS_ECDSA_P256_SHA256, |_| {});
    let same_kind = pair("a.test", &PKCS_ECDSA_P256_SHA256, |_| {});
    let other_kind = pair("a.test", &PKCS_ED25519, |_| {});
    let with = |cert: &Pair, key: &Pair, alternative: Option<(&Pair, &Pair)>| {
        let mut input = json!({"cert": cert.cert, "key": key.key});
        if let Some((cert, key)) = alternative {
            input["cert_alt"] = cert.cert.clone().into();
            input["key_alt"] = key.key.clone().into();
        }
        refusal(&catalog(RouterFlavor::default()), "certificates", input)
    };
    assert_eq!(with(&one, &one, None), json!(null));
    assert_eq!(with(&one, &same_kind, None), json!({"@entity": ["certificate does not match key"]}));
    assert_eq!(with(&one, &one, Some((&other_kind, &other_kind))), json!(null));
    assert_eq!(
        with(&one, &one, Some((&other_kind, &one))),
        json!({"@entity": ["alternative certificate does not match key"]})
    );
    let text = "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), \
                the provided certificates were both of the same type";
    assert_eq!(with(&one, &one, Some((&same_kind, &same_kind))), json!({"@entity": [text]}));
}

#[test]
fn a_ca_certificate_is_one_valid_authority() {
    let is_ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = pair("ca", &PKCS_ECDSA_P256_SHA256, is_ca).cert;
    let leaf = pair("leaf", &PKCS_ECDSA_P256_SHA256, |_| {}).cert;
    let expired = pair("ca", &PKCS_ECDSA_P256_SHA256, |params| {
        is_ca(params);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    })
    .cert;
    let catalog = catalog(RouterFlavor::default());
    for (cert, message) in [
        (format!("{authority}{authority}"), "please submit only one certificate at a time"),
        (expired, "certificate expired, \"Not After\" time is in the past"),
        (leaf, "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint"),
    ] {
        assert_eq!(refusal(&catalog, "ca_certificates", json!({"cert": cert})), json!({"@entity": [message]}));
    }
    let stored = inserted(&catalog, "ca_certificates", json!({"cert": authority}));
    assert_eq!(stored["cert_digest"].as_str().map(str::len), Some(64));
}
