//! Who computes what, and when.
//!
//! A request is cut into *leaves*: a few documents each, about a chunk. One worker takes a leaf from text to logits
//! without meeting another: it tokenises the documents, forms chunks of whole sequences, takes them through all layers
//! and writes what comes out into the leaf's own part of the results. So texts are tokenised in parallel and beside
//! the arithmetic, and what a request needs beyond texts and results is bounded by the number of workers.
//!
//! Leaves are handed out by halving, and idle workers steal halves. When fewer leaves are left than there are workers
//! (at the end of a request, or all through a small one), each is shared: before every layer its worker looks how
//! many leaves are still unfinished, and forks the layer accordingly (`workers/fork.rs`), into more parts than it has workers.
//! A worker without a leaf thus helps from the next part on, and all end together, whatever the leaves were expected to
//! cost.
//!
//! What workers write in common: a counter that a leaf lowers when it is finished, two that a chunk raises, a flag that
//! the first layer sets, and the list of idle memory, locked when a leaf begins and ends and when its layers are first
//! shared.
//!
//! On many cores none waits for another while there are leaves, a chunk each of about 384 tokens. What they then share
//! is the memory that weights come from, once a chunk: of a 384-wide model of six layers 33 MB in f32 on AMX and 13 MB
//! in int8, in some 27 and 9 ms of a core, so little more than 1 GB/s for each, 75 GB/s for 64 from a cache that all
//! share; of a 1024-wide model of 24 layers 1.2 GB in f32 from main memory, in half a second and more. The counters and
//! the lock are touched a few times a leaf, for less than a microsecond. A worker's memory is 8 to 10 MB (peak of 100
//! passages on 2, 16 and 64 threads: 81, 222 and 593 MB in f32). Fewer than 64 times 384 tokens, 100 passages for one,
//! leave each worker less than a chunk, which costs as many bytes of weights; then it is the forks within layers that
//! limit: a lone pair of 68 tokens takes 1.6 to 1.9 times as long on one thread as on two.

mod plan;
mod slots;
mod source;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub(crate) use source::Source;

use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::model::{ChunkSize, Crew, Model, Scratch, Workspace};
use crate::tokenized::Tokenized;
use crate::workers::fork::wait_briefly;
use crate::workers::{Threads, join};
use slots::{Slot, Slots};

/// What a caller can watch and stop, looked at between chunks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Control<'a> {
    pub(crate) stop: Option<&'a AtomicBool>,
    pub(crate) progress: Option<&'a AtomicUsize>,
    /// From then on no chunk begins.
    pub(crate) deadline: Option<Instant>,
}

impl Control<'_> {
    /// Whether no more is to be done.
    pub(crate) fn stopped(self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Counts documents that have been scored.
    pub(crate) fn progress_by(self, documents: usize) {
        if let Some(progress) = self.progress {
            progress.fetch_add(documents, Ordering::Relaxed);
        }
    }
}

/// How much of a document was scored.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Extent {
    /// Tokens of the pair, after truncation.
    pub(crate) tokens: usize,
    pub(crate) truncated: bool,
}

/// Where the results of some documents go, in input order.
pub(crate) struct Results<'a> {
    /// One a label, labels of a document side by side.
    pub(crate) logits: &'a mut [f32],
    /// None where the caller has the ids and knows.
    pub(crate) extents: Option<&'a mut [Extent]>,
}

impl<'a> Results<'a> {
    fn split(self, documents: usize, labels: usize) -> (Self, Self) {
        let logits = self.logits.split_at_mut(documents * labels);
        let extents = self.extents.map(|extents| extents.split_at_mut(documents)).unzip();
        (Self { logits: logits.0, extents: extents.0 }, Self { logits: logits.1, extents: extents.1 })
    }
}

/// Runs requests, and keeps the memory that they compute in.
#[derive(Default)]
pub(crate) struct Scheduler {
    slots: Slots,
}

