//! Keys that issuers publish (RFC 7517): fetched in the background, kept while the issuer cannot be reached.
//!
//! A key id that nobody knows has the keys fetched once more, for all requests together and at most every
//! [`PAUSE`]: bad tokens cannot make the gateway a client that floods the issuer.

use super::keys::{ALGORITHMS, Verifier};
use super::token::{Token, decode};
use crate::roots;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, watch};

/// The least time between two fetches that unknown key ids ask for.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a request waits for keys that are being fetched.
const PATIENCE: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read, and how many keys of it are taken.
const LONGEST: usize = 1 << 20;
const MOST_KEYS: usize = 128;

/// Where keys are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Keys(Uri),
    /// An issuer, who says where (OpenID Connect Discovery, 4). Its keys count for its own tokens alone.
    Issuer(String),
}

/// A key, ready for one algorithm.
struct PublicKey {
    /// The place of its source.
    source: usize,
    id: Option<String>,
    issuer: Option<Arc<str>>,
    algorithm: &'static str,
    verifier: Verifier,
}

/// The keys of some sources.
pub(super) struct KeySets {
    sources: Vec<Source>,
    refresh: Duration,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    keys: ArcSwap<Vec<Arc<PublicKey>>>,
    is_fetching: AtomicBool,
    /// Wakes who fetches.
    wanted: Arc<Notify>,
    /// When an unknown key id last had the keys fetched.
    asked: Mutex<Option<Instant>>,
    /// Grows with each fetch that ended.
    fetched: watch::Sender<u64>,
}

/// The thread that fetches for all instances; `None` where it cannot be started.
static FETCHING: LazyLock<Option<Handle>> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build().ok()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("jwks".to_owned());
    thread.spawn(move || runtime.block_on(std::future::pending::<()>())).ok()?;
    Some(handle)
});

impl KeySets {
    /// Begins to fetch at once, and again and again for as long as somebody holds them.
    pub(super) fn start(sources: Vec<Source>, refresh: Duration) -> Result<Arc<Self>, String> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(TIMEOUT));
        let tls = HttpsConnectorBuilder::new().with_tls_config(roots::client()?).https_or_http().enable_http1();
        let sets = Arc::new(Self {
            sources,
            refresh: refresh.max(PAUSE),
            client: Client::builder(TokioExecutor::new()).build(tls.wrap_connector(connector)),
            keys: ArcSwap::default(),
            is_fetching: AtomicBool::new(true),
            wanted: Arc::default(),
            asked: Mutex::new(None),
            fetched: watch::Sender::new(0),
        });
        let fetching = FETCHING.as_ref().ok_or("the thread that fetches keys cannot be started")?;
        fetching.spawn(keep_fresh(Arc::downgrade(&sets)));
        Ok(sets)
    }

    /// Whether the signature is one of a published key. `None`: no such key is known.
    pub(super) async fn verify(&self, token: &Token<'_>) -> Option<bool> {
        // Nobody publishes secrets.
        if token.algorithm.starts_with("HS") {
            return None;
        }
        if let Some(known) = self.judge(token) {
            return Some(known);
        }
        let mut fetched = self.fetched.subscribe();
        let before = *fetched.borrow_and_update();
        if !self.is_fetching.load(Ordering::Acquire) && !self.may_ask() {
            return None;
        }
        let done = fetched.wait_for(|count| *count > before);
        tokio::time::timeout(PATIENCE, done).await.ok()?.ok()?;
        self.judge(token)
    }

    fn judge(&self, token: &Token<'_>) -> Option<bool> {
        let (id, issuer) = (token.header.text("kid"), token.claims.text("iss"));
        let keys = self.keys.load();
        let mut fitting = keys.iter().filter(|key| {
            key.algorithm == token.algorithm
                && (id.is_none() || key.id.as_deref() == id.as_deref())
                && key.issuer.as_ref().is_none_or(|of| Some(&**of) == issuer.as_deref())
        });
        let first = fitting.next()?;
        // Without an id it must be clear which key is meant; with one, sources may share it.
        let others: Vec<_> = fitting.take(MOST_KEYS).collect();
        if id.is_none() && !others.is_empty() {
            return None;
        }
        let verifies = |key: &PublicKey| key.verifier.verify(token.signed, token.signature);
        Some(verifies(first) || others.into_iter().any(|key| verifies(key)))
    }

    /// Asks for a fetch, where none was asked for lately; whether one is on its way for that.
    fn may_ask(&self) -> bool {
        {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|at| at.elapsed() < PAUSE) {
                return false;
            }
            *asked = Some(Instant::now());
        }
        self.is_fetching.store(true, Ordering::Release);
        self.wanted.notify_one();
        true
    }

    async fn fetch(&self) {
        self.is_fetching.store(true, Ordering::Release);
        let mut all = Vec::new();
        for (place, source) in self.sources.iter().enumerate() {
            let fetched = tokio::time::timeout(TIMEOUT, self.fetch_one(place, source)).await;
            match fetched.unwrap_or_else(|_| Err("timeout".to_owned())) {
                Ok(keys) => all.extend(keys.into_iter().map(Arc::new)),
                Err(error) => {
                    log::warn!("jwt: the keys of {source:?} cannot be fetched: {error}");
                    // Old keys serve on while their issuer is out of reach.
                    all.extend(self.keys.load().iter().filter(|key| key.source == place).cloned());
                }
            }
        }
        self.keys.store(Arc::new(all));
        self.is_fetching.store(false, Ordering::Release);
        self.fetched.send_modify(|count| *count += 1);
    }

    async fn fetch_one(&self, place: usize, source: &Source) -> Result<Vec<PublicKey>, String> {
        let (uri, issuer) = match source {
            Source::Keys(uri) => (uri.clone(), None),
            Source::Issuer(issuer) => {
                let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
                let found: Discovered = self.get(document.parse().map_err(|_| "not a valid URL")?).await?;
                if found.issuer != *issuer {
                    return Err("the document is of another issuer".to_owned());
                }
                (found.jwks_uri.parse().map_err(|_| "jwks_uri is no valid URL")?, Some(Arc::from(issuer.as_str())))
            }
        };
        let set: KeySet = self.get(uri).await?;
        Ok(set.keys.iter().take(MOST_KEYS).flat_map(|key| ready(key, place, issuer.as_ref())).collect())
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, uri: Uri) -> Result<T, String> {
        let answer = self.client.get(uri).await.map_err(|error| error.to_string())?;
        if answer.status() != 200 {
            return Err(format!("the answer is {}", answer.status()));
        }
        let mut answer = answer.into_body();
        let mut body = Vec::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let data = frame.data_ref().map(|data| &data[..]).unwrap_or_default();
            if body.len() + data.len() > LONGEST {
                return Err("the answer is too long".to_owned());
            }
            body.extend_from_slice(data);
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}

