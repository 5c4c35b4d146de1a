//! The `crossrank` command.

fn main() {}
