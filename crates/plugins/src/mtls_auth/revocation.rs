//! Whether a certificate was revoked: by OCSP, else by its authority's list. An answer is asked for once by all requests that
//! wait for it, and kept for a while.

use super::chain::{Authorities, Places};
use super::fetch::{Fetcher, Wanted};
use super::ocsp::{Question, Said};
use crate::recent::{Digest, Recent};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use webpki::{CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth};
use webpki::{RevocationOptionsBuilder, UnknownStatusPolicy};

/// The longest answer of a responder, and the longest list, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;
const LONGEST_LIST: usize = 8 << 20;
/// Of how many certificates the status is kept, and how many lists are (each as long as above at most): per half.
const KEPT: usize = 10_000;
const KEPT_LISTS: usize = 8;
/// How many certificates are asked about at once.
const AT_ONCE: usize = 32;
/// When an authority that gave no answer is asked again, where the cache would wait longer.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    Revoked,
    /// Nobody who may say so has said anything.
    Unknown,
}

/// A status, and until when it counts (since the epoch).
type Answer = (Status, Duration);
type List = Result<Arc<CertRevocationList<'static>>, String>;
type Waiting<T> = Arc<OnceCell<(T, Duration)>>;

pub(super) struct Revocation {
    pub(super) is_strict: bool,
    fetcher: Fetcher,
    lasts: Duration,
    known: Recent<Waiting<Status>>,
    lists: Recent<Waiting<List>>,
    turns: Semaphore,
}

/// A certificate that is asked about.
pub(super) struct Asked<'a> {
    pub(super) shown: &'a [Vec<u8>],
    pub(super) digest: Digest,
    pub(super) places: &'a Places,
    pub(super) authorities: &'a Authorities,
    pub(super) now: Duration,
}

impl Revocation {
    pub(super) fn new(is_strict: bool, fetcher: Fetcher, lasts: Duration) -> Self {
        Self {
            is_strict,
            fetcher,
            lasts,
            known: Recent::new(KEPT),
            lists: Recent::new(KEPT_LISTS),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Whether the certificate may be used, as far as is known without asking.
    pub(super) fn known(&self, digest: &Digest, now: Duration) -> Option<bool> {
        let (status, until) = *self.known.get(digest)?.get()?;
        (until > now).then(|| self.allows(status))
    }

    /// Whether the certificate may be used.
    pub(super) async fn allows_after_asking(&self, asked: &Asked<'_>) -> bool {
        let is_good = |waiting: &Waiting<Status>| waiting.get().is_none_or(|(_, until)| *until > asked.now);
        let waiting = self.known.get_or_keep(asked.digest, is_good, Arc::default);
        let (status, _) = *waiting.get_or_init(|| self.ask(asked)).await;
        self.allows(status)
    }

    fn allows(&self, status: Status) -> bool {
        match status {
            Status::Good => true,
            Status::Revoked => false,
            Status::Unknown => !self.is_strict,
        }
    }

    async fn ask(&self, asked: &Asked<'_>) -> Answer {
        let Ok(_turn) = self.turns.acquire().await else { return (Status::Unknown, asked.now) };
        let kept = asked.now + self.lasts;
        for url in &asked.places.ocsp {
            match self.ask_responder(url, asked).await {
                Ok(Said::Good(until)) => return (Status::Good, kept.min(until.max(asked.now))),
                Ok(Said::Revoked(until)) => return (Status::Revoked, kept.min(until.max(asked.now))),
                Ok(Said::Unknown) => log::info!("mtls-auth: the OCSP responder {url} does not know a certificate"),
                Err(error) => log::warn!("mtls-auth: no answer of the OCSP responder {url}: {error}"),
            }
        }
        for url in &asked.places.crls {
            match self.look_into_list(url, asked).await {
                Ok(status) => return (status, kept),
                Err(error) => log::warn!("mtls-auth: the list of revoked certificates {url} cannot be used: {error}"),
            }
        }
        (Status::Unknown, asked.now + self.lasts.min(RETRY))
    }

    async fn ask_responder(&self, url: &str, asked: &Asked<'_>) -> Result<Said, String> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "the system has no randomness")?;
        let question = Question::new(asked.places, nonce).map_err(|error| error.to_string())?;
        let body = question.encode();
        let wanted = Wanted { url, body: Some(("application/ocsp-request", &body)), longest: LONGEST_ANSWER };
        let answer = self.fetcher.fetch(&wanted).await?;
        question.read(&answer, asked.now).map_err(|error| error.to_string())
    }

    async fn look_into_list(&self, url: &str, asked: &Asked<'_>) -> Result<Status, String> {
        let name = digest(&SHA256, url.as_bytes()).as_ref().try_into().unwrap_or_default();
        let is_good = |waiting: &Waiting<List>| waiting.get().is_none_or(|(_, until)| *until > asked.now);
        let waiting = self.lists.get_or_keep(name, is_good, Arc::default);
        let (list, _) = waiting
            .get_or_init(async || {
                let list = self.fetch_list(url).await;
                let lasts = if list.is_ok() { self.lasts } else { self.lasts.min(RETRY) };
                (list, asked.now + lasts)
            })
            .await;
        let list = list.as_ref().map_err(Clone::clone)?;
        let lists = [&**list];
        let options = RevocationOptionsBuilder::new(&lists)
            .map_err(|_| "no list")?
            .with_depth(RevocationCheckDepth::EndEntity)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build();
        match asked.authorities.verify_with(asked.shown, asked.now, Some(options)) {
            Ok(_) => Ok(Status::Good),
            Err(super::chain::Distrusted::Path(webpki::Error::CertRevoked)) => Ok(Status::Revoked),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A list is long: it is read where no request waits for the thread.
    async fn fetch_list(&self, url: &str) -> List {
        let bytes = self.fetcher.fetch(&Wanted { url, body: None, longest: LONGEST_LIST }).await?;
        let parsed = tokio::task::spawn_blocking(move || {
            let der = if bytes.starts_with(b"-----") {
                CertificateRevocationListDer::from_pem_slice(&bytes).map_err(|e| e.to_string())?.to_vec()
            } else {
                bytes
            };
            OwnedCertRevocationList::from_der(&der).map_err(|error| error.to_string())
        });
        let list = parsed.await.map_err(|error| error.to_string())??;
        Ok(Arc::new(CertRevocationList::from(list)))
    }
}

/// The digest that a chain is known by.
pub(super) fn digest_of(shown: &[Vec<u8>]) -> Digest {
    let mut context = aws_lc_rs::digest::Context::new(&SHA256);
    for der in shown {
        context.update(&(der.len() as u64).to_be_bytes());
        context.update(der);
    }
    context.finish().as_ref().try_into().unwrap_or_default()
}
