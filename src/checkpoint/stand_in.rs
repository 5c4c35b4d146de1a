//! What an incomplete download leaves in the place of a file: a pointer of Git LFS, or the text of an error.

/// How a pointer of Git LFS begins.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Characters of the beginning that an error shows.
const SHOWN: usize = 40;

/// Says that bytes are a pointer of Git LFS, if they are.
pub(crate) fn lfs_pointer(bytes: &[u8]) -> Option<String> {
    let is = bytes.starts_with(LFS_POINTER);
    is.then(|| "this is a Git LFS pointer, not the file: `git lfs pull` fetches it".to_owned())
}

/// Says what a safetensors file that does not parse is instead, if it is text. A length of less than 2^56 stands at the
/// beginning of a header, so there is a zero byte in its eight, which no text has.
pub(crate) fn of_safetensors(bytes: &[u8]) -> Option<String> {
    let first = &bytes[..bytes.len().min(8)];
    let valid = match std::str::from_utf8(first) {
        Ok(_) => first.len(),
        // The last character may be cut off.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => 0,
    };
    let is_text = |byte: &u8| byte.is_ascii_whitespace() || !byte.is_ascii_control();
    if valid == 0 || !first.iter().all(is_text) {
        return None;
    }
    lfs_pointer(bytes)
        .or_else(|| Some(format!("this is text, not a safetensors file: it {}", beginning(bytes))))
}

/// Says what stands in the place of a JSON object, if something else does.
pub(crate) fn of_json(bytes: &[u8]) -> Option<String> {
    let text = bytes.trim_ascii_start();
    match text.first() {
        None => Some("invalid JSON: the file is empty".to_owned()),
        Some(b'{' | b'[') => None,
        Some(_) => lfs_pointer(bytes).or_else(|| Some(format!("invalid JSON: it {}", beginning(text)))),
    }
}

/// What bytes begin with, on one line and short.
fn beginning(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN)]).into_owned();
    let shown: String = text.trim().chars().take(SHOWN).flat_map(char::escape_debug).collect();
    format!("begins with `{shown}`")
}
