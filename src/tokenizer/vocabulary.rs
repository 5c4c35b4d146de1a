//! The words of a vocabulary and their ids, in one string and one table.
//!
//! `tokenizers` holds each word twice, as a string of its own; here 30,522 words take 1 MB and are ready in less than
//! a millisecond.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

/// Words and ids as a file lists them, one after the other. Of a word that comes twice the last id counts.
#[derive(Default)]
pub(super) struct Words {
    text: String,
    /// Where the word begins, and its id.
    words: Vec<(u32, u32)>,
}

impl Words {
    /// The text of all words, to which one more is put; it counts once [`Words::push`] is told where it begins.
    pub(super) fn text_mut(&mut self) -> &mut String {
        &mut self.text
    }

    pub(super) fn push(&mut self, start: u32, id: u32) {
        self.words.push((start, id));
    }

    /// The text from there on.
    pub(super) fn from(&self, start: u32) -> &str {
        &self.text[start as usize..]
    }

    /// The words in the order of the file, with their ids.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, u32)> {
        self.iter().zip(self.words.iter().map(|&(_, id)| id))
    }

    /// The words in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let ends = self.words.iter().skip(1).map(|&(start, _)| start as usize).chain([self.text.len()]);
        self.words.iter().zip(ends).map(|(&(start, _), end)| &self.text[start as usize..end])
    }
}

/// Words by hash: open addressing in a table at most half full.
pub(super) struct Vocabulary {
    text: String,
    /// Where the word begins, and its id; one more at the end.
    words: Vec<(u32, u32)>,
    /// Part of the hash, and the number of the word or `EMPTY`.
    slots: Vec<(u32, u32)>,
    longest: usize,
}

const EMPTY: u32 = u32::MAX;

/// The most slots that are looked at. Ordinary vocabularies need 10; one made to collide is refused, so that neither
/// loading nor looking up takes its time.
const PROBES: usize = 64;

/// The hash of the bytes so far: it grows byte by byte, so that all beginnings of a word are hashed in one pass.
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    pub(super) const NOTHING: Self = Self(0x243f_6a88_85a3_08d3);
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

    #[inline]
    pub(super) fn and(self, byte: u8) -> Self {
        Self((self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(Self::FACTOR))
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        bytes.iter().fold(Self::NOTHING, |hash, &byte| hash.and(byte))
    }

    /// A number of so many bits.
    #[inline]
    pub(super) fn index(self, bits: u32) -> usize {
        (self.0.wrapping_mul(Self::FACTOR) >> (64 - bits)) as usize
    }

    /// Slot, before it is cut to the table's size, and tag.
    #[inline]
    fn split(self) -> (usize, u32) {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(Self::FACTOR);
        ((mixed >> 32) as usize, mixed as u32)
    }
}

impl Vocabulary {
    /// None if the words do not fit the table.
    pub(super) fn new(words: Words) -> Option<Self> {
        let Words { text, mut words } = words;
        let size = words.len().checked_mul(2)?.checked_next_power_of_two()?;
        words.push((u32::try_from(text.len()).ok()?, 0));
        let mut vocabulary = Self { text, words, slots: vec![(0, EMPTY); size], longest: 0 };
        for number in 0..u32::try_from(vocabulary.words.len() - 1).ok()? {
            let word = vocabulary.word(number).as_bytes();
            let (longest, hash) = (vocabulary.longest.max(word.len()), Hash::of(word));
            let slot = vocabulary.slot(hash, b"", word)?;
            vocabulary.slots[slot] = (hash.split().1, number);
            vocabulary.longest = longest;
        }
        Some(vocabulary)
    }

    /// The length in bytes of the longest word.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The word with the largest id.
    pub(super) fn largest(&self) -> Option<(&str, u32)> {
        let numbers = self.slots.iter().map(|&(_, number)| number).filter(|&number| number != EMPTY);
        let number = numbers.max_by_key(|&number| self.words[number as usize].1)?;
        Some((self.word(number), self.words[number as usize].1))
    }

    pub(super) fn id(&self, word: &str) -> Option<u32> {
        self.find(Hash::of(word.as_bytes()), b"", word.as_bytes())
    }

    /// The id of the word that is `prefix` and `rest`, whose hash is `hash`.
    #[inline]
    pub(super) fn find(&self, hash: Hash, prefix: &[u8], rest: &[u8]) -> Option<u32> {
        let number = self.slots[self.slot(hash, prefix, rest)?].1;
        (number != EMPTY).then(|| self.words[number as usize].1)
    }

    /// The slot that holds the word, or the empty one where it would be.
    #[inline]
    fn slot(&self, hash: Hash, prefix: &[u8], rest: &[u8]) -> Option<usize> {
        let (start, tag) = hash.split();
        let mask = self.slots.len() - 1;
        (0..PROBES).map(|i| ((start & mask) + i) & mask).find(|&slot| {
            let (found, number) = self.slots[slot];
            number == EMPTY || found == tag && self.word(number).as_bytes().strip_prefix(prefix) == Some(rest)
        })
    }

    fn word(&self, number: u32) -> &str {
        let at = |i: usize| self.words[i].0 as usize;
        &self.text[at(number as usize)..at(number as usize + 1)]
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("words and their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Words, A::Error> {
        let mut words = Words::default();
        while let Some(start) = map.next_key_seed(Append(&mut words.text))? {
            words.words.push((start, map.next_value()?));
        }
        Ok(words)
    }
}

/// Puts a word at the end of the text and says where it begins: a word is never a string of its own.
pub(super) struct Append<'a>(pub(super) &'a mut String);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u32, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Append<'_> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<u32, E> {
        let start = u32::try_from(self.0.len()).map_err(E::custom)?;
        self.0.push_str(word);
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::{Hash, Vocabulary, Words};

    fn vocabulary(json: &str) -> Option<Vocabulary> {
        Vocabulary::new(serde_json::from_str::<Words>(json).unwrap())
    }

    #[test]
    fn words_are_found_whole_and_behind_a_prefix() {
        let words = vocabulary(r###"{"a": 7, "##a": 3, "\u00e9\n": 9, "": 1}"###).unwrap();
        assert_eq!(
            ["a", "##a", "é\n", "", "#", "é"].map(|word| words.id(word)),
            [Some(7), Some(3), Some(9), Some(1), None, None]
        );
        assert_eq!(words.find(Hash::of(b"##a"), b"##", b"a"), Some(3));
        assert_eq!(words.find(Hash::of(b"##a"), b"#", b"a"), None);
        assert_eq!((words.largest(), words.longest()), (Some(("é\n", 9)), 3));
    }

    #[test]
    fn of_a_word_that_comes_twice_the_last_id_counts() {
        let words = vocabulary(r#"{"a": 9, "b": 2, "a": 1}"#).unwrap();
        assert_eq!((words.id("a"), words.largest()), (Some(1), Some(("b", 2))));
    }

    #[test]
    fn no_words_are_a_vocabulary_too() {
        let words = vocabulary("{}").unwrap();
        assert_eq!((words.id("a"), words.id(""), words.largest()), (None, None, None));
    }

    #[test]
    fn words_made_to_collide_are_refused() {
        let colliding = |count: usize| {
            let words = (0..).map(|i: u32| i.to_string());
            let words = words.filter(|word| Hash::of(word.as_bytes()).split().0 & 0xff == 5);
            let words: Vec<String> = words.take(count).map(|word| format!("\"{word}\": 1")).collect();
            vocabulary(&format!("{{{}}}", words.join(",")))
        };
        assert!(colliding(super::PROBES).is_some());
        assert!(colliding(super::PROBES + 1).is_none());
    }
}
