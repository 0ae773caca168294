//! Bytes are the layers of an image: see `bottle::image::fuzz::layers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bottle::image::fuzz::layers(data));
