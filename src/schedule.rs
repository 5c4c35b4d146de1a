//! Which sequences go together, and who computes them.
//!
//! A chunk is a few whole sequences; one worker takes it through all layers without meeting another. A request too
//! small for that is one chunk that several workers share (`fork.rs`).

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::model::{ChunkSize, Model, Workspace};
use crate::threads::Threads;
use crate::tokenized::Tokenized;

/// What a caller can watch and stop, looked at between chunks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Control<'a> {
    pub(crate) stop: Option<&'a AtomicBool>,
    pub(crate) progress: Option<&'a AtomicUsize>,
}

/// Chunks of a request, and the memory that computes them; both are kept for the next request.
#[derive(Default)]
pub(crate) struct Scheduler {
    plans: Mutex<Vec<Plan>>,
    workspaces: Mutex<Workspaces>,
}

/// Tokens below which a worker's share is not worth the fork: about a tile of rows.
const MIN_SHARE: usize = 16;

/// One workspace a worker is kept; callers at once may need more for a while.
#[derive(Default)]
struct Workspaces {
    idle: Vec<Workspace>,
    made: usize,
}

impl Workspaces {
    /// Makes room for a request before it starts, so that it does not depend on luck which workers have what they
    /// need.
    fn prepare(&mut self, workers: usize, model: &Model, plan: &Plan) {
        while self.made < workers.div_ceil(plan.sharing) {
            self.idle.push(model.workspace());
            self.made += 1;
        }
        for workspace in &mut self.idle {
            workspace.reserve(plan.size, plan.sharing);
        }
    }
}

/// How a request is cut into chunks.
#[derive(Default)]
struct Plan {
    /// Sequences, longest first, so that what is left at the end is short.
    order: Vec<usize>,
    /// Ranges of `order`.
    chunks: Vec<Range<usize>>,
    /// How many workers share a chunk.
    sharing: usize,
    /// The largest numbers that any chunk reaches.
    size: ChunkSize,
    /// Logits in that order.
    logits: Vec<f32>,
}

impl Plan {
    /// Fills chunks with up to `chunk_tokens` tokens; a sequence is never cut, so a chunk of one may exceed that. A
    /// request too small to give every worker a chunk is one chunk that all of them share.
    fn make(&mut self, sequences: &[Tokenized], chunk_tokens: usize, workers: usize) {
        self.order.clear();
        self.order.extend(0..sequences.len());
        self.order.sort_unstable_by_key(|&i| (std::cmp::Reverse(sequences[i].len()), i));
        self.fill(sequences, chunk_tokens);
        self.sharing = 1;
        let total: usize = sequences.iter().map(Tokenized::len).sum();
        if self.chunks.len() < workers || total < chunk_tokens.saturating_mul(workers) {
            self.fill(sequences, total);
            self.sharing = workers.min(total / MIN_SHARE).max(1);
        }
    }

    fn fill(&mut self, sequences: &[Tokenized], budget: usize) {
        self.chunks.clear();
        self.size = ChunkSize::default();
        let (mut start, mut tokens) = (0, 0);
        for (at, &i) in self.order.iter().enumerate() {
            let len = sequences[i].len();
            if at > start && tokens + len > budget {
                self.chunks.push(start..at);
                (start, tokens) = (at, 0);
            }
            tokens += len;
            self.size.tokens = self.size.tokens.max(tokens);
            self.size.sequences = self.size.sequences.max(at + 1 - start);
            self.size.longest = self.size.longest.max(len);
        }
        if start < self.order.len() {
            self.chunks.push(start..self.order.len());
        }
    }
}

/// One request on its way.
struct Run<'a> {
    model: &'a Model,
    sequences: &'a [Tokenized],
    order: &'a [usize],
    size: ChunkSize,
    sharing: usize,
    /// Workspaces that are kept for the next request.
    keep: usize,
    workspaces: &'a Mutex<Workspaces>,
    control: Control<'a>,
    scored: AtomicUsize,
}

