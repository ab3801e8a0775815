//! Tests of `head`.

use super::*;

/// `METHOD target host framing keep-alive | fields`, or the error.
fn parse(text: &str) -> Result<String, HeadError> {
    let limits = HeadLimits::default();
    let end = find_end(text.as_bytes(), &limits)?.ok_or(HeadError::Malformed)?;
    let head = parse_request(&text.as_bytes()[..end], &limits)?;
    let request = &head.request;
    let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let fields: Vec<String> = request.headers.iter().map(|(n, v)| format!("{}={}", show(n), show(v))).collect();
    Ok(format!(
        "{} {} {} {:?} {} | {}",
        request.method,
        show(request.target()),
        show(request.host()),
        head.framing,
        head.keep_alive,
        fields.join(" ")
    ))
}

#[test]
fn understands_what_is_well_formed() {
    for (text, want) in [
        ("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x a None true | Host=a"),
        (
            "GET /x?q=1 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n",
            "GET /x?q=1 a:80 None false | Host=a:80 Connection=close",
        ),
        ("GET /x HTTP/1.0\r\n\r\n", "GET /x  None false | "),
        ("GET /x HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET /x  None true | Connection=Keep-Alive"),
        ("PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n", "PURGE /x a None true | Host=a"),
        ("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x b None true | Host=a"),
        ("GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?q b None true | Host=a"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\n",
            "POST / a Length(5) true | Host=a Content-Length=005",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n",
            "POST / a Chunked true | Host=a Transfer-Encoding=CHUNKED",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX-A:  \t 1 \t \r\nX.B: 2\r\nX_C:\r\n\r\n",
            "GET / a None true | Host=a X-A=\\t 1 \\t X_C=",
        ),
        ("GET / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n", "GET / [::1]:8 None true | Host=[::1]:8"),
    ] {
        assert_eq!(parse(text), Ok(want.into()), "{text:?}");
    }
}

#[test]
fn refuses_what_two_parsers_could_read_differently() {
    for text in [
        "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x  HTTP/1.1\r\nHost: a\r\n\r\n",
        "get /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\nHost: a\n\n",
        "GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nNoColon\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a:1:2\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: [a]\r\n\r\n",
        "GET /x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(parse(text), Err(HeadError::Malformed), "{text:?}");
    }
}

#[test]
fn names_what_it_does_not_do() {
    for (text, want) in [
        ("GET /x HTTP/9.9\r\nHost: a\r\n\r\n", HeadError::Version),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadError::Coding),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n", HeadError::Coding),
        (&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000)), HeadError::UriTooLong),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9000)), HeadError::FieldsTooLarge),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(1001)), HeadError::FieldsTooLarge),
    ] {
        assert_eq!(parse(text), Err(want));
    }
}

#[test]
fn the_longest_line_is_nginxs_with_its_end() {
    let request = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length));
    for (length, is_taken) in [(8176, true), (8177, false), (8178, false)] {
        assert_eq!(parse(&request(length)).map(|_| ()), if is_taken { Ok(()) } else { Err(HeadError::UriTooLong) });
    }
}

#[test]
fn of_what_is_refused_is_known_what_came_before_the_fault() {
    let long = "x".repeat(9000);
    for (text, want) in [
        ("POST /x?a=1 HTTP/1.1\r\nHost: a\r\nX: 1\r\nHost: b\r\nY: 2\r\n\r\n", "POST /x?a=1 a | Host=a X=1 Host=b"),
        ("GET /x HTTP/1.1\r\nX: 1\r\n\r\n", "GET /x  | X=1"),
        ("GET /x HTTP/1.1\r\nHost: a,b\r\nX: 1\r\n\r\n", "GET /x  | Host=a,b X=1"),
        ("GET /x HTTP/1.1\r\nHost: a\r\nNoColon\r\nX: 1\r\n\r\n", "GET /x a | Host=a"),
        ("GET /x HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", "GET /x a | Host=a"),
        ("GET http://b/x HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", "GET /x b | Host=a"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "POST / a | Host=a Content-Length=x"),
        (&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), "GET / a | Host=a"),
        (&format!("POST /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "POST   | "),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET   | "),
        ("GET /x HTTP/1.1\nHost: a\n\n", "GET   | "),
        ("get /x HTTP/1.1\r\nHost: a\r\n\r\n", "   | "),
        ("\x16\x03\x01", "   | "),
        ("", "   | "),
    ] {
        let request = understood(text.as_bytes(), &HeadLimits::default());
        let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let fields: Vec<String> = request.headers.iter().map(|(n, v)| format!("{}={}", show(n), show(v))).collect();
        let known =
            format!("{} {} {} | {}", request.method, show(request.target()), show(request.host()), fields.join(" "));
        assert_eq!(known, want, "{:.60?}", text);
    }
}

