//! What a new token is made of.

use super::Oauth2;
use super::failure::Failure;
use entities::{Oauth2Credential, Oauth2Token};
use pdk::{Context, Write};
use schema::Record;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A token to be made.
pub(super) struct NewToken<'a> {
    pub(super) application: &'a Oauth2Credential,
    pub(super) user: Option<String>,
    pub(super) scope: Option<String>,
    /// Whether it can be renewed.
    pub(super) is_renewable: bool,
}

/// How a token is made.
pub(super) enum Making {
    New,
    /// With the deletion of what it is given for; where that is gone, there is no token.
    For(Write),
    /// In place of this one, whose refresh token stays.
    InPlaceOf(Oauth2Token),
}

impl Oauth2 {
    /// Makes a token: the answer about it. `None`: what it was to be given for is gone.
    pub(super) async fn make(
        &self,
        cx: &Context<'_>,
        new: NewToken<'_>,
        making: Making,
    ) -> Result<Option<Map<String, Value>>, Failure> {
        let lasts = self.config.token_expiration.max(0.0) as i64;
        let row = || {
            let refresh_token = (new.is_renewable && lasts > 0).then(secret).flatten();
            let renewable = seconds(self.config.refresh_token_ttl);
            let ttl = match (lasts, &refresh_token) {
                (0, _) => None,
                (_, Some(_)) => renewable,
                (lasts, None) => Some(Duration::from_secs(lasts.unsigned_abs() + 1)),
            };
            let row = json!({
                "service": self.service(cx).map(|id| json!({ "id": id })),
                "credential": { "id": new.application.id },
                "authenticated_userid": new.user,
                "scope": new.scope,
                "expires_in": lasts,
                "refresh_token": refresh_token,
            });
            Write::Insert { entity: "oauth2_tokens", row, ttl }
        };
        let writes = match making {
            Making::New => vec![row()],
            Making::For(deletion) => vec![deletion, row()],
            Making::InPlaceOf(token) => {
                let now = cx.shared.clock.now().as_secs();
                let access_token = secret().ok_or_else(no_randomness)?;
                let patch = json!({ "access_token": access_token, "expires_in": lasts, "created_at": now });
                let ttl = seconds(self.config.refresh_token_ttl).filter(|_| lasts > 0);
                vec![Write::Update { entity: "oauth2_tokens", id: token.id, patch, ttl }]
            }
        };
        let rows = cx.shared.storage.write(writes).await?;
        let Some(row) = rows.and_then(|mut rows| rows.pop()) else { return Ok(None) };
        let token = Oauth2Token::from_value(&row).map_err(|_| no_randomness())?;
        let mut told = Map::new();
        told.insert("access_token".to_owned(), token.access_token.into());
        told.insert("token_type".to_owned(), "bearer".into());
        if lasts > 0 {
            told.insert("expires_in".to_owned(), lasts.into());
        }
        if let Some(refresh_token) = token.refresh_token {
            told.insert("refresh_token".to_owned(), refresh_token.into());
        }
        Ok(Some(told))
    }
}

fn no_randomness() -> Failure {
    Failure { status: 500, ..Failure::new("server_error", "The token cannot be made") }
}

fn seconds(number: f64) -> Option<Duration> {
    (number > 0.0).then(|| Duration::from_secs(number as u64))
}

/// 32 letters and digits, every one equally likely; `None` where the system has no randomness.
fn secret() -> Option<String> {
    const ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const LENGTH: usize = 32;
    let mut out = String::with_capacity(LENGTH);
    let mut bytes = [0; 64];
    while out.len() < LENGTH {
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        // Beyond the greatest multiple of 62 in a byte, the first characters would be favoured.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        out.extend(fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62))).map(|c| char::from(*c)));
    }
    out.truncate(LENGTH);
    Some(out)
}
