//! Coverage leads the way into `proxy::fuzzing::proxy_protocol`, which judges each input.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| proxy::fuzzing::proxy_protocol(input));
