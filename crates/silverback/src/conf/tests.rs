//! Tests of the configuration: cases of text in, value or message out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::directives::{Block, RealIpHeader};
use super::file;
use super::properties::PROPERTIES;
use super::source::{Source, Values};
use super::units::{parse_size, parse_time};
use super::vault::{EnvironmentVault, Reference};
use super::{Conf, ConfError, Database, KeepAlive, LogTarget, UpstreamHeader};

fn values(text: &str, environment: &[(&str, &str)]) -> Values {
    let mut values = Values::default();
    values.add_file(Path::new("/etc/kong/kong.conf"), text);
    let environment: BTreeMap<_, _> = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    values.add_environment(&environment);
    values
}

fn read(text: &str) -> Result<Conf, ConfError> {
    read_with(text, &[])
}

fn read_with(text: &str, environment: &[(&str, &str)]) -> Result<Conf, ConfError> {
    let variable =
        |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Conf::with_environment(&values(text, environment), &variable)
}

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = read(text).expect_err(text).to_string();
    assert_eq!(error.split("\n  in ").next().unwrap(), message, "{text}");
    assert!(error.contains("/etc/kong/kong.conf, line 1"), "{error}");
}

#[test]
fn the_file_is_read_as_kong_reads_it() {
    let text = "# a comment\n\n  log_level = debug   # trailing\nprefix=/tmp/a\npg_password = a\\#b#c\n; other comment\n\
                proxy_listen = 0.0.0.0:1, \\\n   0.0.0.0:2\nempty =\nno setting here\nssl-cert = x\n";
    let (settings, strange) = file::parse(text);
    let shown: Vec<_> = settings.iter().map(|s| (s.line, s.key.as_str(), s.value.as_str())).collect();
    let expected = [
        (3, "log_level", "debug"),
        (4, "prefix", "/tmp/a"),
        (5, "pg_password", "a#b"),
        (7, "proxy_listen", "0.0.0.0:1, 0.0.0.0:2"),
        (9, "empty", ""),
        (11, "ssl_cert", "x"),
    ];
    assert_eq!(shown, expected);
    assert_eq!(strange, [10]);
}

#[test]
fn silverback_variables_go_over_kong_variables_over_the_file_over_defaults() {
    type Variables = &'static [(&'static str, &'static str)];
    let cases: [(&str, Variables, u32); 4] = [
        ("", &[], 512),
        ("upstream_keepalive_pool_size = 1", &[], 1),
        ("upstream_keepalive_pool_size = 1", &[("KONG_UPSTREAM_KEEPALIVE_POOL_SIZE", "2")], 2),
        (
            "upstream_keepalive_pool_size = 1",
            &[("SILVERBACK_UPSTREAM_KEEPALIVE_POOL_SIZE", "3"), ("KONG_UPSTREAM_KEEPALIVE_POOL_SIZE", "2")],
            3,
        ),
    ];
    for (text, environment, expected) in cases {
        assert_eq!(
            read_with(text, environment).unwrap().upstream_keepalive_pool_size,
            expected,
            "{text} {environment:?}"
        );
    }
}

#[test]
fn every_default_reads() {
    let conf = read("").unwrap();
    assert_eq!(conf.database, Database::Embedded);
    assert_eq!(conf.proxy_listen.len(), 2);
    assert!(conf.stream_listen.is_empty());
    assert_eq!(conf.drain_timeout(), Duration::from_secs(3600));
    assert!(conf.threads() >= 1);
    assert!(conf.is_daemon());
    assert!(conf.headers.server && conf.headers.request_id && !conf.headers.upstream_status);
    assert_eq!(conf.warnings(), &[] as &[String]);
    assert!(conf.prefix.is_absolute());
}

#[test]
fn each_property_is_in_the_table_once_with_a_documentation() {
    let mut names: Vec<_> = PROPERTIES.iter().map(|property| property.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PROPERTIES.len());
    for property in PROPERTIES {
        assert!(property.documentation.ends_with(['.', ')']), "{}", property.name);
    }
}

