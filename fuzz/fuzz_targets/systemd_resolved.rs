#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut stream = names::ResolvedStream::default();
    for piece in bytes.chunks(7) {
        stream.add(piece);
    }
});
