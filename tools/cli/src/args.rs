//! The command line.

#[cfg(feature = "search")]
mod eval;
#[cfg(feature = "search")]
mod gain;
mod rerank;
#[cfg(feature = "search")]
mod search;
#[cfg(feature = "serve")]
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

#[cfg(feature = "search")]
pub use eval::EvalArgs;
#[cfg(feature = "search")]
pub use gain::GainArgs;
pub use rerank::{Fallback, Long, OnBadDocument, RankArgs, RerankArgs};
#[cfg(feature = "search")]
pub use search::{SearchArgs, SearchFormat};
#[cfg(feature = "serve")]
pub use serve::{DocumentForm, LogFormat, ServeArgs, Truncate};

/// Reranks search results with BERT-style cross-encoders on CPUs.
#[derive(Parser)]
#[command(name = "crossrank", version, after_help = EXIT_CODES, after_long_help = format!("{MODELS}\n\n{EXIT_CODES}"))]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Say on stderr what is done and how long it takes; twice says more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The command line, as it is parsed.
pub fn command() -> clap::Command {
    let command = Cli::command().version(version());
    #[cfg(feature = "search")]
    let command = gain::belong_together(command);
    command
}

/// The version, and the instruction set that this machine and `CROSSRANK_ISA` give.
pub fn version() -> String {
    let cap = std::env::var("CROSSRANK_ISA").ok();
    let isa = cap.and_then(|name| crossrank_kernels::Isa::by_name(&name).ok());
    let isa = isa.unwrap_or_else(crossrank_kernels::Isa::best);
    format!("{} ({})", env!("CARGO_PKG_VERSION"), isa.in_force())
}

const EXIT_CODES: &str = "\
Data goes to stdout, errors and progress to stderr.
Exit codes: 0 all done; 1 an error; 2 wrong usage; 130 ended by Ctrl-C; 141 nobody reads the output any more.";

/// How models are named; without the hub they are folders.
#[cfg(feature = "hub")]
const MODELS: &str = "\
A model is a folder where one of that name exists, else a model on the Hugging Face hub: `org/name`, `org/name@revision`, or
a short name, as minilm-l6, ettin-32m, bge-v2-m3 or gte-modernbert. `hf:org/name` is the hub's whatever folders there are.

    crossrank rerank --model minilm-l6 -q 'how deep is the sea?' docs.txt
    crossrank inspect --model cross-encoder/ettin-reranker-17m-v1@main

What the engine reads of it is downloaded, once, into the cache that Python's huggingface_hub uses. HF_TOKEN, HF_TOKEN_PATH,
HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE and HF_HUB_DISABLE_IMPLICIT_TOKEN mean what they mean there.";
#[cfg(not(feature = "hub"))]
const MODELS: &str = "A model is a folder.";

#[derive(Subcommand)]
pub enum Command {
    Rerank(RerankArgs),
    #[cfg(feature = "search")]
    Search(Box<SearchArgs>),
    Score(ScoreArgs),
    #[cfg(feature = "serve")]
    Serve(Box<ServeArgs>),
    FitScores(FitScoresArgs),
    Inspect(InspectArgs),
    #[cfg(feature = "search")]
    Eval(EvalArgs),
    Quantize(QuantizeArgs),
    Pack(PackArgs),
    Bench(BenchArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    BenchOne(BenchOneArgs),
}

/// Score (query, document) pairs as they come, in the order of the input.
///
/// Pairs are JSON objects, one a line, with the keys `query` and `document`; other keys are ignored. Blank lines are
/// skipped and not counted. What has been read is scored and written when no more input waits.
///
/// Each pair gives a line such as {"index":0,"logits":[4.7],"score":0.99,"tokens":58,"truncated":false}; with several
/// labels the score is an array, and `labels` has their names. A bad line gives {"index":3,"error":"..."} and is named on stderr; the others are
/// scored, and the exit code is 1.
#[derive(Args)]
#[command(
    after_help = "Example:\n  echo '{\"query\":\"where do rivers go\",\"document\":\"To the sea.\"}' | crossrank score"
)]
pub struct ScoreArgs {
    /// The pairs; `-` or none is stdin
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub score: ScoreArg,
    /// Make scores of logits by the two numbers that `crossrank fit-scores` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "score_mode")]
    pub scaling: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub window: WindowArgs,
}

