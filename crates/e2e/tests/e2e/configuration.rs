//! Bad input: the message names the place and what would be right, the exit code is 1, and nothing is left running.

use crate::gateway::{Ports, configure};
use crate::program::{run, said};
use std::net::TcpListener;

const EMPTY: &str = "_format_version: \"3.0\"\n";

/// Starts a gateway that must not start; what it said.
fn refused(ports: Ports, kong_yml: &str, properties: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let conf = configure(&folder, ports, kong_yml, properties);
    let output = run(&["run", "-c", &conf]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_broken_kong_yml_is_refused_with_file_entity_and_field() {
    for (kong_yml, expected) in [
        ("services: [\n", &["kong.yml"][..]),
        ("services: []\n", &["kong.yml", "_format_version", "required field missing"]),
        (
            "_format_version: \"3.0\"\nservices:\n  - name: a\n    host: b\n    retries: many\n",
            &["kong.yml", "services", "retries", "expected an integer"],
        ),
        (
            "_format_version: \"3.0\"\nroutes:\n  - name: a\n    paths: [/]\n    service: missing\n",
            &["kong.yml", "service", "missing", "no such entry in 'services'"],
        ),
        (
            "_format_version: \"3.0\"\nplugins:\n  - name: key-auth\n    config: { key_names: 5 }\n",
            &["kong.yml", "key_names", "expected an array"],
        ),
    ] {
        let said = refused(Ports::free(), kong_yml, &[]);
        for words in expected {
            assert!(said.contains(words), "{kong_yml}\nwants {words:?} in:\n{said}");
        }
    }
}

#[test]
fn a_missing_kong_yml_is_named() {
    let said = refused(Ports::free(), EMPTY, &[("declarative_config", "/nowhere/kong.yml")]);
    assert!(said.contains("/nowhere/kong.yml"), "{said}");
}

#[test]
fn a_wrong_property_is_refused_with_its_name_value_and_place() {
    for (name, value, expected) in [
        ("proxy_listen", "nonsense", &["proxy_listen", "nonsense"][..]),
        ("router_flavor", "fast", &["router_flavor", "fast", "traditional_compatible"]),
        ("upstream_keepalive_pool_size", "many", &["upstream_keepalive_pool_size", "many"]),
        ("trusted_ips", "300.1.1.1", &["trusted_ips", "300.1.1.1"]),
        ("ssl_cert", "/nowhere/cert.pem", &["ssl_cert", "/nowhere/cert.pem"]),
        ("ssl_protocols", "TLSv1 TLSv1.1", &["ssl_protocols", "TLSv1.1", "TLSv1.3", "kong.conf"]),
        ("plugins", "bundled,key-autj", &["plugins", "'key-autj'", "did you mean key-auth?"]),
        ("proxy_access_log", "logs/a.log fancy", &["proxy_access_log", "unknown log format 'fancy'", "kong.conf"]),
        ("proxy_access_log", "syslog:server=unix:x", &["proxy_access_log", "must be absolute", "kong.conf"]),
    ] {
        let said = refused(Ports::free(), EMPTY, &[("ssl_cipher_suite", "custom"), (name, value)]);
        for words in expected {
            assert!(said.contains(words), "{name} = {value}\nwants {words:?} in:\n{said}");
        }
    }
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.pem").display().to_string();
    std::fs::write(&path, "nonsense").unwrap();
    let said = refused(Ports::free(), EMPTY, &[("ssl_cert", &path), ("ssl_cert_key", &path)]);
    for words in ["ssl_cert: ", &path, "holds no certificate", "-----BEGIN CERTIFICATE-----", "kong.conf, line"] {
        assert!(said.contains(words), "wants {words:?} in:\n{said}");
    }
    let certificate = "_format_version: \"3.0\"\ncertificates:\n  - cert: nonsense\n    key: nonsense\n";
    let said = refused(Ports::free(), certificate, &[]);
    for words in ["in 'certificates'", "in 'cert': invalid certificate", "kong.yml:3", "kong.yml:4"] {
        assert!(said.contains(words), "wants {words:?} in:\n{said}");
    }
}

#[test]
fn a_misspelt_property_is_named_with_what_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let conf = configure(&folder, Ports::free(), EMPTY, &[("proxy_lisen", "127.0.0.1:1")]);
    let said = said(&run(&["check", &conf]));
    for words in ["unknown property 'proxy_lisen'", "kong.conf, line", "did you mean proxy_listen?"] {
        assert!(said.contains(words), "wants {words:?} in:\n{said}");
    }
}

#[test]
fn a_port_in_use_is_refused_with_its_address() {
    let ports = Ports::free();
    let _other = TcpListener::bind(ports.proxy).unwrap();
    let said = refused(ports, EMPTY, &[]);
    for words in ["proxy_listen", &ports.proxy.to_string(), "in use by another process", "choose another port"] {
        assert!(said.contains(words), "wants {words:?} in:\n{said}");
    }
}

#[test]
fn check_judges_a_file_without_starting() {
    let folder = tempfile::tempdir().unwrap();
    let conf = configure(&folder, Ports::free(), EMPTY, &[]);
    let good = run(&["check", &conf]);
    assert!(good.status.success(), "{}", said(&good));
    assert!(said(&good).contains("is valid"), "{}", said(&good));
    let conf = configure(&folder, Ports::free(), EMPTY, &[("log_level", "loud")]);
    let bad = run(&["check", &conf]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(said(&bad).contains("log_level") && said(&bad).contains("loud"), "{}", said(&bad));
}

#[test]
fn config_parse_judges_a_kong_yml() {
    let folder = tempfile::tempdir().unwrap();
    let conf = configure(&folder, Ports::free(), EMPTY, &[]);
    let path = folder.path().join("kong.yml").display().to_string();
    let good = run(&["config", "parse", &path, "-c", &conf]);
    assert!(good.status.success() && said(&good).contains("parse successful"), "{}", said(&good));
    std::fs::write(&path, "_format_version: \"3.0\"\nservices:\n  - name: a\n").unwrap();
    let bad = run(&["config", "parse", &path, "-c", &conf]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(said(&bad).contains("host") && said(&bad).contains("required field missing"), "{}", said(&bad));
}
