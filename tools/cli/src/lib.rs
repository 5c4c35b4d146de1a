//! How the command line reads and writes lines, and how it says what is wrong with them: the part that meets input of
//! unknown origin before the engine does.

pub mod failure;
pub mod input;
pub mod json;
pub mod object;
pub mod text;
