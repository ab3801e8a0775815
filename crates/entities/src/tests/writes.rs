//! What each entity takes and refuses.

use schema::json;

use super::{catalog, inserted, refusal, with_context};
use crate::RouterFlavor;

const ID: &str = "00000000-0000-4000-8000-000000000001";

#[test]
fn a_service_has_kongs_defaults() {
    let service = inserted(&catalog(RouterFlavor::default()), "services", json!({"id": ID, "host": "a.test"}));
    let wanted = json!({
        "id": ID, "created_at": 1_800_000_000, "updated_at": 1_800_000_000, "name": null, "retries": 5, "protocol": "http",
        "host": "a.test", "port": 80, "path": null, "connect_timeout": 60000, "write_timeout": 60000,
        "read_timeout": 60000, "tags": null, "client_certificate": null, "tls_verify": null, "tls_verify_depth": null,
        "ca_certificates": null, "enabled": true,
    });
    assert_eq!(service, wanted);
}

#[test]
fn a_url_stands_for_protocol_host_port_and_path() {
    let cases = [
        ("http://a.test", json!(["http", "a.test", 80, null])),
        ("https://a.test/x", json!(["https", "a.test", 443, "/x"])),
        ("grpc://a.test:9000", json!(["grpc", "a.test", 9000, null])),
        ("//a.test:443", json!(["https", "a.test", 443, null])),
        ("tcp://a.test", json!(["tcp", "a.test", 80, null])),
    ];
    let catalog = catalog(RouterFlavor::default());
    for (url, wanted) in cases {
        let service = inserted(&catalog, "services", json!({"url": url, "host": "b.test", "port": 1}));
        let got = json!([service["protocol"], service["host"], service["port"], service["path"]]);
        assert_eq!(got, wanted, "{url}");
        assert!(service.get("url").is_none());
    }
}

#[test]
fn a_null_url_is_refused_as_kong_refuses_it() {
    let errors = json!({
        "host": "required field missing",
        "path": "should start with: /",
        "protocol": "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp",
    });
    assert_eq!(refusal(&catalog(RouterFlavor::default()), "services", json!({"url": null, "host": "a.test"})), errors);
}

#[test]
fn the_algorithm_of_an_upstream_and_what_it_hashes_on_are_kept_in_step() {
    let cases = [
        (json!({}), "round-robin", "none"),
        (json!({"hash_on": "ip"}), "consistent-hashing", "ip"),
        (json!({"hash_on": "ip", "algorithm": "round-robin"}), "consistent-hashing", "ip"),
        (json!({"hash_on": "none", "algorithm": "consistent-hashing"}), "round-robin", "none"),
        (json!({"hash_on": null, "algorithm": "consistent-hashing"}), "round-robin", "none"),
        (json!({"algorithm": "consistent-hashing"}), "round-robin", "none"),
        (json!({"hash_on": null, "algorithm": null}), "round-robin", "none"),
        (json!({"algorithm": "least-connections", "hash_on": "ip"}), "least-connections", "none"),
        (json!({"algorithm": "latency", "hash_on": "ip"}), "latency", "none"),
    ];
    let catalog = catalog(RouterFlavor::default());
    for (mut input, algorithm, hash_on) in cases {
        input["name"] = "u.test".into();
        let upstream = inserted(&catalog, "upstreams", input.clone());
        assert_eq!((&upstream["algorithm"], &upstream["hash_on"]), (&json!(algorithm), &json!(hash_on)), "{input}");
    }
    let stored = inserted(&catalog, "upstreams", json!({"name": "u.test", "hash_on": "ip"}));
    let idle = inserted(&catalog, "upstreams", json!({"name": "u.test", "algorithm": "latency"}));
    let changes = [
        (&stored, json!({"algorithm": "round-robin"}), "consistent-hashing", "ip"),
        (&stored, json!({"hash_on": null}), "round-robin", "none"),
        (&stored, json!({"hash_on": "none"}), "round-robin", "none"),
        (&stored, json!({"algorithm": "latency"}), "latency", "none"),
        (&idle, json!({"hash_on": null}), "latency", "none"),
        (&idle, json!({"algorithm": "consistent-hashing"}), "round-robin", "none"),
    ];
    let schema = catalog.entity("upstreams").unwrap();
    for (before, patch, algorithm, hash_on) in changes {
        let upstream = with_context(&catalog, |cx| schema.update(patch.clone(), before, cx, &mut ())).unwrap();
        assert_eq!((&upstream["algorithm"], &upstream["hash_on"]), (&json!(algorithm), &json!(hash_on)), "{patch}");
    }
}

