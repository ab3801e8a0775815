//! TLS: the certificate by server name, and what the upstream learns of it.

use crate::client::{Client, connect};
use crate::gateway::Gateway;
use crate::upstream::Upstream;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

struct Certificate {
    pem: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn make(name: &str) -> Certificate {
        Certificate::of(&[name])
    }

    fn of(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate { pem: made.cert.pem(), key: made.signing_key.serialize_pem(), der: made.cert.der().clone() }
    }

    /// The entity of a kong.yml, JSON being YAML.
    fn entity(&self, snis: &[&str]) -> String {
        let snis: Vec<_> = snis.iter().map(|name| serde_json::json!({ "name": name })).collect();
        serde_json::json!({ "cert": self.pem, "key": self.key, "snis": snis }).to_string()
    }
}

/// Connects with a server name and trusts only these certificates.
fn open(at: SocketAddr, name: &str, trusted: &[&Certificate]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.der.clone()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(session, connect(at).unwrap())
}

#[test]
fn routes_are_chosen_by_server_name_in_every_flavor() {
    const NAMES: [&str; 4] = ["upper.test", "*.wild.test", "dot.test", "other.test"];
    let upstream = Upstream::start();
    let certificate = Certificate::of(&NAMES);
    let route = |condition: &str, status: u16| {
        format!(
            "{{ {condition}, protocols: [https], plugins: [{{ name: request-termination, config: {{ status_code: {status} }} }}] }}"
        )
    };
    let [upper, wild, dot] =
        [("snis: [UPPER.test]", 201), ("snis: [\"*.Wild.test\"]", 202), ("snis: [dot.test.]", 203)]
            .map(|(condition, status)| route(condition, status));
    let by_expression =
        [("tls.sni == \"UPPER.test\"", 201), ("tls.sni =^ \".Wild.test\"", 202), ("tls.sni == \"dot.test\"", 203)]
            .map(|(expression, status)| route(&format!("expression: '{expression}'"), status));
    for (flavor, routes, of_wildcard) in [
        ("traditional", vec![upper.clone(), dot.clone()], 404),
        ("traditional_compatible", vec![upper.clone(), wild.clone(), dot.clone()], 202),
        ("expressions", vec![upper, wild, dot], 202),
        ("expressions", by_expression.to_vec(), 202),
    ] {
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let kong_yml = upstream.kong_yml(&routes) + &format!("certificates:\n  - {}\n", certificate.entity(&NAMES));
        let gateway = Gateway::start_with(&kong_yml, &[("router_flavor", flavor)]);
        for (name, status) in [
            ("upper.test", 201),
            ("UPPER.TEST", 201),
            ("a.wild.test", of_wildcard),
            ("dot.test", 203),
            ("other.test", 404),
        ] {
            let mut client = Client::over(open(gateway.ports.tls, name, &[&certificate]));
            // The name counts, and not what the Host field says.
            assert_eq!(client.get("/x", &["Host: other.test"]).status, status, "{flavor} {name} {routes:?}");
        }
    }
}

#[test]
fn the_certificate_is_chosen_by_server_name() {
    let upstream = Upstream::start();
    let (exact, wildcard) = (Certificate::make("a.exact.test"), Certificate::make("*.wild.test"));
    let kong_yml = upstream.kong_yml(&["{ paths: [/] }"])
        + &format!(
            "certificates:\n  - {}\n  - {}\n",
            exact.entity(&["a.exact.test"]),
            wildcard.entity(&["*.wild.test"])
        );
    let gateway = Gateway::start(&kong_yml);
    for (name, certificate) in [("a.exact.test", &exact), ("b.wild.test", &wildcard)] {
        let mut client = Client::over(open(gateway.ports.tls, name, &[certificate]));
        let answer = client.get("/x", &[&format!("Host: {name}")]);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert!(answer.body.to_ascii_lowercase().contains("x-forwarded-proto: https"), "{name}: {answer:?}");
    }
    // A name that no certificate has gets the default one, which this client does not trust.
    let mut stranger = Client::over(open(gateway.ports.tls, "c.other.test", &[&exact, &wildcard]));
    let error = stranger.try_get("/", &[]).unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn a_route_for_https_only_sends_others_there() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&[
        "{ paths: [/upgrade], protocols: [https] }",
        "{ paths: [/redirect], protocols: [https], https_redirect_status_code: 301 }",
    ]));
    let answer = crate::client::get(gateway.ports.proxy, "/upgrade", &[]);
    assert_eq!(answer.status, 426, "{answer:?}");
    assert_eq!(answer.header("upgrade"), Some("TLS/1.2, HTTP/1.1"));
    let answer = crate::client::get(gateway.ports.proxy, "/redirect", &["Host: a.test"]);
    assert_eq!((answer.status, answer.header("location")), (301, Some("https://a.test/redirect")));
    assert_eq!(upstream.seen(), Vec::<String>::new());
}

#[test]
fn versions_and_ciphers_are_those_of_the_configuration() {
    let upstream = Upstream::start();
    let certificate = Certificate::make("a.test");
    let kong_yml =
        upstream.kong_yml(&["{ paths: [/] }"]) + &format!("certificates:\n  - {}\n", certificate.entity(&["a.test"]));
    let custom = ("ssl_cipher_suite", "custom");
    for (properties, version, cipher) in [
        (&[][..], "TLSv1_3", "TLS13_"),
        (&[("ssl_cipher_suite", "fips")], "TLSv1_2", "_AES_"),
        (&[custom, ("ssl_protocols", "TLSv1.1 TLSv1.2")], "TLSv1_2", "TLS_ECDHE_"),
        (
            &[custom, ("ssl_protocols", "TLSv1.2"), ("ssl_ciphers", "EECDH+CHACHA20:!aRSA")],
            "TLSv1_2",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ),
    ] {
        let gateway = Gateway::start_with(&kong_yml, properties);
        let mut stream = open(gateway.ports.tls, "a.test", &[&certificate]);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        let agreed = (
            format!("{:?}", stream.conn.protocol_version().unwrap()),
            format!("{:?}", stream.conn.negotiated_cipher_suite().unwrap().suite()),
        );
        assert!(agreed.0 == version && agreed.1.contains(cipher), "{properties:?}: {agreed:?}");
        assert_eq!(Client::over(stream).get("/", &[]).status, 200, "{properties:?}");
    }
}
