//! Tests of `asked`.

use super::*;

fn hints(names: &[&str]) -> Hints {
    Hints(names.iter().map(|name| name.as_bytes().to_vec()).collect())
}

#[test]
fn clients_are_asked_by_their_server_name_and_told_what_all_that_want_it_say() {
    let by_name = [("a.test", &["A"][..]), ("any.test", &[])];
    let with = |everybody: Option<Hints>| Asked {
        everybody,
        by_name: by_name.iter().map(|(name, names)| ((*name).to_owned(), hints(names))).collect(),
        by_pattern: vec![("*.wild.test".to_owned(), hints(&["W"]))],
        ..Asked::default()
    };
    let (some, all) = (with(None), with(Some(hints(&["E"]))));
    for (name, want, with_everybody) in [
        (Some("A.test"), Some(hints(&["A"])), Some(hints(&["A", "E"]))),
        (Some("any.test"), Some(hints(&[])), Some(hints(&[]))),
        (Some("x.wild.test"), Some(hints(&["W"])), Some(hints(&["E", "W"]))),
        (Some("wild.test"), None, Some(hints(&["E"]))),
        (None, None, Some(hints(&["E"]))),
    ] {
        assert_eq!(some.find(name).map(Cow::into_owned), want, "{name:?}");
        assert_eq!(all.find(name).map(Cow::into_owned), with_everybody, "{name:?}");
    }
    assert!(!some.is_nobody() && !all.is_nobody() && Asked::default().is_nobody());
}
