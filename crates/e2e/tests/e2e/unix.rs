//! Listeners in the file system (`unix:path`): traffic, the Admin API and the status pages without a port.

use crate::client::Client;
use crate::gateway::{Gateway, Ports, configure, eventually};
use crate::program::{run, said};
use crate::upstream::Upstream;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const PROPERTIES: &[(&str, &str)] = &[
    ("proxy_listen", "unix:proxy.sock backlog=64, unix:second.sock proxy_protocol"),
    ("admin_listen", "unix:admin.sock"),
    ("status_listen", "unix:status.sock"),
    ("trusted_ips", "unix:"),
];

fn open(path: &Path) -> Client<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Client::over(stream)
}

#[test]
fn everything_is_served_over_sockets_of_the_file_system() {
    let upstream = Upstream::start();
    let gateway = Gateway::start_with(&upstream.kong_yml(&["{ paths: [/] }"]), PROPERTIES);
    let socket = |name: &str| gateway.prefix().join(name);
    let mut client = open(&socket("proxy.sock"));
    for (headers, forwarded_for, real_ip) in [
        (&[][..], "127.0.0.1", "127.0.0.1"),
        // `trusted_ips` names such sockets: the peer's word on the client is taken.
        (&["X-Real-IP: 203.0.113.9", "X-Forwarded-For: 203.0.113.9"], "203.0.113.9, 127.0.0.1", "203.0.113.9"),
    ] {
        let answer = client.get("/x", headers);
        let body = answer.body.to_ascii_lowercase();
        assert_eq!(answer.status, 200, "{answer:?}");
        for line in [&format!("x-forwarded-for: {forwarded_for}\r\n"), &format!("x-real-ip: {real_ip}\r\n")] {
            assert!(body.contains(line), "{line} in {body}");
        }
    }
    let mut announced = open(&socket("second.sock"));
    announced.send(b"PROXY TCP4 203.0.113.7 10.0.0.1 1000 80\r\n").unwrap();
    assert_eq!(announced.get("/x", &[]).status, 200);
    assert_eq!(open(&socket("admin.sock")).get("/services", &[]).status, 200);
    assert_eq!(open(&socket("status.sock")).get("/status/ready", &[]).status, 200);
    for (name, mode) in [("proxy.sock", 0o666), ("admin.sock", 0o660), ("status.sock", 0o666)] {
        let found = std::fs::metadata(socket(name)).unwrap();
        assert!(found.file_type().is_socket() && found.permissions().mode() & 0o777 == mode, "{name}: {found:?}");
    }
    let output = gateway.reload_with(&upstream.kong_yml(&["{ paths: [/other] }"]));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(open(&socket("proxy.sock")).get("/other", &[]).status, 200);
}

#[test]
fn a_socket_ends_with_its_gateway_and_a_dead_one_is_in_nobodys_way() {
    let upstream = Upstream::start();
    let kong_yml = upstream.kong_yml(&["{ paths: [/] }"]);
    let mut gateway = Gateway::start_with(&kong_yml, PROPERTIES);
    let path = gateway.prefix().join("proxy.sock");

    let other = tempfile::tempdir().unwrap();
    let taken = format!("unix:{}", path.display());
    let conf = configure(&other, Ports::free(), &kong_yml, &[("proxy_listen", &taken)]);
    let refused = run(&["run", "-c", &conf]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    for words in ["proxy_listen", &taken, "another process listens there"] {
        assert!(said(&refused).contains(words), "wants {words:?} in {}", said(&refused));
    }

    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(!path.exists());
    // What a killed node leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let conf = configure(&other, Ports::free(), &kong_yml, &[("proxy_listen", &taken)]);
    let started = run(&["start", "-c", &conf]);
    let answer = path.exists().then(|| open(&path).get("/", &[]));
    let stopped = run(&["stop", "-p", &other.path().join("prefix").display().to_string()]);
    assert!(started.status.success() && stopped.status.success(), "{} {}", said(&started), said(&stopped));
    assert_eq!(answer.unwrap().status, 200);
    eventually("the socket is gone", || !path.exists());

    for (value, words) in [("unix:/nowhere/a.sock", "its folder"), ("unix:/etc/hostname", "no socket is there")] {
        let conf = configure(&other, Ports::free(), &kong_yml, &[("proxy_listen", value)]);
        let refused = run(&["run", "-c", &conf]);
        assert!(!refused.status.success() && said(&refused).contains(words), "{value}: {}", said(&refused));
    }
}