impl Scheduler {
    /// Scores checked sequences; `out` takes their logits in input order, labels side by side.
    pub(crate) fn run(
        &self,
        model: &Model,
        threads: &Threads,
        chunk_tokens: usize,
        sequences: &[Tokenized],
        control: Control<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let labels = model.labels();
        let mut plan = lock(&self.plans).pop().unwrap_or_default();
        plan.make(sequences, chunk_tokens, threads.count());
        plan.logits.resize(sequences.len() * labels, 0.0);
        lock(&self.workspaces).prepare(threads.count(), model, &plan);
        let run = Run {
            model,
            sequences,
            order: &plan.order,
            size: plan.size,
            sharing: plan.sharing,
            keep: threads.count(),
            workspaces: &self.workspaces,
            control,
            scored: AtomicUsize::new(0),
        };
        match threads {
            Threads::Caller => {
                for chunk in &plan.chunks {
                    run.chunk(chunk, &mut plan.logits[chunk.start * labels..chunk.end * labels]);
                }
            }
            Threads::Pool(pool) => pool.install(|| run.split(&plan.chunks, &mut plan.logits)),
        }
        let scored = run.scored.into_inner();
        let result = if scored == sequences.len() {
            for (logits, &i) in plan.logits.chunks_exact(labels).zip(&plan.order) {
                out[i * labels..][..labels].copy_from_slice(logits);
            }
            Ok(())
        } else {
            Err(Error::Stopped { scored, documents: sequences.len() })
        };
        lock(&self.plans).push(plan);
        result
    }
}

impl Run<'_> {
    /// Halves the chunks and lets idle workers take the second half.
    fn split(&self, chunks: &[Range<usize>], logits: &mut [f32]) {
        match chunks {
            [] => {}
            [chunk] => self.chunk(chunk, logits),
            _ => {
                let (left, right) = chunks.split_at(chunks.len() / 2);
                let sequences = right[0].start - left[0].start;
                let (left_logits, right_logits) = logits.split_at_mut(sequences * self.model.labels());
                rayon::join(|| self.split(left, left_logits), || self.split(right, right_logits));
            }
        }
    }

    fn chunk(&self, chunk: &Range<usize>, logits: &mut [f32]) {
        if self.control.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return;
        }
        let idle = lock(self.workspaces).idle.pop();
        let mut workspace = idle.unwrap_or_else(|| self.model.workspace());
        // It may come from a request that began before this one, or be one more for callers at once.
        workspace.reserve(self.size, self.sharing);
        let sequences = self.order[chunk.clone()].iter().map(|&i| &self.sequences[i]);
        self.model.forward(sequences, &mut workspace, self.sharing, logits);
        let mut workspaces = lock(self.workspaces);
        if workspaces.idle.len() < self.keep {
            workspaces.idle.push(workspace);
        }
        drop(workspaces);
        self.scored.fetch_add(chunk.len(), Ordering::Relaxed);
        if let Some(progress) = self.control.progress {
            progress.fetch_add(chunk.len(), Ordering::Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind it is only memory to reuse: sound whatever happened to another thread.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(lengths: &[usize], budget: usize, workers: usize) -> Plan {
        let sequences: Vec<Tokenized> =
            lengths.iter().map(|&n| Tokenized::new(vec![0; n], vec![0; n])).collect();
        let mut plan = Plan::default();
        plan.make(&sequences, budget, workers);
        plan
    }

    #[test]
    fn chunks_cover_every_sequence_once_longest_first() {
        let plan = plan(&[3, 9, 1, 9, 40, 2], 12, 1);
        assert_eq!(plan.order, [4, 1, 3, 0, 5, 2]);
        assert_eq!(plan.chunks, [0..1, 1..2, 2..4, 4..6]);
        assert_eq!((plan.size.tokens, plan.size.sequences, plan.size.longest), (40, 2, 40));
    }

    #[test]
    fn a_request_that_cannot_give_every_worker_a_chunk_is_shared() {
        let shared = |lengths: &[usize], workers| {
            let plan = plan(lengths, 100, workers);
            (plan.chunks.len(), plan.sharing)
        };
        assert_eq!(shared(&[68], 1), (1, 1));
        assert_eq!(shared(&[68], 2), (1, 2));
        assert_eq!(shared(&[68], 64), (1, 4), "no more workers than there are shares worth a fork");
        assert_eq!(shared(&[512], 2), (1, 2), "a sequence longer than a chunk");
        assert_eq!(shared(&[10; 4], 2), (1, 2));
        assert_eq!(shared(&[50; 8], 2), (4, 1));
        assert_eq!(shared(&[3], 2), (1, 1));
        assert_eq!(shared(&[], 2), (0, 1));
    }
}