#[test]
fn wrong_values_are_refused_with_kongs_words_and_their_place() {
    refused("pg_port = many", "pg_port is not a number: 'many'");
    refused("pg_port = 70000", "pg_port must be a whole number between 0 and 65535: '70000'");
    refused("pg_ssl = perhaps", "pg_ssl is not a boolean: 'perhaps' (on, off)");
    refused(
        "log_level = loud",
        "log_level has an invalid value: 'loud' (debug, info, notice, warn, error, crit, alert, emerg)",
    );
    refused("database = cassandra", "database has an invalid value: 'cassandra' (postgres, off, embedded)");
    refused("lua_max_req_headers = 0", "lua_max_req_headers must be an integer between 1 and 1000: '0'");
    refused(
        "trusted_ips = 10.0.0.0/8, nonsense",
        "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 address or CIDR block or 'unix:', got \
         'nonsense'",
    );
    refused("port_maps = 80", "invalid port mapping (`port_maps`): 80 (expected <published>:<listening>)");
    refused("node_id = 1", "node_id must be a valid UUID: '1'");
    refused("ssl_cert = /nowhere.crt", "ssl_cert_key must be specified");
    refused("declarative_config = /nowhere.yml", "declarative_config: no such file at /nowhere.yml");
    refused("dns_order = LAST,MX", "dns_order: invalid entry 'MX' (LAST, A, AAAA, CNAME, SRV)");
    refused(
        "ssl_session_timeout = soon",
        "ssl_session_timeout is not a time: 'soon' (seconds, or with a unit: 500ms, 30s, 10m, 1h, 1d)",
    );
    refused(
        "nginx_http_client_max_body_size = big",
        "nginx_http_client_max_body_size has an invalid value: 'big' (a size: bytes, or with a unit as in 8k, 10m, 1g)",
    );
    refused(
        "nginx_worker_processes = 0",
        "nginx_main_worker_processes has an invalid value: '0' (auto, or a whole number from 1)",
    );
    refused(
        "headers = server_tokens, x-mine",
        "headers has an invalid entry: 'x-mine' (server_tokens, latency_tokens, server, via, x-kong-proxy-latency, \
         x-kong-response-latency, x-kong-admin-latency, x-kong-upstream-latency, x-kong-upstream-status, \
         x-kong-request-id, off)",
    );
    refused(
        "upstream_keepalive_idle_timeout = -1",
        "upstream_keepalive_idle_timeout must be 0 or greater, and at most 1000000000",
    );
}

