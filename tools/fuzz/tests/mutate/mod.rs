//! Small damage, as files and hostile minds do it.

use fastrand::Rng;

/// Numbers at the edge of something, and what is none.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "2",
    "7",
    "64",
    "1.5",
    "1e300",
    "65536",
    "4294967295",
    "4294967296",
    "1000000000000",
    "9223372036854775807",
    "18446744073709551615",
];
/// What stands for a value, or ends one.
const WORDS: [&str; 18] = [
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\"\\ud800\"",
    "\"[SEP]\"",
    "\"bert\"",
    ",",
    ":",
    "[",
    "]",
    "}",
    "\"",
    "\\",
    "\u{2028}",
    "\n",
    "\u{0}",
];

/// Damages bytes, the same with the same seed.
pub struct Mutator {
    rng: Rng,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed) }
    }

    /// The bytes with one to four damages. In half of the files that begin with the length of a header only the header is
    /// damaged, and its length is right.
    pub fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let header = bytes.first_chunk().map(|len| u64::from_le_bytes(*len) as usize);
        match header.and_then(|len| bytes.get(8..)?.split_at_checked(len)) {
            Some((header, data)) if self.rng.bool() => {
                let header = self.damage(header.to_vec());
                [&(header.len() as u64).to_le_bytes(), &*header, data].concat()
            }
            _ => self.damage(bytes.to_vec()),
        }
    }

    fn damage(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.rng.usize(1..=4) {
            self.damage_once(&mut bytes);
        }
        bytes
    }

    fn damage_once(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.usize(..=bytes.len());
        match self.rng.u8(..9) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.rng.u8(..8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = self.rng.u8(..);
                }
            }
            3 => drop(bytes.drain(at..(at + self.rng.usize(1..=16)).min(bytes.len()))),
            4 => {
                let word = self.rng.choice(WORDS).unwrap_or_default();
                bytes.splice(at..at, word.bytes());
            }
            5 | 6 => self.replace_token(bytes, at),
            7 => self.copy_token(bytes, at),
            _ => {
                let (from, len) = (self.rng.usize(..=bytes.len()), self.rng.usize(1..=64));
                let part = bytes[from..(from + len).min(bytes.len())].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }

    /// Replaces the number, name or string at a place.
    fn replace_token(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let token = token(bytes, at);
        let by = if bytes[token.clone()].iter().all(u8::is_ascii_digit) && self.rng.u8(..4) > 0 {
            self.rng.choice(NUMBERS)
        } else {
            self.rng.choice(WORDS)
        };
        bytes.splice(token, by.unwrap_or_default().bytes());
    }

    /// Replaces it by another of the same file.
    fn copy_token(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let other = token(bytes, self.rng.usize(..=bytes.len()));
        let other = bytes[other].to_vec();
        bytes.splice(token(bytes, at), other);
    }
}

/// Where the token lies that has a place: what stands between JSON's punctuation.
fn token(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let ends = |byte: &u8| b",:[]{}\"\n ".contains(byte);
    let start = bytes[..at].iter().rposition(ends).map_or(0, |end| end + 1);
    let len = bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at);
    start..at + len
}
