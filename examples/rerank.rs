//! The smallest real use: a question, ten passages, the default model.
//!
//!     cargo run --release --example rerank

use std::path::Path;

use crossrank::{Reranker, Result};

/// What is asked.
pub const QUERY: &str = "Why do leaves change colour in autumn?";

/// What a retriever has found. `tests/example.rs` says which of these answer.
pub const PASSAGES: [&str; 10] = [
    "Autumn fashion favours colours like rust, mustard and deep green, often with heavy knitwear.",
    "Maple syrup is made by boiling the sap of sugar maples, which is collected in early spring.",
    "As days shorten, trees stop making chlorophyll. Its green fades, and yellow and orange pigments that were \
     there all along become visible.",
    "The leaves of a table can be folded down when the room is small.",
    "In autumn many birds leave for the south, because food becomes scarce and the days grow cold.",
    "Red leaves owe their colour to anthocyanins, which some trees produce in autumn from sugars trapped in the leaf.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "Raking leaves onto a compost heap returns their nutrients to the soil by the next summer.",
    "Chameleons change colour to signal their mood and to regulate their temperature.",
    "The stock market often falls in autumn, and nobody is quite sure why.",
];

fn main() -> Result<()> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/default");
    let reranker = Reranker::load(model)?;

    println!("{QUERY}\n\nAs retrieved:");
    for (index, passage) in PASSAGES.iter().enumerate() {
        println!("{:>3}.         {passage}", index + 1);
    }
    println!("\nReranked:");
    for (rank, ranked) in reranker.rerank(QUERY, &PASSAGES, &Default::default())?.iter().enumerate() {
        println!("{:>3}. {:6.2} %  {}", rank + 1, 100.0 * ranked.score, PASSAGES[ranked.index]);
    }
    Ok(())
}