#[test]
fn all_problems_are_told_at_once_each_with_its_place() {
    let error = read_with("log_level = loud\n\npg_port = x", &[("KONG_PG_SSL", "maybe")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "log_level has an invalid value: 'loud' (debug, info, notice, warn, error, crit, alert, emerg)\n  \
         in /etc/kong/kong.conf, line 1\npg_port is not a number: 'x'\n  in /etc/kong/kong.conf, line 3\n\
         pg_ssl is not a boolean: 'maybe' (on, off)\n  in the environment variable KONG_PG_SSL"
    );
}

#[test]
fn listeners_have_kongs_syntax() {
    let conf = read(
        "proxy_listen = 127.0.0.1:80 ssl http2 proxy_protocol deferred bind reuseport backlog=5 ipv6only=off \
         so_keepalive=30s::10, [::1]:81 so_keepalive=on, gateway.test:82 so_keepalive=off\nadmin_listen = off\n\
         stream_listen = 0.0.0.0:90 udp, 0.0.0.0:91 ssl reuseport",
    )
    .unwrap();
    let [first, second, third] = &conf.proxy_listen[..] else { panic!("{:?}", conf.proxy_listen) };
    assert_eq!(
        (first.host.as_str(), first.port, first.backlog, first.ipv6only),
        ("127.0.0.1", 80, Some(5), Some(false))
    );
    assert!(first.ssl && first.http2 && first.proxy_protocol && first.deferred && first.bind && first.reuseport);
    let timers = KeepAlive::On { idle: Some(Duration::from_secs(30)), interval: None, count: Some(10) };
    assert_eq!(first.so_keepalive, Some(timers));
    assert_eq!((second.host.as_str(), second.address().as_str()), ("::1", "[::1]:81"));
    assert_eq!((third.host.as_str(), &third.so_keepalive), ("gateway.test", &Some(KeepAlive::Off)));
    let without_effect = [
        "accepted, without effect in this version: stream_listen",
        "the flag deferred has no effect in this version: proxy_listen",
    ];
    assert_eq!(conf.warnings(), without_effect);
    assert!(conf.admin_listen.is_empty());
    assert!(conf.stream_listen[0].udp && conf.stream_listen[1].ssl);
}

#[test]
fn kongs_default_file_can_be_uncommented() {
    let conf = read(
        "headers_upstream = X-Kong-Request-Id\npg_ro_port = <pg_port>\npg_ro_ssl = <pg_ssl>\npg_ro_user = <pg_user>\n\
         resolver_valid_ttl = <TTL from responses>\nresolver_address = <name servers parsed from resolv.conf>\n\
         request_debug_token = <random>",
    )
    .unwrap();
    assert_eq!(conf.headers_upstream, UpstreamHeader::RequestId);
    assert!(conf.pg_ro_port.is_none() && conf.pg_ro_user.is_none() && conf.request_debug_token.is_none());
    assert!(conf.resolver_valid_ttl.is_none());
}

#[test]
fn a_wrong_listener_is_refused_with_the_form_and_the_reason() {
    let form = "must be of form: [off] | <ip>:<port> [ssl] [http2] [proxy_protocol] [deferred] [bind] [reuseport] \
                [backlog=%d+] [ipv6only=on] [ipv6only=off] [so_keepalive=on] [so_keepalive=off] \
                [so_keepalive=%w*:%w*:%d*], [... next entry ...]";
    let cases = [
        ("proxy_listen", "8000", "expected <ip>:<port>"),
        ("proxy_listen", "0.0.0.0:0", "the port is a number from 1 to 65535"),
        ("proxy_listen", "0.0.0.0:8000 sssl", "unknown flag 'sssl'"),
        ("admin_listen", "0.0.0.0:8000 udp", "unknown flag 'udp'"),
        ("status_listen", "::1:8000", "an IPv6 address goes into brackets"),
        ("proxy_listen", "300.1.1.1:8000", "'300.1.1.1' is no IP address and no host name"),
        ("proxy_listen", "unix: ssl", "a path follows unix:"),
        ("admin_listen", "unix:/a so_keepalive=on", "'so_keepalive=on' means nothing for a unix: socket"),
        ("proxy_listen", "0.0.0.0:8000 backlog=many", "'backlog=many' is no positive number"),
    ];
    for (property, value, reason) in cases {
        refused(&format!("{property} = {value}"), &format!("{property} {form} ('{value}': {reason})"));
    }
}

#[test]
fn unknown_properties_are_named_with_the_nearest_and_kubernetes_variables_are_not() {
    let conf = read_with(
        "log_levle = info\nwhatever = 1\ncluster_cert =\nwasm = on\nnginx_proxy_foo = bar\nnot a setting\n",
        &[
            ("KONG_ADMIN_SERVICE_HOST", "10.0.0.1"),
            ("KONG_PROXY_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("KONG_PROXY_PORT", "tcp://10.0.0.1:80"),
            ("KONG_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ],
    )
    .unwrap();
    let expected = [
        "/etc/kong/kong.conf, line 6: ignored, expected 'property = value'",
        "unknown property 'log_levle' is ignored (/etc/kong/kong.conf, line 1); did you mean log_level?",
        "unknown property 'whatever' is ignored (/etc/kong/kong.conf, line 2)",
        "accepted, without effect in this version: wasm",
        "nginx directives without a meaning here are ignored: nginx_proxy_foo",
    ];
    assert_eq!(conf.warnings(), expected);
}

#[test]
fn injected_directives_have_an_effect_where_they_mean_something() {
    let conf = read(
        "nginx_http_keepalive_timeout = 5s 4s\nnginx_proxy_client_max_body_size = 2m\nclient_body_buffer_size = 16k\n\
         nginx_http_large_client_header_buffers = 8 16k\nnginx_http_keepalive_requests = NONE\n\
         nginx_worker_processes = 3\nreal_ip_header = X-Forwarded-For\nreal_ip_recursive = on\n\
         nginx_http_log_format = mine '$remote_addr ' \"it's $status\"\nnginx_daemon = off",
    )
    .unwrap();
    let (proxy, admin) = (conf.http(Block::Proxy), conf.http(Block::Admin));
    assert_eq!((proxy.client_max_body_size, admin.client_max_body_size), (2 << 20, 10 << 20));
    assert_eq!((proxy.client_body_buffer_size, admin.client_body_buffer_size), (16 << 10, 10 << 20));
    assert_eq!(proxy.large_client_header_buffers, (8, 16 << 10));
    assert_eq!(proxy.keepalive_timeout, Duration::from_secs(5));
    assert_eq!(proxy.keepalive_requests, 1000, "removed: nginx's own default");
    assert_eq!(conf.threads(), 3);
    assert_eq!((conf.real_ip(), conf.is_real_ip_recursive()), (RealIpHeader::XForwardedFor, true));
    assert_eq!(conf.log_format("mine"), Some("'$remote_addr ' \"it's $status\""));
    assert_eq!(conf.log_format("other"), None);
    assert!(!conf.is_daemon());
    assert_eq!(conf.nginx_worker_processes, "3");
}

#[test]
fn logs_go_to_a_file_a_stream_or_nowhere() {
    let conf =
        read("proxy_access_log = /var/log/a.log json\nproxy_error_log = /dev/stderr\nadmin_access_log = off").unwrap();
    assert_eq!(conf.proxy_access_log.target, LogTarget::File(PathBuf::from("/var/log/a.log")));
    assert_eq!(conf.proxy_access_log.format.as_deref(), Some("json"));
    assert_eq!(conf.proxy_error_log.target, LogTarget::Stderr);
    assert_eq!(conf.admin_access_log.target, LogTarget::Off);
}

#[test]
fn sizes_and_times_are_nginxs() {
    let sizes = [("0", Some(0)), ("8k", Some(8192)), ("10M", Some(10 << 20)), ("1g", Some(1 << 30))];
    let bad_sizes =
        ["", "k", "-1", "+1", "1kb", "1.5k", "99999999999999999999", "20000000000g"].map(|text| (text, None));
    for (text, expected) in sizes.into_iter().chain(bad_sizes) {
        assert_eq!(parse_size(text), expected, "{text}");
    }
    let times = [
        ("60", Some(60_000)),
        ("500ms", Some(500)),
        ("1h 30m", Some(5_400_000)),
        ("1d12h", Some(129_600_000)),
        ("1M", Some(2_592_000_000)),
    ];
    let bad_times = ["", "s", "1x", "30m 1h", "1m 1m", "-5s", "5 5"].map(|text| (text, None));
    for (text, expected) in times.into_iter().chain(bad_times) {
        assert_eq!(parse_time(text), expected.map(Duration::from_millis), "{text}");
    }
}

/// A certificate and its key, as texts without a line end.
fn pair() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    (made.cert.pem().trim_end().to_owned(), made.signing_key.serialize_pem().trim_end().to_owned())
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let ((cert, key), (_, other)) = (pair(), pair());
    let (good, good_key) = (file("good.crt", &cert), file("good.key", &key));
    let (bad, other_key) = (file("bad.crt", "nonsense"), file("other.key", &other));
    for (cert, key, line, expected) in [
        (
            &bad,
            &good_key,
            1,
            format!("ssl_cert: {bad} holds no certificate (expected PEM: -----BEGIN CERTIFICATE-----)"),
        ),
        (
            &good,
            &bad,
            2,
            format!("ssl_cert_key: {bad} holds no private key (expected PEM: -----BEGIN PRIVATE KEY-----)"),
        ),
        (&good, &other_key, 2, "ssl_cert and ssl_cert_key do not belong together".to_owned()),
    ] {
        let error = read(&format!("ssl_cert = {cert}\nssl_cert_key = {key}")).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
        assert!(error.contains(&format!("kong.conf, line {line}")), "{error}");
    }
    assert!(read(&format!("ssl_cert = {good}\nssl_cert_key = {good_key}")).is_ok());
    let error = read(&format!("lua_ssl_trusted_certificate = {bad}")).unwrap_err().to_string();
    assert!(error.contains(&format!("lua_ssl_trusted_certificate: {bad} holds no certificate")), "{error}");
}

#[test]
fn secrets_are_masked_wherever_a_configuration_is_shown() {
    let (cert, key) = pair();
    let environment = [
        ("KONG_PG_PASSWORD", "hunter2"),
        ("KONG_PG_RO_PASSWORD", "hunter2"),
        ("KONG_PROXY_SERVER", "http://user:hunter2@proxy"),
        ("KONG_DECLARATIVE_CONFIG_STRING", "hunter2"),
        ("KONG_SSL_CERT", cert.as_str()),
        ("KONG_SSL_CERT_KEY", key.as_str()),
        ("KONG_VAULT_ENV_PREFIX", "kv_"),
        ("KONG_VAULT_HCV_TOKEN", "hunter2"),
    ];
    let conf = read_with("", &environment).unwrap();
    let dump = conf.dump();
    for name in [
        "pg_password",
        "pg_ro_password",
        "proxy_server",
        "declarative_config_string",
        "ssl_cert_key",
        "vault_hcv_token",
    ] {
        assert_eq!(dump[name], "******", "{name}");
    }
    assert_eq!((&dump["vault_env_prefix"], &dump["ssl_cert"][0]), (&json!("kv_"), &json!(cert)));
    assert_eq!(dump.get("client_ssl_cert_key"), None);
    let shown = format!("{conf:?}{dump}{:?}", values("", &environment));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!shown.contains("PRIVATE"), "{shown}");
    assert_eq!(conf.ssl_cert_key[0].read().unwrap(), key.as_bytes());
}

#[test]
fn the_dump_has_kongs_types_and_derived_entries() {
    let dump = read("port_maps = 80:8000, 443:8443\nnginx_proxy_foo = bar\nproxy_listen = [::1]:8000 ssl backlog=7")
        .unwrap()
        .dump();
    let expected = [
        ("pg_port", json!(5432)),
        ("pg_ssl", json!(false)),
        ("dns_error_ttl", json!(1)),
        ("tracing_sampling_rate", json!(0.01)),
        ("plugins", json!(["bundled"])),
        ("database", json!("embedded")),
        ("mem_cache_size", json!("128m")),
        ("nginx_main_worker_processes", json!("auto")),
        ("nginx_proxy_foo", json!("bar")),
        ("proxy_listen", json!(["[::1]:8000 ssl backlog=7"])),
        ("proxy_ssl_enabled", json!(true)),
        ("stream_listen", json!(["off"])),
        ("stream_listeners", json!([])),
        ("host_ports", json!({"8000": 80, "8443": 443})),
    ];
    for (name, value) in expected {
        assert_eq!(dump[name], value, "{name}");
    }
    assert_eq!(
        dump["proxy_listeners"][0],
        json!({
            "ssl": true, "http2": false, "proxy_protocol": false, "deferred": false, "bind": false, "reuseport": false,
            "backlog=%d+": "backlog=7", "ipv6only=on": false, "ipv6only=off": false, "so_keepalive=on": false,
            "so_keepalive=off": false, "so_keepalive=%w*:%w*:%d*": false, "ip": "[::1]", "port": 8000,
            "listener": "[::1]:8000 ssl backlog=7",
        })
    );
    assert_eq!(dump.get("pg_schema"), None);
}

#[test]
fn references_stand_for_variables_and_for_fields_of_json_in_them() {
    let reference = Reference::parse("{vault://env/a/b/c?prefix=p_&ttl=5#2}").unwrap();
    assert_eq!(
        (reference.vault.as_str(), reference.resource.as_str(), reference.key.as_deref()),
        ("env", "a/b", Some("c"))
    );
    assert_eq!((reference.options.len(), reference.version), (2, Some(2)));
    let environment = |name: &str| match name {
        "MY_SECRET" => Some("plain".to_owned()),
        "MY_SECRET_PREVIOUS" => Some("old".to_owned()),
        "P_MY_SECRET" => Some("prefixed".to_owned()),
        "MY_JSON" => Some(r#"{"user": "u", "port": 5, "list": []}"#.to_owned()),
        "A/B" => Some("whole".to_owned()),
        _ => None,
    };
    let vault = EnvironmentVault { prefix: String::new(), environment: &environment };
    let cases = [
        ("{vault://env/my-secret}", Ok("plain")),
        ("{vault://env/my-secret#2}", Ok("old")),
        ("{vault://env/my-secret?prefix=p_}", Ok("prefixed")),
        ("{vault://env/my-json/user}", Ok("u")),
        ("{vault://env/my-json/port}", Ok("5")),
        ("{vault://env/a/b/}", Ok("whole")),
        ("{vault://env/none}", Err("no value found in the environment variable NONE")),
        (
            "{vault://env/my-secret/key}",
            Err("the environment variable MY_SECRET holds no JSON, in which to look for 'key'"),
        ),
        ("{vault://env/my-json/list}", Err("the JSON in the environment variable MY_JSON has no text under 'list'")),
        (
            "{vault://aws/x}",
            Err("could not find vault (aws); there are env and, outside of the configuration file, vault entities"),
        ),
        ("{vault://env}", Err("not a reference: '{vault://env}' ({vault://env/<name>[/<key>]})")),
    ];
    for (text, expected) in cases {
        assert_eq!(vault.resolve(text).as_deref(), expected.map_err(str::to_owned).as_deref(), "{text}");
    }
}

#[test]
fn a_property_may_be_a_reference_and_its_secret_is_in_no_message() {
    let environment = [("SECRET_PORT", "hunter2"), ("GOOD_PORT", "5433")];
    let conf = read_with("pg_port = {vault://env/good-port}", &environment).unwrap();
    assert_eq!(conf.pg_port, 5433);
    let error = read_with("pg_port = {vault://env/secret-port}", &environment).unwrap_err().to_string();
    assert!(error.starts_with("pg_port is not a number: '{vault://env/secret-port}'"), "{error}");
    let error = read_with("pg_host = {vault://env/none}", &environment).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "failed to dereference '{vault://env/none}': no value found in the environment variable NONE for config option \
             'pg_host'"
        ),
        "{error}"
    );
}

#[test]
fn pem_values_are_paths_texts_or_base64() {
    use base64::Engine;
    let (text, key) = pair();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.crt");
    std::fs::write(&path, &text).unwrap();
    let packed = base64::engine::general_purpose::STANDARD.encode(&text);
    for value in [path.to_str().unwrap(), &text, &packed] {
        let conf = read_with("", &[("KONG_CLIENT_SSL_CERT", value), ("KONG_CLIENT_SSL_CERT_KEY", &key)]).unwrap();
        let read = conf.client_ssl_cert.unwrap().read().unwrap();
        assert_eq!(String::from_utf8(read).unwrap().trim_end(), text, "{value}");
    }
}

#[test]
fn the_prefix_is_the_users_own_where_the_systems_cannot_be_written() {
    let environment = |name: &str| (name == "HOME").then(|| "/home/somebody".to_owned());
    let conf = Conf::with_environment(&values("prefix = /somewhere", &[]), &environment).unwrap();
    assert_eq!(conf.prefix, Path::new("/somewhere"));
    assert_eq!(conf.in_prefix("logs/a"), Path::new("/somewhere/logs/a"));
    assert_eq!(conf.in_prefix("/var/a"), Path::new("/var/a"));
    let default = Conf::with_environment(&values("", &[]), &environment).unwrap().prefix;
    let allowed = ["/usr/local/silverback", "/home/somebody/.local/state/silverback"];
    assert!(allowed.iter().any(|path| Path::new(path) == default), "{}", default.display());
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let source = Source { file: Some("/nowhere/kong.conf".into()), ..Source::default() };
    assert_eq!(source.read().unwrap_err().to_string(), "no file at: /nowhere/kong.conf");
}

#[test]
fn the_node_keeps_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let conf = read(&format!("prefix = {}", directory.path().display())).unwrap();
    conf.prepare_prefix().unwrap();
    let id = conf.node_id().unwrap();
    assert_eq!(conf.node_id().unwrap(), id);
    assert_eq!(std::fs::read_to_string(directory.path().join("kong.id")).unwrap(), id.to_string());
    let given = "5d6a0a68-9a0e-4a3a-8f0a-000000000001";
    let conf = read(&format!("prefix = {}\nnode_id = {given}", directory.path().display())).unwrap();
    assert_eq!(conf.node_id().unwrap().to_string(), given);
}

#[test]
fn the_default_file_reads_back_as_the_defaults() {
    let text = super::default_file();
    let uncommented: String = text
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')))
        .fold(String::new(), |all, line| all + line + "\n");
    let conf = read(&uncommented).unwrap();
    assert_eq!(conf.dump(), read("").unwrap().dump());
    assert_eq!(uncommented.lines().count(), PROPERTIES.len());
    assert_eq!(conf.warnings(), &[] as &[String]);
}

#[test]
fn the_reference_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration.md");
    if super::environment::variable("BLESS").is_some() {
        std::fs::write(&path, super::reference()).unwrap();
    }
    let hint = "renew it with: BLESS=1 cargo test -p silverback the_reference_is_fresh";
    assert!(std::fs::read_to_string(&path).is_ok_and(|text| text == super::reference()), "{hint}");
}
