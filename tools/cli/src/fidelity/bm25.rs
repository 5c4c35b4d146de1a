//! BM25, to find the candidates that a cross-encoder reranks.

use std::collections::HashMap;

/// How soon further occurrences of a word stop counting, and how far long documents are held to their length: what
/// Lucene ships.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Documents by their words.
///
/// The score is that of Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond" (2009), with
/// Lucene's idf, ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative. Words are runs of letters and digits in
/// lower case: nothing is stemmed or left out.
pub struct Bm25 {
    /// A word's documents, in order, and how often each has it.
    postings: HashMap<String, Vec<(usize, u32)>>,
    /// By document: k1 * (1 - b + b * length / mean length).
    saturation: Vec<f64>,
}

impl Bm25 {
    /// Indexes documents.
    pub fn new<'a>(documents: impl IntoIterator<Item = &'a str>) -> Self {
        let mut postings: HashMap<String, Vec<(usize, u32)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (document, text) in documents.into_iter().enumerate() {
            let mut length = 0_usize;
            for word in words(text) {
                length += 1;
                let posting = postings.entry(word).or_default();
                match posting.last_mut() {
                    Some((last, count)) if *last == document => *count += 1,
                    _ => posting.push((document, 1)),
                }
            }
            lengths.push(length as f64);
        }
        let mean = lengths.iter().sum::<f64>() / lengths.len() as f64;
        let saturation = lengths.iter().map(|length| K1 * (1.0 - B + B * length / mean)).collect();
        Self { postings, saturation }
    }

    /// The `count` best documents, best first, of equal ones the first; only those that share a word with the query.
    pub fn best(&self, query: &str, count: usize) -> Vec<usize> {
        let scores = self.scores(query);
        let mut found: Vec<usize> = (0..scores.len()).filter(|&document| scores[document] > 0.0).collect();
        found.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        found.truncate(count);
        found
    }

    /// Of each document. A word counts as often as the query has it.
    fn scores(&self, query: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.saturation.len()];
        for posting in words(query).filter_map(|word| self.postings.get(&word)) {
            let with = posting.len() as f64;
            let idf = (1.0 + (scores.len() as f64 - with + 0.5) / (with + 0.5)).ln();
            for &(document, frequency) in posting {
                let frequency = f64::from(frequency);
                scores[document] += idf * frequency / (frequency + self.saturation[document]);
            }
        }
        scores
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        let found: Vec<String> = words("  The SR-71's Höhe: 3,5 km — \u{6771}\u{4eac}!").collect();
        assert_eq!(found, ["the", "sr", "71", "s", "höhe", "3", "5", "km", "\u{6771}\u{4eac}"]);
    }

    #[test]
    fn scores_by_hand() {
        // Lengths 2, 4 and 3, 3 in the mean; `cat` is in two of three, twice in the second.
        let index = Bm25::new(["cat dog", "cat cat cow hen", "dog hen owl"]);
        assert_eq!(index.saturation[0], K1 * (1.0 - B + B * 2.0 / 3.0));
        let idf = (1.0 + 1.5 / 2.5_f64).ln();
        let first = idf / (1.0 + 1.2 * (0.25 + 0.75 * 2.0 / 3.0));
        let second = idf * 2.0 / (2.0 + 1.2 * (0.25 + 0.75 * 4.0 / 3.0));
        let found = index.scores("Cat?");
        assert!((found[0] - first).abs() < 1e-12 && (found[1] - second).abs() < 1e-12, "{found:?}");
        assert_eq!(found[2], 0.0);
        // By hand: 0.2474 and 0.2686.
        assert!((found[0] - 0.2474).abs() < 5e-5 && (found[1] - 0.2686).abs() < 5e-5, "{found:?}");
        assert_eq!(index.best("cat", 50), [1, 0]);
        assert_eq!(index.best("cat", 1), [1]);
        // `cow` is rarer than `dog`, which two documents have, of which the first is shorter.
        assert_eq!(index.best("cow dog", 50), [1, 0, 2]);
        // A word twice in the query counts twice.
        assert_eq!(index.scores("cat cat")[1], 2.0 * found[1]);
    }

    #[test]
    fn equal_documents_stay_in_order() {
        assert_eq!(Bm25::new(["a b", "b", "a b", "a b"]).best("a", 50), [0, 2, 3]);
    }

    #[test]
    fn what_shares_no_word_is_no_candidate() {
        let index = Bm25::new(["a b", "", "c"]);
        assert_eq!(index.best("x y", 50), [0; 0]);
        assert_eq!(index.best("", 50), [0; 0]);
        assert_eq!(index.best("c", 50), [2]);
        assert_eq!(Bm25::new(["", "?!"]).best("a", 50), [0; 0]);
        assert_eq!(Bm25::new([]).best("a", 50), [0; 0]);
    }
}
