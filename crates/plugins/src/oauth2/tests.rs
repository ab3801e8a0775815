//! Tests of `oauth2`.

use super::*;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use pdk::testing::{Exchange, Harness, complete};
use std::time::Duration;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn harness(config: Value) -> Harness {
    let mut all = json!({ "provision_key": "prov", "scopes": ["email", "profile"] });
    all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    let alice = json!({ "id": Uuid::from_u128(1) });
    let application = |id: u128, client_id: &str, kind: &str| {
        json!({
            "id": Uuid::from_u128(id), "name": "App", "client_id": client_id, "client_secret": "csecret", "hash_secret": false,
            "client_type": kind, "redirect_uris": ["http://app.test/cb?x=1", "http://app.test/other"], "consumer": alice,
        })
    };
    Harness::new(&DEFINITION, all)
        .with_consumer(1, "alice")
        .with_consumer(2, "ghost")
        .with("oauth2_credentials", application(0xc1, "cid", "confidential"))
        .with("oauth2_credentials", application(0xc2, "pub", "public"))
        .with("oauth2_credentials", application(0xc3, "cid2", "confidential"))
        .with_client(|client| client.scheme = Scheme::Https)
}

fn post(h: &Harness, path: &str, form: &str) -> (u16, Value) {
    let exchange = h.send(&format!("POST {path}\n{FORM}\n\n{form}"));
    assert_eq!(exchange.header("Cache-Control"), "no-store", "{form}");
    assert_eq!(exchange.header("Pragma"), "no-cache", "{form}");
    (exchange.status, serde_json::from_str(&exchange.body).unwrap())
}

fn token(h: &Harness, form: &str) -> (u16, Value) {
    post(h, "/a/oauth2/token", form)
}

/// A token that is sure to be given.
fn granted(h: &Harness, form: &str) -> Value {
    let (status, body) = token(h, form);
    assert_eq!(status, 200, "{form}: {body}");
    body
}

fn error(answer: &(u16, Value)) -> (u16, &str, &str) {
    (answer.0, answer.1["error"].as_str().unwrap_or("-"), answer.1["error_description"].as_str().unwrap_or("-"))
}

/// What the upstream was told of the client, or what the client was told.
fn outcome(exchange: &Exchange) -> String {
    let Some(seen) = &exchange.upstream else {
        let body: Value = serde_json::from_str(&exchange.body).unwrap_or_default();
        return format!("{} {} | {}", exchange.status, body["error_description"], exchange.header("WWW-Authenticate"));
    };
    let field = |name: &str| seen.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("-").to_owned();
    let (who, by) = (field("X-Consumer-Username: "), field("X-Credential-Identifier: "));
    format!("{who} {by} {} {}", field("X-Authenticated-Scope: "), field("X-Authenticated-UserId: "))
}

fn with(h: &Harness, token: &Value) -> String {
    outcome(&h.send(&format!("GET /\nAuthorization: Bearer {}", token.as_str().unwrap())))
}

const CLIENT: &str = "grant_type=client_credentials&client_id=cid&client_secret=csecret";
const USER: &str = "grant_type=password&client_id=cid&client_secret=csecret&provision_key=prov&authenticated_userid=u1";
const INVALID_TOKEN: &str = "401 \"The access token is invalid or has expired\" | Bearer error=\"invalid_token\", \
                             error_description=\"The access token is invalid or has expired\"";

