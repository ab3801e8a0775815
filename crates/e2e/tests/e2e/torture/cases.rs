//! The cases that need no time-out.

use super::After::{Closed, Open};
use super::{case, play};
use crate::script::Act::{Await, Body, Close, Finish, Pour, Send};

const OK: &[crate::script::Act] = &[Body, Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")];

#[test]
fn requests_are_told_apart_and_answered_in_their_order() {
    #[rustfmt::skip]
    let cases = [
        case("pipelined", "GET @ HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\nGET @ HTTP/1.1\r\nHost: a\r\n\r\n",
            OK, &["200 = ok", "200 = fresh", "200 = ok"], Open),
        case("pipelined behind a body", "POST @ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            OK, &["200 = ok", "200 = fresh"], Open),
        case("pipelined behind chunks", "POST @u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            OK, &["200 = ok", "200 = fresh"], Open),
        case("nothing behind TRACE", "TRACE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET @ HTTP/1.1\r\nHost: a\r\n\r\n",
            OK, &["405 connection: close"], Closed),
        case("nothing behind the last one", "GET @ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
            OK, &["200 connection: close = ok"], Closed),
        case("close in another case and a list", "GET @ HTTP/1.1\r\nHost: a\r\nConnection: foo , CLOSE\r\n\r\n",
            OK, &["200 connection: close = ok"], Closed),
        case("an empty line first", "\r\n\r\nGET @ HTTP/1.1\r\nHost: a\r\n\r\n", OK, &["200 = ok"], Open),
        case("byte by byte", "G¦E¦T¦ ¦@¦ HTTP/1.1\r¦\n¦Host: a¦\r\n\r¦\n", OK, &["200 = ok"], Open),
        case("a body byte by byte", "POST @ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n¦5¦\r¦\nhe¦llo\r¦\n¦0\r\n¦\r¦\n",
            OK, &["200 = ok"], Open),
        case("HTTP/1.0 ends", "GET @ HTTP/1.0\r\nHost: a\r\n\r\n", OK, &["200 connection: close; content-length: 2 = ok"], Closed),
        case("HTTP/1.0 that asks goes on", "GET @ HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n",
            OK, &["200 connection: keep-alive; content-length: 2 = ok"], Open),
        case("a later minor version is 1.1", "GET @ HTTP/1.7\r\nHost: a\r\n\r\n", OK, &["200 = ok"], Open),
        case("a client that closes its sending side", "GET @ HTTP/1.1\r\nHost: a\r\n\r\n¤", OK, &["200 = ok"], Closed),
        case("one that does so behind a body", "POST @ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi¤", OK, &["200 = ok"], Closed),
        case("a broken body", "POST @ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", OK, &["400 connection: close"], Closed),
        case("a broken body, not buffered", "POST @u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            &[Body, Await], &["400 connection: close"], Closed),
        case("a body that breaks off", "POST @ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello¤", OK, &["400 connection: close"], Closed),
        case("a body that breaks off, not buffered", "POST @u HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello¤",
            OK, &["400 connection: close"], Closed),
        case("chunks whose sender breaks off, not buffered", "POST @u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n¤",
            OK, &["400 connection: close"], Closed),
        case("a request that waits for 100", "POST @ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            OK, &["100", "200 = ok"], Open),
        case("HTTP/1.0 is told no 100", "POST @ HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            OK, &["200 = ok"], Closed),
        case("an expectation without a body", "GET @ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", OK, &["200 = ok"], Open),
        case("an expectation in another case", "POST @ HTTP/1.1\r\nHost: a\r\nexpect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello",
            OK, &["100", "200 = ok"], Open),
        case("an expectation of something else", "POST @ HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
            OK, &["200 = ok"], Open),
        case("one of several things", "POST @ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x=y\r\nContent-Length: 5\r\n\r\nhello",
            OK, &["200 = ok"], Open),
        case("two expectations", "POST @ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            OK, &["400"], Closed),
        case("TRACE", "TRACE @ HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n", OK, &["405 connection: close"], Closed),
    ];
    play(&cases, &[]);
}

#[test]
fn answers_of_upstreams_reach_the_client_with_their_end_and_no_more() {
    const GET: &str = "GET @ HTTP/1.1\r\nHost: a\r\n\r\n";
    #[rustfmt::skip]
    let cases = [
        case("a length", GET, OK, &["200 content-length: 2; !transfer-encoding = ok"], Open),
        case("chunks", GET, &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")],
            &["200 transfer-encoding: chunked; !content-length = abcd"], Open),
        case("chunks to HTTP/1.0", "GET @ HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")],
            &["200 connection: close; !transfer-encoding; !content-length = abc"], Closed),
        case("until the end of the connection", GET, &[Send("HTTP/1.1 200 OK\r\n\r\nabc"), Close],
            &["200 transfer-encoding: chunked = abc"], Open),
        case("until the end of the upstream's side", GET, &[Send("HTTP/1.1 200 OK\r\n\r\nabc"), Finish],
            &["200 transfer-encoding: chunked = abc"], Open),
        case("until the end, HTTP/1.0", GET, &[Send("HTTP/1.0 200 OK\r\n\r\nabc"), Close], &["200 = abc"], Open),
        case("an empty body", GET, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")], &["200 content-length: 0 = "], Open),
        case("204", GET, &[Send("HTTP/1.1 204 No Content\r\n\r\n")], &["204 !content-length; !transfer-encoding"], Open),
        case("204 with a length", GET, &[Send("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")], &["204 !content-length"], Open),
        case("204 with a body", GET, &[Send("HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil"), Close], &["204 !content-length"], Open),
        case("204 with chunks", GET, &[Send("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"), Close],
            &["204 !transfer-encoding"], Open),
        case("304 with a length", GET, &[Send("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"a\"\r\n\r\n")],
            &["304 content-length: 9; etag: \"a\""], Open),
        case("HEAD", "HEAD @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")],
            &["HEAD 200 content-length: 9"], Open),
        case("HEAD of chunks", "HEAD @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")],
            &["HEAD 200 !content-length"], Open),
        case("HEAD answered with a body", "HEAD @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")],
            &["HEAD 200 content-length: 4"], Open),
        case("more than the length", GET, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")],
            &["200 = ok"], Open),
        case("more than the chunks", GET, &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")],
            &["200 = ok"], Open),
        case("less than the length", GET, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), Close], &["cut 200"], Closed),
        case("chunks without an end", GET, &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), Close], &["cut 200"], Closed),
        case("chunks that are none", GET, &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"), Await], &["cut 200"], Closed),
        case("trailers for who wants them", "GET @ HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
            &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n")],
            &["200 trailer: X-T; trailer x-t: 1 = ok"], Open),
        case("trailers for who does not", GET,
            &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n")], &["200 = ok"], Open),
        case("trailers that would frame", "GET @ HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
            &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\nX-T: 1\r\n\r\n")],
            &["200 trailer x-t: 1 = ok"], Open),
        case("length and chunks", GET, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")], &["502"], Open),
        case("two lengths", GET, &[Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok")], &["502"], Open),
        case("a folded field", GET, &[Send("HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\nContent-Length: 2\r\n\r\nok")], &["502"], Open),
        case("no HTTP", GET, &[Send("SSH-2.0-x\r\n"), Await], &["502"], Open),
        case("nothing", GET, &[Close], &["502"], Open),
        case("the end without a word", GET, &[Finish], &["502"], Open),
        case("half a head", GET, &[Send("HTTP/1.1 200 OK\r\nContent-"), Close], &["502"], Open),
        case("a field without an end", GET, &[Send("HTTP/1.1 200 OK\r\nX-A: "), Pour("aaaaaaaaaaaaaaaa", 65_536)], &["502"], Open),
        case("100", GET, &[Send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], &["200 = ok"], Open),
        case("103 twice", GET, &[Send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")],
            &["103 link: </a>", "103 link: </b>", "200 = ok"], Open),
        case("103 with a length", GET, &[Send("HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")],
            &["103 !content-length; !connection", "200 = ok"], Open),
        case("103 for HTTP/1.0", "GET @ HTTP/1.0\r\nHost: a\r\n\r\n", &[Send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")],
            &["200 = ok"], Closed),
        case("102, 103 and 199", GET, &[Send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
            HTTP/1.1 199 Mine\r\nX-A: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")],
            &["102", "103 link: </a>", "102", "199 x-a: 1", "200 !link; !x-a = ok"], Open),
        case("interim answers piece by piece", GET, &[Send("HTTP/1.1 102 Proc"), Send("essing\r\n\r"), Send("\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n"), Send("\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")],
            &["102", "103 link: </a>", "200 = ok"], Open),
        case("102 and 103 before an upstream's end", GET, &[Send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"), Close], &["102", "103", "502"], Open),
        case("102 and 103 for HTTP/1.0", "GET @ HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            &[Send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], &["200 = ok"], Open),
        case("102 in front of an answer to HEAD", "HEAD @ HTTP/1.1\r\nHost: a\r\n\r\n", &[Send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")],
            &["102", "HEAD 200 content-length: 9"], Open),
        case("101 that nobody asked for", GET, &[Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nevil"), Await], &["502"], Open),
        case("a connection that the upstream ends", GET, &[Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), Close],
            &["200 connection: keep-alive = ok"], Open),
        case("fields of the connection", GET, &[Send("HTTP/1.1 200 OK\r\nConnection: X-Own, keep-alive\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok")],
            &["200 !x-own; !keep-alive; connection: keep-alive = ok"], Open),
    ];
    play(&cases, &[]);
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    const CHUNKED: &str = "POST @u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    #[rustfmt::skip]
    let cases = [
        case("answered and closed", CHUNKED, &[Send(TOO_LARGE), Close], &["413 = no"], Closed),
        case("answered, and the rest still comes", "POST @u HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello¦world",
            &[Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Body], &["200 = ok"], Open),
        case("a body both ways at once", "POST @u HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello¦world",
            &[Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"), Body, Send("1\r\nb\r\n0\r\n\r\n")], &["200 = ab"], Open),
        case("refused before a body of unknown use", "POST @u HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
            &[Send(TOO_LARGE), Close], &["100", "413 = no"], Closed),
    ];
    play(&cases, &[]);
}

#[test]
fn an_upgrade_carries_bytes_from_its_first_moment_and_another_answer_is_an_answer() {
    const ASK: &str = "GET @ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    #[rustfmt::skip]
    let cases = [
        case("refused", ASK, &[Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")], &["403 !upgrade = no"], Open),
        case("answered as if it were none", ASK, OK, &["200 = ok"], Open),
        case("after interim answers", ASK, &[Send("HTTP/1.1 103 Early Hints\r\n\r\n"), Send(YES), Close], &["103", "101 upgrade: websocket", "none"], Closed),
        case("taken and ended", ASK, &[Send(YES), Close], &["101 upgrade: websocket; connection: Upgrade", "none"], Closed),
        case("not asked for by Connection", "GET @ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", OK, &["200 = ok"], Open),
        case("to HTTP/2", "GET @ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            OK, &["200 !upgrade = ok"], Open),
    ];
    play(&cases, &[]);
}

#[test]
fn what_the_upstream_is_sent_is_framed_once_and_whole() {
    use crate::client::Client;
    use crate::gateway::{Gateway, eventually};
    use crate::script::Script;

    let script = Script::start(Vec::new());
    let gateway = Gateway::start(&super::kong_yml(&script));
    for (at, (what, request, framing, body)) in [
        ("no body", "GET @ HTTP/1.1\r\nHost: a\r\n\r\n", &[][..], ""),
        ("an empty body", "POST @ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &["content-length: 0"], ""),
        ("GET with a body", "GET @ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", &["content-length: 2"], "hi"),
        ("zeros before a length", "POST @ HTTP/1.1\r\nHost: a\r\nContent-Length: 0002\r\n\r\nhi", &["content-length: 2"], "hi"),
        (
            "chunks, buffered",
            "POST @ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n002;a=\"b\"\r\nhi\r\n1\r\n!\r\n000\r\n\r\n",
            &["content-length: 3"],
            "hi!",
        ),
        (
            "chunks, not buffered",
            "POST @u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n¦1\r\n!\r\n0\r\n\r\n",
            &["transfer-encoding: chunked"],
            "hi!",
        ),
        (
            "trailers, not buffered",
            "POST @u HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n¦0\r\nX-T: 1\r\nHost: b\r\nContent-Length: 9\r\n\r\n",
            &["transfer-encoding: chunked"],
            "hiX-T: 1",
        ),
        (
            "fields of the connection",
            "POST @ HTTP/1.1\r\nHost: a\r\nConnection: X-Own, Content-Length, close\r\nX-Own: 1\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nTE: gzip\r\nContent-Length: 2\r\n\r\nhi",
            &["content-length: 2"],
            "hi",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = if request.contains("@u") { format!("/u{at}") } else { format!("/c{at}") };
        let mut client = Client::open(gateway.ports.proxy);
        let request = request.replace("@u", &path).replace('@', &path);
        for (number, piece) in request.split('¦').enumerate() {
            if number > 0 {
                eventually("the upstream has the head", || !script.seen(&path).is_empty());
            }
            client.send(piece.as_bytes()).unwrap();
        }
        assert_eq!(client.answer().unwrap().status, 200, "{what}");
        let seen = script.seen(&path);
        assert!(seen.len() == 1 && seen[0].is_whole, "{what}: {seen:?}");
        let lines: Vec<String> = seen[0].head.lines().map(str::to_ascii_lowercase).collect();
        let found: Vec<&String> = lines
            .iter()
            .filter(|line| line.starts_with("content-length:") || line.starts_with("transfer-encoding:"))
            .collect();
        assert_eq!(found, framing, "{what}: {lines:?}");
        assert_eq!(seen[0].body, body, "{what}");
        let own = ["x-own:", "proxy-connection:", "te:", "expect:"];
        assert!(!lines.iter().any(|line| own.iter().any(|own| line.starts_with(own))), "{what}: {lines:?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("host:")).count(), 1, "{what}: {lines:?}");
    }
}
