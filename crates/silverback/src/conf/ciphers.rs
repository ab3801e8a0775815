//! Lists of ciphers as OpenSSL writes them (`ssl_ciphers`), over the ones that are offered: all of them with forward secrecy
//! and authenticated encryption.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;

/// The suites of TLS 1.2 with OpenSSL's names and the keywords that stand for them.
const TLS12: [(SupportedCipherSuite, &str, &[&str]); 6] = [
    (suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", ECDSA_AES_256),
    (suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", RSA_AES_256),
    (suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", ECDSA_AES_128),
    (suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", RSA_AES_128),
    (
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["aECDSA", "ECDSA", "CHACHA20"],
    ),
    (suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", &["aRSA", "CHACHA20"]),
];

const ECDSA_AES_256: &[&str] = &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "SHA384", "FIPS"];
const RSA_AES_256: &[&str] = &["aRSA", "AES", "AES256", "AESGCM", "SHA384", "FIPS"];
const ECDSA_AES_128: &[&str] = &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "SHA256", "FIPS"];
const RSA_AES_128: &[&str] = &["aRSA", "AES", "AES128", "AESGCM", "SHA256", "FIPS"];
/// What all of them are.
const EVERY: [&str; 8] = ["ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2"];

/// Those of TLS 1.3, which no list takes out.
pub(crate) const TLS13: [SupportedCipherSuite; 3] =
    [suite::TLS13_AES_256_GCM_SHA384, suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_CHACHA20_POLY1305_SHA256];

/// The suites of TLS 1.2 that a list names, in its order. What is not offered here (CBC, plain RSA, DHE) names nothing.
pub(crate) fn tls12(list: &str) -> Vec<SupportedCipherSuite> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut banned: Vec<usize> = Vec::new();
    for entry in list.split([':', ',', ' ']).filter(|entry| !entry.is_empty()) {
        let (sign, name) = match entry.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+" | "@"), name)) => (sign, name),
            _ => ("", entry),
        };
        let named = || (0..TLS12.len()).filter(|at| is_named(*at, name));
        match sign {
            // Orders the rest by strength, or sets the security level: all of these are strong.
            "@" => {}
            "+" => {
                let (moved, mut rest): (Vec<_>, Vec<_>) = chosen.iter().partition(|at| is_named(**at, name));
                rest.extend(moved);
                chosen = rest;
            }
            "!" | "-" => {
                chosen.retain(|at| !is_named(*at, name));
                if sign == "!" {
                    banned.extend(named());
                }
            }
            _ => {
                let new: Vec<_> = named().filter(|at| !chosen.contains(at) && !banned.contains(at)).collect();
                chosen.extend(new);
            }
        }
    }
    chosen.into_iter().filter_map(|at| TLS12.get(at)).map(|(suite, ..)| *suite).collect()
}

/// Whether `AES128+aRSA` or a whole name stands for the suite.
fn is_named(at: usize, name: &str) -> bool {
    let Some((_, own, words)) = TLS12.get(at) else { return false };
    name == *own || name.split('+').all(|word| words.contains(&word) || EVERY.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::{TLS12, tls12};

    fn names(list: &str) -> Vec<&'static str> {
        let name = |suite| TLS12.iter().find(|(known, ..)| *known == suite).map(|(_, name, _)| *name);
        tls12(list).into_iter().filter_map(name).collect()
    }

    #[test]
    fn lists_name_what_openssl_means_by_them() {
        let (aes256, aes128) = ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256");
        for (list, expected) in [
            ("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384", vec![aes128, aes256]),
            ("AESGCM+aRSA", vec![aes256, aes128]),
            ("EECDH+AESGCM:!ECDSA:!AES128", vec![aes256]),
            ("HIGH:!aNULL:!MD5:!CHACHA20:!aECDSA:+AES256", vec![aes128, aes256]),
            ("!AES256:AESGCM+aRSA", vec![aes128]),
            ("DHE-RSA-AES128-GCM-SHA256:AES128-SHA:RSA:ECDHE-RSA-AES128-SHA", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(names(list), expected, "{list}");
        }
        assert_eq!(tls12("DEFAULT:@STRENGTH").len(), TLS12.len());
    }
}
