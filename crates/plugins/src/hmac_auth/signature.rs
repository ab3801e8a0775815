//! The signature as an `Authorization` field shows it, and what it signs.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use entities::HmacauthCredential;
use pdk::Context;
use regex::Regex;
use std::sync::LazyLock;

pub(super) struct Signature {
    pub(super) username: String,
    pub(super) algorithm: String,
    /// The names of what is signed, in order.
    headers: String,
    value: Vec<u8>,
}

/// The fields stand in this order and no other, as in Kong.
static SYNTAX: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let fields = ["username", "algorithm", "headers", "signature"].map(|name| format!(r#"{name}="([^"]+)""#));
    Regex::new(&format!(r"[Hh]mac\s*{}", fields.join(r",\s*"))).ok()
});

impl Signature {
    pub(super) fn parse(field: &str) -> Option<Self> {
        const ENGINE: GeneralPurpose = GeneralPurpose::new(
            &STANDARD,
            GeneralPurposeConfig::new()
                .with_decode_padding_mode(DecodePaddingMode::Indifferent)
                .with_decode_allow_trailing_bits(true),
        );
        let found = SYNTAX.as_ref()?.captures(field)?;
        let [username, algorithm, headers, signature] = [1, 2, 3, 4].map(|at| found.get(at).map_or("", |m| m.as_str()));
        // A value that is no Base64 matches nothing.
        let value = ENGINE.decode(signature.split('=').next().unwrap_or_default()).unwrap_or_default();
        Some(Self {
            username: username.to_owned(),
            algorithm: algorithm.to_owned(),
            headers: headers.to_owned(),
            value,
        })
    }

    /// Whether a header field is signed.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.headers.split(' ').any(|header| header == name)
    }

    /// Whether the request was signed with the credential's secret; without one, nothing is.
    pub(super) fn is_of(&self, cx: &Context, credential: &HmacauthCredential) -> bool {
        credential.secret.as_deref().is_some_and(|secret| self.is_right(cx, secret))
    }

    /// Whether the request was signed with the secret; takes the same time whatever the difference.
    pub(super) fn is_right(&self, cx: &Context, secret: &str) -> bool {
        let algorithm = match self.algorithm.as_str() {
            "hmac-sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            "hmac-sha256" => hmac::HMAC_SHA256,
            "hmac-sha384" => hmac::HMAC_SHA384,
            "hmac-sha512" => hmac::HMAC_SHA512,
            _ => return false,
        };
        hmac::verify(&hmac::Key::new(algorithm, secret.as_bytes()), &self.signed(cx), &self.value).is_ok()
    }

    /// The lines that are signed.
    fn signed(&self, cx: &Context) -> Vec<u8> {
        let request = &cx.request;
        let mut out = Vec::new();
        for (at, name) in self.headers.split(' ').enumerate() {
            if at > 0 {
                out.push(b'\n');
            }
            let value =
                if name.eq_ignore_ascii_case("host") { Some(request.host()) } else { request.headers.get(name) };
            match (value, name) {
                (Some(value), _) => {
                    out.extend_from_slice(name.as_bytes());
                    out.extend_from_slice(b": ");
                    out.extend_from_slice(value);
                }
                (None, "@request-target") => {
                    let method = request.method.as_str().to_ascii_lowercase();
                    out.extend_from_slice(format!("@request-target: {method} ").as_bytes());
                    out.extend_from_slice(request.target());
                }
                (None, "request-line") => {
                    out.extend_from_slice(format!("{} ", request.method).as_bytes());
                    out.extend_from_slice(request.target());
                    out.extend_from_slice(format!(" {}", request.version.protocol()).as_bytes());
                }
                (None, _) => {
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                }
            }
        }
        out
    }
}
