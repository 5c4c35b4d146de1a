//! Ids of the own tokenizer against those of the `tokenizers` crate: the same for every text and limit.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::tokenizer::{NormalizedString, Normalizer};

use super::backend::{NORMALIZED, Outline};
use super::bert::Bert;
use super::settings::{Settings, TokenizerRules};
use super::{Source, Texts};
use crate::checkpoint::files::File;

/// Both readings of one `tokenizer.json`.
struct Both {
    own: Bert,
    theirs: tokenizers::Tokenizer,
}

impl Both {
    fn of(json: &[u8]) -> Self {
        let mut theirs = tokenizers::Tokenizer::from_bytes(json).unwrap();
        theirs.with_padding(None).with_truncation(None).unwrap();
        Self { own: own(json).expect("the plain form"), theirs }
    }

    fn check(&self, text: &str) {
        let expected = self.theirs.encode_fast(text, false).unwrap();
        let expected = expected.get_ids();
        for limit in [1, 2, 3, 7, 33, 65, 513, usize::MAX] {
            let found = self.own.encode(text, limit).unwrap();
            assert_eq!(found, expected[..expected.len().min(limit)], "limit {limit} of {text:?}");
        }
    }
}

/// What a file says, whole: no class counts before it.
fn parse(json: &[u8]) -> Result<(Texts, Outline), String> {
    let class = Some("PreTrainedTokenizerFast");
    let file = File { name: "tokenizer.json".into(), bytes: std::sync::Arc::new(json.to_vec()), map: None };
    Texts::parse(
        &Source::Json(file),
        &mut Settings::parse(None, class, TokenizerRules::Author).unwrap(),
        false,
    )
}

/// The own tokenizer of a file, if it is of the plain form.
fn own(json: &[u8]) -> Option<Bert> {
    match parse(json) {
        Ok((Texts::Bert(bert), _)) => Some(bert),
        _ => None,
    }
}

type Edit = fn(&mut Value);

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(folder: &str) -> Vec<u8> {
    std::fs::read(root().join(folder).join("tokenizer.json")).unwrap()
}

/// The tokenizer of `models/default`, and one with 576 words, of which most texts need several a word.
fn originals() -> [Both; 2] {
    ["models/default", "tests/fixtures/gelu-60"].map(|folder| Both::of(&read(folder)))
}

/// Small tokenizers with other settings.
fn variants() -> Vec<Both> {
    let edits: [Edit; 8] = [
        |json| json["normalizer"]["lowercase"] = json!(false),
        |json| json["normalizer"]["strip_accents"] = json!(false),
        |json| {
            json["normalizer"]["lowercase"] = json!(false);
            json["normalizer"]["strip_accents"] = json!(true);
        },
        |json| json["normalizer"]["handle_chinese_chars"] = json!(false),
        |json| json["model"]["max_input_chars_per_word"] = json!(4),
        |json| json["model"]["max_input_chars_per_word"] = json!(0),
        |json| json["model"]["continuing_subword_prefix"] = json!(""),
        |json| {
            // Tokens that overlap, hold a space, end in a letter or in another script.
            let contents = ["[S", "[SEP]]", "[SEP] [", "#a", "<é一>"];
            for (i, content) in contents.iter().enumerate() {
                json["model"]["vocab"][content] = json!(10 + i);
                let mut token = json["added_tokens"][0].clone();
                token["content"] = json!(content);
                json["added_tokens"].as_array_mut().unwrap().push(token);
            }
        },
    ];
    let edited = |edit: &Edit| {
        let mut json: Value = serde_json::from_slice(&read("tests/fixtures/gelu-60")).unwrap();
        edit(&mut json);
        Both::of(json.to_string().as_bytes())
    };
    edits.iter().map(edited).collect()
}

