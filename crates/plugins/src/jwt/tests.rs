//! Tests of `jwt`.

use super::*;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pdk::testing::{Exchange, Harness, START, complete};
use serde_json::json;

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with this header and these claims, signed with a secret.
fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", encode(tag))
}

fn token(claims: &Value) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string(), b"s3cret")
}

const RSA: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvREX734kt/iLgP+AdAhG\n\
    manDMFSfFXdUYhq/MF2/poUC+6z/7BvMJmNmXEFe5k7BSKaFZgfXJHMGg0KhBW4b\n/dG68+OEtdovuF4KRT4bVxTDQIsXVQmt3lKgPSgwdSL7CkalBwy1PPXn/ltEeYdc\n\
    EFLI+L+w3w7PSsMdRZ3gF50GmlLD1evo5Szg3MeP33HfrYuI+EEZtZv+tEuwMWzv\nZrp9tN2aRc07RnzWo1a6xHbUFAyruhRrl4VM0tbW9AxULlhZE2znHdhKc/HABsCl\n\
    TJ5y/79mcZ58ml4mprfVpPFpbbDHc9n4dEepvCi+FrGnhUbovSl/U09/P1stn4I7\nAwIDAQAB\n-----END PUBLIC KEY-----\n";

fn harness(config: Value) -> Harness {
    let alice = json!({ "id": uuid::Uuid::from_u128(1) });
    let secret = json!({ "id": uuid::Uuid::from_u128(0xc1), "key": "iss-a", "secret": "s3cret", "consumer": alice });
    let rsa = json!({ "id": uuid::Uuid::from_u128(0xc2), "key": "rsa", "secret": "unused", "algorithm": "RS256",
        "rsa_public_key": RSA, "consumer": alice });
    Harness::new(&DEFINITION, config)
        .with_consumer(1, "alice")
        .with_consumer(2, "ghost")
        .with("jwt_secrets", secret)
        .with("jwt_secrets", rsa)
}

/// What came of a request: what the client was told, or who it is for the upstream.
fn outcome(exchange: &Exchange) -> String {
    let Some(seen) = &exchange.upstream else {
        return format!("{} {} | {}", exchange.status, exchange.body, exchange.header("WWW-Authenticate"));
    };
    let field = |name: &str| seen.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("-").to_owned();
    format!("{} {}", field("X-Consumer-Username: "), field("X-Credential-Identifier: "))
}

fn with_bearer(h: &Harness, token: &str) -> String {
    outcome(&h.send(&format!("GET /\nAuthorization: Bearer {token}")))
}

const MISSING: &str = r#"401 {"message":"Unauthorized"} | Bearer"#;
const ALICE: &str = "alice iss-a";

