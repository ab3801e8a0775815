//! Tests of `cors`.

use super::*;
use pdk::testing::{Exchange, Harness, complete};
use serde_json::json;

/// The fields of CORS, shortened.
fn told(exchange: &Exchange) -> String {
    let fields = exchange.headers.iter().map(|(n, v)| (String::from_utf8_lossy(n), String::from_utf8_lossy(v)));
    let ours = fields.filter(|(n, _)| n.starts_with("Access-Control") || n == "Vary");
    let all =
        ours.map(|(n, v)| format!("{}={v}", n.trim_start_matches("Access-Control-").trim_start_matches("Allow-")));
    all.collect::<Vec<_>>().join(" ").replace(&METHODS.join(","), "ALL")
}

fn real(config: Value, origin: &str) -> String {
    told(&Harness::new(&DEFINITION, config).send(&format!("GET /\nOrigin: {origin}")))
}

#[test]
fn tells_which_origin_is_allowed() {
    let default_ports = json!({ "origins": ["http://a.test:80", "https://a.test:443"] });
    let sub = json!({ "origins": ["^https?://(.+\\.)?a\\.test$"] });
    let host = json!({ "origins": ["(.*\\.)?a\\.test"], "credentials": true });
    let two_hosts = json!({ "origins": ["a.test", "b.test"] });
    let among = json!({ "origins": ["http://b.test", "*"] });
    let behind = json!({ "origins": ["a\\.test", "*"] });
    for (config, origin, want) in [
        (json!({}), "http://a.test", "Origin=*"),
        (json!({}), "", "Origin=*"),
        (json!({ "origins": ["*"] }), "http://a.test", "Origin=*"),
        (json!({ "origins": ["http://a.test"] }), "http://b.test", "Vary=Origin Origin=http://a.test"),
        (json!({ "origins": ["a.test"] }), "http://b.test", "Vary=Origin Origin=a.test"),
        (default_ports.clone(), "http://a.test:80", "Vary=Origin Origin=http://a.test"),
        (default_ports.clone(), "http://a.test/", "Vary=Origin Origin=http://a.test"),
        (default_ports.clone(), "http://u:p@a.test", "Vary=Origin Origin=http://a.test"),
        (behind, "http://a.test", "Vary=Origin Origin=*"),
        (default_ports.clone(), "https://a.test", "Vary=Origin Origin=https://a.test"),
        (default_ports, "http://a.test:8080", "Vary=Origin"),
        (sub.clone(), "http://x.a.test", "Vary=Origin Origin=http://x.a.test"),
        (sub.clone(), "http://A.TEST", "Vary=Origin"),
        (sub.clone(), "http://nota.test", "Vary=Origin"),
        (sub, "http://a.test:8080", "Vary=Origin"),
        (host, "http://sub.a.test:8080", "Vary=Origin Origin=http://sub.a.test:8080 Credentials=true"),
        (json!({ "origins": ["http://a\\.test"] }), "http://a.testing", "Vary=Origin"),
        (two_hosts.clone(), "a.test", "Vary=Origin Origin=a.test"),
        (two_hosts, "http://a.test", "Vary=Origin"),
        (json!({ "origins": ["null", "http://a.test"] }), "null", "Vary=Origin Origin=null"),
        (among.clone(), "http://x.test", "Vary=Origin Origin=*"),
        (among.clone(), "http://b.test", "Vary=Origin Origin=*"),
        (among, "", "Vary=Origin"),
        (json!({ "credentials": true }), "http://a.test", "Origin=http://a.test Vary=Origin Credentials=true"),
        (json!({ "credentials": true }), "", "Origin=*"),
        (
            json!({ "origins": ["http://a.test"], "credentials": true }),
            "",
            "Vary=Origin Origin=http://a.test Credentials=true",
        ),
        (json!({ "allow_origin_absent": false, "exposed_headers": ["X-A"] }), "", ""),
        (
            json!({ "allow_origin_absent": false, "exposed_headers": ["X-A", "B"] }),
            "http://a.test",
            "Origin=* Expose-Headers=X-A,B",
        ),
    ] {
        assert_eq!(real(config.clone(), origin), want, "{origin} with {config}");
    }
}