#[test]
fn an_application_gets_a_token_and_passes_with_it() {
    let h = harness(json!({ "enable_client_credentials": true }));
    let given = granted(&h, &format!("{CLIENT}&scope=email&state=s"));
    assert_eq!(
        (&given["token_type"], &given["expires_in"], &given["state"]),
        (&json!("bearer"), &json!(7200), &json!("s"))
    );
    assert!(given.get("refresh_token").is_none());
    let access = &given["access_token"];
    assert_eq!(with(&h, access), "alice cid email -");
    let text = access.as_str().unwrap();
    for (request, want) in [
        (format!("GET /?access_token={text}"), "alice cid email -"),
        (format!("POST /\n{FORM}\n\naccess_token={text}"), "alice cid email -"),
        (format!("GET /\nAuthorization: TOKEN {text}"), "alice cid email -"),
        (format!("GET /\nAuthorization: {text}"), "alice cid email -"),
        (format!("GET /\nAuthorization: Basic {text}"), INVALID_TOKEN),
        ("GET /".to_owned(), "401 \"The access token is missing\" | Bearer"),
    ] {
        assert_eq!(outcome(&h.send(&request)), want, "{request}");
    }
    let basic = BASE64_STANDARD.encode("cid:csecret");
    let header = format!("POST /oauth2/token/\nAuthorization: Basic {basic}\n{FORM}\n\ngrant_type=client_credentials");
    assert_eq!(h.send(&header).status, 200);
}

#[test]
fn refuses_as_the_protocol_says() {
    let h = harness(json!({ "enable_client_credentials": true }));
    for (form, want) in [
        ("", (400, "invalid_client", "Invalid client authentication")),
        ("grant_type=client_credentials&client_id=cid", (400, "invalid_client", "Invalid client authentication")),
        (
            "grant_type=client_credentials&client_id=nope&client_secret=csecret",
            (400, "invalid_client", "Invalid client authentication"),
        ),
        (
            "grant_type=client_credentials&client_id=cid&client_secret=bad",
            (400, "invalid_client", "Invalid client authentication"),
        ),
        (
            "grant_type=client_credentials&client_id=cid&client_secret=",
            (400, "invalid_client", "Invalid client authentication"),
        ),
        (
            "grant_type=password&client_id=cid&client_secret=csecret",
            (400, "unsupported_grant_type", "Invalid grant_type"),
        ),
        (
            "grant_type=client_credentials&client_id=pub",
            (400, "unauthorized_client", "client_credentials is disallowed for public clients"),
        ),
        (
            "grant_type=client_credentials&client_id=cid&client_secret=csecret&scope=email+nope",
            (400, "invalid_scope", "\"nope\" is an invalid scope"),
        ),
        (
            "grant_type=client_credentials&client_id=cid&client_secret=csecret&scope=email&scope=profile",
            (400, "invalid_scope", "scope must be a string"),
        ),
        (
            "grant_type=client_credentials&client_id=cid&client_secret=csecret&authenticated_userid=5",
            (400, "invalid_provision_key", "Invalid provision_key"),
        ),
        (
            "grant_type=refresh_token&client_id=cid&client_secret=csecret",
            (400, "invalid_request", "Invalid refresh_token"),
        ),
        (
            "grant_type=authorization_code&client_id=cid&client_secret=csecret&code=x",
            (400, "invalid_request", "Invalid code"),
        ),
    ] {
        assert_eq!(error(&token(&h, form)), want, "{form}");
    }
    let exchange = h.send(&format!(
        "POST /oauth2/token\nAuthorization: Basic {}\n{FORM}\n\ngrant_type=client_credentials",
        BASE64_STANDARD.encode("cid:bad")
    ));
    assert_eq!((exchange.status, exchange.header("WWW-Authenticate")), (401, "Basic realm=\"OAuth2.0\""));
    let exchange = h.send("GET /oauth2/token");
    assert_eq!(exchange.status, 405);
    assert_eq!(
        exchange.header("WWW-Authenticate"),
        "Bearer error=\"invalid_method\", error_description=\"The HTTP method GET is invalid for the token endpoint\""
    );
    assert_eq!(error(&post(&h, "/oauth2/authorize", "")), (400, "invalid_provision_key", "Invalid provision_key"));
    let plain = harness(json!({ "enable_client_credentials": true, "accept_http_if_already_terminated": true }))
        .with_client(|client| client.scheme = Scheme::Http);
    assert_eq!(error(&token(&plain, CLIENT)), (400, "access_denied", "You must use HTTPS"));
    let forged = plain.send(&format!("POST /oauth2/token\nX-Forwarded-Proto: https\n{FORM}\n\n{CLIENT}"));
    assert_eq!(forged.status, 400);
    let trusted = plain.with_client(|client| client.is_trusted = true);
    let told = trusted.send(&format!("POST /oauth2/token\nX-Forwarded-Proto: https\n{FORM}\n\n{CLIENT}"));
    assert_eq!(told.status, 200);
}

