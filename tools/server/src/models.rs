//! The models that are served: by name, loaded when they are first asked for, on one pool of threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossrank::{Builder, RerankOptions, Reranker};
use tokio::sync::OnceCell;

use crate::problem::{Kind, Problem};

/// Loads a model with these options of loading, to which it may add its own; an error is a sentence for the log.
pub type Load = Arc<dyn Fn(Builder) -> Result<Reranker, String> + Send + Sync>;

/// A model that is to be served.
#[derive(Clone)]
pub struct ModelSource {
    /// What requests call it.
    pub name: String,
    /// What loads it.
    pub load: Load,
}

/// A model that is loaded.
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) number: usize,
    pub(crate) reranker: Reranker,
    /// The label that ranks, where there are several.
    pub(crate) label: Option<usize>,
    /// About how long a token takes, in nanoseconds, at least 1: the unit of work that the queue counts in.
    pub(crate) cost: u64,
    /// The most tokens of a pair.
    pub(crate) window: usize,
}

struct Slot {
    source: ModelSource,
    model: OnceCell<Arc<Model>>,
    failed: AtomicBool,
}

/// All models, by name.
pub(crate) struct Models {
    slots: Vec<Arc<Slot>>,
    strict: bool,
    label: Option<String>,
    pool: Arc<rayon::ThreadPool>,
    wait: Duration,
}

impl Models {
    pub(crate) fn new(
        sources: Vec<ModelSource>,
        strict: bool,
        label: Option<String>,
        pool: Arc<rayon::ThreadPool>,
        wait: Duration,
    ) -> Self {
        let slot = |source| Slot { source, model: OnceCell::new(), failed: AtomicBool::new(false) };
        Self { slots: sources.into_iter().map(slot).map(Arc::new).collect(), strict, label, pool, wait }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| &*slot.source.name)
    }

    /// The number of the model that a request names. Where one model is served any name is its name, since some clients
    /// always send the same one (LibreChat).
    pub(crate) fn find(&self, name: Option<&str>) -> Result<usize, Problem> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(0) };
        match self.names().position(|own| own == name) {
            Some(number) => Ok(number),
            None if self.slots.len() == 1 && !self.strict => Ok(0),
            None => {
                let name: String = name.chars().take(100).collect();
                let served = self.names().collect::<Vec<_>>().join(", ");
                Err(Problem::new(Kind::Model, format!("model `{name}` is not served; these are: {served}")))
            }
        }
    }

    /// A model, if it is loaded.
    pub(crate) fn loaded(&self, number: usize) -> Option<&Arc<Model>> {
        self.slots.get(number)?.model.get()
    }

    /// Whether the last attempt to load it failed.
    pub(crate) fn failed(&self, number: usize) -> bool {
        self.slots.get(number).is_some_and(|slot| slot.failed.load(Ordering::Relaxed))
    }

    /// A model, loaded if it must be; who comes meanwhile waits, for as long as a request may wait.
    pub(crate) async fn get(&self, number: usize) -> Result<Arc<Model>, Problem> {
        match self.slots.get(number).and_then(|slot| slot.model.get()) {
            Some(model) => Ok(model.clone()),
            None => match tokio::time::timeout(self.wait, self.load(number)).await {
                Ok(Ok(model)) => Ok(model),
                // The reason may name folders: it is for the log alone.
                Ok(Err(_)) => Err(Problem::new(Kind::Internal, "the model could not be loaded")),
                Err(_) => Err(Problem::unavailable("the model is being loaded")),
            },
        }
    }

    /// Loads a model if it is not; an error is for the log.
    pub(crate) async fn load(&self, number: usize) -> Result<Arc<Model>, String> {
        let slot = self.slots.get(number).ok_or("there is no such model")?.clone();
        let (label, pool) = (self.label.clone(), self.pool.clone());
        // A task of its own: it goes on when whoever asked has gone.
        let task = tokio::spawn(async move {
            let source = slot.source.clone();
            let init = || async move {
                let work = move || Model::load(number, &source, label.as_deref(), pool);
                tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
            };
            let model = slot.model.get_or_try_init(init).await.cloned();
            slot.failed.store(model.is_err(), Ordering::Relaxed);
            if let Err(reason) = &model {
                tracing::error!(model = slot.source.name, reason, "a model could not be loaded");
            }
            model
        });
        task.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Model {
    fn load(
        number: usize,
        source: &ModelSource,
        label: Option<&str>,
        pool: Arc<rayon::ThreadPool>,
    ) -> Result<Arc<Self>, String> {
        let start = Instant::now();
        let reranker = (source.load)(Reranker::builder().pool(pool))?;
        let label = label.filter(|_| reranker.labels() > 1);
        let label =
            label.map(|label| reranker.label(label)).transpose().map_err(|error| error.to_string())?;
        if label.is_none() && reranker.labels() > 1 {
            return Err(format!("it has {} labels: choose which one ranks", reranker.labels()));
        }
        let cost = measure(&reranker).map_err(|error| error.to_string())?;
        let (info, seconds) = (reranker.info(), start.elapsed().as_secs_f64());
        tracing::info!(
            model = source.name,
            family = info.family,
            dtype = info.dtype,
            isa = info.isa,
            threads = info.threads,
            window = info.max_length,
            seconds,
            "loaded"
        );
        Ok(Arc::new(Self {
            name: source.name.clone(),
            number,
            label,
            cost,
            window: info.max_length,
            reranker,
        }))
    }
}

/// About how many nanoseconds a token takes, by a pair of texts that is scored twice: the first time memory is cold.
fn measure(reranker: &Reranker) -> crossrank::Result<u64> {
    let text = "where do rivers go when they leave the hills and meet the sea ".repeat(6);
    let options = RerankOptions::default();
    let query = reranker.encode("where do rivers go")?;
    let (pairs, _) = reranker.prepare(&query, (0, &text), &options, None)?.into_parts();
    let mut cost = 1;
    for _ in 0..2 {
        let start = Instant::now();
        reranker.score_tokenized(&pairs)?;
        let tokens: usize = pairs.iter().map(crossrank::Tokenized::len).sum();
        cost = start.elapsed().as_nanos() / tokens.max(1) as u128;
    }
    Ok(u64::try_from(cost).unwrap_or(u64::MAX).clamp(1, 1 << 32))
}