#[test]
fn an_upstream_is_complete_to_the_last_health_check() {
    let upstream = inserted(
        &catalog(RouterFlavor::default()),
        "upstreams",
        json!({"name": "u", "healthchecks": {"active": {"timeout": 3}}}),
    );
    let wanted = json!({
        "active": {
            "headers": null, "timeout": 3, "concurrency": 10, "http_path": "/", "https_sni": null,
            "https_verify_certificate": true, "type": "http",
            "healthy": {"interval": 0, "http_statuses": [200, 302], "successes": 0},
            "unhealthy": {
                "http_statuses": [429, 404, 500, 501, 502, 503, 504, 505], "tcp_failures": 0, "interval": 0,
                "http_failures": 0, "timeouts": 0,
            },
        },
        "passive": {
            "type": "http",
            "healthy": {
                "successes": 0,
                "http_statuses":
                    [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308],
            },
            "unhealthy": {"timeouts": 0, "http_statuses": [429, 500, 503], "http_failures": 0, "tcp_failures": 0},
        },
        "threshold": 0,
    });
    assert_eq!(upstream["healthchecks"], wanted);
}

#[test]
fn targets_are_stored_in_one_form() {
    let cases = [
        ("a.test", "a.test:8000"),
        ("a.test:80", "a.test:80"),
        ("10.0.0.2", "10.0.0.2:8000"),
        ("010.0.0.2:1", "10.0.0.2:1"),
        ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
        ("[::1]:80", "[0000:0000:0000:0000:0000:0000:0000:0001]:80"),
    ];
    let catalog = catalog(RouterFlavor::default());
    for (given, stored) in cases {
        let target = inserted(&catalog, "targets", json!({"target": given, "upstream": {"id": ID}}));
        assert_eq!(target["target"], stored, "{given}");
    }
}

#[test]
fn a_route_of_each_protocol_must_set_something() {
    let cases = [
        ("http", "must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'"),
        ("https", "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"),
        ("grpc", "must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'"),
        ("grpcs", "must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs'"),
        ("tcp", "must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'"),
        ("tls_passthrough", "must set snis when 'protocols' is 'tls_passthrough'"),
    ];
    let catalog = catalog(RouterFlavor::default());
    for (protocol, message) in cases {
        let errors = refusal(&catalog, "routes", json!({"protocols": [protocol]}));
        assert_eq!(errors, json!({"@entity": [message]}));
    }
}

