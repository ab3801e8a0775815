//! A session as it travels: a head that says which and how old, and what it holds, sealed.
//!
//! The head is authenticated, the rest encrypted, each session under a key of its own (from the secret and the session's
//! id). A change of `touched` alone needs no new seal, so that parallel requests with the older cookie stay valid.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const VERSION: u8 = 1;
const ID: usize = 32;
/// Version, id, creation and rolling.
const FIXED: usize = 1 + ID + 8 + 8;
const NONCE_AT: usize = FIXED + 8;
const TAG_AT: usize = NONCE_AT + NONCE_LEN;
const TAG: usize = 16;
const HEAD: usize = TAG_AT + TAG;
const MAC: usize = 32;

/// What a session holds.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(super) struct Contents {
    pub(super) audience: String,
    pub(super) subject: String,
    pub(super) consumer: Option<Uuid>,
    pub(super) credential: Option<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
}

/// A session's head; times in seconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) id: [u8; ID],
    pub(super) created: u64,
    /// When it last got a new id.
    pub(super) rolled: u64,
    /// When it was last seen in use.
    pub(super) touched: u64,
}

impl Head {
    pub(super) fn new(now: u64) -> Option<Self> {
        let mut id = [0; ID];
        rand::fill(&mut id).ok()?;
        Some(Self { id, created: now, rolled: now, touched: now })
    }

    /// The same session under a new id.
    pub(super) fn roll(&self, now: u64) -> Option<Self> {
        Some(Self { created: self.created, ..Self::new(now)? })
    }

    /// The id as headers and the store show it.
    pub(super) fn id(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.id)
    }

    fn fixed(&self) -> [u8; FIXED] {
        let mut out = [VERSION; FIXED];
        out[1..=ID].copy_from_slice(&self.id);
        out[1 + ID..9 + ID].copy_from_slice(&self.created.to_be_bytes());
        out[9 + ID..].copy_from_slice(&self.rolled.to_be_bytes());
        out
    }
}

/// A sealed session: what the cookie says of it, and the encrypted contents.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sealed {
    pub(super) head: Head,
    nonce: [u8; NONCE_LEN],
    tag: [u8; TAG],
    pub(super) contents: Vec<u8>,
}

/// Seals and opens what was sealed with the same secret for the same purpose.
pub(super) struct Seal {
    keys: hmac::Key,
    mac: hmac::Key,
}

impl Seal {
    pub(super) fn new(secret: &[u8], purpose: &str) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |part: &str| {
            let derived = hmac::sign(&secret, format!("silverback session: {purpose}, {part}").as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
        };
        Self { keys: derived("encryption"), mac: derived("cookies") }
    }

    fn key(&self, head: &Head) -> Option<LessSafeKey> {
        let key = hmac::sign(&self.keys, &head.id);
        UnboundKey::new(&AES_256_GCM, key.as_ref()).ok().map(LessSafeKey::new)
    }

    pub(super) fn seal(&self, head: Head, contents: &Contents) -> Option<Sealed> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = serde_json::to_vec(contents).ok()?;
        let aad = Aad::from(head.fixed());
        let key = self.key(&head)?;
        let made = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        Some(Sealed { head, nonce, tag: made.as_ref().try_into().ok()?, contents: sealed })
    }

    pub(super) fn open(&self, sealed: &Sealed) -> Option<Contents> {
        let mut whole = [sealed.contents.as_slice(), &sealed.tag].concat();
        let aad = Aad::from(sealed.head.fixed());
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let opened = self.key(&sealed.head)?.open_in_place(nonce, aad, &mut whole).ok()?;
        serde_json::from_slice(opened).ok()
    }

    /// The cookie's value; without the contents where they are stored elsewhere.
    pub(super) fn cookie(&self, sealed: &Sealed, has_contents: bool) -> String {
        let mut out = Vec::with_capacity(HEAD + sealed.contents.len() + MAC);
        out.extend_from_slice(&sealed.head.fixed());
        out.extend_from_slice(&sealed.head.touched.to_be_bytes());
        out.extend_from_slice(&sealed.nonce);
        out.extend_from_slice(&sealed.tag);
        if has_contents {
            out.extend_from_slice(&sealed.contents);
        }
        out.extend_from_slice(hmac::sign(&self.mac, &out).as_ref());
        URL_SAFE_NO_PAD.encode(out)
    }

    /// What a cookie says, where nobody has changed it.
    pub(super) fn parse(&self, cookie: &[u8]) -> Option<Sealed> {
        let whole = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (signed, mac) = whole.split_at_checked(whole.len().checked_sub(MAC)?)?;
        hmac::verify(&self.mac, signed, mac).ok()?;
        let (head, contents) = signed.split_at_checked(HEAD)?;
        let number = |at: usize| head.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
        if head.first() != Some(&VERSION) {
            return None;
        }
        Some(Sealed {
            head: Head {
                id: head.get(1..=ID)?.try_into().ok()?,
                created: number(1 + ID)?,
                rolled: number(9 + ID)?,
                touched: number(FIXED)?,
            },
            nonce: head.get(NONCE_AT..TAG_AT)?.try_into().ok()?,
            tag: head.get(TAG_AT..)?.try_into().ok()?,
            contents: contents.to_vec(),
        })
    }
}
