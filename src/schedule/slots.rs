//! The memory that requests compute in, kept for the next one.

use std::sync::Mutex;

use super::plan;
use crate::lock::lock;
use crate::model::{ChunkSize, Model, Scratch, Workspace};
use crate::tokenized::Tokenized;

/// What one worker needs to take a leaf from texts to logits.
pub(super) struct Slot {
    pub(super) workspace: Workspace,
    /// Ids that were made of texts.
    pub(super) ids: Vec<Tokenized>,
    /// The largest numbers of the chunks it has seen.
    pub(super) largest: ChunkSize,
}

impl Slot {
    fn new(model: &Model) -> Self {
        Self { workspace: model.workspace(), ids: Vec::new(), largest: ChunkSize::default() }
    }

    /// Makes the workspace ready for a chunk.
    pub(super) fn reserve(&mut self, size: ChunkSize) {
        self.largest = self.largest.max(size);
        self.workspace.reserve(size, 1);
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
            slot.workspace.reserve(idle.largest, 0);
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
        slot.workspace.take_scratches(&mut idle.scratches, 1);
        slot
    }

    /// Takes a slot back. So there are as many as were ever out at once.
    pub(super) fn put(&self, mut slot: Slot) {
        slot.ids.clear();
        let idle = &mut *lock(&self.idle);
        slot.workspace.give_scratches(&mut idle.scratches, 0);
        idle.largest = idle.largest.max(slot.largest);
        idle.slots.push(slot);
    }

    /// How many slots are idle, and how many have been made.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let idle = lock(&self.idle);
        (idle.slots.len(), idle.made)
    }

    /// Makes a slot ready for `workers` to share its chunk.
    pub(super) fn share(&self, workspace: &mut Workspace, size: ChunkSize, workers: usize) {
        if workspace.workers() < workers {
            workspace.take_scratches(&mut lock(&self.idle).scratches, workers);
            workspace.reserve(size, workers);
        }
    }

    /// Takes the scratches of helpers back.
    pub(super) fn unshare(&self, workspace: &mut Workspace) {
        if workspace.workers() > 1 {
            workspace.give_scratches(&mut lock(&self.idle).scratches, 1);
        }
    }
}
