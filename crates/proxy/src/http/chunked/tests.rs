//! Tests of `chunked`.

use super::*;

/// Decodes input that comes in pieces; the body and trailers, or the error.
fn decode(pieces: &[&str]) -> Result<String, BodyError> {
    decode_by(Rules::Strict, pieces)
}

fn decode_by(rules: Rules, pieces: &[&str]) -> Result<String, BodyError> {
    let (mut decoder, mut input, mut out) = (Decoder::default(), BytesMut::new(), String::new());
    for piece in pieces {
        input.extend_from_slice(piece.as_bytes());
        loop {
            match decoder.decode_by(rules, &mut input)? {
                Decoded::Data(data) => out.push_str(std::str::from_utf8(&data).unwrap()),
                Decoded::More => break,
                Decoded::End(trailers) => {
                    for (n, v) in trailers.iter().flat_map(|t| t.iter()) {
                        out.push_str(&format!("|{}={}", n.escape_ascii(), v.escape_ascii()));
                    }
                    return Ok(format!("{out}.{}", input.escape_ascii()));
                }
            }
        }
    }
    Ok(format!("{out}..."))
}

#[test]
fn decodes_what_is_well_formed() {
    for (input, want) in [
        (&["5\r\nhello\r\n0\r\n\r\n"][..], "hello."),
        (&["5\r\nhello\r\n0\r\n\r\nGET"], "hello.GET"),
        (&["2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"], "hello."),
        (&["0000000005\r\nhello\r\n000\r\n\r\n"], "hello."),
        (&["5;a=\"b\"\r\nhello\r\n0;x\r\n\r\n"], "hello."),
        (&["5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"], "hello|X-T=1."),
        (&["5\r", "\nhel", "lo", "\r", "\n0\r\n", "\r\n"], "hello."),
        (&["A\r\nhalf"], "half..."),
    ] {
        assert_eq!(decode(input), Ok(want.into()), "{input:?}");
    }
}

#[test]
fn refuses_what_another_parser_could_read_otherwise() {
    for input in [
        "Z\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello",
        "10000000000000005\r\nhello",
        "7fffffffffffffff\r\nhello",
        "5;a\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "3\r\nhello\r\n0\r\n\r\n",
        "8\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\r\n\r\n",
        "5\r\nhello\r\n0\r\nNo Colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\n\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
    ] {
        assert_eq!(decode(&[input]), Err(BodyError::Malformed), "{input:?}");
    }
}

#[test]
fn of_an_upstream_what_nginx_takes_is_taken() {
    for (input, want) in [
        ("5 \r\nhello\r\n0\r\n\r\n", Ok("hello.")),
        ("5\t ;a=b\r\nhello\r\n0 \r\n\r\n", Ok("hello.")),
        ("5\nhello\n0\n\n", Ok("hello.")),
        ("5\nhello\r\n0\r\nX-T: 1\nX-U: 2\r\n\nHTTP", Ok("hello|X-T=1|X-U=2.HTTP")),
        ("5\r\nhello\r\n0\r\n\r\n", Ok("hello.")),
        (" 5\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        ("\nhello", Err(BodyError::Malformed)),
        ("5 x\r\nhello\r\n0\r\n\r\n", Err(BodyError::Malformed)),
        ("3\nhello\n0\n\n", Err(BodyError::Malformed)),
        ("5\rhello\n0\n\n", Err(BodyError::Malformed)),
        ("5\nhello\n0\nX-T: 1\rX\n\n", Err(BodyError::Malformed)),
    ] {
        assert_eq!(decode_by(Rules::Lenient, &[input]), want.map(str::to_owned), "{input:?}");
        let bytes: Vec<String> = input.chars().map(String::from).collect();
        let pieces: Vec<&str> = bytes.iter().map(String::as_str).collect();
        let whole = want.map(|text| text.trim_end_matches("HTTP").to_owned());
        assert_eq!(decode_by(Rules::Lenient, &pieces), whole, "{input:?} byte by byte");
    }
}

#[test]
fn a_line_without_end_is_bounded() {
    assert_eq!(decode(&[&"5".repeat(LINE + 2)]), Err(BodyError::Malformed));
    assert_eq!(decode(&["0\r\n", &"a".repeat(TRAILERS + 2)]), Err(BodyError::Malformed));
}

#[test]
fn writes_sizes_in_hexadecimal() {
    for (size, want) in [(0, "0\r\n"), (5, "5\r\n"), (255, "ff\r\n"), (65536, "10000\r\n")] {
        let mut out = Vec::new();
        write_size(&mut out, size);
        assert_eq!(out, want.as_bytes());
    }
}