#[test]
fn a_mandatory_scope_cannot_be_empty() {
    let h = harness(json!({ "enable_client_credentials": true, "mandatory_scope": true }));
    for form in [CLIENT.to_owned(), format!("{CLIENT}&scope="), format!("{CLIENT}&scope=+")] {
        assert_eq!(error(&token(&h, &form)), (400, "invalid_scope", "You must specify a scope"), "{form}");
    }
    assert_eq!(token(&h, &format!("{CLIENT}&scope=email")).0, 200);
}

#[test]
fn tokens_expire_unless_they_are_for_ever() {
    let h = harness(json!({ "enable_client_credentials": true, "token_expiration": 5 }));
    let given = granted(&h, CLIENT);
    h.clock().advance(Duration::from_secs(5));
    assert_eq!(with(&h, &given["access_token"]), "alice cid - -");
    h.clock().advance(Duration::from_secs(1));
    assert_eq!(with(&h, &given["access_token"]), INVALID_TOKEN);
    let h = harness(json!({ "enable_password_grant": true, "token_expiration": 0 }));
    let given = granted(&h, USER);
    assert!(given.get("expires_in").is_none() && given.get("refresh_token").is_none(), "{given}");
    h.clock().advance(Duration::from_secs(1_000_000));
    assert_eq!(with(&h, &given["access_token"]), "alice cid - u1");
}

#[test]
fn a_refresh_token_is_good_once_unless_it_is_reused() {
    let h = harness(json!({ "enable_password_grant": true }));
    let first = granted(&h, &format!("{USER}&scope=email"));
    let ask = |h: &Harness, token_: &Value, id: &str| {
        let refresh = token_["refresh_token"].as_str().unwrap();
        token(h, &format!("grant_type=refresh_token&client_id={id}&client_secret=csecret&refresh_token={refresh}"))
    };
    assert_eq!(error(&ask(&h, &first, "cid2")), (400, "invalid_client", "Invalid client authentication"));
    let (status, second) = ask(&h, &first, "cid");
    assert_eq!((status, with(&h, &second["access_token"]).as_str()), (200, "alice cid email u1"));
    assert_eq!(with(&h, &first["access_token"]), INVALID_TOKEN);
    assert_eq!(error(&ask(&h, &first, "cid")), (400, "invalid_request", "Invalid refresh_token"));

    let h = harness(json!({ "enable_password_grant": true, "reuse_refresh_token": true }));
    let first = granted(&h, USER);
    let (_, second) = ask(&h, &first, "cid");
    assert_eq!(second["refresh_token"], first["refresh_token"]);
    assert_ne!(second["access_token"], first["access_token"]);
    assert_eq!(with(&h, &first["access_token"]), INVALID_TOKEN);
    assert_eq!(ask(&h, &first, "cid").0, 200);
}

fn authorize(h: &Harness, more: &str) -> (u16, String) {
    let form = format!("client_id=cid&provision_key=prov&authenticated_userid=u1{more}");
    let (status, body) = post(h, "/oauth2/authorize", &form);
    (status, body["redirect_uri"].as_str().map_or_else(|| body.to_string(), str::to_owned))
}

fn code_of(uri: &str) -> &str {
    uri.split(['?', '&']).find_map(|part| part.strip_prefix("code=")).unwrap()
}

