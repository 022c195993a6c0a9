#![no_main]
mod heard;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    heard::hear(bytes, 6, 53);
});
