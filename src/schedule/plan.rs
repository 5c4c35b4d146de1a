//! How a request is cut: first into leaves, which a worker takes as a whole, by what they are expected to cost; then,
//! once a leaf's ids are there, into chunks by their true number of tokens.
//!
//! Nothing is stored: a cut is found when it is needed, from the costs of the documents on both sides, so that a plan
//! takes no memory whatever the size of the request.

use std::ops::Range;

use crate::tokenized::Tokenized;

/// Tokens below which a leaf of its own is not worth a worker: about a tile of rows.
const MIN_LEAF: usize = 16;

/// Tokens below which a worker's share of a layer is not worth the forks: some tens of microseconds a layer.
const MIN_SHARE: usize = 4;

/// Tokens below which a part costs more than its tokens, as all weights are streamed through the core for it.
const MIN_PART: usize = 64;

/// The most tokens of a chunk of several sequences: rather a little more than another chunk, which would stream all
/// weights through the core once more for a few rows.
fn most_tokens(chunk_tokens: usize) -> usize {
    chunk_tokens.saturating_add(chunk_tokens / 4)
}

/// The number of leaves of a request: as many waves of one leaf a worker as bring a leaf nearest to a chunk. A request
/// too small for one wave has a smaller leaf for each worker, down to the share that is worth a worker.
pub(super) fn leaves(cost: usize, documents: usize, chunk_tokens: usize, workers: usize) -> usize {
    let wave = |tokens: usize| tokens.saturating_mul(workers);
    let nearest = cost.saturating_add(wave(chunk_tokens) / 2) / wave(chunk_tokens);
    let waves = nearest.max(cost.div_ceil(wave(most_tokens(chunk_tokens)))).max(1);
    let leaves = if waves == 1 { workers.min(cost / MIN_LEAF) } else { waves.saturating_mul(workers) };
    leaves.clamp(1, documents.max(1))
}

/// Where a range of at least two documents is cut in two, and what the first part costs: as near as can be to `share`
/// of the cost, with a document at least on either side.
pub(super) fn cut(range: Range<usize>, share: usize, cost: impl Fn(usize) -> usize) -> (usize, usize) {
    let (mut at, mut before) = (range.start + 1, cost(range.start));
    while at + 1 < range.end {
        let next = cost(at);
        if before + next / 2 >= share {
            break;
        }
        (at, before) = (at + 1, before + next);
    }
    (at, before)
}

/// Into how many parts a layer of a leaf is forked when so many leaves are unfinished. At the end of a request there is
/// one more part for each worker: unless somebody is idle, whoever forked computes both, one after the other, and a
/// worker that becomes idle meanwhile takes one without waiting for the layer to end.
pub(super) fn parts(tokens: usize, workers: usize, unfinished: usize) -> usize {
    if workers == 1 || unfinished > workers {
        return 1;
    }
    let shares = (workers / unfinished.max(1)).min(tokens / MIN_SHARE).max(1);
    if tokens / shares >= 2 * MIN_PART { 2 * shares } else { shares }
}

/// The most parts of all leaves together.
pub(super) fn most_parts(workers: usize) -> usize {
    if workers == 1 { 1 } else { 2 * workers }
}

/// Whether two parts, the first of which should have cost `share`, end nearly together. If not, and with nothing left
/// to fill the gap, it is faster to share all of it from the first layer on: three documents of 68 tokens keep two
/// workers busy for 96 % of the time where a cut into two and one keeps them busy for 92 %.
pub(super) fn is_even(first: usize, share: usize, cost: usize) -> bool {
    first.abs_diff(share) <= cost / 8
}