#[test]
fn a_code_is_good_for_one_token_of_its_application() {
    let h = harness(json!({ "enable_authorization_code": true }));
    let (status, uri) = authorize(&h, "&response_type=code&scope=email&state=hello");
    assert_eq!(status, 200);
    assert!(uri.starts_with("http://app.test/cb?code=") && uri.ends_with("&state=hello&x=1"), "{uri}");
    let exchange = |id: &str| {
        token(&h, &format!("grant_type=authorization_code&client_id={id}&client_secret=csecret&code={}", code_of(&uri)))
    };
    assert_eq!(error(&exchange("cid2")), (400, "invalid_request", "Invalid code"));
    let (status, given) = exchange("cid");
    assert_eq!((status, with(&h, &given["access_token"]).as_str()), (200, "alice cid email u1"));
    assert!(given["refresh_token"].is_string());
    assert_eq!(error(&exchange("cid")), (400, "invalid_request", "Invalid code"));
    let rows = h.storage().rows("oauth2_authorization_codes");
    assert!(rows.is_empty(), "{rows:?}");
}

#[test]
fn users_are_sent_to_registered_places_alone() {
    let h = harness(json!({ "enable_authorization_code": true }));
    for (asked, want) in [
        ("http%3A%2F%2Fapp.test%2Fother", "http://app.test/other?code="),
        ("http%3A%2F%2Fevil.test%2F", "http://app.test/cb?error=invalid_request&"),
        ("http%3A%2F%2Fapp.test%2Fother%2F..%2Fevil", "http://app.test/cb?error=invalid_request&"),
        ("http%3A%2F%2Fapp.test%2Fother%40evil.test", "http://app.test/cb?error=invalid_request&"),
        ("", "http://app.test/cb?error=invalid_request&"),
    ] {
        let (_, uri) = authorize(&h, &format!("&response_type=code&redirect_uri={asked}"));
        assert!(uri.starts_with(want), "{asked}: {uri}");
    }
    let twice = "&response_type=code&redirect_uri=http%3A%2F%2Fapp.test%2Fother&redirect_uri=http%3A%2F%2Fevil.test";
    assert!(authorize(&h, twice).1.starts_with("http://app.test/cb?error=invalid_request&"));
    let (_, uri) = authorize(&h, "&response_type=token");
    assert_eq!(uri, "http://app.test/cb?error=unsupported_response_type&error_description=Invalid%20response_type&x=1");
    let (status, body) =
        post(&h, "/oauth2/authorize", "client_id=nope&provision_key=prov&authenticated_userid=u1&response_type=code");
    assert_eq!((status, &body["error"], body.get("redirect_uri")), (400, &json!("invalid_client"), None));
}

#[test]
fn an_implicit_token_goes_into_the_fragment() {
    let h = harness(json!({ "enable_implicit_grant": true }));
    let (status, uri) = authorize(&h, "&response_type=token&scope=email&state=z");
    let (base, fragment) = uri.split_once('#').unwrap();
    assert_eq!((status, base), (200, "http://app.test/cb?x=1"));
    assert!(fragment.ends_with("&expires_in=7200&state=z&token_type=bearer"), "{fragment}");
    let access = fragment.split('&').find_map(|part| part.strip_prefix("access_token=")).unwrap();
    assert_eq!(with(&h, &json!(access)), "alice cid email u1");
}

#[test]
fn the_code_s_challenge_must_be_met() {
    let verifier = "v".repeat(43);
    let challenge =
        BASE64_URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes()));
    let h = harness(json!({ "enable_authorization_code": true }));
    let (_, uri) = authorize(&h, &format!("&response_type=code&code_challenge={challenge}&code_challenge_method=S256"));
    for (more, want) in [
        ("", (400, "invalid_request", "code_verifier is required for PKCE authorization requests")),
        ("&code_verifier=a&code_verifier=b", (400, "invalid_request", "code_verifier is not a string")),
        ("&code_verifier=short", (400, "invalid_request", "code_verifier must be between 43 and 128 characters")),
        (&format!("&code_verifier={}", "w".repeat(43)), (400, "invalid_grant", "Invalid code")),
        (&format!("&code_verifier={verifier}"), (200, "-", "-")),
    ] {
        let form =
            format!("grant_type=authorization_code&client_id=cid&client_secret=csecret&code={}{more}", code_of(&uri));
        assert_eq!(error(&token(&h, &form)), want, "{more}");
    }
    for (pkce, client, more, want) in [
        ("lax", "cid", "", "code="),
        (
            "lax",
            "pub",
            "",
            "error=invalid_request&error_description=code_challenge%20is%20required%20for%20public%20clients",
        ),
        (
            "strict",
            "cid",
            "",
            "error=invalid_request&error_description=code_challenge%20is%20required%20for%20confidential%20clients",
        ),
        ("none", "pub", "", "code="),
        (
            "lax",
            "cid",
            "&code_challenge=x&code_challenge_method=plain",
            "error=invalid_request&error_description=code_challenge_method",
        ),
    ] {
        let h = harness(json!({ "enable_authorization_code": true, "pkce": pkce }));
        let form = format!("client_id={client}&provision_key=prov&authenticated_userid=u1&response_type=code{more}");
        let (_, body) = post(&h, "/oauth2/authorize", &form);
        let uri = body["redirect_uri"].as_str().unwrap();
        assert!(uri.starts_with(&format!("http://app.test/cb?{want}")), "{pkce} {client}: {uri}");
    }
}