/// One request on its way.
struct Request<'a, S: ?Sized> {
    model: &'a Model,
    source: &'a S,
    chunk_tokens: usize,
    workers: usize,
    /// Whether every worker has one leaf at most.
    one_wave: bool,
    slots: &'a Slots,
    control: Control<'a>,
    /// Leaves that have not been finished.
    unfinished: AtomicUsize,
    /// Whether layers have begun, which may be shared.
    forking: AtomicBool,
    /// Documents that have been scored.
    scored: AtomicUsize,
    failure: Failure,
}

/// The first document, by index, that cannot be scored.
struct Failure {
    document: AtomicUsize,
    error: Mutex<Option<Error>>,
}

impl Scheduler {
    /// Scores documents; logits may be no finite numbers.
    ///
    /// An error names the first document that has no ids, however the work is shared. In a process forked since loading,
    /// there is an error at once where threads are needed.
    pub(crate) fn run<S: Source + ?Sized>(
        &self,
        model: &Model,
        threads: &Threads,
        chunk_tokens: usize,
        source: &S,
        control: Control<'_>,
        results: Results<'_>,
    ) -> Result<()> {
        threads.check_process()?;
        let (documents, workers) = (source.documents(), threads.count());
        if documents == 0 {
            return Ok(());
        }
        let cost = (0..documents).map(|i| source.cost(i)).sum();
        let leaves = plan::leaves(cost, documents, chunk_tokens, workers);
        self.slots.prepare(leaves, workers, model);
        let request = Request {
            model,
            source,
            chunk_tokens,
            workers,
            one_wave: leaves <= workers,
            slots: &self.slots,
            control,
            unfinished: AtomicUsize::new(leaves),
            forking: AtomicBool::new(false),
            scored: AtomicUsize::new(0),
            failure: Failure { document: AtomicUsize::new(usize::MAX), error: Mutex::new(None) },
        };
        match threads {
            Threads::Caller => request.split(0..documents, cost, leaves, results),
            // A worker that is to help from the first layer on wakes up while the text is tokenised.
            Threads::Pool { .. } if leaves == 1 => threads.install(|| {
                let over = || request.unfinished.load(Ordering::Relaxed) == 0;
                let help = || wait_briefly(|| request.forking.load(Ordering::Relaxed) || over());
                join(|| request.split(0..documents, cost, leaves, results), help);
            }),
            Threads::Pool { .. } => threads.install(|| request.split(0..documents, cost, leaves, results)),
        }
        if let Some(error) = request.failure.into_error() {
            return Err(error);
        }
        let scored = request.scored.into_inner();
        if scored < documents { Err(Error::Stopped { scored, documents }) } else { Ok(()) }
    }
}

