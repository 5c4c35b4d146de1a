//! The memory that requests compute in, kept for the next one.

use std::sync::Mutex;

use super::plan;
use crate::lock::lock;
use crate::model::{ChunkSize, Model, Scratch, Workspace};
use crate::tokenized::Tokenized;

/// What one worker needs to take a leaf from texts to logits.
pub(super) struct Slot {
    pub(super) workspace: Workspace,
    /// One for each worker that shares its chunk; its own is first.
    pub(super) scratches: Vec<Scratch>,
    /// Ids that were made of texts.
    pub(super) ids: Vec<Tokenized>,
    /// The largest numbers of the chunks it has seen.
    pub(super) largest: ChunkSize,
}

impl Slot {
    fn new(model: &Model) -> Self {
        Self {
            workspace: model.workspace(),
            scratches: Vec::new(),
            ids: Vec::new(),
            largest: ChunkSize::default(),
        }
    }
}

/// Slots that nobody uses at the moment.
#[derive(Default)]
pub(super) struct Slots {
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Without scratches.
    slots: Vec<Slot>,
    scratches: Vec<Scratch>,
    made: usize,
    scratches_made: usize,
    largest: ChunkSize,
}

impl Slots {
    /// Makes room for a request before it starts, so that it does not depend on luck which workers have what they
    /// need: a slot for each leaf that can run at a time, and a scratch for each part that its layers can be cut into.
    pub(super) fn prepare(&self, leaves: usize, workers: usize, model: &Model) {
        let idle = &mut *lock(&self.idle);
        while idle.made < leaves.min(workers) {
            idle.slots.push(Slot::new(model));
            idle.made += 1;
        }
        while idle.scratches_made < plan::most_parts(workers) {
            idle.scratches.push(model.scratch());
            idle.scratches_made += 1;
        }
        for slot in &mut idle.slots {
            slot.workspace.reserve(idle.largest);
        }
        for scratch in &mut idle.scratches {
            model.reserve_scratch(scratch, idle.largest);
        }
    }

    pub(super) fn take(&self, model: &Model) -> Slot {
        let idle = &mut *lock(&self.idle);
        let mut slot = idle.slots.pop().unwrap_or_else(|| {
            idle.made += 1;
            Slot::new(model)
        });
        // One that is there is grown already. Else it is made here: a leaf has at least its own.
        let scratch = idle.scratches.pop().unwrap_or_else(|| model.scratch());
        slot.scratches.push(scratch);
        slot
    }

    /// Takes a slot back. So there are as many as were ever out at once.
    pub(super) fn put(&self, mut slot: Slot) {
        slot.ids.clear();
        let idle = &mut *lock(&self.idle);
        idle.scratches.append(&mut slot.scratches);
        idle.largest = idle.largest.max(slot.largest);
        idle.slots.push(slot);
    }

    /// How many slots are idle, and how many have been made.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let idle = lock(&self.idle);
        (idle.slots.len(), idle.made)
    }

    /// Makes `scratches` as many as there are workers that share a chunk, if there are fewer.
    pub(super) fn share(&self, scratches: &mut Vec<Scratch>, size: ChunkSize, workers: usize, model: &Model) {
        let missing = workers.saturating_sub(scratches.len());
        if missing == 0 {
            return;
        }
        let spare = &mut lock(&self.idle).scratches;
        scratches.extend(spare.drain(spare.len().saturating_sub(missing)..));
        while scratches.len() < workers {
            scratches.push(model.scratch());
        }
        scratches.iter_mut().for_each(|scratch| model.reserve_scratch(scratch, size));
    }

    /// Takes the scratches of helpers back.
    pub(super) fn take_back(&self, scratches: &mut Vec<Scratch>) {
        if scratches.len() > 1 {
            lock(&self.idle).scratches.extend(scratches.drain(1..));
        }
    }
}
