//! Tests of `form`.

use super::*;

const MULTIPART: &[u8] = b"--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--B\r\n\
    Content-Disposition: form-data; name=\"b\"; filename=\"x\"\r\nContent-Type: text/plain\r\n\r\nline\r\n\r\nline\r\n--B--\r\n";

#[test]
fn tells_the_form_by_its_content_type() {
    let parse = |media: &str, body: &str| Form::parse(Some(media.as_bytes()), body.as_bytes());
    assert!(matches!(parse("application/x-www-form-urlencoded; charset=x", "a=1"), Ok(Form::Args(_))));
    assert!(matches!(parse("Application/JSON", "{}"), Ok(Form::Json(_))));
    assert_eq!(parse("application/json", "{").unwrap_err(), FormError::InvalidJson);
    assert_eq!(parse("application/json", "1").unwrap_err(), FormError::InvalidJson);
    assert_eq!(parse("multipart/form-data", "").unwrap_err(), FormError::InvalidMultipart);
    assert_eq!(parse("text/plain", "").unwrap_err(), FormError::UnsupportedContentType);
    assert_eq!(Form::parse(None, b"").unwrap_err(), FormError::MissingContentType);
}

#[test]
fn finds_removes_and_encodes_multipart_fields() {
    let mut form = Form::parse(Some(b"multipart/form-data; boundary=\"B\""), MULTIPART).unwrap();
    assert_eq!(form.find("a"), Arg::One(Cow::Borrowed(b"1")));
    assert_eq!(form.find("b"), Arg::One(Cow::Borrowed(b"line\r\n\r\nline")));
    assert_eq!(form.encode(), MULTIPART);
    form.remove("a");
    form.remove("b");
    assert_eq!(form.encode(), b"--B--\r\n");
}

#[test]
fn finds_json_members_by_kind() {
    let form = Form::parse(Some(b"application/json"), br#"{"s":"x","n":1,"l":["x"],"z":null}"#).unwrap();
    assert_eq!(form.find("s"), Arg::One(Cow::Borrowed(b"x")));
    assert_eq!(form.find("n"), Arg::Bare);
    assert_eq!(form.find("z"), Arg::Bare);
    assert_eq!(form.find("l"), Arg::Many);
    assert_eq!(form.find("none"), Arg::Absent);
}

#[test]
fn a_part_cannot_be_put_that_would_be_read_as_several() {
    let mut form = Form::parse(Some(b"multipart/form-data; boundary=B"), MULTIPART).unwrap();
    let Form::Multipart(parts) = &mut form else { panic!("no multipart form") };
    for (name, value) in [
        ("x", &b"1\r\n--B\r\nContent-Disposition: form-data; name=\"admin\"\r\n\r\n1"[..]),
        ("x\"; y=\"", b"1"),
        ("x\r\ny", b"1"),
    ] {
        assert!(!parts.put(name, value), "{name}");
    }
    assert!(parts.put("x", b"1\r\n"));
    assert_eq!((parts.get("x"), parts.get("admin")), (Some(&b"1\r\n"[..]), None));
}