#[test]
fn routes_are_refused_with_kongs_words() {
    let one_of = "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp";
    let cases = [
        (json!({"paths": ["/a"], "protocols": ["ws"]}), json!({"protocols": "unknown type: ws"})),
        (json!({"paths": ["/a"], "protocols": {"k": "v"}}), json!({"protocols": "unknown type: nil"})),
        (json!({"paths": ["/a"], "protocols": [null]}), json!({"protocols": "unknown type: userdata: NULL"})),
        // What is needed depends on the protocols: nothing is said of it where these are wrong.
        (json!({"protocols": ["http", "x"]}), json!({"protocols": [null, one_of]})),
        (json!({"protocols": ["x", "http"]}), json!({"protocols": [one_of]})),
        (json!({"protocols": ["http", 5]}), json!({"protocols": [null, "expected a string"]})),
        (json!({"protocols": ["grpc", "grpcs", "x"]}), json!({"protocols": [null, null, one_of]})),
        (json!({"protocols": ["tcp", "x"]}), json!({"protocols": [null, one_of]})),
        (
            json!({"protocols": ["http", "tcp"]}),
            json!({"protocols": "these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp')"}),
        ),
        (
            json!({"protocols": ["http", "x"], "snis": ["a.test"]}),
            json!({
                "protocols": [null, one_of],
                "snis": "length must be 0",
                "@entity": ["'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"],
            }),
        ),
        (
            json!({"paths": ["/a"], "protocols": ["http"], "snis": ["a.test"]}),
            json!({
                "snis": "length must be 0",
                "@entity": ["'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"],
            }),
        ),
        (
            json!({"hosts": ["a"], "protocols": ["grpc"], "strip_path": true, "methods": ["GET"]}),
            json!({
                "strip_path": "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'",
                "methods": "cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'",
            }),
        ),
        (
            json!({"paths": ["/a"], "sources": [{"port": 1}]}),
            json!({"sources": "cannot set 'sources' when 'protocols' is 'http' or 'https'"}),
        ),
        (json!({"paths": ["/a"], "expression": "x"}), json!({"expression": "unknown field"})),
        (
            json!({"paths": ["~/(?=a)"]}),
            json!({"@entity": ["Router Expression failed validation:  --> 1:14\n  |\n1 | (http.path ~ r#\"^/(?=a)\"#)\n  \
                |              ^----------^\n  |\n  = regex parse error:\n    ^/(?=a)\n      ^^^\nerror: look-around, including \
                look-ahead and look-behind, is not supported"]}),
        ),
        (
            json!({"paths": ["/a"], "headers": {"x": []}}),
            json!({"@entity": ["Router Expression failed validation:  --> 1:28\n  |\n1 | (http.path ^= r#\"/a\"#) && ()\n  \
                |                            ^---\n  |\n  = expected term"]}),
        ),
    ];
    let catalog = catalog(RouterFlavor::default());
    for (input, errors) in cases {
        assert_eq!(refusal(&catalog, "routes", input.clone()), errors, "{input}");
    }
}

#[test]
fn a_route_of_grpc_keeps_its_path() {
    let route = inserted(&catalog(RouterFlavor::default()), "routes", json!({"protocols": ["grpc"], "hosts": ["a"]}));
    assert_eq!(route["strip_path"], false);
}

#[test]
fn the_router_flavor_decides_what_a_route_may_say() {
    let sni = json!({"paths": ["/a"], "snis": ["*.a.test"]});
    let look_ahead = json!({"paths": ["~/(?=a)"]});
    let expression = json!({"expression": "http.path == \"/a\"", "priority": 7});
    let passes = |flavor, input: &schema::Value| refusal(&catalog(flavor), "routes", input.clone()).is_null();
    for (flavor, wildcard_sni, own_language) in [
        (RouterFlavor::Traditional, false, false),
        (RouterFlavor::TraditionalCompatible, true, false),
        (RouterFlavor::Expressions, true, true),
    ] {
        assert_eq!(passes(flavor, &sni), wildcard_sni, "{flavor}");
        assert!(!passes(flavor, &look_ahead), "{flavor}");
        assert_eq!(passes(flavor, &expression), own_language, "{flavor}");
    }
}

#[test]
fn a_regex_that_the_router_cannot_run_is_refused_in_the_traditional_flavor_too() {
    let catalog = catalog(RouterFlavor::Traditional);
    let told = |regex: &str, mark: &str, error: &str| {
        format!(
            "invalid regex: '{regex}' (the router runs regexes in linear time: regex parse error:\n    {regex}\n    {mark}\nerror: {error})"
        )
    };
    let look_around = "look-around, including look-ahead and look-behind, is not supported";
    let ahead = told("/a(?=b)", "  ^^^", look_around);
    let back = told("/(a)\\1", "    ^^", "backreferences are not supported");
    let open = told("a(", " ^", "unclosed group");
    let large = "/\\pL{900}";
    let too_large =
        "(the router runs regexes in linear time: heap usage during NFA compilation exceeded limit of 10485760)";
    for (fields, errors) in [
        (json!({"paths": ["~/a", "~/a(?=b)"]}), json!({"paths": [null, ahead]})),
        (json!({"paths": ["~/(a)\\1"]}), json!({"paths": [back]})),
        (json!({"paths": [format!("~{large}")]}), json!({"paths": [format!("invalid regex: '{large}' {too_large}")]})),
        (json!({"paths": ["~/(?<id>\\d+)/é|/[^/]+$"], "headers": {"x": ["~*^a|b$"], "y": ["~*(", "b"]}}), json!(null)),
        (json!({"headers": {"x": ["~*a("]}}), json!({"headers": open})),
    ] {
        assert_eq!(refusal(&catalog, "routes", fields.clone()), errors, "{fields}");
    }
}

