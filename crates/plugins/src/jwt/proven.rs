//! Signatures that a thread has verified lately. Clients show a token with many requests; its signature says the same each
//! time, and with a public key it costs more than all the rest of a request. Claims are looked at anew with every request.

use super::keys::Verifier;
use super::token::Token;
use crate::lately::Lately;
use std::cell::RefCell;
use std::rc::Rc;

/// How many tokens each half of a thread's memory holds.
const MOST: usize = 1024;
/// Longer tokens are verified each time.
const LONGEST: usize = 4 << 10;

thread_local! {
    /// Tokens, each with the key by which its signature is right.
    static PROVEN: RefCell<Lately<Rc<Verifier>>> = RefCell::new(Lately::new(MOST));
}

/// Whether a token's signature is right.
pub(super) fn verify(verifier: &Rc<Verifier>, token: &Token<'_>) -> bool {
    let verify = || verifier.verify(token.signed, token.signature);
    if !verifier.is_slow() || token.text.len() > LONGEST {
        return verify();
    }
    PROVEN.with_borrow_mut(|proven| {
        if proven.find(token.text, |by| Rc::ptr_eq(by, verifier)).is_some() {
            return true;
        }
        let is_right = verify();
        if is_right {
            proven.keep(token.text, verifier.clone());
        }
        is_right
    })
}
