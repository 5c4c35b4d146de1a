//! What is found, in which order, and that it is the same every time.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use crossrank_search::{Error, Hit, Index, MAX_ID_BYTES};

fn index(texts: &[&str]) -> Index {
    Index::in_memory(|writer| {
        for (number, text) in texts.iter().enumerate() {
            writer.add(&format!("d{number}"), text)?;
        }
        Ok::<_, Error>(())
    })
    .unwrap()
}

fn found(index: &Index, query: &str, count: usize) -> Vec<u64> {
    index.search(query, count).unwrap().iter().map(|hit| hit.ordinal).collect()
}

#[test]
fn scores_by_hand() {
    // Lengths 2, 4 and 3, 3 in the mean; `cat` is in two of three, twice in the second.
    let index = index(&["cat dog", "cat cat cow hen", "dog hen owl"]);
    let idf = (1.0 + 1.5 / 2.5_f64).ln();
    let first = idf / (1.0 + 1.2 * (0.25 + 0.75 * 2.0 / 3.0));
    let second = idf * 2.0 / (2.0 + 1.2 * (0.25 + 0.75 * 4.0 / 3.0));
    let hits = index.search("Cat?", 10).unwrap();
    let scores: Vec<(u64, f32)> = hits.iter().map(|hit| (hit.ordinal, hit.score)).collect();
    assert_eq!(scores, [(1, second as f32), (0, first as f32)]);
    // A word twice in the query counts twice, and a word that nobody has counts nothing.
    let twice = index.search("cat unicorn cat", 10).unwrap();
    assert_eq!(twice[0].score, (2.0 * second) as f32);
    // `cow` is rarer than `dog`, which two documents have, of which the first is shorter.
    assert_eq!(found(&index, "cow dog", 10), [1, 0, 2]);
    assert_eq!(found(&index, "cow dog", 2), [1, 0]);
}

#[test]
fn what_shares_no_word_is_not_found() {
    let full = index(&["a b", "", "c", "?!"]);
    assert_eq!(full.documents(), 4);
    for query in ["x y", "", "?!", "ab"] {
        assert_eq!(found(&full, query, 10), [0; 0], "{query}");
    }
    assert_eq!(found(&full, "c", 10), [2]);
    assert_eq!(found(&full, "c", 0), [0; 0]);
    for texts in [&[][..], &["", "?!"]] {
        assert_eq!(found(&index(texts), "a", 10), [0; 0]);
    }
}

#[test]
fn documents_come_back_as_they_were_added() {
    let texts = ["Straße\t\u{0} A", "", "東京"];
    let index = index(&texts);
    for (number, text) in texts.iter().enumerate() {
        let stored = index.document(number as u64).unwrap();
        assert_eq!((stored.id, &*stored.text), (format!("d{number}"), *text));
        assert_eq!(index.find(&format!("d{number}")).unwrap(), Some(number as u64));
    }
    assert_eq!(index.find("d").unwrap(), None);
    assert!(
        index.document(3).unwrap_err().to_string().contains("expected one of 3 documents, found number 3")
    );
}

/// Enough documents for several segments, with many equal scores.
fn many() -> Index {
    const WORDS: [&str; 8] = ["river", "sea", "bread", "oven", "leaf", "red", "wine", "wool"];
    Index::in_memory(|writer| {
        for number in 0..9000_usize {
            let mut rest = number * number % 4099;
            let mut text = String::new();
            for _ in 0..1 + number % 3 {
                text.push_str(WORDS[rest % WORDS.len()]);
                text.push(' ');
                rest /= WORDS.len();
            }
            // Long, and without words.
            text.push_str(&"- ".repeat(2000));
            writer.add(&number.to_string(), &text)?;
        }
        Ok::<_, Error>(())
    })
    .unwrap()
}

const QUERIES: [&str; 5] =
    ["river", "red wine wool bread", "sea sea oven leaf river red", "wool", "leaf bread oven wine red sea"];

#[test]
fn equal_scores_stand_in_the_order_of_the_corpus_wherever_they_are_cut() {
    let index = many();
    let mut tied = 0;
    for query in QUERIES {
        let all = index.search(query, usize::MAX).unwrap();
        let in_order = |pair: &[Hit]| {
            pair[0].score > pair[1].score
                || pair[0].score == pair[1].score && pair[0].ordinal < pair[1].ordinal
        };
        assert!(all.windows(2).all(in_order));
        let ordinals: HashSet<u64> = all.iter().map(|hit| hit.ordinal).collect();
        assert_eq!(ordinals.len(), all.len());
        for count in [1, 2, 10, 100, 333, 5000] {
            assert_eq!(index.search(query, count).unwrap(), all[..count.min(all.len())], "{query} {count}");
        }
        tied += all.windows(2).filter(|pair| pair[0].score == pair[1].score).count();
    }
    assert!(tied > 10_000, "{tied}");
    // Documents of the same words have the same bits, in whatever segment they stand.
    let mut scores = HashMap::new();
    for hit in index.search(QUERIES[4], usize::MAX).unwrap() {
        let text = index.document(hit.ordinal).unwrap().text;
        let mut words: Vec<_> = text.split(' ').filter(|word| *word != "-").map(str::to_owned).collect();
        words.sort();
        assert_eq!(*scores.entry(words).or_insert(hit.score), hit.score);
    }
    assert!((100..2000).contains(&scores.len()), "{}", scores.len());
}