#[test]
fn versions_are_numbers_and_every_greater_one_is_refused_as_such() {
    for (version, want) in [
        ("HTTP/1.1", Ok(true)),
        ("HTTP/1.1  ", Ok(true)),
        ("HTTP/1.0 ", Ok(false)),
        ("HTTP/1.00", Ok(false)),
        ("HTTP/1.01", Ok(true)),
        ("HTTP/1.10", Ok(true)),
        ("HTTP/1.99", Ok(true)),
        ("HTTP/1.1 x", Err(HeadError::Malformed)),
        ("HTTP/1.1000", Err(HeadError::Malformed)),
        ("HTTP/1.", Err(HeadError::Malformed)),
        ("HTTP/1", Err(HeadError::Malformed)),
        ("HTTP/0.9", Err(HeadError::Malformed)),
        ("http/1.1", Err(HeadError::Malformed)),
        ("HTTP/2.0", Err(HeadError::Version)),
        ("HTTP/2", Err(HeadError::Version)),
        ("HTTP/10.1", Err(HeadError::Version)),
    ] {
        let line = format!("GET /x {version}");
        let got = request_line(line.as_bytes(), &HeadLimits::default()).map(|line| line.version == Version::Http11);
        assert_eq!(got, want, "{version:?}");
    }
}

#[test]
fn hosts_have_no_empty_labels() {
    for (host, want) in [
        ("a.b", true),
        ("a.", true),
        (".a", true),
        ("a.:80", true),
        ("a..b", false),
        ("a..", false),
        (".", false),
        (".:80", false),
    ] {
        assert_eq!(is_host(host.as_bytes()), want, "{host}");
    }
}

#[test]
fn authorities_of_targets_are_stricter_than_hosts() {
    for (target, want) in [
        ("http://a-b.c:80/x", Some("/x a-b.c:80")),
        ("http://[::1]:80/x", Some("/x [::1]:80")),
        ("h+p://a/x", Some("/x a")),
        ("h2.-://a/x#f", Some("/x a")),
        ("http://a_b/x", None),
        ("http://a%20b/x", None),
        ("http://a#f", None),
        ("http://a..b/x", None),
        ("http:///x", None),
        ("+p://a/x", None),
        ("h_p://a/x", None),
    ] {
        let want = want.map(|want| format!("GET {want} None true | Host=a")).ok_or(HeadError::Malformed);
        assert_eq!(parse(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), want, "{target}");
    }
}

#[test]
fn fields_that_say_one_thing_come_once() {
    for name in
        ["If-Modified-Since", "If-Range", "Expect", "If-Unmodified-Since", "If-Match", "if-none-match", "Authorization"]
    {
        let twice = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: b\r\nX: y\r\n{name}: b\r\n\r\n");
        assert_eq!(parse(&twice), Err(HeadError::Malformed), "{name}");
    }
    let others = "GET / HTTP/1.1\r\nHost: a\r\nIf-Match: b\r\nIf-Range: b\r\nRange: b\r\nRange: b\r\n\r\n";
    assert!(parse(others).is_ok());
}

#[test]
fn refuses_early_what_cannot_become_a_request() {
    let limits = HeadLimits::default();
    for bytes in [&b"\x16\x03\x01"[..], b"\n", b"GET /x HTTP/1.1\n", b"GET /x\r\n", b"GET /x HTTP/1.1\r\nHost: a\n"] {
        assert_eq!(find_end(bytes, &limits), Err(HeadError::Malformed), "{bytes:?}");
    }
    assert_eq!(find_end(&[b'G'; 9000], &limits), Err(HeadError::UriTooLong));
    assert_eq!(find_end(b"GET /x HTTP/1.1\r", &limits), Ok(None));
}

fn response(text: &str, is_head: bool) -> Result<String, BadResponse> {
    let end = find_response_end(text.as_bytes(), 65536)?.ok_or(BadResponse)?;
    let head = parse_response(&text.as_bytes()[..end], is_head)?;
    let reason = head.headers.bytes(head.reason).escape_ascii().to_string();
    Ok(format!("{} {reason} {:?} {} {}", head.status, head.framing, head.keep_alive, head.headers.len()))
}

#[test]
fn understands_responses() {
    for (text, is_head, want) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "200 OK Length(2) true 1"),
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n", false, "200  Length(2) true 1"),
        ("HTTP/1.1 200 Fine Thing\r\n\r\n", false, "200 Fine Thing Close false 0"),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", false, "200 OK Chunked true 1"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", false, "200 OK Length(2) false 1"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, "200 OK None true 1"),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
            false,
            "304 Not Modified None false 2",
        ),
    ] {
        assert_eq!(response(text, is_head), Ok(want.into()), "{text:?}");
    }
}

#[test]
fn refuses_what_is_no_response() {
    for text in [
        "garbage\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(response(text, false), Err(BadResponse), "{text:?}");
    }
}
