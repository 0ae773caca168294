//! Bytes are manifests, indexes and configs: see `bottle::image::fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle::image::fuzz::manifest(data));
