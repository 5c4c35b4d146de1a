//! What the words of a text are.

use sha2::{Digest, Sha256};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_normalization::{UnicodeNormalization, is_nfkc};
use unicode_script::{Script, UnicodeScript};
use unicode_segmentation::UnicodeSegmentation;

/// How text becomes words, in a line.
pub const ANALYSIS: &str =
    "Unicode words in lower case, CJK and Thai by characters and pairs; no stemming, no stop words";

/// Longer words are indexed by their hash. (tantivy drops those of more than 65,530 bytes.)
const MAX_BYTES: usize = 256;

/// Scripts that put no spaces between words, or, as Hangul, put them elsewhere than a searcher does.
const UNSPACED: [Script; 9] = [
    Script::Han,
    Script::Hiragana,
    Script::Katakana,
    Script::Hangul,
    Script::Bopomofo,
    Script::Thai,
    Script::Lao,
    Script::Khmer,
    Script::Myanmar,
];

/// The words of a text, in its order.
///
/// - Text is normalised to NFKC: full-width letters, ligatures and combining accents are as the plain ones.
/// - Words are those of Unicode Standard Annex 29 that hold a letter or a digit, in lower case: `can't`, `3.5` and
///   `example.com` are one each, `well-known` is two. The typographic apostrophe is the plain one.
/// - Where a script puts no spaces between words, each character is a word, and so is each pair of neighbours: a query of
///   one character finds its documents, and longer ones find those that have them side by side.
/// - Nothing is stemmed, and no word is left out, however frequent or long. One of more than 256 bytes is held as its
///   SHA-256, so that it finds itself and nothing else.
///
/// ```
/// let mut words = crossrank_search::Words::default();
/// words.read("The jet’s range: 3.5 km, 東京都");
/// let found: Vec<&str> = words.iter().collect();
/// assert_eq!(found, ["the", "jet's", "range", "3.5", "km", "東", "東京", "京", "京都", "都"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// All words, one behind the other.
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Words {
    /// Replaces what is held by the words of a text.
    pub fn read(&mut self, text: &str) {
        self.text.clear();
        self.ends.clear();
        if text.is_ascii() || is_nfkc(text) && !text.contains('\u{2019}') {
            self.read_normal(text);
        } else {
            let normal: String = text.nfkc().map(|c| if c == '\u{2019}' { '\'' } else { c }).collect();
            self.read_normal(&normal);
        }
    }

    fn read_normal(&mut self, text: &str) {
        // The characters of unspaced scripts that follow each other so far, and where they are.
        let (mut run, mut end) = (0..0, 0);
        for (at, word) in text.unicode_word_indices() {
            if is_unspaced(word) {
                if at != end {
                    self.push_run(&text[run.clone()]);
                    run = at..at;
                }
                end = at + word.len();
                run.end = end;
            } else {
                self.push_run(&text[run.clone()]);
                run = 0..0;
                self.push(word);
            }
        }
        self.push_run(&text[run]);
    }

    /// Each character, and each pair of neighbours.
    fn push_run(&mut self, run: &str) {
        let mut characters = run.graphemes(true).peekable();
        let mut at = 0;
        while let Some(character) = characters.next() {
            self.push(character);
            if let Some(next) = characters.peek() {
                self.push(&run[at..at + character.len() + next.len()]);
            }
            at += character.len();
        }
    }

    fn push(&mut self, word: &str) {
        let begin = self.text.len();
        if word.is_ascii() {
            self.text.extend(word.chars().map(|c| c.to_ascii_lowercase()));
        } else {
            self.text.push_str(&word.to_lowercase());
        }
        if self.text.len() - begin > MAX_BYTES {
            let digest = Sha256::digest(&self.text.as_bytes()[begin..]);
            self.text.truncate(begin);
            // No word has this character, so that none of 256 bytes or fewer is the same.
            self.text.push('#');
            self.text.extend(digest.iter().map(|byte| format!("{byte:02x}")));
        }
        self.ends.push(self.text.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).map(|(&begin, &end)| &self.text[begin..end])
    }
}

