//! What the LDAP server said last of names and passwords, for a while. Neither is kept: only a keyed hash of both.

use crate::recent::{Digest, Recent};
use aws_lc_rs::{hmac, rand};
use std::time::Duration;

/// How many answers each half keeps.
const KEPT: usize = 10_000;

#[derive(Clone, Copy)]
struct Answer {
    is_right: bool,
    /// Time since the epoch.
    until: Duration,
}

pub(super) struct Cache {
    key: hmac::Key,
    lasts: Duration,
    answers: Recent<Answer>,
}

impl Cache {
    /// `None` where the system has no randomness.
    pub(super) fn new(lasts: Duration) -> Option<Self> {
        let mut key = [0; 32];
        rand::fill(&mut key).ok()?;
        Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), lasts, answers: Recent::new(KEPT) })
    }

    fn digest(&self, name: &str, password: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
        context.update(password);
        context.sign().as_ref().try_into().unwrap_or_default()
    }

    pub(super) fn get(&self, name: &str, password: &[u8], now: Duration) -> Option<bool> {
        let answer = self.answers.get(&self.digest(name, password))?;
        (answer.until > now).then_some(answer.is_right)
    }

    pub(super) fn keep(&self, name: &str, password: &[u8], is_right: bool, now: Duration) {
        if !self.lasts.is_zero() {
            self.answers.keep(self.digest(name, password), Answer { is_right, until: now + self.lasts });
        }
    }
}
