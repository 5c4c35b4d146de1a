//! Who scores what waits: one thread takes batches from the queue and hands each to the engine, which shares it among all
//! threads of the pool.
//!
//! A batch is about a chunk for each thread, of pairs from as many jobs as it takes, so that whoever comes waits for one
//! chunk at most before its turn is considered. A job that is alone goes to the engine whole, as fast as the library
//! itself; when another comes, it is stopped between chunks, and what was not reached goes back into the queue. Scores do
//! not depend on it: the engine gives a pair the same bits in any company.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossrank::{PairScore, Tokenized};
use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::models::Model;
use crate::options::BeforeBatch;
use crate::problem::{Kind, Problem};
use crate::queue::{Batch, JobId, Pair, Queue};

/// Tokens of a batch for each thread: a chunk of the engine's.
const CHUNK_TOKENS: u64 = 384;

/// How much a new batch changes what is known of the speed.
const LEARNING: f64 = 0.1;

/// What came of a job.
#[derive(Default)]
pub(crate) struct Outcome {
    /// In the order of its pairs; those that were not reached have none.
    pub(crate) scores: Vec<Option<PairScore>>,
    pub(crate) problem: Option<Problem>,
    /// The pair whose score is what the problem is about, where it is one's.
    pub(crate) pair: Option<usize>,
    /// From when it came until its first pair was taken.
    pub(crate) queued: Duration,
    /// From then on.
    pub(crate) computed: Duration,
}

struct Active {
    model: Arc<Model>,
    deadline: u64,
    pairs: Vec<Option<Tokenized>>,
    left: usize,
    outcome: Outcome,
    done: oneshot::Sender<Outcome>,
    came: Instant,
    began: Option<Instant>,
}

/// What is being scored.
struct Running {
    jobs: Vec<JobId>,
    work: u64,
    alone: bool,
    stop: Arc<AtomicBool>,
    since: Instant,
}

#[derive(Default)]
struct State {
    queue: Queue,
    active: HashMap<JobId, Active>,
    running: Option<Running>,
    /// What a token of each model costs.
    costs: HashMap<usize, u64>,
    /// Work that was let in and is being tokenised.
    reserved: u64,
    /// How long a unit of work really takes, in nanoseconds.
    pace: f64,
    closed: bool,
}

/// How long the queue is.
pub(crate) struct Load {
    pub(crate) jobs: usize,
    /// Tokens that nobody has begun to score.
    pub(crate) tokens: usize,
    /// How long it takes until all is scored.
    pub(crate) seconds: f64,
}

/// The queue, and what it takes to know when it is long enough.
pub(crate) struct Dispatcher {
    state: Mutex<State>,
    wake: Condvar,
    budget_tokens: u64,
    max_queue: Duration,
    before_batch: Option<BeforeBatch>,
    metrics: Arc<Metrics>,
}

/// Room for work that is being tokenised.
pub(crate) struct Reservation {
    dispatcher: Arc<Dispatcher>,
    work: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.dispatcher.lock().reserved -= self.work;
    }
}

/// A job on its way. Whoever drops it gives the job up: what has not been scored is dropped.
pub(crate) struct Ticket {
    dispatcher: Arc<Dispatcher>,
    id: JobId,
    outcome: oneshot::Receiver<Outcome>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.dispatcher.cancel(self.id);
    }
}

impl Ticket {
    /// Waits for the outcome, until `deadline` at most: then for what there is of it.
    pub(crate) async fn outcome(mut self, deadline: Option<Instant>) -> Outcome {
        let whole = match deadline {
            None => (&mut self.outcome).await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), &mut self.outcome).await {
                Ok(whole) => whole,
                Err(_) => match self.dispatcher.cancel(self.id) {
                    Some(partial) => return partial,
                    // It was done just now.
                    None => (&mut self.outcome).await,
                },
            },
        };
        whole.unwrap_or_else(|_| Outcome { problem: Some(Problem::internal()), ..Outcome::default() })
    }
}

