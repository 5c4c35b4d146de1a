//! A word to the ids of its pieces: greedy, longest first, as WordPiece of the `tokenizers` crate does it.

use super::vocabulary::{Hash, Vocabulary};

pub(super) struct WordPiece {
    vocabulary: Vocabulary,
    /// What stands before every piece of a word but the first.
    prefix: Box<[u8]>,
    prefix_hash: Hash,
    unknown: u32,
    max_chars: usize,
}

impl WordPiece {
    /// None if the vocabulary lacks the word for what is unknown.
    pub(super) fn new(vocabulary: Vocabulary, prefix: &str, unknown: &str, max_chars: usize) -> Option<Self> {
        let (prefix, unknown) = (prefix.as_bytes(), vocabulary.id(unknown)?);
        Some(Self { vocabulary, prefix: prefix.into(), prefix_hash: Hash::of(prefix), unknown, max_chars })
    }

    pub(super) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The most characters of a word that is looked up; a longer one is unknown.
    pub(super) fn max_chars(&self) -> usize {
        self.max_chars
    }

    /// Appends the ids of a word of `chars` characters, which has been normalised.
    ///
    /// It is cut between bytes: what equals a word of the vocabulary begins and ends where a character does.
    pub(super) fn encode(&self, word: &[u8], chars: usize, hashes: &mut Vec<Hash>, ids: &mut Vec<u32>) {
        if chars > self.max_chars {
            return ids.push(self.unknown);
        }
        let before = ids.len();
        let (mut rest, mut prefix, mut start) = (word, &b""[..], Hash::NOTHING);
        while !rest.is_empty() {
            let longest = rest.len().min(self.vocabulary.longest().saturating_sub(prefix.len()));
            hashes.clear();
            hashes.extend(rest[..longest].iter().scan(start, |hash, &byte| {
                *hash = hash.and(byte);
                Some(*hash)
            }));
            let piece = (1..=longest).rev().find_map(|len| {
                let id = self.vocabulary.find(hashes[len - 1], prefix, &rest[..len])?;
                Some((len, id))
            });
            let Some((len, id)) = piece else {
                ids.truncate(before);
                return ids.push(self.unknown);
            };
            ids.push(id);
            (rest, prefix, start) = (&rest[len..], &self.prefix, self.prefix_hash);
        }
    }
}