/// Fetches every now and then, and when somebody asks for it.
async fn keep_fresh(sets: Weak<KeySets>) {
    loop {
        let (wanted, refresh) = {
            let Some(sets) = sets.upgrade() else { return };
            sets.fetch().await;
            (sets.wanted.clone(), sets.refresh)
        };
        let _ = tokio::time::timeout(refresh, wanted.notified()).await;
    }
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A published key, ready for each algorithm that it may be used with. Secrets (`oct`) are never published.
fn ready(key: &Jwk, source: usize, issuer: Option<&Arc<str>>) -> Vec<PublicKey> {
    if key.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Vec::new();
    }
    let octets = |member: &Option<String>| member.as_ref().and_then(|text| decode(text.as_bytes()));
    let (prefixes, bytes): (&[&str], _) = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => (&["RS", "PS"], octets(&key.n).zip(octets(&key.e)).map(|(n, e)| rsa(&n, &e))),
        ("EC", Some("P-256")) => (&["ES256"], point(octets(&key.x), octets(&key.y))),
        ("EC", Some("P-384")) => (&["ES384"], point(octets(&key.x), octets(&key.y))),
        ("EC", Some("P-521")) => (&["ES512"], point(octets(&key.x), octets(&key.y))),
        ("OKP", Some("Ed25519" | "Ed448")) => (&["EdDSA"], octets(&key.x)),
        _ => return Vec::new(),
    };
    let Some(bytes) = bytes else { return Vec::new() };
    let fits = |algorithm: &&str| {
        prefixes.iter().any(|prefix| algorithm.starts_with(prefix))
            && key.alg.as_deref().is_none_or(|alg| alg == *algorithm)
    };
    let algorithms = ALGORITHMS.into_iter().filter(fits);
    let keys = algorithms.filter_map(|algorithm| {
        let verifier = Verifier::raw(algorithm, &bytes)?;
        Some(PublicKey { source, id: key.kid.clone(), issuer: issuer.cloned(), algorithm, verifier })
    });
    keys.collect()
}

/// The DER of an RSAPublicKey (RFC 8017, A.1.1).
fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        let mut content = bytes.get(start..).unwrap_or_default().to_vec();
        if content.first().is_none_or(|first| *first >= 0x80) {
            content.insert(0, 0);
        }
        crate::ber::element(crate::ber::INTEGER, &content)
    };
    crate::ber::element(crate::ber::SEQUENCE, &[number(modulus), number(exponent)].concat())
}

/// An uncompressed point (SEC 1, 2.3.3).
fn point(x: Option<Vec<u8>>, y: Option<Vec<u8>>) -> Option<Vec<u8>> {
    Some([&[4][..], &x?, &y?].concat())
}

#[cfg(test)]
mod tests;
