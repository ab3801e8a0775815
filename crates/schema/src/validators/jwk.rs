//! JSON Web Keys, as far as OpenSSL would load them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::text;

const NOT_LOADED: &str = "could not load JWK, likely not a valid key";

/// A string that holds an RSA, EC or OKP key.
pub fn jwk(value: &Value) -> Result<(), String> {
    let given = text(value);
    match serde_json::from_str::<Map<String, Value>>(given) {
        Ok(key) if is_key(&key) => Ok(()),
        _ => Err(NOT_LOADED.into()),
    }
}

fn is_key(key: &Map<String, Value>) -> bool {
    let member = |name: &str| key.get(name).and_then(Value::as_str);
    let octets = |name: &str| {
        let given = member(name)?;
        URL_SAFE_NO_PAD.decode(given.trim_end_matches('=')).ok().filter(|octets| !octets.is_empty())
    };
    let sized = |name: &str, length: usize| octets(name).is_some_and(|octets| octets.len() == length);
    match (member("kty"), member("crv")) {
        (Some("RSA"), _) => octets("n").is_some() && octets("e").is_some(),
        (Some("EC"), Some(curve)) => {
            let length = match curve {
                "P-256" | "secp256k1" => 32,
                "P-384" => 48,
                "P-521" => 66,
                _ => return false,
            };
            sized("x", length) && sized("y", length)
        }
        (Some("OKP"), Some(curve)) => {
            let length = match curve {
                "Ed25519" | "X25519" => 32,
                "Ed448" => 57,
                "X448" => 56,
                _ => return false,
            };
            sized("x", length) || sized("d", length)
        }
        _ => false,
    }
}
