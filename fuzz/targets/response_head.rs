//! Coverage leads the way into `proxy::fuzzing::response_head`, which judges each input.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| proxy::fuzzing::response_head(input));