#[test]
fn credentials_of_keys_and_tokens_are_checked() {
    let consumer = json!({"id": ID});
    let cases = [
        (
            "jwt_secrets",
            json!({"consumer": consumer, "algorithm": "RS256"}),
            json!({
                "rsa_public_key": "required field missing",
                "@entity": ["failed conditional validation given value of field 'algorithm'"],
            }),
        ),
        ("jwt_secrets", json!({"consumer": consumer, "algorithm": "ES256"}), json!(null)),
        (
            "oauth2_credentials",
            json!({"consumer": consumer, "name": "n", "redirect_uris": ["x", "http://a.test#f", "http://a.test"]}),
            json!({"redirect_uris": ["cannot parse 'x'", "fragment not allowed in 'http://a.test#f'"]}),
        ),
        (
            "keys",
            json!({"kid": "k", "jwk": "{\"kid\": \"other\"}"}),
            json!({"@entity": ["kid in jwk.kid must be equal to keys.kid"]}),
        ),
        ("keys", json!({"kid": "k", "pem": {"public_key": "x"}}), json!({"pem": "could not load public key"})),
        ("vaults", json!({"name": "hcv", "prefix": "my-hcv"}), json!({"name": "vault 'hcv' is not installed"})),
        ("vaults", json!({"name": "env", "prefix": "env"}), json!({"prefix": "must not be one of: env"})),
        (
            "plugins",
            json!({"name": "x"}),
            json!({"name": "plugin 'x' not enabled; add it to the 'plugins' configuration property"}),
        ),
        (
            "plugins",
            json!({"name": {"k": "v"}}),
            json!({"name": "plugin 'nil' not enabled; add it to the 'plugins' configuration property"}),
        ),
        (
            "plugins",
            json!({"name": [null]}),
            json!({"name": "plugin 'userdata: NULL' not enabled; add it to the 'plugins' configuration property"}),
        ),
        ("vaults", json!({"name": {}, "prefix": "a-b"}), json!({"name": "vault 'nil' is not installed"})),
        (
            "plugins",
            json!({"name": "key-auth", "route": ["v"]}),
            json!({"route": {"protocols": "required field missing"}}),
        ),
        (
            "plugins",
            json!({"name": "key-auth", "route": []}),
            json!({"route": {"protocols": "required field missing"}}),
        ),
        (
            "oauth2_authorization_codes",
            json!({"credential": consumer, "plugin": ["a"], "service": ["v"]}),
            json!({"plugin": {"name": "required field missing"}, "service": ["unknown field"]}),
        ),
        (
            "clustering_data_planes",
            json!({"id": ID, "ip": "10.0.0.1", "hostname": "a.test", "cert_details": null}),
            json!({"cert_details": "required field missing"}),
        ),
        ("plugins", json!({"name": "key-auth", "consumer": consumer}), json!({"consumer": "value must be null"})),
        (
            "filter_chains",
            json!({"route": consumer, "filters": [{"name": "x"}]}),
            json!({"filters": [{"name": "no such filter"}], "@entity": ["wasm support is not enabled"]}),
        ),
    ];
    let catalog = catalog(RouterFlavor::default());
    for (entity, input, errors) in cases {
        assert_eq!(refusal(&catalog, entity, input.clone()), errors, "{entity} {input}");
    }
}
