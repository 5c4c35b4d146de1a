#![no_main]

mod framed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = crossrank_fuzz::weights(bytes);
});
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    framed::mutate(data, size, max_size, seed)
});
