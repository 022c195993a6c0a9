#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = names::symbols_in(bytes, &["getaddrinfo", "gethostbyname_r"]);
});
