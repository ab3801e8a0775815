//! Tests of `tls-metadata-headers`.

use super::*;
use pdk::TlsInfo;
use pdk::testing::{Exchange, Harness};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::rc::Rc;

/// Made by `openssl req -x509 -newkey ec -subj "/C=DE/O=A, B/CN=w\xc3\xb6rk"`; serial number 0x00F1.
const PEM: &str = include_str!("client.pem");

fn send(config: Value, request: &str, certificates: Vec<Vec<u8>>) -> Exchange {
    let tls = Rc::new(TlsInfo { client_certificates: certificates, ..TlsInfo::default() });
    Harness::new(&DEFINITION, config).send_with(request, |cx| cx.client.tls = Some(tls))
}

fn certificate() -> Vec<u8> {
    CertificateDer::from_pem_slice(PEM.as_bytes()).unwrap().to_vec()
}

#[test]
fn the_upstream_is_told_of_the_certificate() {
    let seen = send(json!({ "inject_client_cert_details": true }), "GET /", vec![certificate()]).upstream.unwrap();
    let field = |name: &str| seen.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    assert_eq!(field("X-Client-Cert-Serial: "), "F1");
    assert_eq!(field("X-Client-Cert-Subject-DN: "), "CN=w\\C3\\B6rk,O=A\\, B,C=DE");
    assert_eq!(field("X-Client-Cert-Issuer-DN: "), "CN=w\\C3\\B6rk,O=A\\, B,C=DE");
    assert_eq!(field("X-Client-Cert-Fingerprint: "), "a85c9621719298d62f79ccea082e502959b51282");
    let escaped = field("X-Client-Cert: ").into_bytes();
    assert_eq!(String::from_utf8(pdk::args::decode(&escaped).into_owned()).unwrap(), PEM);
}

#[test]
fn what_clients_claim_is_taken_out() {
    let forged = "GET /\nX-Client-Cert-Subject-DN: CN=admin\nX-Mine: 1";
    let names = json!({ "inject_client_cert_details": true, "client_serial_header_name": "X-Mine" });
    for (config, certificates, want) in [
        (names.clone(), Vec::new(), "GET /\n".to_owned()),
        (names.clone(), vec![b"no certificate".to_vec()], "GET /\n".to_owned()),
        (json!({}), vec![certificate()], format!("{forged}\n")),
    ] {
        assert_eq!(send(config, forged, certificates).upstream.unwrap(), want);
    }
    let seen = send(names, forged, vec![certificate()]).upstream.unwrap();
    assert!(seen.contains("X-Mine: F1\n") && !seen.contains("CN=admin"), "{seen}");
}

#[test]
fn clients_are_asked_only_where_it_is_told() {
    for (inject, want) in [(true, true), (false, false)] {
        let config = pdk::testing::complete(&DEFINITION, json!({ "inject_client_cert_details": inject })).unwrap();
        let entity = pdk::testing::plugin_entity(DEFINITION.name, &config);
        let plugin = build(&Instance { entity: &entity, config: &config, authorities: &[], groups: &[] }).unwrap();
        assert_eq!(plugin.client_certificates().is_some(), want);
    }
}
