//! The commands that a person types, from start to stop.

use crate::client::get;
use crate::gateway::{Gateway, Ports, configure, eventually};
use crate::program::{command, run, said};
use crate::upstream::Upstream;
use std::net::TcpStream;

/// Ends a gateway that a test started in the background, also where the test fails.
struct Background {
    prefix: String,
}

impl Drop for Background {
    fn drop(&mut self) {
        run(&["stop", "-p", &self.prefix]);
    }
}

#[test]
fn start_health_reload_and_stop() {
    let upstream = Upstream::start();
    let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let conf = configure(&folder, ports, &upstream.kong_yml(&["{ paths: [/a] }"]), &[("log_levle", "info")]);
    let prefix = folder.path().join("prefix").display().to_string();

    let not_running = run(&["health", "-p", &prefix]);
    assert_eq!(not_running.status.code(), Some(1), "{}", said(&not_running));

    let _running = Background { prefix: prefix.clone() };
    let started = run(&["start", "-c", &conf]);
    assert!(started.status.success(), "{}", said(&started));
    let warned = "Warning: unknown property 'log_levle' is ignored";
    assert!(
        said(&started).contains(warned) && said(&started).contains("did you mean log_level?"),
        "{}",
        said(&started)
    );
    // `start` returns when the gateway serves, not before.
    assert_eq!(get(ports.proxy, "/a", &[]).status, 200);
    let ready = get(ports.status, "/status/ready", &[]);
    assert_eq!((ready.status, ready.body.as_str()), (200, r#"{"message":"ready"}"#));

    let healthy = run(&["health", "-p", &prefix]);
    assert!(healthy.status.success(), "{}", said(&healthy));

    let again = run(&["start", "-c", &conf]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("already running"), "{}", said(&again));

    std::fs::write(folder.path().join("kong.yml"), upstream.kong_yml(&["{ paths: [/b] }"])).unwrap();
    let reloaded = run(&["reload", "-c", &conf]);
    assert!(reloaded.status.success(), "{}", said(&reloaded));
    eventually("the new route is served", || get(ports.proxy, "/b", &[]).status == 200);

    let stopped = run(&["stop", "-p", &prefix]);
    assert!(stopped.status.success(), "{}", said(&stopped));
    eventually("nothing listens any more", || TcpStream::connect(ports.proxy).is_err());
}

#[test]
fn properties_come_from_kongs_environment_variables_too() {
    let upstream = Upstream::start();
    let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::free());
    let kong_yml = folder.path().join("kong.yml");
    std::fs::write(&kong_yml, upstream.kong_yml(&["{ paths: [/] }"])).unwrap();
    let prefix = folder.path().join("prefix").display().to_string();
    let _running = Background { prefix: prefix.clone() };
    let output = command(&["start"])
        .env("KONG_PREFIX", &prefix)
        .env("KONG_DATABASE", "off")
        .env("KONG_DECLARATIVE_CONFIG", &kong_yml)
        .env("KONG_ADMIN_LISTEN", ports.admin.to_string())
        .env("SILVERBACK_STATUS_LISTEN", ports.status.to_string())
        .env("KONG_ADMIN_GUI_LISTEN", "off")
        // Where both are set, ours counts.
        .env("KONG_PROXY_LISTEN", ports.tls.to_string())
        .env("SILVERBACK_PROXY_LISTEN", ports.proxy.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(get(ports.proxy, "/", &[]).status, 200);
    assert!(TcpStream::connect(ports.tls).is_err());
}

#[test]
fn quit_finishes_the_request_that_runs() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&upstream.kong_yml(&["{ paths: [/] }"]));
    let mut client = crate::client::Client::open(gateway.ports.proxy);
    // Half a request: the gateway must wait for the rest.
    client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").unwrap();
    gateway.signal("QUIT");
    // Who comes now is told at once, and may try another gateway.
    for address in [gateway.ports.proxy, gateway.ports.tls, gateway.ports.admin] {
        eventually("new connections are refused", || TcpStream::connect(address).is_err());
    }
    client.send(b"llo").unwrap();
    let answer = client.answer().unwrap();
    assert!(answer.status == 200 && answer.body.ends_with("hello"), "{answer:?}");
    drop(client);
    assert!(gateway.wait().success());
}

#[test]
fn version_is_told() {
    let output = run(&["version"]);
    assert!(output.status.success());
    assert!(said(&output).starts_with(|c: char| c.is_ascii_digit() || c == 'S' || c == 's'), "{}", said(&output));
}