fn bits() -> String {
    let index = many();
    let row = |hit: &Hit| format!("{}:{:x} ", hit.ordinal, hit.score.to_bits());
    QUERIES
        .iter()
        .flat_map(|query| index.search(query, 200).unwrap().iter().map(row).collect::<Vec<_>>())
        .collect()
}

/// Says in a process of its own what `bits` are there.
#[test]
#[ignore = "run by the test below"]
fn tell_bits() {
    println!("BITS {}", bits());
}

#[test]
fn the_same_search_gives_the_same_bits_in_twenty_runs_and_two_processes() {
    let index = many();
    let expected = bits();
    for _ in 0..20 {
        let row = |hit: &Hit| format!("{}:{:x} ", hit.ordinal, hit.score.to_bits());
        let again: String = QUERIES
            .iter()
            .flat_map(|query| index.search(query, 200).unwrap().iter().map(row).collect::<Vec<_>>())
            .collect();
        assert!(again == expected);
    }
    let this = std::env::current_exe().unwrap();
    let output =
        Command::new(this).args(["--exact", "tell_bits", "--ignored", "--nocapture"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains(&format!("BITS {expected}\n")), "another process finds something else");
}

#[test]
fn ids_are_documents_own_and_not_too_long() {
    let add = |ids: &[&str]| {
        Index::in_memory(|writer| {
            for id in ids {
                writer.add(id, "text")?;
            }
            Ok::<_, Error>(())
        })
        .map(|index| index.documents())
        .map_err(|error| error.to_string())
    };
    assert_eq!(add(&["a", "b", "A", "", " a"]), Ok(5));
    assert_eq!(
        add(&["a", "b", "c", "b", "a"]),
        Err("documents 2 and 4 of the corpus have the same id `b`".into())
    );
    let long = "é".repeat(MAX_ID_BYTES / 2);
    assert_eq!(add(&[&long]), Ok(1));
    let longer = long + "x";
    let error = add(&["a", &longer]).unwrap_err();
    assert_eq!(error, "document 2 of the corpus: expected an id of at most 1024 bytes, found one of 1025");
}

#[test]
fn errors_of_whoever_adds_come_through() {
    let result = Index::in_memory(|writer| {
        writer.add("a", "b")?;
        Err::<(), Box<dyn std::error::Error>>("no more".into())
    });
    assert_eq!(result.map(|_| ()).unwrap_err().to_string(), "no more");
}

#[test]
fn long_words_and_cjk_are_found() {
    let long = "x".repeat(70_000);
    let index = index(&["short", &format!("a {long} b"), "私は東京都に住む", "京都は古い", "猫がいる"]);
    assert_eq!(found(&index, &long, 10), [1]);
    assert_eq!(found(&index, &long[1..], 10), [0; 0]);
    assert_eq!(found(&index, "東京", 10)[0], 2);
    assert_eq!(found(&index, "京都", 1), [3]);
    assert_eq!(found(&index, "猫", 10), [4]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    /// Against the formula, document by document.
    #[test]
    fn scores_are_the_formulas(texts in proptest::collection::vec("[a-e]( [a-e]){0,9}", 1..20), query in "[a-f]( [a-f]){0,5}") {
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let count = |text: &str, word: &str| text.split(' ').filter(|it| *it == word).count() as f64;
        let length = |text: &str| text.split(' ').count() as f64;
        let mean = texts.iter().map(|text| length(text)).sum::<f64>() / texts.len() as f64;
        let score = |text: &str| -> f64 {
            query.split(' ').map(|word| {
                let with = texts.iter().filter(|text| count(text, word) > 0.0).count() as f64;
                let idf = (1.0 + (texts.len() as f64 - with + 0.5) / (with + 0.5)).ln();
                let f = count(text, word);
                idf * f / (f + 1.2 * (1.0 - 0.75 + 0.75 * length(text) / mean))
            }).sum()
        };
        let hits = index(&texts).search(&query, 100).unwrap();
        assert_eq!(hits.len(), texts.iter().filter(|text| score(text) > 0.0).count());
        for hit in hits {
            let expected = score(texts[hit.ordinal as usize]);
            assert!((f64::from(hit.score) - expected).abs() < 1e-6 * (1.0 + expected), "{hit:?} {expected}");
        }
    }
}