/// Fit scores to judgements: probabilities out of logits, for `rerank --scaling` and `score --scaling`.
///
/// Judgements are JSON objects, one a line, with the keys `query`, `document` and `relevant`: true or false, or a number,
/// of which those above 0 are relevant. At least 10 of each kind are needed, some hundreds are better; pairs that
/// were used to train the model say nothing about others. What is fitted are the two numbers of Platt's scaling: a pair
/// is relevant with probability 1 / (1 + e^-(slope * logit + offset)).
#[derive(Args)]
#[command(after_help = "Example:\n  crossrank fit-scores judged.jsonl --output score-scaling.json\n  \
crossrank rerank -q 'where do rivers go' --scaling score-scaling.json passages.txt")]
pub struct FitScoresArgs {
    /// The judgements; `-` or none is stdin
    pub file: Option<PathBuf>,
    /// Where the two numbers go; a file that is there is replaced
    #[arg(short, long, value_name = "FILE", default_value = "score-scaling.json")]
    pub output: PathBuf,
    /// The label whose logit it is, by its name or by its number from 0; needed when the model has several
    #[arg(long, value_name = "NAME|N")]
    pub label: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub window: WindowArgs,
}

/// Say what a model is and how it would run
#[derive(Args)]
#[command(
    after_help = "Examples:\n  crossrank inspect\n  crossrank inspect --model my-model --check --timings"
)]
pub struct InspectArgs {
    /// Compare the data of a packed checkpoint with its checksum, too
    #[arg(long)]
    pub check: bool,
    /// Say how long each step took, from the beginning of the program to a first score, in milliseconds
    #[arg(long)]
    pub timings: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Write a model as an I8 checkpoint, a quarter of the size of F32.
///
/// Embeddings of words and the Linear weights of encoder and pooler become signed bytes with an F32 scale for each row;
/// everything else stays as it is stored. With --calibrate layers are rounded one after another, each so that it makes
/// up for the errors before it (a minute for 192 paragraphs and 6 layers, 384 wide); neurons that do next to nothing may
/// give way to copies of one that has a weight far larger than the rest of its row; and some of what stays is changed, in
/// F32: biases make up for the mean error, and LayerNorms shrink the columns of large range that the next layer reads,
/// whose weights grow by as much. The result loads like any other model. Its metadata say how it was made, out of what
/// and on which texts, with checksums: `crossrank inspect` shows them.
///
/// With --verify both models score the first 50 candidates of each query, the source in f32 and the result as it runs,
/// and both are compared: nDCG@10 and MRR@10 of each, how much of the first ten they share (all, where a query has no
/// more candidates), Kendall's tau-b over a query's candidates, and |logit - logit of the source| over the standard
/// deviation of the source's logits. Beyond a limit the exit code is 1; the result stays. Means are over the queries that
/// have a relevant document. EVAL_DIR is a folder of BEIR's (corpus.jsonl, queries.jsonl, qrels/test.tsv), or has
/// queries.tsv (id, tab, text) and qrels.txt (TREC: query, 0, document, relevance); all may end in .gz or .zst.
///
/// With --logits a file gets what was compared, an object a line for each pair: query_id, document_id, query, document
/// (as `crossrank score` reads them), reference and quantized: the source's logit and the result's.
#[derive(Args)]
#[command(
    after_help = "Example:\n  crossrank quantize my-model my-model-int8 --calibrate pairs.jsonl --verify eval-folder"
)]
pub struct QuantizeArgs {
    /// A model folder, or a model on the hub, in F32, F16 or BF16, of one label for --verify
    pub model_dir: PathBuf,
    /// Where the result goes: a folder that does not exist, or an empty one that is no mount point
    pub out_dir: PathBuf,
    /// Scale columns and round the weights so that what the model makes of these pairs changes least: JSON objects, one
    /// a line, with the keys `query` and `document`, as `crossrank score` takes them; a few hundred are enough, too few,
    /// or some of too few different tokens, are refused
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<PathBuf>,
    /// Compare the result with its source on the texts of a folder
    #[arg(long, value_name = "EVAL_DIR")]
    pub verify: Option<PathBuf>,
    /// Take candidates from a TREC run (query, Q0, document, rank, score, tag) [default: BM25]
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub run: Option<PathBuf>,
    /// Compare on the first N queries only
    #[arg(long, value_name = "N", requires = "verify", value_parser = from_1(u64::MAX))]
    pub queries: Option<usize>,
    /// Write the logits of both models, a line of JSON for each pair; a file that is there and no input is replaced
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub logits: Option<PathBuf>,
    /// How the result runs when it is compared: with f32, only what its weights lost is seen
    #[arg(long, value_enum, default_value_t, requires = "verify")]
    pub dtype: Dtype,
    /// How the figures are written
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// Write a model with its weights packed, as the engine reads them: it loads at once, from a map.
///
/// The Linear weights of the encoder become panels, in f32, bf16 or int8; everything else stays as it is stored. Scores
/// have the same bits as those of the source in the same dtype. What is packed in f32 where the CPU has AMX serves such
/// CPUs alone; packed with `CROSSRANK_ISA=portable`, and in bf16 and int8, it serves all. `crossrank inspect --check`
/// compares the data with the checksum that the result carries. A later version of this program may ask for it to be
/// packed anew.
#[derive(Args)]
#[command(after_help = "Example:\n  crossrank pack my-model my-model-packed --dtype int8")]
pub struct PackArgs {
    /// A model folder, or a model on the hub, that is not packed
    pub model_dir: PathBuf,
    /// Where the result goes: a folder that does not exist, or an empty one that is no mount point
    pub out_dir: PathBuf,
    /// How weights are packed
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Dtype,
}

/// Measure a model on this machine: time from text to ranking, throughput, memory.
///
/// Each workload, dtype and thread count is measured by a process of its own, which loads the model, warms up, and then
/// runs by turns from text to ranking and from ready token ids to logits. p50, p90 and p99 are of the times from text,
/// by nearest rank: the smallest time that so many per cent of the runs do not exceed. The p99 of fewer than 100 runs
/// is therefore the slowest.
///
/// A line of JSON has the keys workload, dtype, threads, isa, pairs, tokens, runs, p50_ms, p90_ms, p99_ms, tokenise_ms,
/// forward_ms, peak_rss_mb: forward_ms is the p50 from ready ids, tokenise_ms the p50 from text less that, or 0,
/// peak_rss_mb the peak of resident memory in 10^6 bytes, load included (null where the system does not tell; Linux
/// does).
#[derive(Args)]
#[command(after_help = "Example:\n  crossrank bench --dtype f32,int8 --threads 1,2 --format json")]
pub struct BenchArgs {
    /// Model folder, or a model on the hub [default: a small English model inside this program]
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    /// JSON: {"name": {"query": "...", "docs": ["...", ...]}, ...} [default: texts inside this program; pair,
    /// snippets50, passages100, long16 of about 68, 3,400, 19,750 and 8,192 tokens]
    #[arg(long, value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// How numbers are held and multiplied, one or several
    #[arg(long, value_name = "D,...", value_enum, value_delimiter = ',', default_value = "auto")]
    pub dtype: Vec<Dtype>,
    /// Worker threads, one number or several [default: as many as the process may use]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = from_1(MAX_THREADS))]
    pub threads: Vec<usize>,
    /// Time for each workload, dtype and thread count, load and warm-up aside; there are at least 3 runs
    #[arg(long, value_name = "S", value_parser = seconds, default_value_t = 3.0)]
    pub seconds: f64,
    /// How the figures are written
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
}

/// Write a script that completes commands and options in a shell
#[derive(Args)]
#[command(
    after_help = "Example:\n  crossrank completions bash > ~/.local/share/bash-completion/completions/crossrank"
)]
pub struct CompletionsArgs {
    /// The shell that is to read it
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// What `bench` starts for each measurement; a workload comes on stdin.
#[derive(Args)]
pub struct BenchOneArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[arg(long, value_parser = seconds)]
    pub seconds: f64,
}

