//! For files that begin with the length of a header.

/// Changes the header alone in half of all cases, and puts its new length right: other lengths are refused at once.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let header = data.first_chunk().map(|len| u64::from_le_bytes(*len) as usize);
    match header {
        Some(len) if seed % 2 == 0 && 0 < len && len <= size.saturating_sub(8) && size <= max_size => {
            let tail = data[8 + len..size].to_vec();
            let most = max_size - 8 - tail.len();
            let len = libfuzzer_sys::fuzzer_mutate(&mut data[8..8 + most], len, most);
            data[..8].copy_from_slice(&(len as u64).to_le_bytes());
            data[8 + len..][..tail.len()].copy_from_slice(&tail);
            8 + len + tail.len()
        }
        _ => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    }
}
