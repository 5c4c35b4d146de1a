//! How a reranking server stands under load, whichever server it is: requests come by a Poisson process that is drawn
//! before (an open loop: a server that is slow gets no fewer), and a latency counts from when a request was due.
//!
//!     cargo bench -p crossrank-server --bench open_loop -- --url http://127.0.0.1:8080/v1/rerank \
//!         --texts workloads.json capacity --kind snippets50
//!
//! `tools/server/load/` has what runs it beside the rivals, and the records.

mod arrivals;
mod client;
mod measures;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use client::{Client, Direct};
use crossrank::{Dtype, Reranker};
use requests::{Kind, Requests};

/// An open loop of requests.
#[derive(Parser)]
struct Args {
    /// Where requests go; the body is `{"query", "documents", "model"}`.
    #[arg(long)]
    url: String,
    /// The model's name in bodies.
    #[arg(long, default_value = "model")]
    model: String,
    /// Texts: an object of workloads with `query` and `docs`.
    #[arg(long)]
    texts: PathBuf,
    /// Draws the arrivals.
    #[arg(long, default_value_t = 33)]
    seed: u64,
    /// Seconds of each rate.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    #[command(subcommand)]
    what: What,
    /// Cargo says it.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// The highest rate at which 99 of 100 are answered within 10 times the unloaded p50; then 60, 80 and 200 % of it.
    Capacity {
        #[arg(long)]
        kind: Kind,
    },
    /// Single pairs and requests of 50 together, at 80 % of capacity.
    Mixed {
        /// Capacity in single pairs a second.
        #[arg(long)]
        pairs: f64,
        /// Capacity in requests of 50 a second.
        #[arg(long)]
        snippets: f64,
        /// How much of the work is in single pairs, from 0 to 1; without it there are as many of them as of the others.
        #[arg(long)]
        share: Option<f64>,
    },
    /// Five clients at once, each with 50 documents, against one alone.
    Five,
    /// One connection, one request after the other, by turns with the library on the same model.
    Alone {
        #[arg(long)]
        kind: Kind,
        /// The model's folder.
        #[arg(long)]
        folder: PathBuf,
        /// What the server was told.
        #[arg(long, default_value = "auto", value_parser = dtype)]
        dtype: Dtype,
        #[arg(long, default_value_t = 300)]
        rounds: usize,
    },
    /// One rate for long: each answer is held against the one given alone, and the server's memory is watched.
    Soak {
        #[arg(long)]
        kind: Kind,
        /// Requests a second.
        #[arg(long)]
        rate: f64,
        #[arg(long)]
        minutes: f64,
        /// The server's process.
        #[arg(long)]
        pid: u32,
    },
}

fn dtype(name: &str) -> Result<Dtype, String> {
    Dtype::named(name).ok_or("expected auto, f32, bf16 or int8".to_owned())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let requests = Requests::read(&args.texts, &args.model)?;
    let client = Client::new(&args.url)?;
    let seconds = Duration::from_secs_f64(args.seconds);
    match args.what {
        What::Capacity { kind } => measures::capacity(&client, requests.of(kind), args.seed, seconds),
        What::Mixed { pairs, snippets, share } => {
            measures::mixed(&client, &requests, (pairs, snippets), share, args.seed, seconds)
        }
        What::Five => measures::five(&client, requests.of(Kind::Snippets50)),
        What::Alone { kind, folder, dtype, rounds } => {
            let library = Reranker::builder().dtype(dtype).load(folder)?;
            measures::alone(Direct::new(&args.url)?, &requests, kind, &library, rounds)
        }
        What::Soak { kind, rate, minutes, pid } => {
            measures::soak(&client, requests.of(kind), rate, args.seed, minutes, pid)
        }
    }
}