/// Which model, and how it runs.
#[derive(Args, Clone, Default)]
pub struct ModelArgs {
    /// Model folder: config.json, tokenizer.json, model.safetensors or its shards; else a model on the Hugging Face hub
    /// (see `crossrank --help`) [default: a small English model inside this program]
    #[arg(long, value_name = "DIR|NAME")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub load: LoadArgs,
}

/// How a model runs.
#[derive(Args, Clone, Copy, Default)]
pub struct LoadArgs {
    /// How numbers are held and multiplied; a packed model has no other than its own
    #[arg(long, value_enum, default_value_t)]
    pub dtype: Dtype,
    /// Worker threads [default: as many as the process may use]
    #[arg(long, value_name = "N", value_parser = from_1(MAX_THREADS))]
    pub threads: Option<usize>,
    /// Whose token ids texts get where versions of transformers differ
    #[arg(long = "tokenizer", value_name = "RULES", value_enum, default_value_t)]
    pub tokenizer_rules: TokenizerRules,
}

impl ModelArgs {
    /// The arguments that give these.
    pub fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        if let Some(model) = &self.model {
            // In one argument: a folder's name may begin with a hyphen.
            let mut arg = OsString::from("--model=");
            arg.push(model);
            args.push(arg);
        }
        if let Some(dtype) = self.load.dtype.to_possible_value() {
            args.extend(["--dtype".into(), dtype.get_name().into()]);
        }
        if let Some(threads) = self.load.threads {
            args.extend(["--threads".into(), threads.to_string().into()]);
        }
        if let Some(rules) = self.load.tokenizer_rules.to_possible_value() {
            args.extend(["--tokenizer".into(), rules.get_name().into()]);
        }
        args
    }
}

