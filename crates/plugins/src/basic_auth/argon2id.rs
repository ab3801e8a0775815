//! Passwords stored as argon2id hashes (RFC 9106) in their usual text form. Verified on threads of their own, a few at
//! once: a hash costs tens of milliseconds. What was right is remembered for a while, by a keyed hash alone.

use crate::hashing::{self, Busy};
use crate::recent::{Digest, Recent};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{constant_time, hmac, rand};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// How many passwords each half of the memory keeps, and for how long.
const KEPT: usize = 5_000;
const REMEMBERED: Duration = Duration::from_secs(300);
/// What a hash may cost: 256 MiB and ten passes. Who wrote more into the store made a mistake or means harm.
const MOST_KIB: u32 = 256 << 10;
const MOST_PASSES: u32 = 10;

/// A stored hash, taken apart.
#[derive(Debug)]
struct Hash {
    memory: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    value: Vec<u8>,
}

impl Hash {
    /// `$argon2id$v=19$m=65536,t=3,p=4$salt$hash`
    fn parse(stored: &str) -> Option<Self> {
        let rest = stored.strip_prefix("$argon2id$v=19$")?;
        let mut parts = rest.split('$');
        let (costs, salt, value) = (parts.next()?, parts.next()?, parts.next()?);
        let mut costs = costs.split(',');
        let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.strip_prefix('=')?.parse::<u32>().ok();
        let (memory, passes, lanes) = (cost("m")?, cost("t")?, cost("p")?);
        if parts.next().is_some() || memory > MOST_KIB || passes > MOST_PASSES {
            return None;
        }
        let decode = |text: &str| BASE64_STANDARD_NO_PAD.decode(text).ok();
        Some(Self { memory, passes, lanes, salt: decode(salt)?, value: decode(value)? })
    }

    fn is_of(&self, password: &[u8]) -> bool {
        #[cfg(test)]
        tests::MADE.lock().unwrap().push(self.salt.clone());
        let Ok(params) = Params::new(self.memory, self.passes, self.lanes, Some(self.value.len())) else {
            return false;
        };
        let mut made = vec![0; self.value.len()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(password, &self.salt, &mut made).is_ok()
            && constant_time::verify_slices_are_equal(&made, &self.value).is_ok()
    }
}

/// Whether the password is the stored one. Nobody else's request waits for it.
pub(super) async fn verify(stored: &str, password: &[u8]) -> Result<bool, Busy> {
    if MEMORY.as_ref().is_some_and(|memory| memory.knows(stored, password)) {
        return Ok(true);
    }
    let Some(hash) = Hash::parse(stored) else { return Ok(false) };
    let given = password.to_vec();
    let is_right = hashing::verify(move || hash.is_of(&given)).await?;
    if is_right && let Some(memory) = &*MEMORY {
        memory.keep(stored, password);
    }
    Ok(is_right)
}

/// Takes as long as to find that a password is not the stored one.
pub(super) async fn spend(stored: &str, password: Vec<u8>) -> Result<(), Busy> {
    let Some(hash) = Hash::parse(stored) else { return Ok(()) };
    hashing::verify(move || hash.is_of(&password)).await.map(drop)
}

static MEMORY: LazyLock<Option<Memory>> = LazyLock::new(Memory::new);

struct Memory {
    key: hmac::Key,
    known: Recent<Instant>,
}

impl Memory {
    /// `None` where the system has no randomness: then nothing is remembered.
    fn new() -> Option<Self> {
        let mut key = [0; 32];
        rand::fill(&mut key).ok()?;
        Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), known: Recent::new(KEPT) })
    }

    fn digest(&self, stored: &str, password: &[u8]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(stored.len() as u64).to_be_bytes());
        context.update(stored.as_bytes());
        context.update(password);
        context.sign().as_ref().try_into().unwrap_or_default()
    }

    fn knows(&self, stored: &str, password: &[u8]) -> bool {
        let known = self.known.get(&self.digest(stored, password));
        known.is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    fn keep(&self, stored: &str, password: &[u8]) {
        self.known.keep(self.digest(stored, password), Instant::now());
    }
}

#[cfg(test)]
pub(super) mod tests;
