//! What is asked of a source, when, and what its errors and the stop flag do.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossrank_kernels::{Isa, PanelDtype};

use super::*;
use crate::checkpoint::files::{Files, WeightSource};
use crate::checkpoint::tensors::Weights;
use crate::config::Config;
use crate::model::Packing;

/// Documents of given lengths, whose ids are made when they are asked for.
struct Made<F> {
    lengths: Vec<usize>,
    /// Called for each document before its ids are made.
    before: F,
    asked: Mutex<Vec<Range<usize>>>,
}

impl<F: Fn(usize) -> Result<()> + Sync> Made<F> {
    fn new(lengths: Vec<usize>, before: F) -> Self {
        Self { lengths, before, asked: Mutex::new(Vec::new()) }
    }

    fn run(&self, scheduler: &Scheduler, threads: usize, control: Control<'_>) -> Result<Vec<Extent>> {
        let model = model();
        let (mut logits, mut extents) =
            (vec![f32::NAN; self.lengths.len()], vec![Extent::default(); self.lengths.len()]);
        let results = Results { logits: &mut logits, extents: Some(&mut extents) };
        let threads = Threads::new(Some(threads)).unwrap();
        scheduler.run(&model, &threads, CHUNK, self, control, results)?;
        assert!(logits.iter().all(|logit| logit.is_finite()), "every document is scored");
        Ok(extents)
    }
}

impl<F: Fn(usize) -> Result<()> + Sync> Source for Made<F> {
    fn documents(&self) -> usize {
        self.lengths.len()
    }

    fn cost(&self, document: usize) -> usize {
        self.lengths[document]
    }

    fn ids<'a>(&'a self, documents: Range<usize>, buffer: &'a mut Vec<Tokenized>) -> Result<&'a [Tokenized]> {
        assert!(buffer.is_empty());
        lock(&self.asked).push(documents.clone());
        for i in documents {
            (self.before)(i)?;
            buffer.push(Tokenized::new(vec![2; self.lengths[i]], vec![0; self.lengths[i]]));
        }
        Ok(buffer)
    }
}

const CHUNK: usize = 40;

fn model() -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gelu-60");
    let files = Files::open(&folder, WeightSource::Mmap).unwrap();
    let config = Config::parse(&files).unwrap();
    let weights = Weights::parse(files.weights, files.shard_index).unwrap();
    let packing = Packing { isa: Isa::best(), panels: PanelDtype::F32 };
    let described = config.family.describe(&weights).unwrap();
    Model::load(described, weights, packing, config.max_positions(), &Threads::Caller).unwrap()
}

/// 1 to 60 tokens, in an order that looks like none.
fn lengths(documents: usize) -> Vec<usize> {
    (0..documents).map(|i| 1 + i * 37 % 60).collect()
}

fn bad(document: usize) -> Result<()> {
    Err(Error::document_error(document, "bad"))
}

#[test]
fn every_document_is_asked_for_once_a_leaf_at_a_time() {
    for threads in [1, 2, 5] {
        for documents in [0, 1, 2, 3, 7, 500] {
            let source = Made::new(lengths(documents), |_| Ok(()));
            let extents = source.run(&Scheduler::default(), threads, Control::default()).unwrap();
            assert!(extents.iter().map(|extent| extent.tokens).eq(source.lengths.iter().copied()));
            let mut asked = source.asked.into_inner().unwrap();
            asked.sort_by_key(|range| range.start);
            let mut next = 0;
            for range in asked {
                assert_eq!(range.start, next);
                next = range.end;
                // A request of a single wave may be one leaf.
                let tokens: usize = source.lengths[range].iter().sum();
                assert!(tokens <= 3 * CHUNK || documents < 20, "{tokens} tokens at a time");
            }
            assert_eq!(next, documents);
        }
    }
}

#[test]
fn the_first_bad_document_is_named_even_if_a_later_one_is_found_sooner() {
    for threads in [2, 5] {
        for _ in 0..10 {
            let found = AtomicBool::new(false);
            let source = Made::new(lengths(200), |document| match document {
                // Two workers at least: one waits here until another has met a later one.
                0 => {
                    while !found.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                    }
                    Ok(())
                }
                20 | 60 | 190 => {
                    found.store(true, Ordering::Relaxed);
                    bad(document)
                }
                _ => Ok(()),
            });
            let error = source.run(&Scheduler::default(), threads, Control::default()).unwrap_err();
            assert_eq!(error.document(), Some(20), "{threads} threads: {error}");
        }
    }
}

#[test]
fn nothing_is_tokenised_behind_a_bad_document() {
    let source = Made::new(lengths(200), |document| if document == 20 { bad(20) } else { Ok(()) });
    let error = source.run(&Scheduler::default(), 1, Control::default()).unwrap_err();
    assert_eq!(error.document(), Some(20));
    let asked = source.asked.into_inner().unwrap();
    assert!(asked.last().is_some_and(|range| range.contains(&20)), "{asked:?}");
}

#[test]
fn a_stop_while_texts_are_tokenised_scores_none_of_them() {
    let (stop, progress) = (AtomicBool::new(false), AtomicUsize::new(0));
    let source = Made::new(lengths(200), |document| {
        stop.fetch_or(document == 100, Ordering::Relaxed);
        Ok(())
    });
    let control = Control { stop: Some(&stop), progress: Some(&progress), ..Control::default() };
    let error = source.run(&Scheduler::default(), 1, control).unwrap_err();
    let asked = source.asked.into_inner().unwrap();
    let last = asked.last().unwrap();
    assert!(last.contains(&100), "no leaf is begun after it");
    assert!(
        matches!(error, Error::Stopped { scored, documents: 200 } if scored == last.start && scored > 0),
        "{error}"
    );
    assert_eq!(progress.into_inner(), last.start);
}

#[test]
fn a_request_after_one_that_failed_finds_everything_in_order() {
    let scheduler = Scheduler::default();
    for threads in [1, 2] {
        let source =
            Made::new(lengths(50), |document| if document % 7 == 3 { bad(document) } else { Ok(()) });
        assert_eq!(source.run(&scheduler, threads, Control::default()).unwrap_err().document(), Some(3));
        Made::new(lengths(50), |_| Ok(())).run(&scheduler, threads, Control::default()).unwrap();
    }
}

#[test]
fn a_text_that_panics_leaves_all_memory_for_the_next_request() {
    let scheduler = Scheduler::default();
    for threads in [1, 3] {
        for _ in 0..20 {
            let source = Made::new(lengths(100), |document| {
                assert!(document % 9 != 4, "a panic of the test's");
                Ok(())
            });
            let run = || source.run(&scheduler, threads, Control::default());
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err(), "the panic is the caller's to see");
            let (idle, made) = scheduler.slots.counts();
            assert!(idle == made && made <= threads, "{idle} of {made} slots are back");
        }
        Made::new(lengths(100), |_| Ok(())).run(&scheduler, threads, Control::default()).unwrap();
    }
}
