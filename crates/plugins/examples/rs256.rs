//! How long the library takes for an RS256 signature, in microseconds: what the bench compares the plugin jwt with.
#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use aws_lc_rs::{rand::SystemRandom, rsa::KeySize};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let Ok(pair) = RsaKeyPair::generate(KeySize::Rsa2048) else { return };
    let (message, mut signature) = ([7; 120], vec![0; pair.public_modulus_len()]);
    if pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature).is_err() {
        return;
    }
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    let (begin, mut count, mut good) = (Instant::now(), 0_u32, 0_u32);
    while begin.elapsed() < Duration::from_secs(2) {
        for _ in 0..100 {
            count += 1;
            good += u32::from(black_box(key.verify(black_box(&message), black_box(&signature))).is_ok());
        }
    }
    assert_eq!(good, count);
    println!("{:.3}", begin.elapsed().as_secs_f64() * 1e6 / f64::from(count));
}
