#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut resolved = names::Answers::default();
    for piece in bytes.chunks(7) {
        resolved.add(piece);
    }
});
