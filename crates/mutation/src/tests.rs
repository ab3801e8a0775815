use super::{Random, change, run, seeds, word, words};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn the_input_of_a_failure_is_told() {
    let (seeds, words) = (vec![b"a".to_vec()], vec![b"needle\r\n".to_vec()]);
    let failed = catch_unwind(AssertUnwindSafe(|| run(&seeds, &words, |input| assert!(input.len() < 9))));
    let message = failed.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("needle\\r\\n"), "{message}");
}

#[test]
fn changes_are_the_same_for_the_same_seed_and_bounded() {
    let made = |seed| {
        let mut random = Random(seed);
        let mut input = b"GET / HTTP/1.1".to_vec();
        let (others, words) = (vec![b"x".repeat(4_000)], vec![b"word".to_vec()]);
        (0..2_000).for_each(|_| input = change(std::mem::take(&mut input), &others, &words, &mut random));
        input
    };
    assert_eq!(made(7), made(7));
    assert_ne!(made(7), made(8));
    assert!(made(9).len() <= super::LONGEST);
}

#[test]
fn a_dictionary_is_read_as_libfuzzer_reads_it() {
    for (line, expected) in [
        (r#""a b""#, Some(&b"a b"[..])),
        (r#""\x0d\x0A\"\\""#, Some(b"\r\n\"\\")),
        (r#""\x0""#, None),
        (r#""\n""#, None),
        ("a", None),
    ] {
        assert_eq!(word(line).as_deref(), expected, "{line}");
    }
    // Every target has both, and all of it can be read.
    for target in std::fs::read_dir(std::path::Path::new(super::FOLDER).join("targets")).unwrap() {
        let target = target.unwrap().path();
        let name = target.file_stem().unwrap().to_str().unwrap();
        assert!(!seeds(name).is_empty() && !words(name).is_empty(), "{name}");
    }
}
