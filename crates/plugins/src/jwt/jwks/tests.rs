//! Tests of `jwks`.

use super::super::token::Parts;
use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::AtomicUsize;

/// A server with these documents, by path; counts how often it is asked.
struct Server {
    base: String,
    documents: Arc<Mutex<Vec<(String, Value)>>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (documents, asked) = (Arc::new(Mutex::new(Vec::<(String, Value)>::new())), Arc::new(AtomicUsize::new(0)));
        let server = Self { base, documents: documents.clone(), asked: asked.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                lines.by_ref().take_while(|line| !line.is_empty()).count();
                asked.fetch_add(1, Ordering::SeqCst);
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let found = documents.lock().unwrap().iter().find(|(of, _)| *of == path).map(|(_, d)| d.to_string());
                let (status, body) = found.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        server
    }

    fn put(&self, path: &str, document: Value) {
        let mut documents = self.documents.lock().unwrap();
        documents.retain(|(of, _)| of != path);
        documents.push((path.to_owned(), document));
    }
}

struct Signer {
    pair: EcdsaKeyPair,
    id: &'static str,
}

impl Signer {
    fn new(id: &'static str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self { pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap(), id }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "x": part(&point[1..33]), "y": part(&point[33..]) })
    }

    fn sign(&self, header: &Value, issuer: &str) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(&json!({ "iss": issuer })));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, issuer: &str) -> String {
        self.sign(&json!({ "alg": "ES256", "kid": self.id }), issuer)
    }
}

fn judge(sets: &KeySets, token: &str) -> Option<bool> {
    let parts = Parts::of(token.as_bytes()).unwrap();
    let token = parts.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(sets.verify(&token))
}

fn started(sources: Vec<Source>) -> Arc<KeySets> {
    KeySets::start(sources, Duration::from_secs(3600)).unwrap()
}

#[test]
fn the_first_request_waits_for_the_keys_and_a_new_key_is_fetched_once() {
    let (server, first, second) = (Server::start(), Signer::new("first"), Signer::new("second"));
    server.put("/keys", json!({ "keys": [first.jwk()] }));
    let sets = started(vec![Source::Keys(format!("{}/keys", server.base).parse().unwrap())]);
    assert_eq!(judge(&sets, &first.token("i")), Some(true));
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    server.put("/keys", json!({ "keys": [first.jwk(), second.jwk()] }));
    assert_eq!(judge(&sets, &second.token("i")), Some(true), "the keys were rotated");
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    for unknown in 0..50 {
        let forged = first.sign(&json!({ "alg": "ES256", "kid": format!("unknown-{unknown}") }), "i");
        assert_eq!(judge(&sets, &forged), None);
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 2, "bad tokens have nothing fetched");
}

#[test]
fn a_published_key_verifies_its_own_signatures_alone() {
    let (server, ours, theirs) = (Server::start(), Signer::new("k"), Signer::new("k"));
    let oct = json!({ "kty": "oct", "kid": "oct", "k": "c2VjcmV0" });
    server.put("/keys", json!({ "keys": [ours.jwk(), oct] }));
    let sets = started(vec![Source::Keys(format!("{}/keys", server.base).parse().unwrap())]);
    assert_eq!(judge(&sets, &ours.token("i")), Some(true));
    assert_eq!(judge(&sets, &theirs.token("i")), Some(false));
    assert_eq!(judge(&sets, &ours.sign(&json!({ "alg": "ES256" }), "i")), Some(true), "one key needs no id");
    for (algorithm, kid) in [("RS256", "k"), ("HS256", "k"), ("HS256", "oct")] {
        let confused = ours.sign(&json!({ "alg": algorithm, "kid": kid }), "i");
        assert_eq!(judge(&sets, &confused), None, "{algorithm}");
    }
}

#[test]
fn an_issuer_s_keys_count_for_its_own_tokens() {
    let (server, key) = (Server::start(), Signer::new("k"));
    let base = server.base.clone();
    server.put("/.well-known/openid-configuration", json!({ "issuer": base, "jwks_uri": format!("{base}/keys") }));
    server.put("/keys", json!({ "keys": [key.jwk()] }));
    let sets = started(vec![Source::Issuer(base.clone())]);
    assert_eq!(judge(&sets, &key.token(&base)), Some(true));
    assert_eq!(judge(&sets, &key.token("https://other.test")), None);
    server.put(
        "/.well-known/openid-configuration",
        json!({ "issuer": "https://other.test", "jwks_uri": format!("{base}/keys") }),
    );
    assert_eq!(
        judge(&started(vec![Source::Issuer(base.clone())]), &key.token(&base)),
        None,
        "a document of another issuer"
    );
}

#[test]
fn old_keys_serve_while_the_issuer_is_out_of_reach() {
    let (server, key) = (Server::start(), Signer::new("k"));
    server.put("/keys", json!({ "keys": [key.jwk()] }));
    let sets = started(vec![Source::Keys(format!("{}/keys", server.base).parse().unwrap())]);
    assert_eq!(judge(&sets, &key.token("i")), Some(true));
    server.put("/keys", json!("broken"));
    assert_eq!(judge(&sets, &key.sign(&json!({ "alg": "ES256", "kid": "new" }), "i")), None);
    assert_eq!(judge(&sets, &key.token("i")), Some(true));
}

#[test]
fn rsa_keys_are_read() {
    let modulus = URL_SAFE_NO_PAD.encode([0xc5; 256]);
    let key = |alg: Option<&str>| Jwk {
        kty: "RSA".to_owned(),
        kid: None,
        alg: alg.map(str::to_owned),
        usage: None,
        crv: None,
        n: Some(modulus.clone()),
        e: Some("AQAB".to_owned()),
        x: None,
        y: None,
    };
    let algorithms = |key: &Jwk| ready(key, 0, None).into_iter().map(|key| key.algorithm).collect::<Vec<_>>();
    assert_eq!(algorithms(&key(None)), ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
    assert_eq!(algorithms(&key(Some("PS256"))), ["PS256"]);
    assert!(algorithms(&Jwk { usage: Some("enc".to_owned()), ..key(None) }).is_empty());
}