/// Texts at the edges of what is cut, normalised and looked up.
fn hostile() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\t\r\n ",
        "a",
        "The quick (brown) fox can't jump 32.3 feet, right?",
        "[SEP]",
        "[CLS][SEP][SEP]x[MASK]y[UNK]",
        "[sep] [SEP [SEP]] [[SEP] S[SEP]P] [SEP\u{301}]",
        "[S [SEP] [SEP]] #a ##a <é一> <e一>",
        "e[SEP]\u{301}e\u{301}[SEP]",
        "fo\u{1}o\u{0}bar\u{7f}\u{b}baz\u{c}\u{1f}",
        "\u{1}",
        "\u{1} \u{1}\u{2}.",
        "a\u{85}b\u{a0}c\u{2028}d\u{3000}e\u{200b}f\u{feff}g\u{fffd}h\u{ad}i",
        "\u{301}",
        "\u{301}\u{316} \u{316}\u{301}a.\u{301}\u{316}a",
        "e\u{301}\u{200d}\u{316}e \u{1}\u{301}",
        "\u{302e}\u{301}\u{302e} \u{1d165}\u{1d16d}\u{301}",
        "café CAFÉ İstanbul ΟΔΥΣΣΕΥΣ ς ﬁ \u{212a}elvin \u{37e} \u{1fef} ǅ ẞ",
        "你好，世界。hello世界world 一a一.一\u{301}一",
        "ﬀ\u{f900}\u{2f800}a\u{20000}b\u{9fa6}c\u{9fff}d\u{3400}e",
        "한국어 각\u{1100}\u{1161}\u{11a8} ไทยไม่มีช่องว่าง हिन्दी עִבְרִית العَرَبِيَّة",
        "👩‍👩‍👧‍👦🏳️‍🌈 ½ ² ™ … – — “quoted” ‘it’s’ «ça» ¿qué?",
        "##ing ##",
        "Привет, мир! Как дела? Ёлка",
    ]
    .map(String::from)
    .into();
    for unit in [
        "a",
        "A1",
        "é",
        "一",
        "一二。",
        "\u{301}",
        "e\u{301}",
        "\u{1}",
        " ",
        ".",
        "[SEP]",
        "\u{1}a ",
        "字 a",
        "한",
        "か、",
        "é\u{a0}",
        "ก\u{302e}\u{301}",
        "\u{200b}",
        "Я1",
    ] {
        for count in [99, 100, 101, 127, 128, 170, 171, 255, 256, 513, 2000] {
            texts.push(unit.repeat(count));
            texts.push(format!("é{} x", unit.repeat(count)));
            texts.push(format!("{}é.", unit.repeat(count)));
        }
    }
    texts
}

#[test]
fn hostile_texts_have_the_ids_of_the_crate() {
    let texts = hostile();
    for both in originals().iter().chain(&variants()) {
        texts.iter().for_each(|text| both.check(text));
    }
}

#[test]
fn every_character_has_the_ids_of_the_crate() {
    let [both, _] = originals();
    // Of the planes that are empty or private a sample will do.
    let told_apart = |c: &char| {
        matches!(c, '\0'..'\u{40000}' | '\u{e0000}'..'\u{e1000}') || (*c as u32).is_multiple_of(97)
    };
    for block in ('\0'..=char::MAX).filter(told_apart).collect::<Vec<_>>().chunks(16) {
        let parts = block.iter().flat_map(|&c| [c, 'a', c, '\u{301}', ' ', c, '\u{316}', '.', c, c]);
        let text: String = parts.collect();
        let expected = both.theirs.encode_fast(text.as_str(), false).unwrap();
        assert_eq!(both.own.encode(&text, usize::MAX).unwrap(), expected.get_ids(), "{text:?}");
    }
}

#[test]
fn chinese_characters_stand_alone_and_other_texts_are_cut_at_them() {
    for c in '\u{4e00}'..='\u{9fa5}' {
        let mut text = NormalizedString::from(format!("a{c}b"));
        BertNormalizer::default().normalize(&mut text).unwrap();
        assert_eq!(text.get(), format!("a {c} b"));
    }
}

/// Words of all kinds, so that most of a random text is not unknown.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => "[a-zA-Z]{1,12}",
        4 => "[ \t\n]{1,3}",
        2 => "[!-/:-@\\[-`{-~]{1,3}",
        2 => "[0-9a-f]{1,8}",
        2 => any::<char>().prop_map(String::from),
        2 => "[à-žА-яͰ-Ͽ]{1,8}",
        2 => "[一-龥ぁ-ヶ가-힣]{1,6}",
        2 => "[\u{300}-\u{36f}\u{591}-\u{5bd}\u{302e}\u{200b}-\u{200f}]{1,3}",
        1 => "[\u{0}-\u{1f}\u{7f}-\u{a0}]{1,3}",
        1 => "\\PC{1,8}",
        1 => prop::sample::select(vec!["[SEP]", "[CLS]", "[MASK", "[SEP]]", "##", "’s", "—", "“"]).prop_map(String::from),
    ];
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