fn refused(message: &str) -> String {
    format!(r#"401 {{"message":"{message}"}} | Bearer error="invalid_token""#)
}

#[test]
fn finds_the_token_where_it_may_be() {
    let h = harness(json!({ "cookie_names": ["tok"] }));
    let good = token(&json!({ "iss": "iss-a" }));
    for (request, want) in [
        ("GET /".to_owned(), MISSING.to_owned()),
        (format!("GET /\nAuthorization: bearer {good}"), ALICE.to_owned()),
        (format!("GET /\nAuthorization: Bearer  {good}"), ALICE.to_owned()),
        (format!("GET /\nAuthorization: BEARER {good}"), MISSING.to_owned()),
        (format!("GET /\nAuthorization: {good}"), MISSING.to_owned()),
        ("GET /\nAuthorization: Bearer".to_owned(), MISSING.to_owned()),
        (format!("GET /?jwt={good}"), ALICE.to_owned()),
        (format!("GET /?jwt={good}&jwt={good}"), ALICE.to_owned()),
        (format!("GET /?jwt={good}\nAuthorization: Bearer {good}"), ALICE.to_owned()),
        (format!("GET /?jwt=x\nAuthorization: Bearer {good}"), refused("Multiple tokens provided")),
        (format!("GET /?jwt=\nAuthorization: Bearer {good}"), ALICE.to_owned()),
        ("GET /?jwt".to_owned(), refused("Unrecognizable token")),
        (format!("GET /?JWT={good}"), MISSING.to_owned()),
        (format!("GET /\nCookie: a=1; tok={good}"), ALICE.to_owned()),
        (format!("GET /\nCookie: jwt={good}"), MISSING.to_owned()),
        (format!("GET /\nProxy-Authorization: Bearer {good}"), MISSING.to_owned()),
    ] {
        assert_eq!(outcome(&h.send(&request)), want, "{request}");
    }
}

#[test]
fn every_algorithm_verifies_its_own_signatures_alone() {
    for line in include_str!("vectors.txt").lines() {
        let mut words = line.split(' ');
        let (algorithm, key, good) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n");
        let issuer = token::text(Parts::of(good.as_bytes()).unwrap().parse().unwrap().claims.raw("iss").unwrap())
            .unwrap()
            .into_owned();
        let secret = json!({ "id": uuid::Uuid::from_u128(0xc3), "key": issuer, "secret": "x", "algorithm": algorithm,
            "rsa_public_key": pem, "consumer": { "id": uuid::Uuid::from_u128(1) } });
        let h = harness(json!({ "claims_to_verify": ["exp"] })).with("jwt_secrets", secret);
        // The second time its signature is known.
        for _ in 0..2 {
            assert_eq!(with_bearer(&h, good), format!("alice {issuer}"), "{algorithm}");
        }
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let claims = encode(format!(r#"{{"iss":"{issuer}","exp":4102444800,"sub":"eve"}}"#));
        for bad in [
            format!("{header}.{claims}.{signature}"),
            format!("{signed}.{}", signature.get(..signature.len() - 8).unwrap()),
            format!("{signed}."),
        ] {
            assert_eq!(with_bearer(&h, &bad), refused("Invalid signature"), "{algorithm} {bad}");
        }
    }
}

#[test]
fn hostile_tokens_are_refused() {
    let h = harness(json!({}));
    let claims = r#"{"iss":"iss-a"}"#;
    let hs = r#"{"alg":"HS256"}"#;
    let none = |alg: &str| format!("{}.{}.", encode(format!(r#"{{"alg":"{alg}"}}"#)), encode(claims));
    let deep = format!(r#"{{"iss":"iss-a","x":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    let long = format!(r#"{{"iss":"iss-a","x":"{}"}}"#, "a".repeat(20_000));
    let as_secret = signed(r#"{"alg":"HS256"}"#, r#"{"iss":"rsa"}"#, RSA.as_bytes());
    for (token, want) in [
        ("bad".to_owned(), "Bad token; invalid JSON"),
        ("..".to_owned(), "Bad token; invalid JSON"),
        (none("none"), "Bad token; invalid alg"),
        (none("None"), "Bad token; invalid alg"),
        (none("HS256"), "Invalid signature"),
        (signed("{}", claims, b"s3cret"), "Bad token; invalid alg"),
        (signed(r#"{"alg":["HS256"]}"#, claims, b"s3cret"), "Bad token; invalid alg"),
        (signed("[]", claims, b"s3cret"), "Bad token; invalid alg"),
        (signed(hs, "[]", b"s3cret"), "Bad token; invalid claims"),
        (signed(hs, "null", b"s3cret"), "Bad token; invalid claims"),
        (format!("{}.{}.!", encode(hs), encode(claims)), "Bad token; invalid signature"),
        // A public key is no secret.
        (as_secret, "Invalid algorithm"),
        (signed(r#"{"alg":"RS256"}"#, claims, b"s3cret"), "Invalid algorithm"),
        (signed(r#"{"alg":"HS384"}"#, claims, b"s3cret"), "Invalid algorithm"),
        (signed(hs, &deep, b"s3cret"), "Bad token; invalid JSON"),
        (signed(hs, &long, b"s3cret"), "Bad token; invalid JSON"),
        (signed(hs, r#"{"iss":"nobody","iss":"iss-a"}"#, b"s3cret"), "Bad token; invalid JSON"),
        (signed(r#"{"alg":"none","alg":"HS256"}"#, claims, b"s3cret"), "Bad token; invalid JSON"),
        (signed(r#"{"alg":"HS256","crit":["exp"]}"#, claims, b"s3cret"), "Bad token; unsupported crit"),
        // The header's key id, key and key's place are never followed.
        (
            signed(r#"{"alg":"HS256","kid":"../../dev/null","jwk":{},"jku":"http://x"}"#, claims, b""),
            "Invalid signature",
        ),
        (signed(hs, r#"{"iss":"' OR 1=1 --"}"#, b"s3cret"), "No credentials found for given 'iss'"),
        (signed(hs, r#"{"iss":{"$ne":1}}"#, b"s3cret"), "No credentials found for given 'iss'"),
        (signed(hs, r#"{"iss":""}"#, b"s3cret"), "Invalid 'iss' in claims"),
        (signed(hs, r#"{"sub":"a"}"#, b"s3cret"), "No mandatory 'iss' in claims"),
        (signed(hs, claims, b"wrong"), "Invalid signature"),
    ] {
        assert_eq!(with_bearer(&h, &token), refused(want), "{}", token.get(..80).unwrap_or(&token));
    }
}

#[test]
fn the_key_may_stand_in_the_header() {
    let h = harness(json!({ "key_claim_name": "kid" }));
    assert_eq!(with_bearer(&h, &signed(r#"{"alg":"HS256","kid":"iss-a"}"#, "{}", b"s3cret")), ALICE);
    assert_eq!(with_bearer(&h, &signed(r#"{"alg":"HS256","kid":"iss-a"}"#, r#"{"kid":null}"#, b"s3cret")), ALICE);
}

#[test]
fn claims_must_hold_where_they_are_verified() {
    let now = START.as_secs();
    let both = json!({ "claims_to_verify": ["exp", "nbf"] });
    let short = json!({ "claims_to_verify": ["exp"], "maximum_expiration": 60 });
    let lenient = json!({ "claims_to_verify": ["exp", "nbf"], "leeway": 30 });
    let ours = json!({ "issuers": ["iss-a"], "audiences": ["api", "web"] });
    for (config, claims, want) in [
        (&json!({}), json!({ "exp": 1, "nbf": now + 9 }), Ok(())),
        (&both, json!({ "exp": now + 1, "nbf": now }), Ok(())),
        (&both, json!({ "exp": now, "nbf": now }), Err(json!({ "exp": "token expired" }))),
        (&both, json!({ "exp": now + 1, "nbf": now + 1 }), Err(json!({ "nbf": "token not valid yet" }))),
        (&both, json!({ "exp": "9999999999" }), Err(json!({ "exp": "must be a number", "nbf": "must be a number" }))),
        (&short, json!({ "exp": now + 60 }), Ok(())),
        (&short, json!({ "exp": now + 61 }), Err(json!({ "exp": "exceeds maximum allowed expiration" }))),
        (&lenient, json!({ "exp": now - 29, "nbf": now + 30 }), Ok(())),
        (
            &lenient,
            json!({ "exp": now - 30, "nbf": now + 31 }),
            Err(json!({ "exp": "token expired", "nbf": "token not valid yet" })),
        ),
        (&ours, json!({ "aud": "api" }), Ok(())),
        (&ours, json!({ "aud": ["x", "web"] }), Ok(())),
        (&ours, json!({ "aud": ["x"] }), Err(json!({ "aud": "audience not allowed" }))),
        (&ours, json!({}), Err(json!({ "aud": "audience not allowed" }))),
    ] {
        let mut all = claims.clone();
        all["iss"] = "iss-a".into();
        let seen = with_bearer(&harness(config.clone()), &token(&all));
        let want = want.map_or_else(|e| format!("401 {e} | Bearer error=\"invalid_token\""), |()| ALICE.to_owned());
        assert_eq!(seen, want, "{config} {claims}");
    }
}

#[test]
fn the_upstream_is_told_claims_and_never_what_the_client_claims() {
    let h = harness(
        json!({ "claims_to_headers": { "sub": "X-Sub", "roles": "X-Roles", "none": "X-None" }, "anonymous": "ghost" }),
    );
    let good = token(&json!({ "iss": "iss-a", "sub": "bob\r\nX-Evil: 1", "roles": ["a", "b"] }));
    let forged = "X-Sub: root\nX-None: root";
    let seen = h.send(&format!("GET /\nAuthorization: Bearer {good}\n{forged}")).upstream.unwrap();
    assert!(seen.contains("\nX-Sub: bob  X-Evil: 1\n"), "{seen}");
    assert!(seen.contains("\nX-Roles: [\"a\",\"b\"]\n"), "{seen}");
    assert!(!seen.contains("root"), "{seen}");
    let seen = h.send(&format!("GET /\n{forged}")).upstream.unwrap();
    assert!(!seen.contains("root") && seen.contains("X-Anonymous-Consumer: true"), "{seen}");
}

#[test]
fn secrets_may_be_base64_of_urls() {
    let alice = json!({ "id": uuid::Uuid::from_u128(1) });
    for (secret, key, want) in [
        ("AAFiaW5hcnn_", &b"\x00\x01binary\xff"[..], "alice b64".to_owned()),
        ("AAFiaW5hcnn/", &b"\x00\x01binary\xff"[..], refused("Invalid key/secret")),
    ] {
        let row = json!({ "id": uuid::Uuid::from_u128(0xc4), "key": "b64", "secret": secret, "consumer": alice });
        let h = harness(json!({ "secret_is_base64": true })).with("jwt_secrets", row);
        let token = signed(r#"{"alg":"HS256"}"#, r#"{"iss":"b64"}"#, key);
        assert_eq!(with_bearer(&h, &token), want, "{secret}");
    }
}

#[test]
fn a_changed_credential_is_not_verified_with_the_old_key() {
    let good = token(&json!({ "iss": "iss-a" }));
    let h = harness(json!({}));
    assert_eq!(with_bearer(&h, &good), ALICE);
    let changed = json!({ "id": uuid::Uuid::from_u128(0xc1), "key": "iss-a", "secret": "other",
        "consumer": { "id": uuid::Uuid::from_u128(1) } });
    assert_eq!(with_bearer(&h.with("jwt_secrets", changed), &good), refused("Invalid signature"));
}

#[test]
fn others_become_the_anonymous_consumer_and_preflights_pass_where_told() {
    let h = harness(json!({ "anonymous": "ghost", "run_on_preflight": false }));
    for request in ["GET /", "GET /\nAuthorization: Bearer bad"] {
        assert_eq!(outcome(&h.send(request)), "ghost -", "{request}");
    }
    assert_eq!(outcome(&h.send("OPTIONS /")), "- -");
    let h = harness(json!({ "realm": "here" }));
    assert_eq!(h.send("GET /").header("WWW-Authenticate"), "Bearer realm=\"here\"");
    let exchange = h.send("GET /\nAuthorization: Bearer bad");
    assert_eq!(exchange.header("WWW-Authenticate"), "Bearer realm=\"here\", error=\"invalid_token\"");
}

#[test]
fn what_is_beyond_kong_is_not_shown_unless_it_is_given() {
    let shown = complete(&DEFINITION, json!({})).unwrap();
    assert!(
        ["leeway", "issuers", "audiences", "claims_to_headers"].iter().all(|name| shown.get(name).is_none()),
        "{shown}"
    );
    assert_eq!(complete(&DEFINITION, json!({ "leeway": 5 })).unwrap()["leeway"], 5);
    let refused = complete(&DEFINITION, json!({ "leeway": -1 })).unwrap_err();
    assert_eq!(refused, json!({ "config": { "leeway": "value should be between 0 and 86400" } }));
}
