//! What the LDAP server said last of names and passwords, for a while. Neither is kept: only a keyed hash of both.

use ahash::HashMap;
use aws_lc_rs::{hmac, rand};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many answers each half keeps.
const KEPT: usize = 10_000;

type Digest = [u8; 32];

#[derive(Clone, Copy)]
struct Answer {
    is_right: bool,
    /// Time since the epoch.
    until: Duration,
}

#[derive(Default)]
struct Halves {
    young: HashMap<Digest, Answer>,
    old: HashMap<Digest, Answer>,
}

pub(super) struct Cache {
    key: hmac::Key,
    lasts: Duration,
    halves: Mutex<Halves>,
}

impl Cache {
    /// `None` where the system has no randomness.
    pub(super) fn new(lasts: Duration) -> Option<Self> {
        let mut key = [0; 32];
        rand::fill(&mut key).ok()?;
        Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), lasts, halves: Mutex::default() })
    }

    fn digest(&self, name: &str, password: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
        context.update(password);
        context.sign().as_ref().try_into().unwrap_or_default()
    }

    pub(super) fn get(&self, name: &str, password: &[u8], now: Duration) -> Option<bool> {
        let digest = self.digest(name, password);
        let halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = halves.young.get(&digest).or_else(|| halves.old.get(&digest))?;
        (answer.until > now).then_some(answer.is_right)
    }

    pub(super) fn keep(&self, name: &str, password: &[u8], is_right: bool, now: Duration) {
        if self.lasts.is_zero() {
            return;
        }
        let digest = self.digest(name, password);
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.young.len() >= KEPT {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(digest, Answer { is_right, until: now + self.lasts });
    }
}
