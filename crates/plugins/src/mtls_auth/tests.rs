//! Tests of `mtls-auth`, with certificates and an OCSP responder that `xtask/pki.sh` makes.

use super::*;
use crate::script::{Script, free_port};
use entities::CaCertificate;
use pdk::TlsInfo;
use pdk::testing::{Exchange, Harness, START, complete};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// A server of one document, for any method and path; it counts who asks and through which proxy.
struct Documents {
    port: u16,
    asked: Arc<AtomicUsize>,
    /// Requests in absolute form, as proxies get them.
    proxied: Arc<AtomicUsize>,
}

impl Documents {
    fn start(document: Arc<dyn Fn() -> Vec<u8> + Send + Sync>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, proxied) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, absolute) = (asked.clone(), proxied.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                absolute.fetch_add(usize::from(line.contains(" http://")), Ordering::SeqCst);
                let mut length = 0;
                let mut field = String::new();
                while stream.read_line(&mut field).unwrap() > 2 {
                    if let Some(value) = field.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    field.clear();
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let document = document();
                let _ = stream.get_mut().write_all(b"HTTP/1.0 200 OK\r\nContent-Type: x/y\r\n\r\n");
                let _ = stream.get_mut().write_all(&document);
            }
        });
        Self { port, asked, proxied }
    }
}

struct Pki {
    /// Everything that is read of it lies in memory; the responder lives as long as the tests.
    script: Script,
    responder: u16,
    list: Documents,
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    static LIST: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let list = Documents::start(Arc::new(|| LIST.get().cloned().unwrap_or_default()));
    let responder = free_port();
    let url = format!("http://127.0.0.1:{}/list.crl", list.port);
    let script = Script::start("pki.sh", &[&responder.to_string(), &url]);
    LIST.set(std::fs::read(script.folder.join("list.crl")).unwrap()).unwrap();
    Pki { script, responder, list }
});

impl Pki {
    fn pem(&self, name: &str) -> String {
        std::fs::read_to_string(self.script.folder.join(format!("{name}.pem"))).unwrap()
    }

    fn der(&self, name: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.pem(name).as_bytes()).unwrap().to_vec()
    }

    fn chain(&self, names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| self.der(name)).collect()
    }

    fn authority(&self, id: u128, name: &str) -> Arc<CaCertificate> {
        Arc::new(CaCertificate { id: Uuid::from_u128(id), cert: self.pem(name), ..CaCertificate::default() })
    }
}

const AUTHORITY: u128 = 0xca;
const BETWEEN: u128 = 0xcb;