#[test]
fn answers_preflights() {
    let private = "Access-Control-Request-Private-Network: true";
    for (config, fields, want) in [
        (json!({}), "", "Origin=* Methods=ALL"),
        (json!({ "origins": ["http://b.test", "http://c.test"] }), "", "Vary=Origin Methods=ALL"),
        (json!({ "methods": ["GET", "DELETE"] }), "", "Origin=* Methods=GET,DELETE"),
        (json!({ "methods": [] }), "", "Origin=* Methods="),
        (json!({ "max_age": 60 }), "", "Origin=* Methods=ALL Max-Age=60"),
        (json!({ "max_age": -1 }), "", "Origin=* Methods=ALL Max-Age=-1"),
        (json!({ "max_age": 1e15 }), "", "Origin=* Methods=ALL Max-Age=1e+15"),
        (json!({}), "Access-Control-Request-Headers: X-A, x-b", "Origin=* Headers=X-A, x-b Methods=ALL"),
        (json!({ "headers": ["A", "B"] }), "Access-Control-Request-Headers: X", "Origin=* Headers=A,B Methods=ALL"),
        (json!({ "private_network": true }), private, "Origin=* Methods=ALL Private-Network=true"),
        (json!({}), private, "Origin=* Methods=ALL"),
    ] {
        let h = Harness::new(&DEFINITION, config.clone());
        let exchange =
            h.send(&format!("OPTIONS /\nOrigin: http://a.test\nAccess-Control-Request-Method: PUT\n{fields}"));
        assert_eq!((exchange.status, told(&exchange).as_str()), (200, want), "{config}");
        assert!(exchange.upstream.is_none() && exchange.body.is_empty(), "{config}");
    }
}

#[test]
fn knows_a_preflight() {
    let h = Harness::new(&DEFINITION, json!({}));
    for (request, is_one) in [
        ("OPTIONS /\nOrigin: http://a.test\nAccess-Control-Request-Method: X", true),
        ("OPTIONS /\nOrigin: http://a.test\nAccess-Control-Request-Method:", true),
        ("OPTIONS /\nOrigin: http://a.test", false),
        ("OPTIONS /\nAccess-Control-Request-Method: GET", false),
        ("OPTIONS /\nOrigin:\nAccess-Control-Request-Method: GET", false),
        ("GET /\nOrigin: http://a.test\nAccess-Control-Request-Method: GET", false),
    ] {
        assert_eq!(h.send(request).upstream.is_none(), is_one, "{request}");
    }
    let h = Harness::new(&DEFINITION, json!({ "preflight_continue": true }));
    let exchange = h.send("OPTIONS /\nOrigin: http://a.test\nAccess-Control-Request-Method: GET");
    assert!(exchange.upstream.is_some());
    assert_eq!(told(&exchange), "");
}

#[test]
fn adds_to_what_the_upstream_says() {
    let upstream = "200\nVary: Accept\nAccess-Control-Allow-Origin: http://up.test\n\n";
    let h = Harness::new(&DEFINITION, json!({ "origins": ["http://a.test"] })).with_upstream(upstream);
    assert_eq!(told(&h.send("GET /\nOrigin: http://a.test")), "Vary=Accept Origin=http://a.test Vary=Origin");
}

#[test]
fn origins_are_regexes_as_pcre_takes_them() {
    for (entry, origin, is_allowed) in [
        ("(?=a).*", "https://a.test", true),
        ("(?<=x)", "https://a.test", false),
        ("(a)\\1\\.test", "https://aa.test", true),
        ("(a)\\1\\.test", "https://ab.test", false),
        ("(?>a)\\.test", "https://a.test", true),
        ("\\Qa.b\\E", "https://a.b", true),
        ("\\Qa.b\\E", "https://axb", false),
        ("\\Qa.b", "https://a.b", true),
        ("\\h?a", "https://a", true),
        ("a{,3}", "https://b", false),
        ("{vault://env/x}", "https://a", false),
    ] {
        let config = json!({ "origins": [entry, "never.test"] });
        let exchange = Harness::new(&DEFINITION, config).send(&format!("GET /\nOrigin: {origin}"));
        assert_eq!(exchange.header("Access-Control-Allow-Origin") == origin, is_allowed, "{entry} for {origin}");
    }
    for entry in ["a**", "\\u0041", "a{65536}", "(", "a)(b"] {
        let error = complete(&DEFINITION, json!({ "origins": [entry] })).unwrap_err();
        assert_eq!(error, json!({ "config": { "origins": [format!("'{entry}' is not a valid regex")] } }));
    }
}

#[test]
fn refuses_what_is_no_regex() {
    let error = complete(&DEFINITION, json!({ "origins": ["*("] })).unwrap_err();
    assert_eq!(error, json!({ "config": { "origins": ["'*(' is not a valid regex"] } }));
}
