//! Whether the map of characters of a SentencePiece model can be followed: the crate that does so looks at no bounds.
//!
//! It is the length of a double array in bytes, that array of 32-bit units, and a text in which each replacement ends
//! with a zero.

/// Fails where some text would lead out of the array or into the middle of a character.
pub(super) fn check(map: &[u8]) -> Result<(), String> {
    let broken = |what: String| format!("`precompiled_charsmap`: {what}");
    let Some((len, rest)) = map.split_first_chunk() else {
        return Err(broken(format!("expected at least 4 bytes, found {}", map.len())));
    };
    let len = u32::from_le_bytes(*len) as usize;
    if len > rest.len() || len < 4 {
        return Err(broken(format!("expected an array of 4 to {} bytes, found one of {len}", rest.len())));
    }
    let (array, text) = (&rest[..len / 4 * 4], &rest[len / 4 * 4..]);
    let text = str::from_utf8(text).map_err(|error| broken(format!("its replacements: {error}")))?;
    let units: Vec<u32> =
        array.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])).collect();
    let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
    let mut seen = vec![false; units.len()];
    // Places that an offset leads to, from where the next byte leads on.
    let mut bases = vec![offset(units[0])];
    while let Some(base) = bases.pop() {
        for byte in 1..=255 {
            let at = base ^ byte;
            let Some(&unit) = units.get(at) else {
                return Err(broken(format!("expected a place within its {} units, found {at}", units.len())));
            };
            if unit & (1 << 31 | 0xff) != byte as u32 || std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let next = at ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let start = units.get(next).map(|value| (value & 0x7fff_ffff) as usize);
                if !start.is_some_and(|start| start < text.len() && text.is_char_boundary(start)) {
                    return Err(broken(format!("expected a replacement within its {} bytes", text.len())));
                }
            }
            bases.push(next);
        }
    }
    Ok(())
}

/// The bytes that base64 stands for; None if it is none.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{check, decode_base64};
    use crate::tokenizer::sentence_piece::SentencePieceModel;

    #[test]
    fn base64_is_decoded() {
        assert_eq!(decode_base64("YW55IGM=").as_deref(), Some(&b"any c"[..]));
        assert_eq!(decode_base64("+/8").as_deref(), Some(&[0xfb, 0xff][..]));
        assert_eq!(decode_base64("a b"), None);
    }

    #[test]
    fn a_map_that_leads_astray_is_refused() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizers/xlmr");
        let model = std::fs::read(path.join("sentencepiece.bpe.model")).unwrap();
        let map = SentencePieceModel::parse(&model).unwrap().map;
        check(&map).unwrap();
        assert!(check(&[]).is_err() && check(&[0; 4]).is_err() && check(&map[..map.len() / 2]).is_err());
        // The replacements are gone, or the array is.
        let len = u32::from_le_bytes([map[0], map[1], map[2], map[3]]) as usize;
        assert!(check(&map[..4 + len]).unwrap_err().contains("replacement"));
        let mut other = map;
        other[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(check(&other).unwrap_err().contains("within its"));
    }
}
