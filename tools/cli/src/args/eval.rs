//! The options of `eval`.

use std::path::PathBuf;

use clap::Args;
use crossrank_eval::Metric;

use super::gain::NOT_HERE;
use super::{GainArgs, ReportFormat, from_1};

const EXAMPLES: &str = "\
Examples:
  crossrank eval --qrels qrels.txt bm25.run reranked.run
  crossrank eval --qrels my-beir-folder --metrics ndcg@10,recall@100 --depths 5,10,20,50,100 reranked.run.gz
  crossrank eval --qrels qrels.txt --per-query --format json reranked.run
  crossrank eval --against-first-stage --corpus corpus.jsonl --queries queries.tsv --qrels qrels.txt --plot gain.svg";

/// Say how good runs are by relevance judgements, and whether two of them differ by more than chance.
///
/// Runs are TREC's (query, Q0, document, rank, score, tag). Judgements are TREC's (query, 0, document, relevance) or
/// BEIR's (a first line `query-id corpus-id score`), or a BEIR folder with qrels/test.tsv. All may be gzip or zstd.
///
/// Figures are those of trec_eval 9.0.8, and so of pytrec_eval: a grade above 0 is relevant, gains are linear, and
/// documents stand by score, as a 32-bit float, equal scores by id, the one with the greater bytes first; ranks in the
/// file count for nothing. Where tools differ: trec_eval 10, ranx and ir-measures' RR@k and Judged@k compare 64-bit
/// floats, and ir-measures 0.4.3 ranks equal scores by id upwards for RR@k and Judged@k, and downwards for its other
/// metrics, so that its RR and its RR@10 may differ on one list. Here all metrics have one order, and a note says in how many queries a
/// cut-off parts equal scores. judged@K is ir-measures' (trec_eval has none): over the first K that are there, and any
/// grade is a judgement.
///
/// Means are over all queries with judgements: one without relevant documents counts as 0, and so does one without
/// results, as with trec_eval -c and in ir-measures. `--retrieved-only` leaves the latter out, as trec_eval 9 does without -c
/// (trec_eval 10 refuses such a run then). Queries without judgements count for nothing. Notes on stderr say how many
/// there are.
///
/// A line that is broken, a score that is not wholly a number, and a document that comes twice for a query are errors,
/// also where other tools take them for something. Lines that begin with `#` are passed over.
///
/// Two runs are compared by a paired randomisation test, two-sided: the p-value is the share of all ways to swap them,
/// query by query, that make them differ as much; of more than 100,000 ways so many are drawn, from a fixed seed.
///
/// With `--format json` each run has a line {"run","query","metrics":{...}} for each query (with `--per-query`), one with
/// "query":"all" and "depth" for each of `--depths`, and last one with "query":"all" and
/// "queries":{"judged","answered","missing"}; two runs have {"a","b","metric","delta","p_value","permutations","seed"}, where
/// delta is b less a.
///
/// With `--against-first-stage` it says instead what a model adds to a first stage, BM25 as `crossrank search` has it or
/// a run: for each depth (5, 10, 20, 50 and 100 unless `--depths` says otherwise) the model ranks so many candidates of each query, the others
/// follow in the first stage's order, and the same figures are computed of both. delta and p are of the first metric,
/// against the first stage; ms is the mean time of a query, beside the one of the first stage. With `--format json` there
/// is a line with "stage":"first", one with "depth" for each depth, and last one with "queries".
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    /// The runs; `-` is stdin
    #[arg(value_name = "RUN", required_unless_present = "against_first_stage")]
    pub runs: Vec<PathBuf>,
    /// The judgements: a file, a BEIR folder, or `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub qrels: PathBuf,
    /// What is computed: ndcg, ndcg@K, mrr, mrr@K, map, recall@K, p@K, judged@K
    #[arg(
        long,
        value_name = "METRIC,...",
        value_delimiter = ',',
        default_value = "ndcg@10,mrr@10,map,recall@100,p@10,judged@10"
    )]
    pub metrics: Vec<Metric>,
    /// Write the figures of each query, too; as text in trec_eval's form: metric, query, value, with tabs between
    #[arg(long)]
    pub per_query: bool,
    /// Take means over the judged queries that have results only
    #[arg(long)]
    pub retrieved_only: bool,
    /// Say, too, what the figures are when only the first K documents of each ranking count
    #[arg(long, value_name = "K,...", value_delimiter = ',', value_parser = from_1(u64::MAX))]
    pub depths: Vec<usize>,
    /// How the figures are written
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    /// Say what a model adds to a first stage, by depth, and what it costs
    #[arg(
        long,
        requires = "corpus",
        requires = "queries",
        conflicts_with_all = ["runs", "per_query"],
        conflicts_with_all = NOT_HERE,
    )]
    pub against_first_stage: bool,
    #[command(flatten)]
    pub gain: GainArgs,
}
