//! An upgraded connection is a tunnel, and outlives a reload.

use crate::client::Client;
use crate::gateway::Gateway;
use crate::program::said;
use crate::upstream::Upstream;

const UPGRADE: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
/// A masked text frame "Hello" (RFC 6455, section 5.7): the upstream of these tests sends bytes back as they are.
const FRAME: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

#[test]
fn frames_pass_both_ways_and_over_a_reload() {
    let upstream = Upstream::start();
    let kong_yml = upstream.kong_yml(&["{ paths: [/ws] }"]);
    let gateway = Gateway::start(&kong_yml);
    let mut client = Client::open(gateway.ports.proxy);
    let answer = client.get("/ws", &UPGRADE);
    assert_eq!(answer.status, 101, "{answer:?}");
    for _ in 0..2 {
        for _ in 0..10 {
            client.send(FRAME).unwrap();
            assert_eq!(client.bytes(FRAME.len()).unwrap(), FRAME);
        }
        let output = gateway.reload_with(&kong_yml);
        assert!(output.status.success(), "{}", said(&output));
    }
    client.send(FRAME).unwrap();
    assert_eq!(client.bytes(FRAME.len()).unwrap(), FRAME);
}

#[test]
fn a_route_says_for_how_long_a_tunnel_may_be_silent() {
    let upstream = Upstream::start();
    let routes = ["{ paths: [/short], read_timeout: 1000, request_timeout: 20000 }", "{ paths: [/long] }"];
    let gateway = Gateway::start(&upstream.kong_yml(&routes));
    let [mut short, mut long] = ["/short", "/long"].map(|path| {
        let mut client = Client::open(gateway.ports.proxy);
        assert_eq!(client.get(path, &UPGRADE).status, 101, "{path}");
        client
    });
    assert!(short.is_closed());
    long.send(FRAME).unwrap();
    assert_eq!(long.bytes(FRAME.len()).unwrap(), FRAME);
}
