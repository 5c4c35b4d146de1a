//! Ids of tokenizers of other kinds than BERT's against those of the `tokenizers` crate, for odd and long texts.

use std::path::PathBuf;
use std::sync::Arc;

use super::backend::NORMALIZED;
use super::settings::{Settings, TokenizerRules};
use super::{Source, Texts};
use crate::checkpoint::files::File;

/// Both readings of one `tokenizer.json`.
struct Both {
    own: Texts,
    theirs: tokenizers::Tokenizer,
}

impl Both {
    fn of(json: &[u8]) -> Self {
        let mut theirs = tokenizers::Tokenizer::from_bytes(json).unwrap();
        theirs.with_padding(None).with_truncation(None).unwrap();
        Self { own: parse(json), theirs }
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        self.theirs.encode_fast(text, false).unwrap().get_ids().to_vec()
    }
}

fn parse(json: &[u8]) -> Texts {
    let file = File { name: "tokenizer.json".into(), bytes: Arc::new(json.to_vec()), map: None };
    let class = Some("PreTrainedTokenizerFast");
    let mut settings = Settings::parse(None, class, TokenizerRules::Author).unwrap();
    Texts::parse(&Source::Json(file), &mut settings, false).unwrap().0
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

const KINDS: [&str; 7] = ["roberta", "modernbert", "xlmr", "camembert", "albert", "mpnet", "mmbert"];

fn read(kind: &str) -> Vec<u8> {
    std::fs::read(root().join("tests/tokenizers").join(kind).join("tokenizer.json")).unwrap()
}

/// A text of pieces of a vocabulary, whole and cut, and of any characters.
fn text(random: &mut fastrand::Rng, words: &[String]) -> String {
    let mut text = String::new();
    for _ in 0..random.usize(..40) {
        match random.u8(..8) {
            0 => text.push(random.char(..)),
            1 => text.push(random.char('\u{a0}'..'\u{3000}')),
            2 | 3 => text.push(' '),
            4 => text.push(random.lowercase()),
            5 => {
                text.push_str(words[random.usize(..words.len())].trim_start_matches(['\u{2581}', '\u{120}']))
            }
            _ => text.push_str(&words[random.usize(..words.len())]),
        }
    }
    text
}

fn words(tokenizer: &tokenizers::Tokenizer) -> Vec<String> {
    let mut words: Vec<String> = tokenizer.get_vocab(false).into_keys().collect();
    words.sort();
    words
}

#[test]
fn random_texts_have_the_ids_of_the_crate() {
    for kind in KINDS {
        let both = Both::of(&read(kind));
        let (mut random, words) = (fastrand::Rng::with_seed(7), words(&both.theirs));
        for _ in 0..1000 {
            let text = text(&mut random, &words);
            assert_eq!(both.own.encode(&text, usize::MAX).unwrap(), both.ids(&text), "{kind}: {text:?}");
        }
    }
}

/// Scores that are equal, pieces that come twice, and pieces of what is unknown.
#[test]
fn unigram_with_odd_pieces_has_the_ids_of_the_crate() {
    let json = |pieces: &str, fallback: bool| {
        let bytes: String = if fallback {
            (0..256).map(|byte| format!(r#",["<0x{byte:02X}>",-9.5]"#)).collect()
        } else {
            String::new()
        };
        format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":null,"post_processor":null,"decoder":null,
            "model":{{"type":"Unigram","unk_id":1,"vocab":[{pieces}{bytes}],"byte_fallback":{fallback}}}}}"#
        )
    };
    let odd = r#"["",0.0],["<u>",-0.5],["a",-1.0],["b",-1.0],["ab",-2.0],["ba",-2.0],["aba",-3.0],["ab",-1.5],
        ["xx",-30.0],["é",-4],["éa",-1.5e0],["日本",-3.25],["<u><u>",-50.0]"#;
    let whole = format!(r#"{odd},["{}",-2.0],["{}",-3.0]"#, "ab".repeat(40), "b".repeat(64));
    for fallback in [false, true] {
        for pieces in [odd, &whole] {
            let both = Both::of(json(pieces, fallback).as_bytes());
            let mut random = fastrand::Rng::with_seed(3);
            let parts = [
                "a",
                "b",
                "ab",
                "x",
                "é",
                "日",
                "本",
                "<u>",
                "<u",
                "☃",
                "abababababababababab",
                "bbbbbbbbbbbb",
            ];
            for _ in 0..3000 {
                let text: String =
                    (0..random.usize(..24)).map(|_| parts[random.usize(..parts.len())]).collect();
                assert_eq!(
                    both.own.encode(&text, usize::MAX).unwrap(),
                    both.ids(&text),
                    "{fallback} {text:?}"
                );
            }
        }
    }
}

#[test]
fn of_a_long_text_no_more_is_read_than_the_window_takes() {
    let unit = "the river runs 12 north's é café to  the\tsea, Привет мир 山河 ไทย ﬁ e\u{301} x. ";
    for kind in KINDS {
        let mut both = Both::of(&read(kind));
        let expected = both.ids(&unit.repeat(300));
        for (count, limit) in [(300, 100_000), (50_000, 65)] {
            both.own.limit(limit).unwrap();
            NORMALIZED.set(0);
            let ids = both.own.encode(&unit.repeat(count), limit).unwrap();
            assert_eq!(ids, expected[..expected.len().min(limit)], "{kind}");
            let most = if count == 300 { usize::MAX } else { 16 << 10 };
            assert!(NORMALIZED.get() < most, "{kind}: {} bytes", NORMALIZED.get());
        }
    }
}

#[test]
fn the_pieces_of_xlm_r_have_the_ids_of_the_crate() {
    let path = root().join("../shared/models/xlmr-tokenizer/tokenizer.json");
    let Ok(json) = std::fs::read(path) else {
        let line = b"SKIPPED the pieces of XLM-R: no ../shared/models/xlmr-tokenizer\n";
        std::io::Write::write_all(&mut std::io::stderr(), line).unwrap();
        return;
    };
    let both = Both::of(&json);
    let (mut random, words) = (fastrand::Rng::with_seed(11), words(&both.theirs));
    for _ in 0..3000 {
        let text = text(&mut random, &words);
        assert_eq!(both.own.encode(&text, usize::MAX).unwrap(), both.ids(&text), "{text:?}");
    }
}
