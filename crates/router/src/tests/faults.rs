//! The recorded faults of Kong's router (docs/differences.md), answered right.

use super::{check, check_match};
use crate::Flavor::{Expressions, Traditional, TraditionalCompatible};

#[test]
fn no_request_is_answered_with_what_was_found_for_another() {
    // In Kong, each pair shares an entry of the route cache, in this order and in the other.
    for flavor in [TraditionalCompatible, Traditional] {
        let requests =
            [("GET http://h/ x-a:1 x-a:2", 1), ("GET http://h/ x-a:1,2", 0), ("GET http://h/ x-a:1 x-a:2", 1)];
        check(flavor, &["x-a:1"], &requests);
        let requests =
            [("GET https://h/", 0), ("GET http://h/", 1), ("GET https://h/ sni=one.test", 1), ("GET https://h/", 0)];
        check(flavor, &["protocols=https snis=one.test"], &requests);
    }
    let requests = [("GET http://h/a x-a:", 1), ("GET http://h/a", 0), ("GET http://h/a x-a:", 1)];
    check(Expressions, &["expression=http.headers.x_a == \"\""], &requests);
    let requests = [("GET http://h/x", 1), ("GET https://h/x", 0), ("GET http://h/x", 1)];
    check(Expressions, &["protocols=http expression=http.path ^= \"/\""], &requests);
}

#[test]
fn the_port_a_client_writes_into_host_is_not_the_one_it_came_to() {
    let requests =
        [("GET http://x.test:77/a", 0), ("GET http://x.test/a", 0), ("GET http://x.test:77/a to=127.0.0.1:77", 1)];
    check(Expressions, &["expression=net.dst.port == 77"], &requests);
}

#[test]
fn three_kinds_of_attributes_come_before_one_and_two() {
    let routes = ["paths=/p methods=GET x-a:1", "hosts=h.test"];
    check(TraditionalCompatible, &routes, &[("GET http://h.test/p/q x-a:1", 1), ("GET http://h.test/p/q", 2)]);
    let routes = ["hosts=h.test methods=GET paths=/p", "paths=~/p/q$ regex_priority=-1"];
    check(TraditionalCompatible, &routes, &[("GET http://h.test/p/q", 1), ("GET http://other/p/q", 2)]);
}

#[test]
fn what_matched_elsewhere_is_not_cut_off_the_start() {
    check_match(Expressions, "expression=http.path =^ \"/z\"", "GET http://h/a/z", None, &[]);
}
