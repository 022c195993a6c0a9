#![no_main]
mod observation;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    observation::observe(bytes, 6, 53);
});
