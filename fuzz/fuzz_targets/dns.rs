#![no_main]
mod observation;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    observation::observe(bytes, 17, 53);
    observation::observe(bytes, 17, 5353);
});