/// What a pair may be long.
#[derive(Args, Clone, Copy)]
pub struct WindowArgs {
    /// The most tokens of a pair, special tokens included; the model's own limits apply too
    #[arg(long, value_name = "N", value_parser = from_1(u64::MAX))]
    pub max_length: Option<usize>,
    /// What happens to a pair that is longer [default: what the model's files say, else longest-first]
    #[arg(long, value_enum)]
    pub truncation: Option<Truncation>,
}

#[derive(Args)]
pub struct ScoreArg {
    /// How scores are made of logits
    #[arg(id = "score_mode", long = "score", value_name = "SCORE", value_enum, default_value_t)]
    pub mode: ScoreMode,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum InputFormat {
    /// JSONL when the file's name ends in .jsonl or .ndjson, or when the first line that is not blank begins with
    /// `{"`, white space aside; else text
    #[default]
    Auto,
    /// A document a line
    Text,
    /// A JSON object a line, with the key `text` or those of `--text-field`
    Jsonl,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum OutputFormat {
    /// For people: rank, score, a bar, the text cut to the terminal
    #[default]
    Text,
    /// For programs: a JSON object a line
    Jsonl,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ReportFormat {
    /// For people
    #[default]
    Text,
    /// For programs: a JSON object a line
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Dtype {
    /// What the model holds: int8 where its weights are, that of a packed one, else f32
    #[default]
    Auto,
    /// Agrees with PyTorch's f32
    F32,
    /// Weights in bfloat16: half the memory of F32, scores a little off, faster where the CPU multiplies such pairs
    /// fast
    Bf16,
    /// Weights and activations in bytes: several times as fast, scores a little more off
    Int8,
}

impl From<Dtype> for crossrank::Dtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Auto => Self::Auto,
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
            Dtype::Int8 => Self::Int8,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum TokenizerRules {
    /// Those that the model was trained and published with
    #[default]
    Author,
    /// Those of transformers 5.23
    Transformers5,
}

impl From<TokenizerRules> for crossrank::TokenizerRules {
    fn from(rules: TokenizerRules) -> Self {
        match rules {
            TokenizerRules::Author => Self::Author,
            TokenizerRules::Transformers5 => Self::Transformers5,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Truncation {
    /// Cut the longer of the two texts until both fit
    LongestFirst,
    /// Cut the document only
    OnlyDocument,
    /// Cut the query to three quarters of the window, then the document, as FlagEmbedding does
    QueryQuarters,
    /// Cut nothing: such a pair is an error
    Error,
}

impl From<Truncation> for crossrank::Truncation {
    fn from(truncation: Truncation) -> Self {
        match truncation {
            Truncation::LongestFirst => Self::LongestFirst,
            Truncation::OnlyDocument => Self::OnlyDocument,
            Truncation::QueryQuarters => Self::QueryQuarters,
            Truncation::Error => Self::Error,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum ScoreMode {
    /// As the model says; else sigmoid for one label, raw for several
    #[default]
    Model,
    /// The logit itself
    Raw,
    /// 1 / (1 + e^-logit)
    Sigmoid,
    /// e^logit over the sum of all labels'; needs several
    Softmax,
    /// The logit less that of the other label; needs two
    Difference,
}

impl From<ScoreMode> for crossrank::ScoreMode {
    fn from(mode: ScoreMode) -> Self {
        match mode {
            ScoreMode::Model => Self::Model,
            ScoreMode::Raw => Self::Raw,
            ScoreMode::Sigmoid => Self::Sigmoid,
            ScoreMode::Softmax => Self::Softmax,
            ScoreMode::Difference => Self::Difference,
        }
    }
}

/// Thousands of threads on a few cores take minutes to start, and nothing is gained.
const MAX_THREADS: u64 = 1024;

pub(crate) fn from_1(to: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=to)
}

pub(crate) fn number(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|x: &f32| !x.is_nan()).ok_or_else(|| "expected a number".to_owned())
}

/// More than a day is a mistake.
const MAX_SECONDS: f64 = 86_400.0;

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|x: &f64| *x > 0.0 && *x <= MAX_SECONDS);
    seconds.ok_or_else(|| format!("expected a number above 0, at most {MAX_SECONDS}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
