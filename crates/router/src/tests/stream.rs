//! Connections without HTTP.

use super::check;
use crate::Flavor;

#[test]
fn connections_are_found_by_source_destination_and_server_name() {
    let routes = [
        "protocols=tcp sources=10.0.0.0/8",
        "protocols=tcp sources=10.0.0.7",
        "protocols=tcp,tls destinations=@9000",
        "protocols=tls snis=a.test",
        "protocols=tcp sources=10.0.0.7@77 destinations=127.0.0.1",
        "paths=/",
    ];
    let requests = [
        ("- tls:// from=10.1.1.1:5 sni=b.test", 1),
        ("- tls:// from=10.0.0.7:5 sni=b.test", 2),
        ("- tls:// from=11.0.0.7:5 sni=b.test", 0),
        ("- tls:// from=10.0.0.7:77 sni=b.test", 5),
        ("- tls:// from=11.0.0.1:1 sni=b.test to=1.1.1.1:9000", 3),
        ("- tls:// from=11.0.0.1:1 sni=a.test", 4),
        ("GET http://h/", 6),
    ];
    for flavor in [Flavor::TraditionalCompatible, Flavor::Traditional] {
        check(flavor, &routes, &requests);
    }
    let limited = [
        ("- tcp:// from=10.1.1.1:5 to=1.1.1.1:1", 4),
        ("- tls:// from=10.1.1.1:5 sni=b.test", 0),
        ("- udp:// from=10.0.0.7:5", 4),
        ("- tls:// from=10.0.0.7:5 sni=b.test to=1.1.1.1:9000", 3),
    ];
    check(Flavor::Expressions, &routes, &limited);
}

#[test]
fn server_names_may_be_wildcards() {
    for flavor in [Flavor::TraditionalCompatible, Flavor::Expressions] {
        check(
            flavor,
            &["protocols=tls snis=*", "protocols=tls snis=*.a.test,b.*"],
            &[("- tls:// sni=x.a.test", 2), ("- tls:// sni=b.test", 2), ("- tls:// sni=other", 1), ("- tls://", 0)],
        );
    }
}

#[test]
fn destination_ports_are_told_apart() {
    for flavor in [Flavor::TraditionalCompatible, Flavor::Traditional, Flavor::Expressions] {
        check(
            flavor,
            &[
                "protocols=tcp destinations=@1",
                "protocols=tcp destinations=@256,@257",
                "protocols=tcp destinations=@2,10.0.0.1",
            ],
            &[
                ("- tcp:// to=1.1.1.1:1", 1),
                ("- tcp:// to=1.1.1.1:256", 2),
                ("- tcp:// to=1.1.1.1:257", 2),
                ("- tcp:// to=1.1.1.1:2", 3),
                ("- tcp:// to=10.0.0.1:3", 3),
                ("- tcp:// to=1.1.1.1:3", 0),
            ],
        );
    }
}

#[test]
fn names_do_not_count_without_tls() {
    check(Flavor::TraditionalCompatible, &["protocols=tls snis=a.test"], &[("- tcp://", 1), ("- tls:// sni=b", 0)]);
    check(Flavor::Traditional, &["protocols=tls snis=a.test"], &[("- tcp://", 0), ("- tls:// sni=a.test", 1)]);
}

#[test]
fn names_and_pairs_of_ends_outrank_single_ends() {
    let routes = [
        "protocols=tls,tcp sources=10.0.0.1",
        "protocols=tls,tcp snis=a.test",
        "protocols=tls,tcp sources=10.0.0.1 destinations=127.0.0.1",
    ];
    check(Flavor::TraditionalCompatible, &routes, &[("- tls:// sni=a.test from=10.0.0.1:1", 3)]);
    check(Flavor::TraditionalCompatible, &routes[..2], &[("- tls:// sni=a.test from=10.0.0.1:1", 2)]);
}

#[test]
fn stream_expressions_see_the_connection() {
    check(
        Flavor::Expressions,
        &[
            r#"protocols=tcp expression=net.src.ip in 10.0.0.0/8 && net.dst.port == 9000"#,
            r#"protocols=tls expression=tls.sni == "a.test""#,
            "protocols=udp expression=net.dst.port == 53 || net.dst.port == 54 && net.src.port > 0",
        ],
        &[
            ("- tcp:// from=10.0.0.1:1", 1),
            ("- tcp:// from=11.0.0.1:1", 0),
            ("- tls:// sni=a.test", 2),
            ("- tls:// sni=b.test", 0),
            ("- udp:// to=1.1.1.1:54", 3),
            ("- udp:// to=1.1.1.1:55", 0),
        ],
    );
}
