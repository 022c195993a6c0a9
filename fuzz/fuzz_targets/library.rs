#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = names::function_offsets_in(bytes, &["getaddrinfo", "gethostbyname_r"]);
});
