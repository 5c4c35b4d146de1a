//! What is read of a checkpoint: its files, JSON fields, and tensors by name.

pub(crate) mod files;
pub(crate) mod json;
pub(crate) mod mapped_file;
pub(crate) mod modules;
pub(crate) mod names;
pub(crate) mod packed;
pub(crate) mod roles;
pub(crate) mod settings;
mod stand_in;
pub(crate) mod tensors;
