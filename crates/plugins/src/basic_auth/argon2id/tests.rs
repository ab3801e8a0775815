//! Tests of `argon2id`.

use super::*;

/// The salts of the hashes that were made, in all tests.
pub(in crate::basic_auth) static MADE: std::sync::Mutex<Vec<Vec<u8>>> = std::sync::Mutex::new(Vec::new());

/// Made by the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -k 256 -p 1 -e`.
const STORED: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

fn judge(stored: &str, password: &str) -> Result<bool, Busy> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(verify(stored, password.as_bytes()))
}

#[test]
fn the_reference_s_hash_is_verified() {
    for _ in 0..2 {
        assert_eq!(judge(STORED, "password"), Ok(true));
        assert_eq!(judge(STORED, "passwort"), Ok(false));
    }
    assert!(MEMORY.as_ref().unwrap().knows(STORED, b"password"));
    assert!(!MEMORY.as_ref().unwrap().knows(STORED, b"passwort"), "only what is right is remembered");
}

#[test]
fn what_is_no_hash_or_costs_too_much_is_refused() {
    for stored in [
        "$argon2id$",
        "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=1000,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=0$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$",
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4$",
    ] {
        assert_eq!(judge(stored, "password"), Ok(false), "{stored}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let memory = Memory::new().unwrap();
    (0..3 * KEPT).for_each(|number| memory.keep("s", &number.to_be_bytes()));
    assert!(memory.known.len() <= 2 * KEPT);
}
