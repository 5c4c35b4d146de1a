//! Passages of odd texts, by every kind of tokenizer that a fixture has.

use std::path::PathBuf;

use super::{Cut, Cutter};
use crate::reranker::Reranker;

fn fixture(name: &str) -> Reranker {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    Reranker::builder().threads(1).load(folder).unwrap()
}

fn cuts(reranker: &Reranker, text: &str, room: usize, stride: usize) -> Vec<Cut> {
    let mut cutter = Cutter::new(reranker.tokenizer(), text, room, stride);
    let cuts: Vec<Cut> = std::iter::from_fn(|| cutter.next().unwrap()).collect();
    assert_eq!(cuts.len(), cutter.count);
    cuts
}

const WORDS: [&str; 24] = [
    "rivers",
    "Sea",
    "bread.",
    "It",
    "ends",
    "here!",
    "(so)",
    "\"quoted.\"",
    "e.g.",
    "3.14",
    "\n",
    "\n\n",
    "  ",
    "\u{a0}",
    "流れる。",
    "川は海へ行く。",
    "Où?",
    "e\u{301}te\u{301}",
    "한국어",
    "…",
    "👩‍👩‍👧",
    "\r\n",
    "unbelievablyunbreakable",
    "\u{200b}",
];

/// Texts of words in no order, the same in every run.
fn texts() -> Vec<String> {
    let mut state = 7_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut texts: Vec<String> = (0..40)
        .map(|i| {
            let words = (0..i * 4).map(|_| WORDS[next(WORDS.len())]).collect::<Vec<_>>();
            words.join(if i % 3 == 0 { "" } else { " " })
        })
        .collect();
    texts.extend(
        ["", " ", "\n \n", "a", "x".repeat(700).as_str(), "川".repeat(200).as_str()].map(String::from),
    );
    texts
}

const MODELS: [&str; 6] = ["gelu-60", "silu-1-layer", "roberta", "xlmr", "modernbert", "albert"];

#[test]
fn a_passage_has_the_ids_of_its_text() {
    for name in MODELS {
        let reranker = fixture(name);
        let mut several = 0;
        for text in texts() {
            for (room, stride) in [(1, 0), (5, 2), (17, 0), (30, 12)] {
                let cuts = cuts(&reranker, &text, room, stride);
                several += usize::from(cuts.len() > 1);
                for cut in &cuts {
                    let ids = reranker.tokenizer().encode(&text[cut.range.clone()]).unwrap();
                    let what = format!("{name}, room {room}: {:?}", &text[cut.range.clone()]);
                    if cut.truncated {
                        assert!(ids.len() > room && ids[..room] == cut.ids, "{what}");
                    } else {
                        assert_eq!(cut.ids, ids, "{what}");
                    }
                    assert!(cut.ids.len() <= room, "{what}");
                }
            }
        }
        assert!(several > 60, "{name}: {several}");
    }
}

#[test]
fn passages_hold_all_of_a_document_in_its_order() {
    for name in MODELS {
        let reranker = fixture(name);
        for text in texts() {
            for (room, stride) in [(1, 0), (7, 0), (17, 5), (30, 29)] {
                let cuts = cuts(&reranker, &text, room, stride);
                assert!(!cuts.is_empty(), "an empty document is one passage");
                let mut end = 0;
                for (i, cut) in cuts.iter().enumerate() {
                    let range = cut.range.clone();
                    let left_out = &text[end.min(range.start)..range.start];
                    assert!(
                        reranker.tokenizer().encode(left_out).unwrap().is_empty()
                            || left_out.trim().is_empty(),
                        "{name}: {left_out:?} is in no passage"
                    );
                    assert!(i == 0 || range.end > end, "{name}: passage {i} has nothing new");
                    if range.start < end {
                        let shared = reranker.tokenizer().encode(&text[range.start..end]).unwrap().len();
                        // Where white space has tokens, it counts in the passage alone.
                        let most =
                            if reranker.tokenizer().joins_sentences() { stride } else { 2 * stride + 2 };
                        assert!(shared <= most, "{name}: {shared} tokens are shared, of {stride}");
                    }
                    end = range.end;
                }
                let left_out = &text[end..];
                let ids = reranker.tokenizer().encode(left_out).unwrap();
                assert!(
                    ids.is_empty() || left_out.trim().is_empty(),
                    "{name}, room {room}, stride {stride}: {left_out:?} of {text:?} is in no passage: {ids:?}"
                );
            }
        }
    }
}

#[test]
fn passages_end_where_sentences_do() {
    let reranker = fixture("gelu-60");
    let text = "Rivers run to the sea. Bread is baked! Is it? It is, says Mr. Baker (of York.) And so on.";
    let passages = |room, stride| -> Vec<&str> {
        cuts(&reranker, text, room, stride).into_iter().map(|cut| &text[cut.range]).collect()
    };
    let sentence = reranker.tokenizer().encode("It is, says Mr.").unwrap().len();
    for passage in passages(sentence.max(16), 0) {
        assert!(passage.ends_with(['.', '!', '?', ')']), "{passage:?}");
    }
    assert_eq!(passages(400, 0), [text]);
    // With room for two of the first three sentences and the second shared, each stands beside the one before it.
    let first = reranker.tokenizer().encode("Rivers run to the sea. Bread is baked!").unwrap().len();
    let shared = reranker.tokenizer().encode("Bread is baked!").unwrap().len();
    let found = passages(first, shared);
    assert_eq!(found[0], "Rivers run to the sea. Bread is baked!");
    assert!(found[1].starts_with("Bread is baked! Is it?"), "{found:?}");
}

#[test]
fn a_long_text_without_sentences_is_cut_at_words_and_without_those_at_characters() {
    let reranker = fixture("gelu-60");
    let words = "river ".repeat(5_000);
    let room = 100;
    let cuts_of_words = cuts(&reranker, &words, room, 0);
    for cut in &cuts_of_words {
        let text = &words[cut.range.clone()];
        assert!(text.starts_with("river") && text.ends_with("river"), "{text:?}");
    }
    let per_word = reranker.tokenizer().encode("river").unwrap().len();
    assert_eq!(cuts_of_words.len(), 5_000_usize.div_ceil(room / per_word));
    let characters = "川".repeat(3_000);
    let found = cuts(&reranker, &characters, room, 0);
    assert!(found.iter().map(|cut| cut.range.len()).sum::<usize>() == characters.len());
    assert!(found.len() <= 60, "{}", found.len());
}