/// How many of the sequences make the first chunk. The chunks of a leaf are as even as whole sequences allow; where one
/// is longer than a chunk should be, others may be as long.
pub(super) fn chunk(sequences: &[Tokenized], chunk_tokens: usize) -> usize {
    let lengths = || sequences.iter().map(Tokenized::len);
    let (total, longest) = (lengths().sum::<usize>(), lengths().max().unwrap_or(0));
    let chunk_tokens = chunk_tokens.max(longest);
    let most = most_tokens(chunk_tokens);
    if total <= most {
        return sequences.len();
    }
    let goal = total / total.div_ceil(chunk_tokens);
    let mut tokens = 0;
    for (i, len) in lengths().enumerate() {
        if i > 0 && (tokens + len > most || tokens + len / 2 > goal) {
            return i;
        }
        tokens += len;
    }
    sequences.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_come_in_whole_waves_of_about_a_chunk() {
        let leaves = |cost, workers| leaves(cost, usize::MAX, 256, workers);
        assert_eq!(leaves(256 * 10, 1), 10);
        assert_eq!(leaves(256 * 10 + 100, 2), 10, "five waves");
        assert_eq!(leaves(256 * 2 + 100, 2), 2, "a little more than a chunk each");
        assert_eq!(leaves(256 * 2 + 200, 2), 4, "too much for one wave");
        assert_eq!(leaves(256 * 1000, 64), 1024, "16 waves, 250 tokens a leaf");
        for workers in [1, 2, 3, 64] {
            for cost in 1..20_000 {
                let leaves = leaves(cost, workers);
                assert!(cost.div_ceil(leaves) <= 320, "{cost} on {workers}: {leaves}");
                assert!(cost / leaves >= MIN_LEAF.min(cost), "{cost} on {workers}: {leaves}");
                assert!(leaves % workers == 0 || cost < MIN_LEAF * workers, "{cost} on {workers}: {leaves}");
            }
        }
    }

    #[test]
    fn a_small_request_has_no_leaf_that_is_not_worth_a_worker() {
        assert_eq!(leaves(200, 4, 256, 2), 2);
        assert_eq!(leaves(200, 1, 256, 2), 1, "a document is not cut");
        assert_eq!(leaves(40, 9, 256, 64), 2);
        assert_eq!(leaves(3, 1, 256, 2), 1);
        assert_eq!(leaves(0, 0, 256, 2), 1);
        assert_eq!(leaves(1000, 10, usize::MAX, 2), 2, "chunks without a limit");
    }

    #[test]
    fn a_cut_is_as_near_to_the_share_as_whole_documents_allow() {
        let costs = [10, 10, 50, 10, 100];
        let found = |range, share| cut(range, share, |i| costs[i]);
        assert_eq!(found(0..5, 20), (2, 20));
        assert_eq!(found(0..5, 40), (2, 20), "20 and 70 are nearest; the earlier where it is as near");
        assert_eq!(found(0..5, 50), (3, 70));
        assert_eq!(found(0..5, 0), (1, 10), "never nothing before it");
        assert_eq!(found(0..5, 1000), (4, 80), "nor after it");
        assert_eq!(found(3..5, 55), (4, 10));
    }

    #[test]
    fn even_parts_end_together() {
        assert!(is_even(50, 50, 100) && is_even(62, 50, 100) && is_even(38, 50, 100));
        assert!(!is_even(63, 50, 100) && !is_even(0, 50, 100));
    }

    #[test]
    fn layers_are_forked_for_workers_without_a_leaf() {
        assert_eq!(parts(256, 2, 3), 1, "everybody has a leaf");
        assert_eq!(parts(256, 2, 2), 2, "the last wave: a part for who is done first");
        assert_eq!(parts(256, 2, 1), 4);
        assert_eq!(parts(256, 1, 1), 1, "one thread");
        assert_eq!(parts(100, 2, 2), 1, "too few rows to be in two parts without need");
        assert_eq!(parts(68, 2, 1), 2);
        assert_eq!(parts(68, 64, 1), 17, "no more than there are shares worth a fork");
        assert_eq!(parts(3, 2, 1), 1);
        assert_eq!(parts(512, 64, 3), 21);
        for workers in 1..70 {
            for unfinished in 1..70 {
                assert!(
                    parts(usize::MAX, workers, unfinished) * unfinished.min(workers) <= most_parts(workers)
                );
            }
        }
    }

    #[test]
    fn chunks_hold_every_sequence_once_and_are_even() {
        let chunks = |lengths: &[usize]| {
            let sequences: Vec<_> = lengths.iter().map(|&n| Tokenized::new(vec![0; n], vec![0; n])).collect();
            let (mut rest, mut chunks) = (&sequences[..], Vec::new());
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(chunk(rest, 100));
                chunks.push(chunk.iter().map(Tokenized::len).sum::<usize>());
                rest = after;
            }
            chunks
        };
        assert_eq!(chunks(&[]), [0; 0]);
        assert_eq!(chunks(&[60, 60]), [120], "a quarter more at most");
        assert_eq!(chunks(&[60, 70]), [60, 70]);
        assert_eq!(chunks(&[30; 12]), [90, 90, 90, 90]);
        assert_eq!(
            chunks(&[512, 3, 3, 400, 9]),
            [512, 415],
            "no chunk of a few tokens beside a long sequence"
        );
        assert_eq!(chunks(&[3; 100]), [102, 99, 99]);
    }
}