impl<S: Source + ?Sized> Request<'_, S> {
    /// Cuts documents into `leaves`, or fewer where a document is larger, and lets idle workers take the second half.
    fn split(&self, documents: Range<usize>, cost: usize, leaves: usize, results: Results<'_>) {
        let half = leaves / 2;
        let share = cost / leaves * half;
        let cut = if leaves > 1 && documents.len() > 1 {
            Some(plan::cut(documents.clone(), share, |i| self.source.cost(i)))
                .filter(|&(_, left)| !self.one_wave || plan::is_even(left, share, cost))
        } else {
            None
        };
        let Some((middle, left_cost)) = cut else {
            self.unfinished.fetch_sub(leaves - 1, Ordering::Relaxed);
            self.leaf(documents, results);
            self.unfinished.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        let (left, right) = results.split(middle - documents.start, self.model.labels());
        let left = || self.split(documents.start..middle, left_cost, half, left);
        let right = || self.split(middle..documents.end, cost - left_cost, leaves - half, right);
        if self.workers == 1 {
            left();
            right();
        } else {
            join(left, right);
        }
    }

    fn leaf(&self, documents: Range<usize>, results: Results<'_>) {
        if self.stopped() || self.failure.before(documents.start) {
            return;
        }
        let mut slot = self.slots.take(self.model);
        let mut ids = std::mem::take(&mut slot.ids);
        let (source, first, buffer) = (self.source, documents.start, &mut ids);
        // A text is the caller's own type and may panic. The buffer is emptied whatever is in it.
        let panic = match catch_unwind(AssertUnwindSafe(move || source.ids(documents, buffer))) {
            Ok(Ok(sequences)) => {
                self.chunks(sequences, &mut slot, results);
                None
            }
            Ok(Err(error)) => {
                self.failure.set(error.document().unwrap_or(first), error);
                None
            }
            Err(panic) => Some(panic),
        };
        slot.ids = ids;
        self.slots.put(slot);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn chunks(&self, mut sequences: &[Tokenized], slot: &mut Slot, mut results: Results<'_>) {
        // Without all documents there is no ranking: what is left to do is to find the first that fails.
        while !sequences.is_empty() && !self.stopped() && !self.failure.any() {
            let (chunk, after) = sequences.split_at(plan::chunk(sequences, self.chunk_tokens));
            let (here, rest) = results.split(chunk.len(), self.model.labels());
            self.chunk(chunk, slot, here);
            (sequences, results) = (after, rest);
        }
    }

    fn chunk(&self, sequences: &[Tokenized], slot: &mut Slot, results: Results<'_>) {
        let size = ChunkSize::of(sequences);
        let Slot { workspace, scratches, .. } = slot;
        let mut crew = LeafCrew { request: self, size, scratches };
        slot.largest = slot.largest.max(size);
        crew.reserve(workspace);
        self.model.forward(sequences, workspace, &mut crew, results.logits);
        self.slots.take_back(scratches);
        for (extent, sequence) in results.extents.into_iter().flatten().zip(sequences) {
            *extent = Extent { tokens: sequence.len(), truncated: sequence.truncated };
        }
        self.scored.fetch_add(sequences.len(), Ordering::Relaxed);
        self.control.progress_by(sequences.len());
    }

    fn stopped(&self) -> bool {
        self.control.stopped()
    }
}

/// Who shares the layers of a chunk: whoever has no leaf of its own when a layer begins.
struct LeafCrew<'a, S: ?Sized> {
    request: &'a Request<'a, S>,
    /// That of the chunk.
    size: ChunkSize,
    scratches: &'a mut Vec<Scratch>,
}

impl<S: Source + ?Sized> LeafCrew<'_, S> {
    /// Makes the leaf's own memory ready for the chunk.
    fn reserve(&mut self, workspace: &mut Workspace) {
        let model = self.request.model;
        workspace.reserve(self.size);
        self.scratches.iter_mut().for_each(|scratch| model.reserve_scratch(scratch, self.size));
    }
}

impl<S: Source + ?Sized> Crew for LeafCrew<'_, S> {
    fn gather(&mut self) -> &mut [Scratch] {
        let request = self.request;
        let parts =
            plan::parts(self.size.tokens, request.workers, request.unfinished.load(Ordering::Relaxed));
        request.slots.share(self.scratches, self.size, parts, request.model);
        if !request.forking.load(Ordering::Relaxed) {
            request.forking.store(true, Ordering::Relaxed);
        }
        &mut self.scratches[..parts]
    }
}

impl Failure {
    fn set(&self, document: usize, error: Error) {
        let mut first = lock(&self.error);
        if document < self.document.fetch_min(document, Ordering::Relaxed) {
            *first = Some(error);
        }
    }

    fn any(&self) -> bool {
        self.document.load(Ordering::Relaxed) != usize::MAX
    }

    /// Whether a document before this one failed, so that this one cannot be the first.
    fn before(&self, document: usize) -> bool {
        self.document.load(Ordering::Relaxed) < document
    }

    fn into_error(self) -> Option<Error> {
        self.error.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
