//! Answers as servers write them.

use super::split;

#[test]
fn answers_are_taken_apart_or_refused() {
    let answers: [(&str, Option<(u16, &str)>); 8] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}"))),
        ("HTTP/1.0 404 Not Found\r\n\r\nno", Some((404, "no"))),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\n{\"\r\n3;x=y\r\na\":\r\n0\r\n\r\n",
            Some((200, "{\"a\":")),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", None),
        ("HTTP/1.1 nothing\r\n\r\n", None),
        ("", None),
    ];
    for (answer, expected) in answers {
        let found = split(answer.as_bytes()).ok().map(|(status, body)| (status, String::from_utf8(body).unwrap()));
        assert_eq!(found, expected.map(|(status, body)| (status, body.to_owned())), "{answer:?}");
    }
}
