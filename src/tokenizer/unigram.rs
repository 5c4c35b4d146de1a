//! A word to the ids of its pieces by their scores, as Unigram of SentencePiece and of the `tokenizers` crate does it.
//!
//! The crate holds 250,002 pieces as a tree of hash maps and three copies of each string. Here they lie in one string
//! and one table of hashes; which lengths are worth a look at some place of a text, a filter says that knows the first
//! bytes of every piece.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::vocabulary::{Append, Hash, Vocabulary, Words};

/// What a character that is no piece costs beyond the lowest score.
const UNKNOWN_PENALTY: f64 = 10.0;

/// The longest piece in bytes: at each place of a text that many are hashed.
const LONGEST: usize = 1024;

/// Pieces with their scores as a file lists them, checked.
pub(super) struct UnigramFile {
    pub(super) words: Words,
    pub(super) scores: Vec<f64>,
    pub(super) unknown: Option<usize>,
    pub(super) byte_fallback: bool,
}

pub(super) struct Unigram {
    pieces: Vocabulary,
    /// By id.
    scores: Vec<f64>,
    lengths: Lengths,
    unknown: u32,
    unknown_score: f64,
    /// The pieces that stand for the bytes of what is unknown, where it is spelt in bytes.
    bytes: Option<Box<[u32; 256]>>,
}

/// The best way to one place of a text.
#[derive(Clone, Copy)]
struct Step {
    score: f64,
    /// Where its last piece begins; `UNREACHED` where there is no way.
    start: u32,
    id: u32,
}

const UNREACHED: u32 = u32::MAX;

impl Unigram {
    /// Fails where a field is not what the model needs. `Ok(None)` if the pieces do not fit its tables.
    pub(super) fn new(file: UnigramFile) -> Result<Option<Self>, String> {
        let UnigramFile { words, scores, unknown, byte_fallback } = file;
        let count = scores.len();
        let unknown = match unknown {
            Some(id) if id < count => id as u32,
            found => {
                let found = found.map_or("null".to_owned(), |id| id.to_string());
                return Err(format!(
                    "`model.unk_id`: expected the number of one of the {count} pieces, found {found}"
                ));
            }
        };
        let lowest = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let lengths = Lengths::of(words.iter());
        let Some(pieces) = Vocabulary::new(words).filter(|pieces| pieces.longest() <= LONGEST) else {
            return Ok(None);
        };
        let bytes = if byte_fallback { Some(byte_pieces(|piece| pieces.id(piece))?) } else { None };
        let unknown_score = lowest - UNKNOWN_PENALTY;
        Ok(Some(Self { pieces, scores, lengths, unknown, unknown_score, bytes }))
    }

    /// The same with another piece for what is unknown, which is not spelt in bytes.
    pub(super) fn remake(&mut self, unknown: u32) -> Result<(), String> {
        let count = self.len();
        if unknown as usize >= count {
            return Err(format!("`model.vocab`: expected more than {unknown} pieces, found {count}"));
        }
        self.unknown = unknown;
        self.bytes = None;
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        self.pieces.id(piece)
    }

    /// The piece with the largest id.
    pub(super) fn largest(&self) -> Option<(&str, u32)> {
        self.pieces.largest()
    }

    /// Appends the ids of a word that has been normalised.
    pub(super) fn encode(&self, word: &str, ids: &mut Vec<u32>) {
        let mut path = vec![];
        self.best_path(word, &mut path);
        let mut run: Option<(usize, usize)> = None;
        for (start, end, id) in path {
            if id == self.unknown {
                // What is unknown is one token, however long.
                run = Some((run.map_or(start, |(start, _)| start), end));
                continue;
            }
            if let Some((start, end)) = run.take() {
                self.push_unknown(&word[start..end], ids);
            }
            ids.push(id);
        }
        if let Some((start, end)) = run {
            self.push_unknown(&word[start..end], ids);
        }
    }

    fn push_unknown(&self, run: &str, ids: &mut Vec<u32>) {
        // The piece of what is unknown may stand in a text, and a run of it may be another piece.
        match (self.id(run), &self.bytes) {
            (Some(id), _) => ids.push(id),
            (None, Some(bytes)) => ids.extend(run.bytes().map(|byte| bytes[byte as usize])),
            (None, None) => ids.push(self.unknown),
        }
    }

    /// Begin, end and id of the pieces whose scores have the largest sum.
    fn best_path(&self, word: &str, path: &mut Vec<(usize, usize, u32)>) {
        let bytes = word.as_bytes();
        let mut steps = vec![Step { score: 0.0, start: UNREACHED, id: 0 }; bytes.len() + 1];
        let mut hashes = Vec::new();
        for (start, c) in word.char_indices() {
            let before = steps[start].score;
            let mut take = |len: usize, id: u32, score: f64| {
                let step = &mut steps[start + len];
                let score = score + before;
                // Of equals the one that begins first stays.
                if step.start == UNREACHED || score > step.score {
                    *step = Step { score, start: start as u32, id };
                }
            };
            let (width, rest) = (c.len_utf8(), &bytes[start..]);
            let mut alone = false;
            self.pieces_of(rest, &mut hashes, |len, id| {
                take(len, id, self.scores[id as usize]);
                alone |= len == width;
            });
            if !alone {
                take(width, self.unknown, self.unknown_score);
            }
        }
        let mut end = bytes.len();
        while end > 0 {
            let Step { start, id, .. } = steps[end];
            path.push((start as usize, end, id));
            end = start as usize;
        }
        path.reverse();
    }