#[test]
fn random_texts_have_the_ids_of_the_crate() {
    let [default, small] = originals();
    let variants = variants();
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) }, |(text in texts())| {
        default.check(&text);
        small.check(&text);
    });
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) }, |(text in texts())| {
        variants.iter().for_each(|both| both.check(&text));
    });
}

#[test]
fn long_random_texts_have_the_ids_of_the_crate() {
    let [both, _] = originals();
    let long = prop::collection::vec(texts(), 30..60).prop_map(|texts| texts.concat());
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) }, |(text in long)| {
        both.check(&text);
    });
}

/// Long runs of other scripts without a space, with marks that are reordered.
#[test]
fn long_random_runs_have_the_ids_of_the_crate() {
    let [default, small] = originals();
    let variants = variants();
    let parts = [
        "ก",
        "ไทย",
        "한국어",
        "각",
        "あ",
        "が",
        "か\u{3099}",
        "ラ",
        "й",
        "Я",
        "é",
        "e\u{301}\u{316}",
        "\u{302e}",
        "\u{301}",
        "\u{316}",
        "\u{1d165}",
        "\u{1d15e}",
        "\u{345}",
        "\u{1}",
        "\u{200d}",
        "\u{85}",
        "👩",
        "🏽",
        "ß",
        "İ",
        "a",
        "Z9",
        "\u{378}",
        "א\u{5b0}",
        "ب",
        "का",
        "்",
        "½",
        "ﬁ",
        "…",
        "。",
        "\u{a0}",
        "\u{3000}",
        "一",
        "\u{37e}",
        " ",
        ".",
        "[SEP]",
    ];
    // The first are words' insides, which are mostly drawn.
    let part = prop_oneof![30 => 0..34usize, 1 => 34..parts.len()];
    let text = prop::collection::vec((part, 1..40usize), 10..50)
        .prop_map(move |runs| runs.iter().map(|&(i, count)| parts[i].repeat(count)).collect::<String>());
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) }, |(text in text)| {
        default.check(&text);
        small.check(&text);
        variants.iter().for_each(|both| both.check(&text));
    });
}

#[test]
fn of_a_long_text_no_more_is_normalised_than_the_window_takes() {
    let [both, _] = originals();
    let units = [
        "ก",
        "ไม้",
        "한",
        "👩",
        "か",
        "か、",
        "Я",
        "é",
        "e\u{301}",
        "the\u{a0}river\u{a0}",
        "あ。",
        "a",
        "一",
        "naïve ",
        "\u{1d165}ก",
    ];
    for unit in units {
        let text = unit.repeat(1_390_000);
        NORMALIZED.set(0);
        let ids = both.own.encode(&text, 513).unwrap();
        let bytes = NORMALIZED.get();
        assert!(bytes < 64 << 10, "{unit}: {bytes} bytes of {}", text.len());
        // The crate itself on what is enough of it.
        let enough = &text[..text.char_indices().nth(20_000).map_or(text.len(), |(i, _)| i)];
        let expected = both.theirs.encode_fast(enough, false).unwrap();
        let expected = expected.get_ids();
        assert_eq!(ids, expected[..expected.len().min(513)], "{unit}");
    }
}

/// A form that is left to the crate.
#[test]
fn of_a_long_text_in_another_form_no_more_is_read_than_the_window_takes() {
    let mut json: Value = serde_json::from_slice(&read("tests/fixtures/gelu-60")).unwrap();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, json["normalizer"]]});
    let theirs = tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap();
    let (mut texts, _) = parse(json.to_string().as_bytes()).unwrap();
    texts.limit(65).unwrap();
    for unit in ["the river runs. ", "ﬁ one e\u{301} x\u{301} ", "a [SEP] b "] {
        let text = unit.repeat(10_000);
        NORMALIZED.set(0);
        let ids = texts.encode(&text, 65).unwrap();
        assert!(NORMALIZED.get() < 5000, "{unit}: {}", NORMALIZED.get());
        assert_eq!(ids, theirs.encode_fast(unit.repeat(100), false).unwrap().get_ids()[..65], "{unit}");
        let whole = unit.repeat(700);
        texts.limit(100_000).unwrap();
        let expected = theirs.encode_fast(whole.as_str(), false).unwrap();
        assert_eq!(texts.encode(&whole, 100_000).unwrap(), expected.get_ids(), "{unit}");
        texts.limit(65).unwrap();
    }
}