impl Dispatcher {
    /// Starts the thread; it ends after [`Dispatcher::close`], when nothing waits any more.
    pub(crate) fn start(
        threads: usize,
        max_queue: Duration,
        before_batch: Option<BeforeBatch>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Arc<Self>> {
        let dispatcher = Arc::new(Self {
            state: Mutex::new(State { pace: 1.0, ..State::default() }),
            wake: Condvar::new(),
            budget_tokens: CHUNK_TOKENS * threads as u64,
            max_queue,
            before_batch,
            metrics,
        });
        let own = dispatcher.clone();
        std::thread::Builder::new().name("crossrank-queue".into()).spawn(move || own.run())?;
        Ok(dispatcher)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked; if it did, what is in it would still be whole.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Lets the thread end when nothing waits.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// What waits or is being scored.
    pub(crate) fn load(&self) -> Load {
        let state = self.lock();
        let tokens =
            state.active.values().flat_map(|active| active.pairs.iter().flatten()).map(Tokenized::len).sum();
        Load { jobs: state.active.len(), tokens, seconds: state.ahead() as f64 * state.pace / 1e9 }
    }

    /// About how many tokens are scored together.
    pub(crate) fn batch_tokens(&self) -> u64 {
        self.budget_tokens
    }

    /// Makes room for so many tokens of a model, unless what is ahead of them takes too long.
    pub(crate) fn reserve(self: &Arc<Self>, model: &Model, tokens: u64) -> Result<Reservation, Problem> {
        let mut state = self.lock();
        let ahead = state.ahead() as f64 * state.pace / 1e9;
        let most = self.max_queue.as_secs_f64();
        if ahead > most {
            return Err(Problem::overloaded(ahead - most));
        }
        let work = tokens.saturating_mul(model.cost);
        state.reserved += work;
        drop(state);
        Ok(Reservation { dispatcher: self.clone(), work })
    }

    /// Adds a job of pairs, at least one.
    pub(crate) fn submit(self: &Arc<Self>, model: Arc<Model>, pairs: Vec<Tokenized>) -> Ticket {
        let work =
            |(number, pair): (usize, &Tokenized)| Pair { number, work: pair.len() as u64 * model.cost };
        let works = pairs.iter().enumerate().map(work).collect();
        let (done, outcome) = oneshot::channel();
        let mut state = self.lock();
        state.costs.insert(model.number, model.cost);
        let (id, deadline) = state.queue.push(model.number, works);
        let outcome_so_far = Outcome { scores: pairs.iter().map(|_| None).collect(), ..Outcome::default() };
        let active = Active {
            model,
            deadline,
            left: pairs.len(),
            pairs: pairs.into_iter().map(Some).collect(),
            outcome: outcome_so_far,
            done,
            came: Instant::now(),
            began: None,
        };
        state.active.insert(id, active);
        // A job that has the engine for itself makes room.
        if let Some(running) = state.running.as_ref().filter(|running| running.alone) {
            running.stop.store(true, Ordering::Relaxed);
        }
        drop(state);
        self.wake.notify_one();
        Ticket { dispatcher: self.clone(), id, outcome }
    }

    /// Gives a job up; what there is of its outcome, unless it is done.
    fn cancel(&self, id: JobId) -> Option<Outcome> {
        let mut state = self.lock();
        let active = state.active.remove(&id)?;
        state.queue.cancel(id);
        if let Some(running) = &state.running
            && running.jobs.iter().all(|job| !state.active.contains_key(job))
        {
            running.stop.store(true, Ordering::Relaxed);
        }
        Some(active.into_outcome().0)
    }

    fn run(&self) {
        loop {
            let mut state = self.lock();
            let batch = loop {
                match state.take(self.budget_tokens) {
                    Some(batch) => break batch,
                    None if state.closed => return,
                    None => state = self.wake.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
                }
            };
            drop(state);
            self.score(batch);
        }
    }

    fn score(&self, taken: Taken) {
        let Taken { batch, model, pairs, stop } = taken;
        let start = Instant::now();
        let scores = self.call(&model, &pairs, &stop);
        let elapsed = start.elapsed();
        let mut state = self.lock();
        state.running = None;
        let Some(scores) = scores else {
            // It panicked. Whose pair did it shows when each job is scored alone.
            drop(state);
            return self.score_apart(batch, &model, pairs);
        };
        let work: u64 = batch
            .pairs
            .iter()
            .zip(&scores)
            .filter(|(_, score)| score.is_some())
            .map(|((_, pair), _)| pair.work)
            .sum();
        if work > 0 {
            let pace = elapsed.as_nanos() as f64 / work as f64;
            state.pace += LEARNING * (pace - state.pace);
        }
        self.metrics.batch(batch.pairs.len(), pairs.iter().map(Tokenized::len).sum());
        state.deliver(batch, pairs, scores);
    }

    /// Scores; none if it panicked.
    fn call(&self, model: &Model, pairs: &[Tokenized], stop: &AtomicBool) -> Option<Vec<Score>> {
        let work = || {
            if let Some(before) = &self.before_batch {
                before(pairs);
            }
            model.reranker.score_until(pairs, stop)
        };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(scores)) => Some(
                scores
                    .into_iter()
                    .map(|score| {
                        score.map(|score| score.map_err(|_| Problem::new(Kind::NotFinite, "score is NaN")))
                    })
                    .collect(),
            ),
            Ok(Err(error)) => {
                tracing::error!(%error, "a batch could not be scored");
                Some(pairs.iter().map(|_| Some(Err(Problem::internal()))).collect())
            }
            Err(_) => None,
        }
    }

