//! What a token's claims must be.

use super::token::Token;
use super::{Config, Refusal};
use schema::{Map, Value};

pub(super) struct Claims {
    /// `exp` and `nbf`, in the order in which they are configured.
    registered: Vec<Registered>,
    /// How far `exp` may be away, in seconds.
    farthest: Option<f64>,
    leeway: f64,
    issuers: Vec<String>,
    audiences: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registered {
    Expiration,
    NotBefore,
}

fn add(errors: &mut Map<String, Value>, claim: &str, error: &str) {
    errors.insert(claim.to_owned(), error.into());
}

impl Claims {
    pub(super) fn of(config: &Config) -> Self {
        let registered = config.claims_to_verify.iter().flatten().map(|name| match name.as_str() {
            "exp" => Registered::Expiration,
            _ => Registered::NotBefore,
        });
        Self {
            registered: registered.collect(),
            farthest: config.maximum_expiration.filter(|seconds| *seconds > 0.0),
            leeway: config.leeway.unwrap_or_default(),
            issuers: config.issuers.clone().unwrap_or_default(),
            audiences: config.audiences.clone().unwrap_or_default(),
        }
    }

    /// `now`: whole seconds since the epoch.
    pub(super) fn verify(&self, token: &Token<'_>, now: f64) -> Result<(), Refusal> {
        let mut errors = Map::new();
        for claim in &self.registered {
            match claim {
                Registered::Expiration => match token.claims.number("exp") {
                    None => add(&mut errors, "exp", "must be a number"),
                    Some(end) if end + self.leeway <= now => add(&mut errors, "exp", "token expired"),
                    Some(_) => {}
                },
                Registered::NotBefore => match token.claims.number("nbf") {
                    None => add(&mut errors, "nbf", "must be a number"),
                    Some(start) if start - self.leeway > now => add(&mut errors, "nbf", "token not valid yet"),
                    Some(_) => {}
                },
            }
        }
        if !self.issuers.is_empty() {
            let issuer = token.claims.text("iss");
            if !issuer.is_some_and(|issuer| self.issuers.iter().any(|known| **known == *issuer)) {
                add(&mut errors, "iss", "issuer not allowed");
            }
        }
        if !self.audiences.is_empty() && !self.is_audience(token) {
            add(&mut errors, "aud", "audience not allowed");
        }
        if errors.is_empty()
            && let Some(farthest) = self.farthest
            && token.claims.number("exp").is_none_or(|end| end - now > farthest)
        {
            add(&mut errors, "exp", "exceeds maximum allowed expiration");
        }
        if errors.is_empty() { Ok(()) } else { Err(Refusal::Claims(Value::Object(errors))) }
    }

    /// A text, or a list of texts (RFC 7519, 4.1.3).
    fn is_audience(&self, token: &Token<'_>) -> bool {
        let allows = |audience: &str| self.audiences.iter().any(|known| known == audience);
        if let Some(one) = token.claims.text("aud") {
            return allows(&one);
        }
        let all = token.claims.raw("aud").and_then(|raw| serde_json::from_str::<Vec<String>>(raw).ok());
        all.is_some_and(|all| all.iter().any(|audience| allows(audience)))
    }
}