    /// Length and id of each piece that a text begins with.
    #[inline]
    fn pieces_of(&self, text: &[u8], hashes: &mut Vec<Hash>, mut take: impl FnMut(usize, u32)) {
        hashes.clear();
        let mut hash = Hash::NOTHING;
        for &byte in &text[..text.len().min(PREFIX)] {
            hash = hash.and(byte);
            hashes.push(hash);
        }
        let mut lengths = self.lengths.of_text(hashes);
        while lengths != 0 {
            let len = lengths.trailing_zeros() as usize;
            lengths &= lengths - 1;
            // The last bit stands for all that are longer, too.
            let last = if len == MOST { self.pieces.longest() } else { len };
            for len in len..=last.min(text.len()) {
                while hashes.len() < len {
                    hash = hash.and(text[hashes.len()]);
                    hashes.push(hash);
                }
                if let Some(id) = self.pieces.find(hashes[len - 1], b"", &text[..len]) {
                    take(len, id);
                }
            }
        }
    }
}

/// The pieces `<0x00>` to `<0xFF>`.
pub(super) fn byte_pieces(id: impl Fn(&str) -> Option<u32>) -> Result<Box<[u32; 256]>, String> {
    let mut ids = Box::new([0; 256]);
    for (byte, slot) in ids.iter_mut().enumerate() {
        let piece = format!("<0x{byte:02X}>");
        *slot = id(&piece).ok_or_else(|| {
            format!(
                "`model.byte_fallback`: expected all 256 pieces from `<0x00>` to `<0xFF>` in the vocabulary, found no \
                 `{piece}`"
            )
        })?;
    }
    Ok(ids)
}

/// Of how many first bytes the filter knows.
const PREFIX: usize = 4;
/// The largest length that has a bit of its own.
const MOST: usize = 63;
/// Bits of the filter's index.
const INDEX_BITS: u32 = 16;

/// Which lengths pieces have that begin with some bytes: a bit each, by a hash of the bytes. Lengths of other beginnings
/// may be among them, none is missing.
struct Lengths(Box<[u64]>);

impl Lengths {
    fn of<'a>(pieces: impl Iterator<Item = &'a str>) -> Self {
        let mut bits = vec![0; 1 << INDEX_BITS].into_boxed_slice();
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let bytes = piece.as_bytes();
            let hash = Hash::of(&bytes[..bytes.len().min(PREFIX)]);
            bits[hash.index(INDEX_BITS)] |= 1 << bytes.len().min(MOST);
        }
        Self(bits)
    }

    /// Those for a text of which these are the hashes of the first bytes, up to `PREFIX`.
    #[inline]
    fn of_text(&self, hashes: &[Hash]) -> u64 {
        let mut lengths = 0;
        for (i, hash) in hashes.iter().enumerate() {
            let len = i + 1;
            // With all the bytes it knows, the filter speaks of all longer pieces, with fewer of one length.
            let mask = if len == PREFIX { !0 << PREFIX } else { 1 << len };
            lengths |= self.0[hash.index(INDEX_BITS)] & mask;
        }
        lengths
    }
}

impl<'de> Deserialize<'de> for UnigramFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = UnigramFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Unigram model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UnigramFile, A::Error> {
        let (mut is_unigram, mut pieces, mut unknown, mut byte_fallback) = (false, None, None, false);
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            match &*key {
                "type" => {
                    if map.next_value::<std::borrow::Cow<'_, str>>()? != "Unigram" {
                        return Err(A::Error::custom("another model"));
                    }
                    is_unigram = true;
                }
                // Before it is known that they are pieces, nothing may be said of them.
                "vocab" if is_unigram => pieces = Some(map.next_value::<Pieces>()?),
                "unk_id" => unknown = map.next_value()?,
                "byte_fallback" => byte_fallback = map.next_value()?,
                _ if is_unigram => drop(map.next_value::<serde::de::IgnoredAny>()?),
                _ => return Err(A::Error::custom("another model")),
            }
        }
        let Pieces { words, scores } = pieces.ok_or_else(|| A::Error::missing_field("vocab"))?;
        Ok(UnigramFile { words, scores, unknown, byte_fallback })
    }
}

#[derive(Default)]
struct Pieces {
    words: Words,
    scores: Vec<f64>,
}

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PiecesVisitor)
    }
}

struct PiecesVisitor;

impl<'de> Visitor<'de> for PiecesVisitor {
    type Value = Pieces;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of pieces with their scores")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pieces, A::Error> {
        let mut pieces = Pieces::default();
        while seq.next_element_seed(PieceSeed(&mut pieces))?.is_some() {}
        Ok(pieces)
    }
}

/// One piece with its score, put at the end of the others.
struct PieceSeed<'a>(&'a mut Pieces);

impl<'de> serde::de::DeserializeSeed<'de> for PieceSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PieceSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a piece and its score")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Pieces { words, scores } = self.0;
        let number = scores.len();
        let start = seq
            .next_element_seed(Append(words.text_mut()))?
            .ok_or_else(|| A::Error::custom(format!("`model.vocab`: entry {number} is empty")))?;
        let score = seq.next_element::<f64>().map_err(|error| {
            let piece = words.from(start);
            let expected =
                format!("`model.vocab`: expected a finite score of piece {number}, `{piece}`, found");
            A::Error::custom(format!("{expected} another value: {error}"))
        })?;
        let score = score.filter(|score| score.is_finite());
        let score = score.ok_or_else(|| {
            let piece = words.from(start);
            A::Error::custom(format!("`model.vocab`: piece {number}, `{piece}`, has no finite score"))
        })?;
        let id = u32::try_from(number).map_err(A::Error::custom)?;
        words.push(start, id);
        scores.push(score);
        Ok(())
    }
}
