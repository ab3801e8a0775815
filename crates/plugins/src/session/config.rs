//! The configuration of `session`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schema::{Field, Map, Record, RecordSchema, Value};
use serde::Deserialize;
use std::sync::{Arc, LazyLock};

const HEADERS: [&str; 7] =
    ["id", "audience", "subject", "timeout", "idling-timeout", "rolling-timeout", "absolute-timeout"];

/// The secret of instances that are configured without one: theirs is kept with them from then on.
static SECRET: LazyLock<String> = LazyLock::new(|| {
    let mut bytes = [0; 32];
    // Without randomness there is no secret: the instance is refused when it is built.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return String::new();
    }
    BASE64_STANDARD.encode(bytes)
});

#[derive(Record, Deserialize, Clone, Debug)]
pub(super) struct Config {
    /// What sessions are sealed with.
    #[field(referenceable, encrypted, required = false, default = SECRET.as_str())]
    pub(super) secret: Option<String>,
    /// Where sessions are kept: in the cookie itself, or in the gateway's database.
    #[field(default = "cookie", one_of(["cookie", "kong"]))]
    pub(super) storage: Option<String>,
    /// Whom sessions are for; those of another audience do not count.
    #[field(default = "default")]
    pub(super) audience: Option<String>,
    /// How long a session may go unused, in seconds; 0: as long as it likes.
    #[field(default = 900)]
    pub(super) idling_timeout: Option<f64>,
    /// How long a session lasts without being renewed, in seconds; used sessions are renewed in the last quarter of it.
    #[field(default = 3600)]
    pub(super) rolling_timeout: Option<f64>,
    /// How long a session can be renewed at all, in seconds; 0: for ever.
    #[field(default = 86_400)]
    pub(super) absolute_timeout: Option<f64>,
    /// How long the old id of a renewed session counts, in seconds.
    #[field(default = 10)]
    pub(super) stale_ttl: Option<f64>,
    /// The cookie's name.
    #[field(default = "session")]
    pub(super) cookie_name: Option<String>,
    /// The cookie's `Path`.
    #[field(default = "/")]
    pub(super) cookie_path: Option<String>,
    /// The cookie's `Domain`.
    pub(super) cookie_domain: Option<String>,
    /// The cookie's `SameSite`.
    #[field(default = "Strict", one_of(["Strict", "Lax", "None", "Default"]))]
    pub(super) cookie_same_site: Option<String>,
    /// Whether scripts cannot read the cookie.
    #[field(default = true)]
    pub(super) cookie_http_only: Option<bool>,
    /// Whether the cookie is sent over HTTPS alone.
    #[field(default = true)]
    pub(super) cookie_secure: Option<bool>,
    /// Whether a second cookie outlives the browser and begins new sessions.
    #[field(default = false)]
    pub(super) remember: Option<bool>,
    /// The second cookie's name.
    #[field(default = "remember")]
    pub(super) remember_cookie_name: Option<String>,
    /// As `rolling_timeout`, for the second cookie.
    #[field(default = 604_800)]
    pub(super) remember_rolling_timeout: Option<f64>,
    /// As `absolute_timeout`, for the second cookie.
    #[field(default = 2_592_000)]
    pub(super) remember_absolute_timeout: Option<f64>,
    /// What responses say of the session, in `Session-*`.
    #[field(set, elements(one_of(HEADERS)))]
    pub(super) response_headers: Option<Vec<String>>,
    /// What the upstream is told of the session, in `Session-*`.
    #[field(set, elements(one_of(HEADERS)))]
    pub(super) request_headers: Option<Vec<String>>,
    /// Whether the request's body may ask to log out.
    #[field(default = false)]
    pub(super) read_body_for_logout: Option<bool>,
    /// Methods with which a request may ask to log out.
    #[field(set, default = ["POST", "DELETE"], elements(one_of(["GET", "POST", "DELETE"])))]
    pub(super) logout_methods: Option<Vec<String>>,
    /// The query argument that asks to log out.
    #[field(default = "session_logout")]
    pub(super) logout_query_arg: Option<String>,
    /// The field of the body that asks to log out.
    #[field(default = "session_logout")]
    pub(super) logout_post_arg: Option<String>,
    /// Whether stored metadata names the subject by a hash.
    #[field(default = false)]
    pub(super) hash_subject: Option<bool>,
    /// Whether the database keeps whose a session is, beside the session.
    #[field(default = false)]
    pub(super) store_metadata: Option<bool>,
}

/// The config with the names that fields had before Kong 3.
pub(super) fn record() -> Arc<RecordSchema> {
    let renamed = |field: &'static str| move |value: &Value| Map::from_iter([(field.to_owned(), value.clone())]);
    let same_site = |value: &Value| {
        let value = if value == "off" { "Lax".into() } else { value.clone() };
        Map::from_iter([("cookie_same_site".to_owned(), value)])
    };
    let record = (**Config::record())
        .clone()
        .shorthand("cookie_lifetime", Field::number(), renamed("rolling_timeout"))
        .shorthand("cookie_idletime", Field::number(), renamed("idling_timeout"))
        .shorthand("cookie_renew", Field::number(), |_| Map::new())
        .shorthand("cookie_discard", Field::number(), renamed("stale_ttl"))
        .shorthand("cookie_samesite", Field::string(), same_site)
        .shorthand("cookie_httponly", Field::boolean(), renamed("cookie_http_only"))
        .shorthand("cookie_persistent", Field::boolean(), renamed("remember"));
    Arc::new(record)
}
