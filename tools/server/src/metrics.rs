//! What an operator watches, in the text format of Prometheus: TEI's names where TEI has one, so that its dashboards show
//! something, and ours beside them.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use crate::dispatch::Load;

/// Seconds, from half a millisecond to half a minute.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
const TOKENS: &[f64] =
    &[16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 65536.0];
const SCORES: &[f64] = &[0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0];

/// All counters of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    successes: IntCounterVec,
    failures: IntCounterVec,
    of_requests: Durations,
    predictions: IntCounter,
    predicted: IntCounter,
    of_predictions: Durations,
    input_length: Histogram,
    batch_size: Histogram,
    batch_tokens: Histogram,
    queue_size: IntGauge,
    queue_tokens: IntGauge,
    queue_seconds: Gauge,
    held_bytes: IntGauge,
    documents: IntCounter,
    truncated: IntCounter,
    tokens: IntCounter,
    scores: Histogram,
    pub(crate) connections: IntGauge,
}

/// Where the seconds of what is answered go.
struct Durations {
    total: Histogram,
    tokenization: Histogram,
    queue: Histogram,
    inference: Histogram,
}

impl Durations {
    /// TEI's names begin with `te_request` for a request, and with `te_predict` for a pair of it.
    fn new(to: &Register, prefix: &str, of: &str) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str| {
            to.histogram(&format!("{prefix}_{name}"), &format!("{help}, of {of}"), SECONDS)
        };
        Ok(Self {
            total: histogram("duration", "Seconds from head to answer")?,
            tokenization: histogram("tokenization_duration", "Seconds to tokenise")?,
            queue: histogram("queue_duration", "Seconds in the queue")?,
            inference: histogram(
                "inference_duration",
                "Seconds from the first pair's turn to the last's score",
            )?,
        })
    }

    fn observe(&self, total: Duration, [tokenization, queue, inference]: [Duration; 3]) {
        self.total.observe(total.as_secs_f64());
        self.tokenization.observe(tokenization.as_secs_f64());
        self.queue.observe(queue.as_secs_f64());
        self.inference.observe(inference.as_secs_f64());
    }
}

/// Registers a metric; each name is given once, below, so that it cannot be refused.
struct Register(Registry);

impl Register {
    fn add<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> prometheus::Result<M> {
        let metric = metric?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label]))
    }
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let to = Register(Registry::new());
        Ok(Self {
            requests: to.counters("te_request_count", "Requests to rank", "method")?,
            successes: to.counters("te_request_success", "Requests that were answered", "method")?,
            failures: to.counters("te_request_failure", "Requests that were refused or failed", "err")?,
            of_requests: Durations::new(&to, "te_request", "a request")?,
            predictions: to.add(IntCounter::new("te_predict_count", "Pairs of requests that came"))?,
            predicted: to.add(IntCounter::new("te_predict_success", "Pairs that were answered"))?,
            of_predictions: Durations::new(
                &to,
                "te_predict",
                "a pair; those of a request are answered together",
            )?,
            input_length: to.histogram("te_request_input_length", "Tokens of a request", TOKENS)?,
            batch_size: to.histogram("te_batch_next_size", "Pairs scored together", SIZES)?,
            batch_tokens: to.histogram("te_batch_next_tokens", "Tokens scored together", TOKENS)?,
            queue_size: to.add(IntGauge::new("te_queue_size", "Requests in the queue"))?,
            queue_tokens: to.add(IntGauge::new("crossrank_queue_tokens", "Tokens in the queue"))?,
            queue_seconds: to
                .add(Gauge::new("crossrank_queue_seconds", "Seconds until all that waits is scored"))?,
            held_bytes: to.add(IntGauge::new("crossrank_held_bytes", "Bytes of bodies that are held"))?,
            documents: to.add(IntCounter::new("crossrank_documents_total", "Documents scored"))?,
            truncated: to
                .add(IntCounter::new("crossrank_documents_truncated_total", "Documents cut to the window"))?,
            tokens: to.add(IntCounter::new("crossrank_tokens_total", "Tokens of answers"))?,
            scores: to.histogram("crossrank_score", "Scores within 0 and 1", SCORES)?,
            connections: to.add(IntGauge::new("crossrank_connections", "Open connections"))?,
            registry: to.0,
        })
    }

    /// A request that came; of one document or of more.
    pub(crate) fn came(&self, documents: usize) {
        self.requests.with_label_values(&[method(documents)]).inc();
        self.predictions.inc_by(documents as u64);
    }

    /// A request that was answered.
    pub(crate) fn answered(&self, documents: usize, total: Duration, times: [Duration; 3]) {
        self.successes.with_label_values(&[method(documents)]).inc();
        self.of_requests.observe(total, times);
        self.predicted.inc_by(documents as u64);
        (0..documents).for_each(|_| self.of_predictions.observe(total, times));
    }

    /// The documents of an answer.
    pub(crate) fn scored(&self, tokens: usize, truncated: usize, scores: impl ExactSizeIterator<Item = f32>) {
        self.documents.inc_by(scores.len() as u64);
        self.truncated.inc_by(truncated as u64);
        self.tokens.inc_by(tokens as u64);
        self.input_length.observe(tokens as f64);
        scores.for_each(|score| self.scores.observe(score.into()));
    }

    /// A request that was not answered, by TEI's word for why.
    pub(crate) fn failed(&self, why: &str) {
        self.failures.with_label_values(&[why]).inc();
    }

    /// What was scored together.
    pub(crate) fn batch(&self, pairs: usize, tokens: usize) {
        self.batch_size.observe(pairs as f64);
        self.batch_tokens.observe(tokens as f64);
    }

    /// All of it as text.
    pub(crate) fn text(&self, load: &Load, held: usize) -> Vec<u8> {
        self.queue_size.set(i64::try_from(load.jobs).unwrap_or(i64::MAX));
        self.queue_tokens.set(i64::try_from(load.tokens).unwrap_or(i64::MAX));
        self.queue_seconds.set(load.seconds);
        self.held_bytes.set(i64::try_from(held).unwrap_or(i64::MAX));
        let mut text = vec![];
        // Writing to memory does not fail, and names were checked when they were registered.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }
}

fn method(documents: usize) -> &'static str {
    if documents == 1 { "single" } else { "batch" }
}
