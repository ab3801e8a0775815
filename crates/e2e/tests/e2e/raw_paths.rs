//! Paths that go upstream as the client sent them (`path_forwarding`), and what they must not lead past.

use crate::backend::{Backend, Greeting};
use crate::client::{Client, get};
use crate::gateway::Gateway;
use crate::pki::Identity;
use crate::upstream::Upstream;
use serde_json::{Value, json};

#[test]
fn a_raw_path_reaches_the_upstream_byte_for_byte() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&upstream.kong_yml(&[
        "{ paths: [/kong] }",
        "{ paths: [/cut], path_forwarding: raw }",
        "{ paths: [/whole], strip_path: false, path_forwarding: raw }",
        "{ paths: [~/re/\\d+], path_forwarding: raw }",
        "{ paths: [/same], path_forwarding: normalized }",
    ]));
    let cases = [
        ("/kong/a%2fb/%41//c", "/a%2Fb/A/c"),
        ("/same/a%2fb/%41//c", "/a%2Fb/A/c"),
        ("/cut/a%2fb/%41//c", "/a%2fb/%41//c"),
        ("/c%75t/a%2fb?x=%2f&y", "/a%2fb?x=%2f&y"),
        ("//cut//a", "//a"),
        ("/cut", "/"),
        ("/whole/a%2fb/%41//c", "/whole/a%2fb/%41//c"),
        ("/whol%65/%e2%82%ac/\"<>^|", "/whol%65/%e2%82%ac/\"<>^|"),
        ("/re/12%2f3", "/%2f3"),
    ];
    let mut client = Client::open(gateway.ports.proxy);
    for (path, expected) in cases {
        let answer = client.get(path, &[]);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let line = answer.body.lines().next().unwrap_or_default();
        assert_eq!(line, format!("GET {expected} HTTP/1.1"), "{path}");
    }
    let answer = client.get("/c%75t/x%2fy", &[]);
    let sent = answer.body.to_ascii_lowercase();
    assert!(
        sent.contains("x-forwarded-path: /c%75t/x%2fy\r\n") && sent.contains("x-forwarded-prefix: /cut\r\n"),
        "{sent}"
    );
}

