//! Who the client is, behind peers that are trusted and others: `trusted_ips`, `real_ip_header`, the PROXY protocol.

use crate::client::Client;
use crate::gateway::{Gateway, Properties, free_address};
use crate::upstream::Upstream;

/// A field of the request as the upstream saw it.
fn seen(body: &str, name: &str) -> Option<String> {
    let fields = body.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
}

/// Header fields of requests, with the X-Real-IP that the upstream must see for each.
fn check(properties: Properties<'_>, cases: &[(&[&str], &str)]) {
    let upstream = Upstream::start();
    let gateway = Gateway::start_with(&upstream.kong_yml(&["{ paths: [/] }"]), properties);
    let mut client = Client::open(gateway.ports.proxy);
    for (fields, expected) in cases {
        let answer = client.get("/", fields);
        assert_eq!(
            seen(&answer.body, "x-real-ip").as_deref(),
            Some(*expected),
            "{properties:?} {fields:?}: {answer:?}"
        );
        let told: Vec<_> = fields.iter().filter_map(|field| field.strip_prefix("X-Forwarded-For: ")).collect();
        // The gateway adds whom it has seen itself to what it was told.
        let chain = if told.is_empty() { (*expected).to_owned() } else { format!("{}, 127.0.0.1", told.join(", ")) };
        assert_eq!(seen(&answer.body, "x-forwarded-for"), Some(chain), "{properties:?} {fields:?}");
    }
}

#[test]
fn the_client_is_whom_the_last_trusted_peer_names() {
    let trusted = ("trusted_ips", "127.0.0.0/8, 10.0.0.0/8, 2001:db8:a::/48");
    let (list, recursive) = (("real_ip_header", "X-Forwarded-For"), ("real_ip_recursive", "on"));
    check(
        &[trusted, list, recursive],
        &[
            (&[], "127.0.0.1"),
            (&["X-Forwarded-For: 203.0.113.1"], "203.0.113.1"),
            (&["X-Forwarded-For: 203.0.113.1, 10.0.0.5"], "203.0.113.1"),
            (&["X-Forwarded-For: 203.0.113.9, 203.0.113.1, 10.0.0.5, 2001:db8:a::7"], "203.0.113.1"),
            (&["X-Forwarded-For: 203.0.113.1", "X-Forwarded-For: 10.0.0.5"], "203.0.113.1"),
            (&["X-Forwarded-For: 10.0.0.4, 10.0.0.5"], "10.0.0.4"),
            (&["X-Forwarded-For: nobody, 10.0.0.5"], "10.0.0.5"),
            (&["X-Forwarded-For: 203.0.113.1, nobody"], "127.0.0.1"),
            (&["X-Forwarded-For: 203.0.113.1:4000"], "203.0.113.1"),
            (&["X-Forwarded-For: [2001:db8::1]:99"], "2001:db8::1"),
            (&["X-Forwarded-For: 2001:db8::1"], "2001:db8::1"),
            (&["X-Forwarded-For: [203.0.113.1"], "127.0.0.1"),
            (&["X-Forwarded-For: 203.0.113.1,, 10.0.0.5 ,"], "203.0.113.1"),
            (&["X-Real-IP: 203.0.113.1"], "127.0.0.1"),
        ],
    );
    check(
        &[trusted, list],
        &[
            (&["X-Forwarded-For: 203.0.113.1, 10.0.0.5"], "10.0.0.5"),
            (&["X-Forwarded-For: 203.0.113.1"], "203.0.113.1"),
        ],
    );
    check(
        &[trusted],
        &[
            (&["X-Real-IP: 203.0.113.1"], "203.0.113.1"),
            (&["X-Real-IP: 203.0.113.1", "X-Real-IP: 203.0.113.2"], "203.0.113.1"),
            (&["X-Real-IP: nobody"], "127.0.0.1"),
            (&["X-Forwarded-For: 203.0.113.1"], "127.0.0.1"),
        ],
    );
    check(
        &[("trusted_ips", "10.0.0.0/8"), list, recursive],
        &[(&["X-Forwarded-For: 203.0.113.1", "X-Real-IP: 203.0.113.2"], "127.0.0.1")],
    );
    check(
        &[("trusted_ips", "0.0.0.0/0, ::/0"), list, recursive],
        &[(&["X-Forwarded-For: 203.0.113.1, 10.0.0.5"], "203.0.113.1")],
    );
}

#[test]
fn the_proxy_protocol_names_the_client_where_its_peer_is_trusted() {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 = |command: u8, family: u8, addresses: &[u8]| {
        let length = (addresses.len() as u16).to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, addresses].concat()
    };
    let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 3, 232, 0, 80];
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 7;
    // A TLV behind the addresses.
    let with_more = [&v4[..], &[0x04, 0, 2, 1, 2]].concat();
    let upstream = Upstream::start();
    let kong_yml = upstream.kong_yml(&["{ paths: [/] }"]);
    let source = ("real_ip_header", "proxy_protocol");
    for (properties, is_believed) in [
        (&[("trusted_ips", "127.0.0.1"), source][..], true),
        (&[source], false),
        (&[("trusted_ips", "127.0.0.1")], false),
    ] {
        let at = free_address();
        let listen = format!("{at} proxy_protocol");
        let properties = [properties, &[("proxy_listen", listen.as_str())]].concat();
        let gateway = Gateway::start_with(&kong_yml, &properties);
        for (header, told) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 1000 80\r\n".to_vec(), "203.0.113.7"),
            (b"PROXY TCP6 2001:db8::7 ::1 1000 80\r\n".to_vec(), "2001:db8::7"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), "127.0.0.1"),
            (v2(1, 0x11, &v4), "203.0.113.7"),
            (v2(1, 0x11, &with_more), "203.0.113.7"),
            (v2(1, 0x21, &v6), "2001:db8::7"),
            (v2(0, 0x11, &v4), "127.0.0.1"),
            (v2(1, 0x00, &[]), "127.0.0.1"),
        ] {
            let shown = header.escape_ascii().to_string();
            let mut client = Client::open(at);
            // In pieces: the header ends where it ends, not where a packet does.
            for piece in header.chunks(header.len() / 2 + 1) {
                client.send(piece).unwrap();
            }
            let answer = client.get("/", &[]);
            let expected = if is_believed { told } else { "127.0.0.1" };
            assert_eq!(
                seen(&answer.body, "x-real-ip").as_deref(),
                Some(expected),
                "{properties:?} {shown}: {answer:?}"
            );
        }
        for header in
            [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"PROXY TCP4 nobody 10.0.0.1 1 2\r\n", &v2(1, 0x11, &v4[..6])]
        {
            let mut client = Client::open(at);
            client.send(header).unwrap();
            assert!(client.is_closed(), "{}", header.escape_ascii());
        }
        drop(gateway);
    }
    assert!(!upstream.seen().iter().any(|request| request.contains("PROXY")));
}
