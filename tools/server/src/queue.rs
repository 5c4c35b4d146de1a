//! What is to be scored, in which order: a queue of jobs of many pairs each. It knows no model, no clock and no thread.
//!
//! Work is counted in units, some for each pair. The job with the least work left goes first, because that brings
//! answers out soonest on average; but a job is promised, when it comes, that it has been served when `1.2 * ahead`
//! units have been, `ahead` being all work that was waiting then, its own included. So a stream of small jobs cannot
//! hold a large one for ever.
//!
//! The promise is a deadline on the count of units served. Deadlines can be kept at any time if for each job the work of
//! those with no later deadline fits before it; jobs in order of deadline then keep them. A new job never breaks that:
//! with the work that waits, in any order, it ends by `ahead`. Work out of that order is taken only as long as every
//! job keeps room for what is due before it; otherwise the job whose deadline comes first is served.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// A job's number, in the order in which they came.
pub(crate) type JobId = u64;

/// A pair of a job: its number, and its work in units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    pub(crate) number: usize,
    pub(crate) work: u64,
}

/// Pairs that are scored together, of one model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) model: usize,
    pub(crate) pairs: Vec<(JobId, Pair)>,
    pub(crate) work: u64,
    /// Whether it is all that there was: then it may be larger than asked for, as nobody waits for it.
    pub(crate) alone: bool,
}

struct Job {
    model: usize,
    pairs: VecDeque<Pair>,
    deadline: u64,
}

/// Jobs that wait.
#[derive(Default)]
pub(crate) struct Queue {
    jobs: HashMap<JobId, Job>,
    /// The work left of each job, by its deadline.
    by_deadline: BTreeMap<(u64, JobId), u64>,
    by_work: BTreeSet<(u64, JobId)>,
    /// Units that were ever taken.
    served: u64,
    waiting: u64,
    next: JobId,
}

/// How much of the work before each job may wait, beside what is due.
type Rooms = HashMap<JobId, u64>;

impl Queue {
    /// Adds a job, and gives its number and its deadline.
    pub(crate) fn push(&mut self, model: usize, pairs: Vec<Pair>) -> (JobId, u64) {
        let id = self.next;
        self.next += 1;
        let work: u64 = pairs.iter().map(|pair| pair.work).sum();
        let ahead = self.waiting + work;
        let deadline = self.served + ahead + ahead / 5;
        self.put(model, (id, deadline), pairs);
        (id, deadline)
    }

    /// Units that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Jobs that wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Drops what is left of a job.
    pub(crate) fn cancel(&mut self, id: JobId) {
        if let Some(job) = self.jobs.remove(&id)
            && let Some(work) = self.by_deadline.remove(&(job.deadline, id))
        {
            self.by_work.remove(&(work, id));
            self.waiting -= work;
        }
    }

    /// Takes pairs to score together: about `budget` units, of one model, whose number says how many, and half as many more
    /// at most; a single job that is alone goes whole. None if nothing waits.
    pub(crate) fn take(&mut self, budget: impl Fn(usize) -> u64) -> Option<Batch> {
        let alone = self.jobs.len() == 1;
        let (mut rooms, mut early) = (None, 0);
        let mut batch: Option<Batch> = None;
        while let Some((id, ahead)) = self.choose(batch.as_ref().map(|batch| batch.model), early, &mut rooms)
        {
            let Some(job) = self.jobs.get_mut(&id) else { break };
            let Some(pair) = job.pairs.front().copied() else { break };
            let batch = batch.get_or_insert_with(|| Batch { model: job.model, alone, ..Batch::default() });
            let budget = budget(batch.model);
            let most = budget.saturating_mul(9) / 8;
            // A job that is in already is finished rather than left with a rest that costs it a batch more.
            let rest = self.by_deadline.get(&(job.deadline, id)).copied().unwrap_or(0);
            let ends = batch.pairs.last().is_some_and(|(last, _)| *last == id)
                && batch.work.saturating_add(rest) <= budget.saturating_mul(3) / 2;
            if !batch.pairs.is_empty() && !alone && !ends && batch.work + pair.work > most {
                break;
            }
            job.pairs.pop_front();
            self.reduce(id, pair.work);
            if ahead {
                early += pair.work;
            }
            self.served += pair.work;
            batch.work += pair.work;
            batch.pairs.push((id, pair));
        }
        batch
    }

    /// Puts pairs back that were taken and not scored; they come before what is left of their job, in their order.
    pub(crate) fn give_back(&mut self, model: usize, job: (JobId, u64), pairs: Vec<Pair>) {
        self.served -= pairs.iter().map(|pair| pair.work).sum::<u64>();
        self.put(model, job, pairs);
    }

    fn put(&mut self, model: usize, (id, deadline): (JobId, u64), pairs: Vec<Pair>) {
        if pairs.is_empty() {
            return;
        }
        let work: u64 = pairs.iter().map(|pair| pair.work).sum();
        self.waiting += work;
        let job = self.jobs.entry(id).or_insert_with(|| Job { model, pairs: VecDeque::new(), deadline });
        pairs.into_iter().rev().for_each(|pair| job.pairs.push_front(pair));
        let left = self.by_deadline.entry((deadline, id)).or_insert(0);
        self.by_work.remove(&(*left, id));
        *left += work;
        self.by_work.insert((*left, id));
    }

    /// Takes so much off what is left of a job, and the job if that was all.
    fn reduce(&mut self, id: JobId, work: u64) {
        self.waiting -= work;
        let Some(job) = self.jobs.get(&id) else { return };
        let key = (job.deadline, id);
        if let Some(left) = self.by_deadline.get_mut(&key) {
            self.by_work.remove(&(*left, id));
            *left -= work;
            self.by_work.insert((*left, id));
        }
        if job.pairs.is_empty() {
            self.jobs.remove(&id);
            if let Some(left) = self.by_deadline.remove(&key) {
                self.by_work.remove(&(left, id));
            }
        }
    }

    /// The job to serve next, of this model if one is named, and whether it goes before one with an earlier deadline.
    /// `early` is the work that has gone so since `rooms` were found.
    fn choose(&self, model: Option<usize>, early: u64, rooms: &mut Option<Rooms>) -> Option<(JobId, bool)> {
        let fits =
            |id: JobId| model.is_none_or(|model| self.jobs.get(&id).is_some_and(|job| job.model == model));
        let (&(_, first), _) = self.by_deadline.first_key_value()?;
        let shortest = self.by_work.iter().map(|(_, id)| *id).find(|id| fits(*id))?;
        if shortest == first {
            return Some((first, false));
        }
        let next = self.jobs.get(&shortest)?.pairs.front()?.work;
        let rooms = rooms.get_or_insert_with(|| self.rooms());
        if rooms.get(&shortest).is_some_and(|room| early + next <= *room) {
            return Some((shortest, true));
        }
        // The one with the first deadline must be served now; a batch of another model ends here.
        fits(first).then_some((first, false))
    }

    /// For each job the least room that those with earlier deadlines have.
    fn rooms(&self) -> Rooms {
        let (mut due, mut least) = (0, u64::MAX);
        let room = |(&(deadline, id), &work): (&(u64, JobId), &u64)| {
            let before = least;
            due += work;
            least = least.min(deadline.saturating_sub(self.served + due));
            (id, before)
        };
        self.by_deadline.iter().map(room).collect()
    }
}

#[cfg(test)]
#[path = "tests_of_queue.rs"]
mod tests;