    fn score_apart(&self, batch: Batch, model: &Model, pairs: Vec<Tokenized>) {
        let mut by_job: BTreeMap<JobId, (Entries, Vec<Tokenized>)> = BTreeMap::new();
        for (entry, pair) in batch.pairs.into_iter().zip(pairs) {
            let (entries, own) = by_job.entry(entry.0).or_default();
            entries.push(entry);
            own.push(pair);
        }
        for (entries, own) in by_job.into_values() {
            let scores = self.call(model, &own, &AtomicBool::new(false)).unwrap_or_else(|| {
                tracing::error!("scoring a request panicked");
                own.iter().map(|_| Some(Err(Problem::internal()))).collect()
            });
            let batch = Batch { model: batch.model, pairs: entries, ..Batch::default() };
            self.lock().deliver(batch, own, scores);
        }
    }
}

type Score = Option<Result<PairScore, Problem>>;

/// Pairs of jobs.
type Entries = Vec<(JobId, Pair)>;

/// What is about to be scored.
struct Taken {
    batch: Batch,
    model: Arc<Model>,
    pairs: Vec<Tokenized>,
    stop: Arc<AtomicBool>,
}

impl State {
    /// Work that is ahead of whoever comes now.
    fn ahead(&self) -> u64 {
        let running = self.running.as_ref().map_or(0, |running| {
            let done = running.since.elapsed().as_nanos() as f64 / self.pace.max(f64::MIN_POSITIVE);
            running.work.saturating_sub(done as u64)
        });
        self.queue.waiting().saturating_add(running).saturating_add(self.reserved)
    }

    fn take(&mut self, budget_tokens: u64) -> Option<Taken> {
        loop {
            let costs = &self.costs;
            let budget = |model| costs.get(&model).map_or(1, |cost| budget_tokens.saturating_mul(*cost));
            let batch = self.queue.take(budget)?;
            let now = Instant::now();
            let (mut pairs, mut entries, mut model) = (vec![], vec![], None);
            for (id, pair) in &batch.pairs {
                let Some(active) = self.active.get_mut(id) else { continue };
                let Some(ids) = active.pairs.get_mut(pair.number).and_then(Option::take) else { continue };
                active.began.get_or_insert(now);
                model.get_or_insert_with(|| active.model.clone());
                pairs.push(ids);
                entries.push((*id, *pair));
            }
            let Some(model) = model else { continue };
            let stop = Arc::new(AtomicBool::new(false));
            let mut jobs: Vec<JobId> = entries.iter().map(|(id, _)| *id).collect();
            jobs.dedup();
            let running =
                Running { jobs, work: batch.work, alone: batch.alone, stop: stop.clone(), since: now };
            self.running = Some(running);
            return Some(Taken { batch: Batch { pairs: entries, ..batch }, model, pairs, stop });
        }
    }

    /// Gives scores to their jobs, and what was not reached back to the queue.
    fn deliver(&mut self, batch: Batch, pairs: Vec<Tokenized>, scores: Vec<Score>) {
        let mut back: HashMap<JobId, Vec<Pair>> = HashMap::new();
        for (((id, pair), ids), score) in batch.pairs.into_iter().zip(pairs).zip(scores) {
            let Some(active) = self.active.get_mut(&id) else { continue };
            match score {
                Some(Ok(score)) => {
                    active.outcome.scores[pair.number] = Some(score);
                    active.left -= 1;
                }
                Some(Err(problem)) => {
                    if active.outcome.problem.is_none() {
                        active.outcome.pair = (problem.kind == Kind::NotFinite).then_some(pair.number);
                        active.outcome.problem = Some(problem);
                    }
                    active.left = 0;
                }
                None => {
                    active.pairs[pair.number] = Some(ids);
                    back.entry(id).or_default().push(pair);
                    continue;
                }
            }
            if active.left == 0 || active.outcome.problem.is_some() {
                self.queue.cancel(id);
                if let Some(active) = self.active.remove(&id) {
                    let (outcome, done) = active.into_outcome();
                    // Whoever asked may have gone.
                    let _ = done.send(outcome);
                }
            }
        }
        for (id, pairs) in back {
            if let Some(active) = self.active.get(&id) {
                self.queue.give_back(batch.model, (id, active.deadline), pairs);
            }
        }
    }
}

impl Active {
    fn into_outcome(self) -> (Outcome, oneshot::Sender<Outcome>) {
        let began = self.began.unwrap_or_else(Instant::now);
        let queued = began.saturating_duration_since(self.came);
        (Outcome { queued, computed: began.elapsed(), ..self.outcome }, self.done)
    }
}
