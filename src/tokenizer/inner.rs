//! Characters that never end a word of BERT's, by a table that the `tokenizers` crate fills.
//!
//! A word of more characters than the model takes is unknown, whatever it is: of what is left of it only the end is
//! looked for, which takes a bit a character where normalising it would take most of the time of a long text.

use std::sync::OnceLock;

use super::backend::BertPipeline;
use super::settings::BertSettings;

/// Characters of a block of the table.
const BLOCK: u32 = 256;

/// A bit a character, for each block that has come up.
static TABLE: [OnceLock<[u64; 4]>; 0x1100] = [const { OnceLock::new() }; 0x1100];

/// The bytes at the beginning of a text before the first character that may end a word.
pub(super) fn inner_len(text: &str) -> usize {
    text.char_indices().find(|&(_, c)| !is_inner(c)).map_or(text.len(), |(i, _)| i)
}

/// Whether a character between two letters leaves them one word, with all settings.
pub(super) fn is_inner(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    let (block, at) = (c as u32 / BLOCK, c as u32 % BLOCK);
    TABLE[block as usize].get_or_init(|| fill(block))[at as usize / 64] >> (at % 64) & 1 == 1
}

fn fill(block: u32) -> [u64; 4] {
    // Lower-casing makes and takes no end of a word; decomposition may, and what is not decomposed may.
    let pipelines = [(true, None), (false, Some(false))].map(|(lowercase, strip_accents)| {
        BertPipeline::new(BertSettings { lowercase, strip_accents, chinese: true }, false)
    });
    let characters = || (block * BLOCK..(block + 1) * BLOCK).filter_map(char::from_u32);
    let one_word_each = |characters: &mut dyn Iterator<Item = char>| {
        let mut count = 0;
        let text: String = characters
            .flat_map(|c| {
                count += 1;
                [' ', 'a', c, 'a']
            })
            .collect();
        pipelines.iter().all(|pipeline| {
            let mut words = 0;
            pipeline
                .words(&text, |_| {
                    words += 1;
                    true
                })
                .is_ok()
                && words == count
        })
    };
    let mut bits = [0; 4];
    let all = one_word_each(&mut characters());
    for c in characters() {
        if all || one_word_each(&mut std::iter::once(c)) {
            let at = c as u32 % BLOCK;
            bits[at as usize / 64] |= 1 << (at % 64);
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_characters_leave_one_word_with_all_settings() {
        // The other planes are empty or private.
        let planes = ('\0'..'\u{40000}').chain('\u{e0000}'..'\u{e1000}');
        let characters: Vec<char> = planes.filter(|&c| is_inner(c)).collect();
        assert!(characters.len() > 150_000, "only {}", characters.len());
        for lowercase in [false, true] {
            for strip_accents in [false, true] {
                for (chinese, first) in [(false, false), (true, false), (true, true)] {
                    let strip_accents = Some(strip_accents);
                    let settings = BertSettings { lowercase, strip_accents, chinese };
                    let pipeline = BertPipeline::new(settings, first);
                    for block in characters.chunks(997) {
                        let text: String = block.iter().flat_map(|&c| [' ', 'x', c, 'y']).collect();
                        let mut words = 0;
                        pipeline
                            .words(&text, |word| {
                                assert!(word.starts_with('x') && word.ends_with('y'), "{word:?}");
                                words += 1;
                                true
                            })
                            .unwrap();
                        assert_eq!(words, block.len(), "{block:?}");
                    }
                }
            }
        }
        assert!("กéあ한Я👩\u{301}a9".chars().all(is_inner));
        assert!(!" ,，。\u{a0}一\u{2028}\u{3000}-\u{37e}\u{1fef}".chars().any(is_inner));
    }
}