fn with(config: Value, more: Value) -> Value {
    let mut all = config;
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// A harness whose clock is the real one's, since the certificates are of now.
fn harness_of(authorities: &[(u128, &str)], more: Value) -> Harness {
    let authorities: Vec<_> = authorities.iter().map(|(id, name)| PKI.authority(*id, name)).collect();
    let ids: Vec<_> = authorities.iter().map(|authority| authority.id).collect();
    let config = with(json!({ "ca_certificates": ids, "revocation_check_mode": "SKIP" }), more);
    let h = Harness::with_authorities(&authorities, vec![(&DEFINITION, config)])
        .with_consumer(1, "alice")
        .with_consumer(2, "ghost")
        .in_real_time();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    h.clock().advance(now.checked_sub(START).unwrap());
    h
}

fn harness(more: Value) -> Harness {
    harness_of(&[(AUTHORITY, "authority")], more)
}

fn send(h: &Harness, chain: &[Vec<u8>]) -> Exchange {
    let tls = Rc::new(TlsInfo { client_certificates: chain.to_vec(), ..TlsInfo::default() });
    h.send_with("GET /\nX-Client-Cert-Dn: CN=forged\nX-Client-Cert-San: forged", |cx| cx.client.tls = Some(tls))
}

/// What came of a request, in a word.
fn outcome(exchange: &Exchange) -> String {
    let Some(seen) = &exchange.upstream else {
        let body: Value = serde_json::from_str(&exchange.body).unwrap_or_default();
        return format!("{} {}", exchange.status, body["message"].as_str().unwrap_or_default());
    };
    assert!(!seen.contains("forged"), "{seen}");
    let field = |name: &str| seen.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("-").to_owned();
    let (user, id) = (field("X-Consumer-Username: "), field("X-Credential-Identifier: "));
    format!("{user} {id} {}", field("X-Anonymous-Consumer: "))
}

const MISSING: &str = "401 No required TLS certificate was sent";
const FAILED: &str = "401 TLS certificate failed verification";

#[test]
fn without_a_certificate_of_an_authority_nobody_passes() {
    let h = harness(json!({}));
    assert_eq!(outcome(&h.send("GET /")), MISSING);
    assert_eq!(outcome(&send(&h, &[])), MISSING);
    let alice = PKI.der("alice");
    let mut forged = alice.clone();
    *forged.last_mut().unwrap() ^= 1;
    for (what, chain) in [
        ("of another authority", PKI.chain(&["stranger"])),
        ("with its authority, which nobody trusts", PKI.chain(&["stranger", "stranger-authority"])),
        ("for servers", PKI.chain(&["server"])),
        ("an authority's own", PKI.chain(&["authority"])),
        ("without what lies between", PKI.chain(&["carol"])),
        ("a signature that is wrong", vec![forged]),
        ("no certificate", vec![b"no certificate".to_vec()]),
        ("a certificate and more bytes", vec![[&alice[..], b"x"].concat()]),
        ("cut off", vec![alice[..alice.len() - 1].to_vec()]),
        ("nested sequences", vec![[0x30, 0x80].repeat(10_000)]),
        ("a length of four gigabytes", vec![vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30]]),
        ("a long certificate", vec![vec![0x30; 33 << 10]]),
        ("a long chain", std::iter::repeat_n(alice.clone(), 11).collect()),
    ] {
        assert_eq!(outcome(&send(&h, &chain)), FAILED, "{what}");
    }
    // Certificates that lead nowhere do not keep a good one from its authority.
    let many = [PKI.chain(&["alice"]), std::iter::repeat_n(PKI.der("stranger-authority"), 9).collect()].concat();
    assert!(send(&h, &many).upstream.is_some());
}

#[test]
fn the_log_says_whether_the_certificate_was_verified() {
    for (config, chain, want) in [
        (json!({}), PKI.chain(&["alice"]), "SUCCESS"),
        (json!({ "skip_consumer_lookup": true }), PKI.chain(&["alice"]), "SUCCESS"),
        (json!({}), PKI.chain(&["stranger"]), "FAILED:unverified"),
        (json!({ "anonymous": "ghost" }), PKI.chain(&["stranger"]), "FAILED:unverified"),
        (json!({}), Vec::new(), "NONE"),
    ] {
        let exchange = send(&harness(config.clone()), &chain);
        assert_eq!(exchange.log["request"]["tls"]["client_verify"], want, "{config} {}", chain.len());
    }
}

#[test]
fn a_certificate_counts_only_while_it_is_valid() {
    let h = harness(json!({ "cache_ttl": 1_000_000_000 }));
    assert!(send(&h, &PKI.chain(&["alice"])).upstream.is_some());
    h.clock().advance(Duration::from_secs(31 * 86_400));
    assert_eq!(outcome(&send(&h, &PKI.chain(&["alice"]))), FAILED);
}

#[test]
fn chains_end_at_an_authority_that_is_its_own_issuer_unless_told_otherwise() {
    let (authority, between) = ((AUTHORITY, "authority"), (BETWEEN, "between"));
    for (authorities, partial, chain, want) in [
        (&[authority][..], false, &["carol", "between"][..], true),
        (&[authority, between], false, &["carol"], true),
        (&[between], false, &["carol"], false),
        (&[between], false, &["carol", "between"], false),
        (&[between], true, &["carol"], true),
        (&[authority], true, &["carol"], false),
    ] {
        let config = json!({ "allow_partial_chain": partial, "default_consumer": "alice" });
        let passed = send(&harness_of(authorities, config), &PKI.chain(chain)).upstream.is_some();
        assert_eq!(passed, want, "{authorities:?} {partial} {chain:?}");
    }
}

