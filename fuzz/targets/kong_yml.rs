//! Coverage leads the way into `entities::fuzzing::kong_yml`, which judges each input.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| entities::fuzzing::kong_yml(input));
