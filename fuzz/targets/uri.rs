//! Coverage leads the way into `router::fuzzing::uri`, which judges each input.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| router::fuzzing::uri(input));
