#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = crossrank_fuzz::shard_index(bytes);
});
