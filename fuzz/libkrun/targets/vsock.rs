//! Bytes are packets of a hostile guest: see `bottle_fuzz_libkrun`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle_fuzz_libkrun::packets(data));
