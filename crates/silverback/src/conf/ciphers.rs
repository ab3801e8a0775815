//! Lists of ciphers as OpenSSL writes them (`ssl_ciphers`), over the ones that are offered: all of them with forward secrecy
//! and authenticated encryption.

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;

/// A suite of TLS 1.2 with OpenSSL's name and the keywords that stand for it.
type Known = (SupportedCipherSuite, &'static str, &'static [&'static str]);

fn known() -> [Known; 6] {
    [
        (suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", ECDSA_AES_256),
        (suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", RSA_AES_256),
        (suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", ECDSA_AES_128),
        (suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", RSA_AES_128),
        (suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", ECDSA_CHACHA),
        (suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", RSA_CHACHA),
    ]
}

const ECDSA_CHACHA: &[&str] = &["aECDSA", "ECDSA", "CHACHA20"];
const RSA_CHACHA: &[&str] = &["aRSA", "CHACHA20"];
const ECDSA_AES_256: &[&str] = &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "SHA384", "FIPS"];
const RSA_AES_256: &[&str] = &["aRSA", "AES", "AES256", "AESGCM", "SHA384", "FIPS"];
const ECDSA_AES_128: &[&str] = &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "SHA256", "FIPS"];
const RSA_AES_128: &[&str] = &["aRSA", "AES", "AES128", "AESGCM", "SHA256", "FIPS"];
/// What all of them are.
const EVERY: [&str; 8] = ["ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2"];

/// Those of TLS 1.3, which no list takes out.
pub(crate) fn tls13() -> [SupportedCipherSuite; 3] {
    [suite::TLS13_AES_256_GCM_SHA384, suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_CHACHA20_POLY1305_SHA256]
}

/// The suites of TLS 1.2 that a list names, in its order. What is not offered here (CBC, plain RSA, DHE) names nothing.
pub(crate) fn tls12(list: &str) -> Vec<SupportedCipherSuite> {
    let known = known();
    let mut chosen: Vec<&Known> = Vec::new();
    let mut banned: Vec<&Known> = Vec::new();
    for entry in list.split([':', ',', ' ']).filter(|entry| !entry.is_empty()) {
        let (sign, name) = match entry.split_at_checked(1) {
            Some((sign @ ("!" | "-" | "+" | "@"), name)) => (sign, name),
            _ => ("", entry),
        };
        match sign {
            // Orders the rest by strength, or sets the security level: all of these are strong.
            "@" => {}
            // Stable: those that are named go to the end.
            "+" => chosen.sort_by_key(|suite| is_named(suite, name)),
            "!" | "-" => {
                chosen.retain(|suite| !is_named(suite, name));
                if sign == "!" {
                    banned.extend(known.iter().filter(|suite| is_named(suite, name)));
                }
            }
            _ => {
                let is_in = |all: &[&Known], suite: &Known| all.iter().any(|other| other.1 == suite.1);
                for suite in known.iter().filter(|suite| is_named(suite, name)) {
                    if !is_in(&chosen, suite) && !is_in(&banned, suite) {
                        chosen.push(suite);
                    }
                }
            }
        }
    }
    chosen.into_iter().map(|(suite, ..)| *suite).collect()
}

/// Whether `AES128+aRSA` or a whole name stands for the suite.
fn is_named((_, own, words): &Known, name: &str) -> bool {
    name == *own || name.split('+').all(|word| words.contains(&word) || EVERY.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::{known, tls12};

    fn names(list: &str) -> Vec<&'static str> {
        let name = |suite| known().into_iter().find(|(known, ..)| *known == suite).map(|(_, name, _)| name);
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
        assert_eq!(tls12("DEFAULT:@STRENGTH").len(), known().len());
    }
}