fn credential(id: u128, consumer: u128, name: &str, authority: Option<u128>) -> Value {
    let authority = authority.map(|id| json!({ "id": Uuid::from_u128(id) }));
    let consumer = json!({ "id": Uuid::from_u128(consumer) });
    json!({ "id": Uuid::from_u128(id), "consumer": consumer, "subject_name": name, "ca_certificate": authority })
}

#[test]
fn the_consumer_is_found_by_names_in_kongs_order() {
    let id = |id: u128| Uuid::from_u128(id).to_string();
    let owned = |h: Harness, more: Vec<Value>| more.into_iter().fold(h, |h, c| h.with("mtls_auth_credentials", c));
    for (config, credentials, want) in [
        (json!({}), vec![], "custom spiffe://test/alice -".to_owned()),
        (json!({ "consumer_by": ["username"] }), vec![], "alice alice -".to_owned()),
        (json!({ "consumer_by": ["custom_id"] }), vec![], "custom spiffe://test/alice -".to_owned()),
        (json!({ "consumer_by": [] }), vec![], FAILED.to_owned()),
        (json!({ "consumer_by": [], "default_consumer": "ghost" }), vec![], "ghost ghost -".to_owned()),
        (
            json!({ "consumer_by": [], "default_consumer": "nobody" }),
            vec![],
            "500 default consumer nobody is configured but doesn't exist".to_owned(),
        ),
        (json!({ "consumer_by": [], "anonymous": "ghost" }), vec![], "ghost - true".to_owned()),
        (json!({}), vec![credential(0xc1, 2, "alice", None)], format!("ghost {} -", id(0xc1))),
        // A name that comes earlier in the certificate, and before all one that asks for the authority.
        (
            json!({}),
            vec![credential(0xc1, 1, "alice", None), credential(0xc2, 2, "alice@mail.test", None)],
            format!("ghost {} -", id(0xc2)),
        ),
        (
            json!({}),
            vec![credential(0xc1, 1, "alice", Some(AUTHORITY)), credential(0xc2, 2, "alice.test", None)],
            format!("alice {} -", id(0xc1)),
        ),
        (json!({ "consumer_by": [] }), vec![credential(0xc1, 1, "alice", Some(BETWEEN))], FAILED.to_owned()),
        (json!({ "consumer_by": [] }), vec![credential(0xc1, 1, "ALICE", None)], FAILED.to_owned()),
        (json!({ "consumer_by": [] }), vec![credential(0xc1, 1, "10.1.2.3", None)], format!("alice {} -", id(0xc1))),
    ] {
        let custom = json!({ "id": Uuid::from_u128(3), "username": "custom", "custom_id": "spiffe://test/alice" });
        let h = owned(harness(config.clone()).with("consumers", custom), credentials.clone());
        assert_eq!(outcome(&send(&h, &PKI.chain(&["alice"]))), want, "{config} {credentials:?}");
    }
}

