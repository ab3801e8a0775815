//! For how long TLS sessions can be resumed (`ssl_session_timeout`): by tickets that only this process reads, or from its
//! memory. Each carries when it was made; what is older is as good as none.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::crypto::GetRandomFailed;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::ticketer::TicketRotator;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No client may keep a ticket for longer (RFC 8446, 4.6.1).
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
const STAMP: usize = 8;

/// Tickets that can be used for `timeout`. The keys change as often, and each is dropped when its last ticket is too old.
pub(super) fn tickets(timeout: Duration) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
    let seconds = timeout.clamp(Duration::from_secs(1), LONGEST).as_secs() as u32;
    let inner = TicketRotator::new(seconds, Key::generate)?;
    Ok(Arc::new(Aging { inner, seconds: seconds.into(), now }))
}

/// Up to `count` sessions in memory, each for `timeout`.
pub(super) fn memory(count: usize, timeout: Duration) -> Arc<dyn StoresServerSessions> {
    Arc::new(Aging { inner: ServerSessionMemoryCache::new(count), seconds: timeout.as_secs(), now })
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Puts the time before what `inner` keeps, and takes only what is young enough.
#[derive(Debug)]
struct Aging<T> {
    inner: T,
    seconds: u64,
    now: fn() -> u64,
}

impl<T> Aging<T> {
    fn stamped(&self, value: &[u8]) -> Vec<u8> {
        [&(self.now)().to_be_bytes(), value].concat()
    }

    fn fresh(&self, mut value: Vec<u8>) -> Option<Vec<u8>> {
        let made = u64::from_be_bytes(*value.first_chunk::<STAMP>()?);
        let is_fresh = (self.now)().saturating_sub(made) < self.seconds;
        is_fresh.then(|| value.split_off(STAMP))
    }
}

impl<T: ProducesTickets> ProducesTickets for Aging<T> {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.seconds as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(&self.stamped(plain))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.fresh(self.inner.decrypt(cipher)?)
    }
}

impl StoresServerSessions for Aging<Arc<ServerSessionMemoryCache>> {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.inner.put(key, self.stamped(&value))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(self.inner.get(key)?)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(self.inner.take(key)?)
    }

    fn can_cache(&self) -> bool {
        self.inner.can_cache()
    }
}

/// One key of tickets: the nonce, then what AES-256-GCM makes of the session.
struct Key(RandomizedNonceKey);

impl Key {
    fn generate() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| GetRandomFailed)?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| GetRandomFailed)?;
        Ok(Box::new(Self(key)))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl ProducesTickets for Key {
    fn enabled(&self) -> bool {
        true
    }

    /// `Aging` tells it.
    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        Some([&nonce.as_ref()[..], &sealed].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = cipher.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = sealed.to_vec();
        let plain = self.0.open_in_place(Nonce::from(nonce), Aad::empty(), &mut opened).ok()?.len();
        opened.truncate(plain);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(1_000_000) };
    }

    fn clock() -> u64 {
        NOW.get()
    }

    #[test]
    fn a_ticket_is_good_for_the_time_and_no_longer() {
        let tickets = Aging { inner: TicketRotator::new(600, Key::generate).unwrap(), seconds: 60, now: clock };
        let ticket = tickets.encrypt(b"the session").unwrap();
        assert_eq!(tickets.lifetime(), 60);
        for (age, want) in [(0, true), (59, true), (60, false), (1000, false)] {
            NOW.set(1_000_000 + age);
            assert_eq!(tickets.decrypt(&ticket).as_deref(), want.then_some(&b"the session"[..]), "after {age} s");
        }
        NOW.set(1_000_000);
        for at in [0, 5, 20, ticket.len() - 1] {
            let mut forged = ticket.clone();
            forged[at] ^= 1;
            assert_eq!(tickets.decrypt(&forged), None, "changed at {at}");
        }
        for length in [0, 1, 12, 27] {
            assert_eq!(tickets.decrypt(&ticket[..length]), None, "cut to {length}");
        }
        assert!(!ticket.windows(7).any(|part| part == b"session"));
    }

    #[test]
    fn a_session_in_memory_is_good_for_the_time_and_no_longer() {
        let sessions = Aging { inner: ServerSessionMemoryCache::new(8), seconds: 60, now: clock };
        assert!(sessions.put(b"key".to_vec(), b"value".to_vec()));
        NOW.set(1_000_059);
        assert_eq!(sessions.get(b"key").as_deref(), Some(&b"value"[..]));
        NOW.set(1_000_060);
        assert_eq!(sessions.get(b"key"), None);
        assert_eq!(sessions.take(b"key"), None);
    }
}