/// Whether a word is of a script that parts its words otherwise.
fn is_unspaced(word: &str) -> bool {
    let of_script = |c: char| {
        let scripts = c.script_extension();
        !scripts.is_common()
            && !scripts.is_inherited()
            && UNSPACED.iter().any(|script| scripts.contains_script(*script))
    };
    !word.is_ascii() && word.chars().next().is_some_and(of_script)
}

/// What gives words to tantivy.
#[derive(Clone, Default)]
pub(crate) struct WordTokenizer(Words);

impl Tokenizer for WordTokenizer {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.0.read(text);
        WordStream { words: &self.0, next: 0, token: Token::default() }
    }
}

pub(crate) struct WordStream<'a> {
    words: &'a Words,
    /// How many have been handed on.
    next: usize,
    token: Token,
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(&end) = self.words.ends.get(self.next) else { return false };
        let begin = self.next.checked_sub(1).map_or(0, |last| self.words.ends[last]);
        // Neither is stored.
        self.token.position = self.next;
        (self.token.offset_from, self.token.offset_to) = (begin, end);
        self.token.text.clear();
        self.token.text.push_str(&self.words.text[begin..end]);
        self.next += 1;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Words::default();
        words.read("something else before");
        words.read(text);
        assert_eq!(words.len(), words.iter().count());
        words.iter().map(str::to_owned).collect()
    }

    #[test]
    fn words_are_unicodes_in_lower_case() {
        assert_eq!(
            words("  The Höhe: 3,5 km\u{2014}\"well-known\" u.s. _x_ "),
            ["the", "höhe", "3,5", "km", "well", "known", "u.s", "_x_"]
        );
        assert_eq!(words("ΟΔΟΣ Straße İ"), ["οδος", "straße", "i\u{307}"]);
        assert_eq!(words("don\u{2019}t don't"), ["don't", "don't"]);
        assert_eq!(words("?! ... \u{1f980} \0"), [""; 0]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn what_looks_alike_is_alike() {
        assert_eq!(words("ｗｉｄｅ ﬁne e\u{301}t\u{e9}"), ["wide", "fine", "\u{e9}t\u{e9}"]);
        // A vowel sign and a virama do not part a word.
        assert_eq!(words("\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}").len(), 1);
    }

    #[test]
    fn scripts_without_spaces_are_characters_and_pairs() {
        assert_eq!(words("東京"), ["東", "東京", "京"]);
        assert_eq!(words("猫"), ["猫"]);
        assert_eq!(words("カタ、ひら"), ["カ", "カタ", "タ", "ひ", "ひら", "ら"]);
        assert_eq!(words("5か月abc日"), ["5", "か", "か月", "月", "abc", "日"]);
        assert_eq!(words("日 本"), ["日", "本"]);
        assert_eq!(words("한국"), ["한", "한국", "국"]);
        assert_eq!(words("\u{e01}\u{e33}").len(), 1 + 2 * usize::from(words("\u{e01}\u{e33}").len() > 1));
        assert_eq!(words("ｶﾞ"), ["ガ"]);
    }

    #[test]
    fn long_words_are_themselves_and_nothing_else() {
        let (short, long, other) = ("a".repeat(256), "a".repeat(257), "a".repeat(100_000));
        assert_eq!(words(&short).concat(), short);
        let found = words(&format!("{long} {other} {long}"));
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|word| word.len() == 65 && word.starts_with('#')), "{found:?}");
        assert!(found[0] == found[2] && found[0] != found[1]);
    }

    #[test]
    fn tantivy_gets_the_same() {
        let text = "Rivers run to 東京; the Sea.";
        let mut tokenizer = WordTokenizer::default();
        let mut stream = tokenizer.token_stream(text);
        let mut found = vec![];
        stream.process(&mut |token| found.push(token.text.clone()));
        assert_eq!(found, words(text));
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_words_that_are_not_empty(text in "\\PC{0,80}|[ -~東ก한カé\u{301}\u{200d}]{0,80}") {
            let found = words(&text);
            assert!(found.iter().all(|word| !word.is_empty() && word.len() <= MAX_BYTES));
            assert_eq!(words(&text.to_uppercase().to_lowercase()).is_empty(), found.is_empty());
        }
    }
}
