#![no_main]
mod heard;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    heard::hear(bytes, 17, 53, false);
    // Multicast answers need no question.
    heard::hear(bytes, 17, 5353, true);
});
