//! The target `noise` in libFuzzer's hands.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longline_fuzz::noise(data));
