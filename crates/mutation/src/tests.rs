use super::{Random, change, check};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn the_input_of_a_failure_is_told() {
    let failed = catch_unwind(AssertUnwindSafe(|| check(&[b"a"], &[b"needle\r\n"], |input| assert!(input.len() < 9))));
    let message = failed.unwrap_err();
    let message = message.downcast_ref::<String>().unwrap();
    assert!(message.contains("needle\\r\\n"), "{message}");
}

#[test]
fn what_has_a_new_outcome_is_built_upon() {
    // Three steps that chance alone, of 4,000 inputs from the seed, would not take at once.
    let (mut most, steps) = (0, [b'{', b'\0', b'~']);
    check(&[b"...."], &[], |input| {
        let reached = input.iter().zip(steps).take_while(|(byte, step)| *byte == step).count();
        most = most.max(reached);
        reached
    });
    assert!(most >= 2, "{most}");
}

#[test]
fn changes_are_the_same_for_the_same_seed_and_bounded() {
    let made = |seed| {
        let mut random = Random(seed);
        let mut input = b"GET / HTTP/1.1".to_vec();
        let kept = vec![b"x".repeat(4_000)];
        (0..2_000).for_each(|_| input = change(std::mem::take(&mut input), &kept, &[b"word"], &mut random));
        input
    };
    assert_eq!(made(7), made(7));
    assert_ne!(made(7), made(8));
    assert!(made(9).len() <= super::LONGEST);
}