#[test]
fn no_spelling_of_a_path_leads_past_the_plugins_of_another_route() {
    let upstream = Upstream::start();
    let guard = "plugins: [{ name: request-termination, config: { status_code: 403 } }]";
    let gateway = Gateway::start(&upstream.kong_yml(&[
        "{ paths: [/], strip_path: false, path_forwarding: raw }",
        "{ paths: [/open], path_forwarding: raw }",
        &format!("{{ paths: [/admin, /open/admin], strip_path: false, path_forwarding: raw, {guard} }}"),
    ]));
    // 403: the guarded route is found. 400: whatever an upstream may make of it, it is not asked.
    let cases = [
        ("/admin/x", 403),
        ("//admin/x", 403),
        ("/%61dmin", 403),
        ("/open//admin", 403),
        ("/open/%61dmin", 403),
        ("/x/../admin", 400),
        ("/open/./admin", 400),
        ("/open/%2e/admin", 400),
        ("/admin/../x", 400),
        ("/admin/%2e%2e/x", 400),
        ("/x/..%2fadmin", 400),
        ("/x/..%2Fadmin", 400),
        ("/open/..%2f%61dmin", 400),
        ("/open/..;/admin", 400),
        ("/x/%2e%2e;a=b/admin", 400),
        ("/x/..\\admin", 400),
        ("/x%5c..%5cadmin", 400),
        ("/open/.;/admin", 400),
        ("/open../admin", 400),
        ("/open%2f..%2fadmin", 400),
        ("/open/%2e", 400),
    ];
    for (path, status) in cases {
        let answer = get(gateway.ports.proxy, path, &[]);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    assert_eq!(upstream.seen(), Vec::<String>::new());
    // The client's connection goes on: it has made a mistake in a path, not in a message.
    let mut client = Client::open(gateway.ports.proxy);
    assert_eq!(client.get("/x/%2e%2e/y", &[]).status, 400);
    assert_eq!(client.get("/x/y", &[]).status, 200);
}

#[test]
fn over_http2_a_raw_path_is_a_uri() {
    let authority = Identity::authority("raw paths");
    let identity = authority.issue(&["127.0.0.1"]);
    let upstream = Backend::tls(&Greeting { identity: &identity, alpn: &["h2"], clients: None });
    let service = json!({ "url": format!("https://{}", upstream.at), "tags": ["silverback:http2"], "tls_verify": false,
        "routes": [{ "paths": ["/"], "path_forwarding": "raw" }] });
    let gateway = Gateway::start(&json!({ "_format_version": "3.0", "services": [service] }).to_string());
    for (path, expected) in [("/a%2fb//%41", "/a%2fb//%41"), ("/a%2f<b>", "/a%2f%3Cb%3E")] {
        let answer = get(gateway.ports.proxy, path, &[]);
        assert_eq!(answer.header("x-seen"), Some(&*format!("HTTP/2.0 GET {expected}")), "{path}: {answer:?}");
    }
}

/// A call of the Admin API with a form or with JSON.
pub(crate) fn call(gateway: &Gateway, method: &str, path: &str, kind: &str, body: &str) -> (u16, Value) {
    let mut client = Client::open(gateway.ports.admin);
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    client.send(format!("{head}{body}").as_bytes()).unwrap();
    let answer = client.answer().unwrap();
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

#[test]
fn the_admin_api_takes_the_fields_as_forms_and_tells_what_they_mean() {
    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";
    let upstream = Upstream::start();
    let gateway = Gateway::start_with("", &[("database", "embedded"), ("declarative_config", "")]);
    let service = format!("name=up&url=http://{}&request_timeout=9000&retry_policy.http_statuses=503", upstream.at);
    assert_eq!(call(&gateway, "POST", "/services", FORM, &service).0, 201);
    let form = "name=r&paths=/r&path_forwarding=raw&read_timeout=4000&retries=0";
    let (status, route) = call(&gateway, "POST", "/services/up/routes", FORM, form);
    assert_eq!((status, &route["path_forwarding"], &route["retries"]), (201, &json!("raw"), &json!(0)), "{route}");
    assert!(get(gateway.ports.proxy, "/r/a%2fb", &[]).body.starts_with("GET /a%2fb HTTP/1.1\r\n"));

    let asked = json!({ "url": "http://h/r//a%2fb" }).to_string();
    let explained = call(&gateway, "POST", "/debug/route", JSON, &asked).1;
    assert_eq!(explained["matched"]["upstream"], format!("http://{}//a%2fb", upstream.at));
    let policy = json!({ "http_statuses": [503], "methods": null, "failures": null, "backoff": null });
    let terms = json!({ "connect_timeout": 60000, "write_timeout": 60000, "read_timeout": 4000, "request_timeout": 9000,
        "retries": 0, "retry_policy": policy });
    assert_eq!(explained["matched"]["terms"], terms, "{explained}");
    let (status, refused) = call(&gateway, "POST", "/debug/route", JSON, r#"{"url": "http://h/r/..%2fb"}"#);
    assert_eq!((status, &refused["message"]), (400, &json!("such a path is answered 400")));

    assert_eq!(call(&gateway, "PATCH", "/services/up", JSON, r#"{"retries": 0}"#).0, 200);
    let findings = call(&gateway, "GET", "/lint", JSON, "").1;
    assert_eq!(findings["findings"][0]["rule"], "retry-policy-without-retries", "{findings}");
    let off = r#"{"path_forwarding": null, "retries": null}"#;
    let (status, route) = call(&gateway, "PATCH", "/routes/r", JSON, off);
    assert_eq!((status, &route["path_forwarding"]), (200, &Value::Null), "{route}");
    assert!(get(gateway.ports.proxy, "/r/a%2fb", &[]).body.starts_with("GET /a%2Fb HTTP/1.1\r\n"));
}
