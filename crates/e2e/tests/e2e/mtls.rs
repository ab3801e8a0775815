//! Client certificates: asked for where a plugin wants them, and what becomes of them.

use crate::client::Client;
use crate::gateway::Gateway;
use crate::pki::{Identity, Shown, open, open_with, trusting};
use crate::upstream::Upstream;
use rustls::ClientConfig;
use rustls::HandshakeKind;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const CA: &str = "11111111-1111-4111-8111-111111111111";

fn kong_yml(upstream: &Upstream, authority: &Identity) -> String {
    let plugin = |name: &str, config: &serde_json::Value| format!("{{ name: {name}, config: {config} }}");
    let mtls =
        plugin("mtls-auth", &json!({ "ca_certificates": [CA], "revocation_check_mode": "SKIP", "send_ca_dn": true }));
    let metadata = plugin("tls-metadata-headers", &json!({ "inject_client_cert_details": true }));
    upstream.kong_yml(&[
        &format!("{{ paths: [/x], snis: [mtls.test], plugins: [{mtls}, {metadata}] }}"),
        "{ paths: [/x], snis: [plain.test] }",
    ]) + &format!(
        "ca_certificates:\n  - {}\nconsumers:\n  - username: alice\n",
        json!({ "id": CA, "cert": authority.pem() })
    )
}

fn shown(identity: &Identity) -> Shown {
    Some((identity.chain.clone(), identity.key_der()))
}

/// A client's key that remembers which authorities it was asked for, once for each time.
#[derive(Debug)]
struct Watched {
    asked: AtomicUsize,
    authorities: Mutex<Vec<Vec<u8>>>,
    inner: Arc<dyn ResolvesClientCert>,
}

impl ResolvesClientCert for Watched {
    fn resolve(&self, hints: &[&[u8]], schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        *self.authorities.lock().unwrap() = hints.iter().map(|hint| hint.to_vec()).collect();
        self.inner.resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn watched(shown: Shown) -> (Arc<Watched>, Arc<ClientConfig>) {
    let mut config = (*trusting(shown)).clone();
    let watched = Arc::new(Watched {
        asked: AtomicUsize::new(0),
        authorities: Mutex::default(),
        inner: config.client_auth_cert_resolver,
    });
    config.client_auth_cert_resolver = watched.clone();
    (watched, Arc::new(config))
}

#[test]
fn clients_are_asked_for_a_certificate_where_a_route_of_their_server_name_wants_one() {
    let (upstream, authority) = (Upstream::start(), Identity::authority("ours"));
    let gateway = Gateway::start(&kong_yml(&upstream, &authority));
    let at = gateway.ports.tls;
    let alice = authority.issue(&["alice"]);
    let (asked, config) = watched(shown(&alice));
    let answer = Client::over(open_with(at, "plain.test", config.clone())).get("/x", &["Host: plain.test"]);
    assert_eq!((answer.status, asked.asked.load(Ordering::SeqCst)), (200, 0));
    let answer = Client::over(open_with(at, "mtls.test", config)).get("/x", &["Host: mtls.test"]);
    assert_eq!((answer.status, asked.asked.load(Ordering::SeqCst)), (200, 1), "{}", answer.body);
    assert_eq!(asked.authorities.lock().unwrap().len(), 1);
    assert!(answer.body.contains("X-Consumer-Username: alice\r\n"), "{}", answer.body);
    assert!(answer.body.contains("X-Client-Cert: -----BEGIN%20CERTIFICATE-----%0A"), "{}", answer.body);

    for (who, want) in [
        (None, "No required TLS certificate was sent"),
        (shown(&Identity::authority("theirs").issue(&["alice"])), "TLS certificate failed verification"),
        (shown(&authority.issue(&["mallory"])), "TLS certificate failed verification"),
    ] {
        let mut client = Client::over(open(at, "mtls.test", who));
        let answer = client.get("/x", &["Host: mtls.test", "X-Consumer-Username: alice"]);
        assert_eq!(answer.status, 401, "{want}");
        assert!(answer.body.contains(want), "{}", answer.body);
    }
    // A name of another server does not get a client past the question: the route is that of the handshake's name.
    let answer = Client::over(open(at, "plain.test", None)).get("/x", &["Host: mtls.test"]);
    assert!(!answer.body.contains("X-Consumer-Username"), "{}", answer.body);
}

#[test]
fn a_session_that_is_taken_up_again_keeps_its_certificate_and_gets_none_of_another_server() {
    let (upstream, authority) = (Upstream::start(), Identity::authority("ours"));
    let gateway = Gateway::start(&kong_yml(&upstream, &authority));
    let at = gateway.ports.tls;
    let alice = authority.issue(&["alice"]);
    let (asked, config) = watched(shown(&alice));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = open_with(at, "mtls.test", config.clone());
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        kinds.push(stream.conn.handshake_kind().unwrap());
        let answer = Client::over(stream).get("/x", &[]);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
    assert_eq!(asked.asked.load(Ordering::SeqCst), 1);
}
