//! What a token costs by the number of documents, and how much of the machine documents of each length use.
//!
//!     cargo bench --bench scaling
//!
//! From ids to logits, best of several runs. Attention is shown apart: its operations grow with the square of the
//! length, and its products are of other shapes than those of the Linear layers. Its time is that of the kernel alone,
//! on the same numbers of rows and heads, in all layers but the last.

mod common;

use common::{best_time, matrix, measuring, model, operations, pair, pairs, peak};
use crossrank::{Dtype, ModelInfo, Reranker, Tokenized};
use crossrank_kernels::{AttentionScratch, Heads, Isa, Matrix, PanelDtype, attention};

const COUNTS: [usize; 4] = [10, 100, 1000, 10_000];
const LENGTHS: [usize; 7] = [16, 32, 64, 128, 256, 384, 512];
/// Of a request of documents of one length.
const TOKENS: usize = 4096;

fn main() {
    // What is measured in a run takes minutes in a test.
    let (counts, lengths, tokens) =
        if measuring() { (&COUNTS[..], &LENGTHS[..], TOKENS) } else { (&COUNTS[..1], &LENGTHS[..2], 64) };
    let best = Isa::best();
    // Where f32 goes another way than by multiply-adds, those are looked at, too.
    let multiply_adds =
        Isa::available().filter(|isa| isa.panel_dtype(PanelDtype::F32) == PanelDtype::F32).last();
    let of_f32 = multiply_adds.filter(|&isa| isa != best).map(|isa| (isa, Dtype::F32));
    let ways = of_f32.into_iter().chain([Dtype::F32, Dtype::Bf16, Dtype::Int8].map(|dtype| (best, dtype)));
    for ((isa, dtype), threads) in ways.flat_map(|way| [(way, 1), (way, 2)]) {
        let builder = Reranker::builder().isa(isa.name()).dtype(dtype).threads(threads);
        let reranker = builder.load(model()).unwrap();
        let info = reranker.info();
        println!("\n{} {} {threads} threads", info.dtype, info.isa);
        // Once is enough for the number of documents: chunks do not depend on the number of threads.
        if threads == 2 || !measuring() {
            by_count(&reranker, counts);
        }
        by_length(&reranker, lengths, tokens);
    }
}

fn by_count(reranker: &Reranker, counts: &[usize]) {
    let info = reranker.info();
    println!("documents   tokens  microseconds a token  of the cheapest");
    let rows: Vec<_> = counts
        .iter()
        .map(|&count| {
            // 16 to 48 tokens, in an order that looks like none.
            let pairs: Vec<_> = (0..count).map(|i| pair(&info, 16 + i * 13 % 33)).collect();
            let tokens: usize = pairs.iter().map(Tokenized::len).sum();
            (count, tokens, 1e6 * time(reranker, &pairs, if count < 10_000 { 5 } else { 1 }) / tokens as f64)
        })
        .collect();
    let least = rows.iter().map(|row| row.2).fold(f64::INFINITY, f64::min);
    for (count, tokens, cost) in rows {
        println!("{count:>9} {tokens:>8} {cost:>21.2} {:>16.2}", cost / least);
    }
}

fn by_length(reranker: &Reranker, lengths: &[usize], tokens: usize) {
    let info = reranker.info();
    let peak = measuring().then(|| peak(&info));
    println!("length  microseconds a token  Gop/s  of best  of peak  attention: operations   time");
    let rows: Vec<_> = lengths
        .iter()
        .filter(|&&length| length <= info.max_positions)
        .map(|&length| {
            let pairs = vec![pair(&info, length); tokens / length];
            let time = time(reranker, &pairs, 5);
            let rate = operations(&info, &pairs) as f64 / time;
            let attention = attention_time(&info, length) * pairs.len() as f64 / info.threads as f64;
            (length, 1e6 * time / (pairs.len() * length) as f64, rate, attention / time)
        })
        .collect();
    let best = rows.iter().map(|row| row.2).fold(0.0, f64::max);
    for (length, cost, rate, attention) in rows {
        println!(
            "{length:>6} {cost:>21.2} {:>6.1} {:>6.0} % {:>8} {:>20.0} % {:>4.0} %",
            rate / 1e9,
            100.0 * rate / best,
            peak.map_or("-".to_owned(), |peak| format!("{:.0} %", 100.0 * rate / peak)),
            100.0 * attention_operations(&info, length) as f64 / info.operations(length) as f64,
            100.0 * attention
        );
    }
}

/// Seconds, best of `runs`.
fn time(reranker: &Reranker, pairs: &[Tokenized], runs: usize) -> f64 {
    let mut logits = vec![0.0; pairs.len() * reranker.labels()];
    // Buffers grow with the first documents of a size.
    reranker.score_tokenized(&pairs[..pairs.len().min(100)]).unwrap();
    best_time(runs, || reranker.score_tokenized_into(pairs, &mut logits).unwrap())
}

/// Operations of attention of a document, in all layers but the last.
fn attention_operations(info: &ModelInfo, length: usize) -> u64 {
    ((info.layers - 1) * 4 * length * length * info.hidden) as u64
}

/// Seconds on one thread of the same.
fn attention_time(info: &ModelInfo, length: usize) -> f64 {
    let isa = Isa::by_name(info.isa).unwrap();
    let dtype = PanelDtype::by_name(info.dtype).unwrap();
    let head_dim = info.hidden / info.heads;
    let qkv = [(); 3].map(|()| matrix(length, info.hidden));
    let qkv = if isa.stores_pairs(dtype) { qkv.each_ref().map(pairs) } else { qkv };
    let mut dst = matrix(length, info.hidden);
    let mut scratch = AttentionScratch::default();
    let heads = Heads { dim: head_dim, scale: 1.0 / (head_dim as f32).sqrt(), dtype };
    let layers = info.layers - 1;
    best_time(5, || {
        for _ in 0..layers {
            attention(isa, qkv.each_ref().map(Matrix::view), heads, &mut scratch, dst.view_mut());
        }
    })
}
