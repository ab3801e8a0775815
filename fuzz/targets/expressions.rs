//! Coverage leads the way into `router::fuzzing::expressions`, which judges each input.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| router::fuzzing::expressions(input));