#[test]
fn stored_texts_have_the_ids_of_the_crate() {
    let [default, small] = originals();
    let mut files = vec![root().join("tests/fixtures/default-model.jsonl")];
    let mut plain = 0;
    for entry in std::fs::read_dir(root().join("tests/fixtures")).unwrap() {
        let folder = entry.unwrap().path();
        let tokenizer = folder.join("tokenizer.json");
        if tokenizer.exists() {
            files.push(folder.join("reference.jsonl"));
            let json = std::fs::read(tokenizer).unwrap();
            if own(&json).is_some() {
                plain += 1;
                Both::of(&json).check("Every fixture of BERT is of the plain form: naïve 一.");
            }
        }
    }
    assert!(plain >= 7 && files.len() > plain, "fixtures are missing");
    let mut count = 0;
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            for text in strings(&serde_json::from_str(line).unwrap()) {
                default.check(&text);
                small.check(&text);
                count += 1;
            }
        }
    }
    assert!(count > 300, "only {count} texts");
}

#[test]
fn real_texts_have_the_ids_of_the_crate() {
    let shared = root().join("../shared/data");
    if !shared.is_dir() {
        std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED real texts: no ../shared/data\n")
            .unwrap();
        return;
    }
    let [default, small] = originals();
    let mut count = 0;
    for text in real_texts(&shared) {
        default.check(&text);
        small.check(&text);
        count += 1;
    }
    assert!(count > 3000, "only {count} texts");
}

fn real_texts(shared: &Path) -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(shared.join(name)).unwrap();
    let mut texts = strings(&serde_json::from_str(&read("workloads.json")).unwrap());
    for set in ["squad", "cranfield"] {
        texts.extend(read(&format!("{set}/queries.tsv")).lines().map(String::from));
        for line in read(&format!("{set}/corpus.jsonl")).lines() {
            texts.extend(strings(&serde_json::from_str(line).unwrap()));
        }
    }
    // All of it at once, a megabyte and more without an end.
    texts.push(texts.concat());
    texts
}

/// Every string in a JSON value.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => vec![],
    }
}

#[test]
fn other_forms_are_left_to_the_crate() {
    let edits: [(&str, Edit); 14] = [
        ("text is not cleaned", |json| json["normalizer"]["clean_text"] = json!(false)),
        ("another normaliser", |json| json["normalizer"] = json!({"type": "NFC"})),
        ("no normaliser", |json| json["normalizer"] = json!(null)),
        ("another pre-tokeniser", |json| json["pre_tokenizer"] = json!({"type": "Whitespace"})),
        ("no pre-tokeniser", |json| json["pre_tokenizer"] = json!(null)),
        ("another model", |json| json["model"]["type"] = json!("WordLevel")),
        ("an unknown version", |json| json["version"] = json!("2.0")),
        ("broken padding", |json| json["padding"] = json!(5)),
        ("no word for what is unknown", |json| json["model"]["unk_token"] = json!("<nothing>")),
        ("spaces on the left", |json| json["added_tokens"][4]["lstrip"] = json!(true)),
        ("spaces on the right", |json| json["added_tokens"][4]["rstrip"] = json!(true)),
        ("whole words", |json| json["added_tokens"][4]["single_word"] = json!(true)),
        ("found in normalised text", |json| json["added_tokens"][4]["normalized"] = json!(true)),
        ("not in the vocabulary", |json| json["added_tokens"][4]["content"] = json!("[OTHER]")),
    ];
    for (what, edit) in edits {
        let mut json: Value = serde_json::from_slice(&read("tests/fixtures/gelu-60")).unwrap();
        assert!(own(json.to_string().as_bytes()).is_some());
        edit(&mut json);
        assert!(own(json.to_string().as_bytes()).is_none(), "{what}");
    }
}

#[test]
fn other_forms_have_the_same_limits() {
    let mut json: Value = serde_json::from_slice(&read("tests/fixtures/gelu-60")).unwrap();
    let own = own(json.to_string().as_bytes()).unwrap();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [json["normalizer"]]});
    for limit in [5, 33, 65] {
        let (mut texts, _) = parse(json.to_string().as_bytes()).unwrap();
        assert!(matches!(texts, Texts::Any(_)));
        texts.limit(limit).unwrap();
        for text in hostile() {
            assert_eq!(texts.encode(&text, limit).unwrap(), own.encode(&text, limit).unwrap(), "{text:?}");
        }
    }
}
