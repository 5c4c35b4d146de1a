//! The window of a model: how the texts of a pair share it.

/// What to do with a pair that exceeds the window. Texts are cut on the right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Truncation {
    /// Cut the longer of the two until both fit, as sentence-transformers does. Texts that both exceed the window count
    /// as equally long.
    #[default]
    LongestFirst,
    /// Cut the document only; a query that leaves it no token is an error.
    OnlyDocument,
    /// Cut the query to three quarters of the window, then the document to what is left, at least one token: the rule of
    /// FlagEmbedding, by which the models of the BGE family were trained.
    QueryQuarters,
    /// Cut nothing: a pair that does not fit is an error.
    Error,
}

/// The room of a pair, and who gets how much of it.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// Tokens of a pair, special tokens included.
    pub(super) max_length: usize,
    pub(super) special: usize,
    pub(super) truncation: Truncation,
}

impl Window {
    /// Tokens that both texts share.
    fn room(self) -> usize {
        self.max_length - self.special
    }

    /// How many tokens of a query and of a document are kept, of which each may be told as one more than the window
    /// where it is longer. An error says why they do not fit.
    pub(crate) fn fit(self, query: usize, document: usize) -> Result<(usize, usize), String> {
        let room = self.room();
        let no_room = || {
            format!(
                "the query alone has {query} tokens or more and leaves no room for the document: {room} of \
                 max_length {} are for text",
                self.max_length
            )
        };
        match self.truncation {
            Truncation::QueryQuarters => {
                let query = query.min(self.max_length * 3 / 4).min(room - 1);
                Ok((query, document.min(room - query)))
            }
            _ if query + document <= room => Ok((query, document)),
            Truncation::LongestFirst => Ok(longest_first(query, document, room)),
            Truncation::OnlyDocument if query < room => Ok((query, room - query)),
            Truncation::OnlyDocument => Err(no_room()),
            Truncation::Error => Err(format!(
                "the pair has {} tokens or more; max_length is {}",
                query + document + self.special,
                self.max_length
            )),
        }
    }

    /// How many tokens of a query are kept beside a document that is longer than the window and read in passages, and
    /// how many are left for each of these.
    pub(crate) fn for_passages(self, query: usize) -> Result<(usize, usize), String> {
        // Nothing of the document is cut off, so that only the query may be too long.
        let truncation = match self.truncation {
            Truncation::Error => Truncation::OnlyDocument,
            other => other,
        };
        Self { truncation, ..self }.fit(query, self.max_length + 1)
    }
}

/// The rule of the `tokenizers` crate: the shorter text stays whole while it takes at most half, then both take half
/// and the longer one the odd token, the second when they are equal.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    let half = room / 2;
    if first.min(second) > half {
        if first > second { (room - half, half) } else { (half, room - half) }
    } else if first <= second {
        (first, room - first)
    } else {
        (room - second, second)
    }
}

#[cfg(test)]
mod tests {
    use super::{Truncation, Window, longest_first};

    #[test]
    fn longest_first_fills_the_room_and_leaves_both_sides_something() {
        for room in 2..40 {
            for first in 0..50 {
                for second in 0..50 {
                    if first + second <= room {
                        continue;
                    }
                    let (a, b) = longest_first(first, second, room);
                    assert_eq!(a + b, room);
                    assert!(a <= first && b <= second, "{first} {second} {room}: {a} {b}");
                    assert!((a > 0 || first == 0) && (b > 0 || second == 0));
                }
            }
        }
    }

    #[test]
    fn longest_first_is_the_rule_of_the_tokenizers_crate() {
        use tokenizers::tokenizer::Encoding;
        use tokenizers::utils::truncation::{TruncationParams, truncate_encodings};
        let encoding = |len: usize| {
            let tokens = (0..len).map(|i| tokenizers::Token::new(i as u32, String::new(), (0, 0))).collect();
            Encoding::from_tokens(tokens, 0)
        };
        for room in 2..14 {
            let params = TruncationParams { max_length: room, ..Default::default() };
            for first in 0..20 {
                for second in 0..20 {
                    if first + second <= room {
                        continue;
                    }
                    let (a, b) =
                        truncate_encodings(encoding(first), Some(encoding(second)), &params).unwrap();
                    let theirs = (a.len(), b.unwrap().len());
                    assert_eq!(longest_first(first, second, room), theirs, "{first} {second} {room}");
                }
            }
        }
    }

    #[test]
    fn a_query_takes_three_quarters_at_most() {
        let window = |truncation| Window { max_length: 16, special: 3, truncation };
        let fit = |query, document| window(Truncation::QueryQuarters).fit(query, document).unwrap();
        assert_eq!(fit(3, 5), (3, 5));
        assert_eq!(fit(3, 17), (3, 10));
        assert_eq!(fit(17, 17), (12, 1));
        // Also where both would fit: the rule looks at the query alone.
        assert_eq!(fit(13, 0), (12, 0));
        let small = Window { max_length: 5, special: 3, truncation: Truncation::QueryQuarters };
        assert_eq!(small.fit(6, 6).unwrap(), (1, 1));
    }

    #[test]
    fn passages_leave_the_query_what_its_rule_says() {
        let window = |truncation| Window { max_length: 16, special: 3, truncation };
        let room = |truncation, query| window(truncation).for_passages(query);
        assert_eq!(room(Truncation::LongestFirst, 4).unwrap(), (4, 9));
        assert_eq!(room(Truncation::LongestFirst, 17).unwrap(), (6, 7));
        assert_eq!(room(Truncation::QueryQuarters, 17).unwrap(), (12, 1));
        for truncation in [Truncation::OnlyDocument, Truncation::Error] {
            assert_eq!(room(truncation, 12).unwrap(), (12, 1));
            assert!(room(truncation, 13).unwrap_err().contains("leaves no room for the document"));
        }
    }
}