#[test]
fn hides_the_token_from_the_upstream() {
    let h = harness(json!({ "enable_client_credentials": true, "hide_credentials": true }));
    let given = granted(&h, CLIENT);
    let access = given["access_token"].as_str().unwrap();
    for (request, first) in [
        (format!("GET /?a=1\nAuthorization: Bearer {access}"), "GET /?a=1"),
        (format!("GET /?access_token={access}&a=1"), "GET /?a=1"),
        (format!("POST /\n{FORM}\n\naccess_token={access}&a=1"), "POST /"),
    ] {
        let seen = h.send(&request).upstream.unwrap();
        assert!(seen.starts_with(&format!("{first}\n")) && !seen.contains(access), "{seen}");
    }
}

#[test]
fn a_token_is_of_its_service_unless_it_is_global() {
    let h = harness(json!({ "enable_client_credentials": true }));
    let given = granted(&h, CLIENT);
    assert_eq!(with(&h.without_service(), &given["access_token"]), INVALID_TOKEN);
    let h = harness(json!({ "enable_client_credentials": true, "global_credentials": true }));
    let given = granted(&h, CLIENT);
    assert_eq!(with(&h, &given["access_token"]), "alice cid - -");
    assert_eq!(h.storage().rows("oauth2_tokens")[0].0["service"], Value::Null);
    assert_eq!(with(&h.without_service(), &given["access_token"]), "alice cid - -");
}

#[test]
fn a_token_ends_with_its_application() {
    let h = harness(json!({ "enable_client_credentials": true }));
    let given = granted(&h, CLIENT);
    assert_eq!(with(&h.without("oauth2_credentials", 0xc1), &given["access_token"]), INVALID_TOKEN);
}

#[test]
fn others_become_the_anonymous_consumer_whatever_they_claim() {
    let h = harness(json!({ "enable_client_credentials": true, "anonymous": "ghost" }));
    for request in
        ["GET /", "GET /\nAuthorization: Bearer bad\nX-Authenticated-Scope: all\nX-Authenticated-UserId: root"]
    {
        assert_eq!(outcome(&h.send(request)), "ghost - - -", "{request}");
    }
}

#[test]
fn a_config_has_a_grant_and_a_provision_key() {
    let none = "at least one of these fields must be true: enable_authorization_code, enable_implicit_grant, \
                enable_client_credentials, enable_password_grant";
    assert_eq!(complete(&DEFINITION, json!({})), Err(json!({ "config": none })));
    assert_eq!(complete(&DEFINITION, json!(["v"])), Err(json!({ "config": ["unknown field"] })));
    let config = complete(&DEFINITION, json!({ "enable_password_grant": true })).unwrap();
    assert_eq!(config["provision_key"].as_str().map(str::len), Some(32));
    let refused = complete(&DEFINITION, json!({ "enable_password_grant": true, "mandatory_scope": true })).unwrap_err();
    assert_eq!(refused["config"]["scopes"], "required field missing");
}
