//! Texts to token ids, on threads of their own: a pool as large as that which computes, so that tokenising never waits for
//! a batch to end, and never takes a thread that reads from a connection.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossrank::{EncodedQuery, Error, Prepared, RerankOptions};

use crate::models::Model;
use crate::problem::Problem;

/// Bytes of text that a thread tokenises at once: some tenths of a millisecond.
const SLICE_BYTES: usize = 16 << 10;

/// Bytes of text up to which a request is tokenised where it was read: handing it over would take as long.
const INLINE_BYTES: usize = 4 << 10;

/// Texts of a request.
pub(crate) struct Texts {
    pub(crate) model: Arc<Model>,
    pub(crate) queries: Vec<String>,
    /// With the number of the query that each is paired with.
    pub(crate) documents: Vec<(usize, Arc<str>)>,
    pub(crate) options: RerankOptions,
    pub(crate) max_document_tokens: Option<usize>,
    /// Set when nobody waits for it any more.
    pub(crate) given_up: Arc<AtomicBool>,
}

/// Why texts have no ids.
pub(crate) enum Refusal {
    /// The engine's word.
    Engine(Error),
    /// A fault of this program.
    Fault(Problem),
}

/// What came of some documents.
type Outcome = Result<Vec<Prepared>, Refusal>;

type Done = Box<dyn FnOnce(Outcome) + Send>;

/// Tokenises texts, and calls `done` with what came out: of all documents, in order, or the error of the first that has
/// one. That happens on a thread of the pool; or here, where it takes no longer than a thread takes to wake.
pub(crate) fn tokenise(pool: &Arc<rayon::ThreadPool>, texts: Texts, done: Done) {
    let queries = texts.queries.iter().map(String::len).sum::<usize>();
    if queries + texts.documents.iter().map(|(_, text)| text.len()).sum::<usize>() <= INLINE_BYTES {
        return start(pool, texts, done);
    }
    let own = pool.clone();
    pool.spawn_fifo(move || start(&own, texts, done));
}

struct Work {
    texts: Texts,
    queries: Vec<EncodedQuery>,
    slices: Vec<std::ops::Range<usize>>,
    left: AtomicUsize,
    /// One for each slice.
    results: Mutex<Vec<Option<Outcome>>>,
    done: Mutex<Option<Done>>,
}

fn start(pool: &Arc<rayon::ThreadPool>, texts: Texts, done: Done) {
    let encode = || -> Result<Vec<EncodedQuery>, Error> {
        texts.queries.iter().map(|query| texts.model.reranker.encode(query)).collect()
    };
    let queries = match caught(|| encode().map_err(Refusal::Engine)) {
        Ok(queries) => queries,
        Err(refusal) => return done(Err(refusal)),
    };
    let slices = slices(&texts.documents);
    let count = slices.len();
    let results = Mutex::new((0..count).map(|_| None).collect());
    let done = Mutex::new(Some(done));
    let work = Arc::new(Work { texts, queries, slices, left: AtomicUsize::new(count), results, done });
    for i in 1..count {
        let work = work.clone();
        pool.spawn_fifo(move || work.slice(i));
    }
    work.slice(0);
}

fn slices(documents: &[(usize, Arc<str>)]) -> Vec<std::ops::Range<usize>> {
    let (mut slices, mut start, mut bytes) = (vec![], 0, 0);
    for (i, (_, text)) in documents.iter().enumerate() {
        bytes += text.len();
        if bytes >= SLICE_BYTES {
            slices.push(start..i + 1);
            (start, bytes) = (i + 1, 0);
        }
    }
    if start < documents.len() || slices.is_empty() {
        slices.push(start..documents.len());
    }
    slices
}

impl Work {
    fn slice(&self, number: usize) {
        let texts = &self.texts;
        let prepare = |i: usize| {
            let (query, document) = &texts.documents[i];
            let query = &self.queries[*query];
            texts.model.reranker.prepare(query, (i, document), &texts.options, texts.max_document_tokens)
        };
        let given_up = || texts.given_up.load(Ordering::Relaxed);
        let work = || {
            let ids = self.slices[number].clone().take_while(|_| !given_up()).map(prepare);
            ids.collect::<Result<Vec<_>, _>>().map_err(Refusal::Engine)
        };
        let result = caught(work);
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results[number] = Some(result);
        drop(results);
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let results = std::mem::take(&mut *self.results.lock().unwrap_or_else(PoisonError::into_inner));
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(done), false) = (done, given_up()) else { return };
        let all = results.into_iter().flatten().collect::<Result<Vec<_>, _>>();
        done(all.map(|slices| slices.into_iter().flatten().collect()));
    }
}

/// A panic would end the process: the pool has nobody to hand it to.
fn caught<T>(work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("tokenising a request panicked");
        Err(Refusal::Fault(Problem::internal()))
    })
}
