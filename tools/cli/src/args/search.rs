//! The options of `search`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{RankArgs, from_1};

const EXAMPLES: &str = "\
Examples:
  crossrank search --corpus corpus.jsonl -q 'where do rivers go'
  crossrank search --corpus corpus.jsonl.gz --index corpus-index --queries queries.tsv --format trec --output run.trec
  crossrank search --corpus corpus.jsonl --queries queries.jsonl --run others.run --top-k 100 --format jsonl
  crossrank search --corpus corpus.jsonl --queries queries.tsv --no-rerank --format trec --output first.run";

/// Search a corpus in two stages: BM25 finds candidates, a model ranks them.
///
/// The corpus is BEIR's JSONL (`_id` or `id`, `text`, and `title` if there is one, which stands before the text, with a
/// space between, in all that is indexed, scored and shown), MS MARCO's TSV (id and text; or id, address, title and text),
/// or a folder of BEIR's; plain, gzip or zstd. Queries are JSONL (`_id` or `id`, and `text`) or TSV (id and text).
///
/// The first stage is BM25 with k1 = 1.2 and b = 0.75 and Lucene's idf. Its words are those of Unicode in lower case; of
/// Chinese, Japanese, Korean, Thai and the like each character and each pair of neighbours. Nothing is stemmed, there are
/// no stop words, and no word is left out for its length. Documents that share no word with the query are no candidates;
/// equal scores stand in the order of the corpus. With `--index` the index is kept in a folder and used again as long as
/// the corpus has the same contents; without it the index is made in memory, for this call.
///
/// A line of JSONL has the keys query_id (1 with `-q`), rank, document_id, score, logit, first_rank, first_score, tokens,
/// truncated; with `--long max` or `mean` passage (index, start_byte, end_byte, text), with `--cascade` stage, with
/// `--fuse` fused. A document that was not scored has not_scored in place of score, logit, tokens and truncated. In TREC's
/// form scores are logits (with `--fuse` what the order is by, with `--no-rerank` BM25), lowered where they must be for
/// them to fall strictly as 32-bit floats, so that every evaluation tool sees this order.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SearchArgs {
    /// The documents; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub corpus: PathBuf,
    /// Keep the index in this folder, and use the one that is there if it is of this corpus
    #[arg(long, value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// What is looked for
    #[arg(
        short,
        long,
        allow_hyphen_values = true,
        required_unless_present = "queries",
        conflicts_with = "queries"
    )]
    pub query: Option<String>,
    /// Several queries, each with an id; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// Take the candidates of each query from a TREC run in place of BM25, best score first
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    pub run: Option<PathBuf>,
    /// How many candidates of a query are ranked
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = from_1(u64::MAX))]
    pub candidates: usize,
    /// Keep the best N only
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = from_1(u64::MAX))]
    pub top_k: usize,
    /// Give the candidates in the first stage's order; no model is loaded
    #[arg(long, conflicts_with_all = [
        "min_score", "label", "score_mode", "long", "stride", "cascade", "budget_ms", "fallback", "fuse", "scaling",
    ])]
    pub no_rerank: bool,
    /// How results are written
    #[arg(long, value_enum, default_value_t)]
    pub format: SearchFormat,
    /// Write to this file. Until all is done what there is stands in FILE.partial, beside what it was made with; then it
    /// gets its name, and replaces a file that has it
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Go on with FILE.partial, where there is one, which must have been made with the same files, model and options: the
    /// end is the same, byte for byte
    #[arg(long, requires = "output", conflicts_with_all = ["query", "budget_ms"])]
    pub resume: bool,
    #[command(flatten)]
    pub rank: RankArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum SearchFormat {
    /// For people: rank, rank in the first stage, score, a bar, id, the text cut to the terminal
    #[default]
    Text,
    /// For programs: a JSON object a line
    Jsonl,
    /// A TREC run: query, Q0, document, rank, score, tag
    Trec,
}
