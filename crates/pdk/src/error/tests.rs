use super::*;

#[test]
fn media_types_without_a_template_count_as_json_with_their_quality() {
    for (accept, want) in [
        ("text/html", Format::Html),
        ("text/*;q=0.5, text/html;q=0.4", Format::Plain),
        ("application/json;q=0.2,text/html;level=1;q=0.8", Format::Html),
        ("image/png,text/html", Format::Json),
        ("image/png;q=0.5,text/html", Format::Html),
        ("application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Json),
        ("text/html;q=0", Format::Json),
        ("text/plain;q=0.5,text/html;q=high", Format::Html),
        ("text/plain;q=0.5,text/html;q=-1", Format::Html),
        ("html,text/plain;q=0.1", Format::Plain),
        ("/,text/plain;q=0.1", Format::Plain),
        ("*/*,text/plain", Format::Json),
        ("", Format::Json),
    ] {
        assert_eq!(negotiate(Some(accept.as_bytes())), Some(want), "{accept}");
    }
    assert_eq!(negotiate(None), None);
}