#[test]
fn without_a_look_up_the_upstream_is_told_the_names() {
    let group = |h: &Harness| {
        let seen = send(h, &PKI.chain(&["alice"])).upstream.unwrap();
        seen.lines().filter(|line| line.starts_with("X-")).map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    let told = "X-Client-Cert-Dn: CN=alice,O=Test\\, Inc.,C=DE\n\
                X-Client-Cert-San: alice.test, alice@mail.test, spiffe://test/alice, 10.1.2.3";
    assert_eq!(group(&harness(json!({ "skip_consumer_lookup": true }))), told);
    for (by, group, want) in [
        ("CN", "alice", true),
        ("CN", "CN=alice,O=Test\\, Inc.,C=DE", false),
        ("DN", "CN=alice,O=Test\\, Inc.,C=DE", true),
        ("DN", "alice", false),
    ] {
        let config = json!({ "skip_consumer_lookup": true, "authenticated_group_by": by,
            "ca_certificates": [Uuid::from_u128(AUTHORITY)], "revocation_check_mode": "SKIP" });
        let plugins = vec![(&DEFINITION, config), (&crate::acl::DEFINITION, json!({ "allow": [group] }))];
        let h = Harness::with_authorities(&[PKI.authority(AUTHORITY, "authority")], plugins);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        h.clock().advance(now.checked_sub(START).unwrap());
        let exchange = send(&h, &PKI.chain(&["alice"]));
        assert_eq!(exchange.upstream.is_some(), want, "{by} {group}: {}", exchange.answer());
        let groups = exchange.upstream.unwrap_or_default();
        assert_eq!(groups.contains(&format!("X-Authenticated-Groups: {group}")), want, "{groups}");
    }
}

#[test]
fn revoked_certificates_are_refused() {
    let modes = ["SKIP", "IGNORE_CA_ERROR", "STRICT"];
    for (name, want) in [
        ("bob", [true, true, false]),
        ("asks", [true, true, true]),
        ("asks-revoked", [true, false, false]),
        ("asks-unknown", [true, true, false]),
        ("lists", [true, true, true]),
        ("lists-revoked", [true, false, false]),
    ] {
        for (mode, want) in modes.into_iter().zip(want) {
            let h = harness(json!({ "revocation_check_mode": mode, "default_consumer": "alice" }));
            for turn in ["asked", "remembered"] {
                let exchange = send(&h, &PKI.chain(&[name]));
                assert_eq!(exchange.upstream.is_some(), want, "{name} {mode} {turn}: {}", exchange.answer());
            }
        }
    }
}

#[test]
fn authorities_are_asked_through_the_proxy_and_once_a_while() {
    // A proxy that answers itself: what it says is no OCSP, and no list.
    let proxy = Documents::start(Arc::new(|| b"nothing".to_vec()));
    let config = json!({ "http_proxy_host": "127.0.0.1", "http_proxy_port": proxy.port, "cert_cache_ttl": 3_600_000,
        "revocation_check_mode": "IGNORE_CA_ERROR", "default_consumer": "alice" });
    let h = harness(config);
    let asked = || proxy.asked.load(Ordering::SeqCst);
    for (after, want) in [(0, 1), (9, 1), (2, 2)] {
        h.clock().advance(Duration::from_secs(after));
        assert!(send(&h, &PKI.chain(&["asks-revoked"])).upstream.is_some());
        assert_eq!(asked(), want, "an authority out of reach is asked again after ten seconds");
    }
    assert_eq!(proxy.proxied.load(Ordering::SeqCst), 2);
    assert!(send(&h, &PKI.chain(&["lists-revoked"])).upstream.is_some());
    assert_eq!((asked(), proxy.proxied.load(Ordering::SeqCst)), (3, 3));

    let before = PKI.list.asked.load(Ordering::SeqCst);
    let config = json!({ "revocation_check_mode": "STRICT", "cert_cache_ttl": 1000, "default_consumer": "alice" });
    let h = harness(config);
    for (after, name) in [(0, "lists"), (0, "lists"), (0, "lists-revoked"), (2, "lists")] {
        h.clock().advance(Duration::from_secs(after));
        assert_eq!(send(&h, &PKI.chain(&[name])).upstream.is_some(), name == "lists");
    }
    // Other tests may ask at the same time, so that there may be more; four would be one for each request.
    assert!(PKI.list.asked.load(Ordering::SeqCst) >= before + 2);
}

#[test]
fn answers_that_are_not_the_responders_say_nothing() {
    use ocsp::{Question, Useless};
    let h = harness(json!({}));
    let now = h.clock().now();
    let authorities = Authorities::new(&[PKI.authority(AUTHORITY, "authority")], false).unwrap();
    let of = |name: &str| authorities.verify(&PKI.chain(&[name]), now).unwrap().places.clone();
    let (asks, revoked) = (of("asks"), of("asks-revoked"));
    assert_eq!(asks.ocsp, [format!("http://127.0.0.1:{}", PKI.responder)]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fetcher = Fetcher::new(None, None, Duration::from_secs(20)).unwrap();
    let question = Question::new(&asks, [7; 16]).unwrap();
    let body = question.encode();
    let wanted =
        fetch::Wanted { url: &asks.ocsp[0], body: Some(("application/ocsp-request", &body)), longest: 1 << 16 };
    let answer = runtime.block_on(fetcher.fetch(&wanted)).unwrap();
    let read = |question: &Question<'_>, answer: &[u8], after: u64| {
        question.read(answer, now + Duration::from_secs(after)).map(|said| matches!(said, ocsp::Said::Good(_)))
    };
    assert_eq!(read(&question, &answer, 0), Ok(true));
    assert_eq!(read(&question, &answer, 3 * 3600), Err(Useless::Stale));
    assert_eq!(read(&Question::new(&asks, [8; 16]).unwrap(), &answer, 0), Err(Useless::Other), "a replay");
    assert_eq!(read(&Question::new(&revoked, [7; 16]).unwrap(), &answer, 0), Err(Useless::Other), "another serial");
    let mut other_key = asks.clone();
    other_key.issuer_key = PKI.der("stranger-authority");
    assert!(Question::new(&other_key, [7; 16]).is_err(), "no key");
    for at in 0..answer.len() {
        let mut changed = answer.clone();
        changed[at] ^= 0x55;
        let said = read(&question, &changed, 0);
        // Bytes that are not signed may say something else without a meaning; never may a bad answer be a good one.
        assert!(said != Ok(false), "{at}: {said:?}");
        assert!(read(&question, &answer[..at], 0).is_err(), "cut off at {at}");
    }
    assert_eq!(read(&question, &[0x30, 0x03, 0x0a, 0x01, 0x06], 0), Err(Useless::Failed(6)));
}

#[test]
fn configs_are_as_in_kong() {
    let ca = Uuid::from_u128(AUTHORITY);
    for (config, field, want) in [
        (json!({}), "ca_certificates", json!("required field missing")),
        (json!({ "ca_certificates": ["x"] }), "ca_certificates", json!(["expected a valid UUID"])),
        (
            json!({ "ca_certificates": [ca], "revocation_check_mode": "skip" }),
            "revocation_check_mode",
            json!("expected one of: SKIP, IGNORE_CA_ERROR, STRICT"),
        ),
        (
            json!({ "ca_certificates": [ca], "http_proxy_host": "a" }),
            "@entity",
            json!(["all or none of these fields must be set: 'http_proxy_host', 'http_proxy_port'"]),
        ),
    ] {
        let refused = complete(&DEFINITION, config.clone()).unwrap_err();
        assert_eq!(refused["config"][field], want, "{config}");
    }
    let config = complete(&DEFINITION, json!({ "ca_certificates": [ca] })).unwrap();
    let entity = pdk::testing::plugin_entity(DEFINITION.name, &config);
    let error = build(&Instance { entity: &entity, config: &config, authorities: &[], groups: &[] }).err().unwrap();
    assert_eq!(error.to_string(), format!("CA Certificate '{ca}' does not exist"));
}

#[test]
fn clients_are_told_the_authorities_where_it_is_asked_for() {
    for (is_told, want) in [(true, 1), (false, 0)] {
        let authorities = [PKI.authority(AUTHORITY, "authority")];
        let config = json!({ "ca_certificates": [authorities[0].id], "send_ca_dn": is_told });
        let config = complete(&DEFINITION, config).unwrap();
        let entity = pdk::testing::plugin_entity(DEFINITION.name, &config);
        let plugin =
            build(&Instance { entity: &entity, config: &config, authorities: &authorities, groups: &[] }).unwrap();
        let names = plugin.client_certificates().unwrap();
        assert_eq!(names.len(), want);
        let subject = crate::certificate::parse(&PKI.der("authority")).map(|c| c.subject().as_raw().to_vec());
        assert!(names.first().is_none_or(|name| Some(name) == subject.as_ref()));
    }
}
