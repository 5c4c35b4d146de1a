//! A server, from its start to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::auth::Keys;
use crate::body::Held;
use crate::connections;
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::models::{ModelSource, Models};
use crate::options::Options;
use crate::routes::router;

/// How much less of a processor threads that tokenise get than those that score, where there are not enough for both: what
/// came first is answered first, and whoever tokenises would wait for those anyway.
const TEXT_NICE: i32 = 10;

/// A server that accepts connections. It ends when it is told to, or dropped.
pub struct Server {
    runtime: Runtime,
    address: SocketAddr,
    ending: Arc<watch::Sender<bool>>,
    main: JoinHandle<Result<()>>,
    dispatcher: Arc<Dispatcher>,
}

impl Server {
    /// Listens, and begins to load the first model; others are loaded when they are asked for. Requests that come before
    /// it is loaded wait for it.
    ///
    /// # Errors
    /// When the address cannot be listened on, threads cannot be started, or there is no model, or two of one name.
    pub fn start(options: Options, models: Vec<ModelSource>) -> Result<Self> {
        check(&models)?;
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(available);
        let pool = |name: &'static str, nice: i32| {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let builder = builder.start_handler(move |_| be_nice(nice));
            let pool = builder.thread_name(move |i| format!("{name}-{i}")).build();
            pool.map(Arc::new).map_err(|error| Error::Threads { reason: error.to_string() })
        };
        let (engine, texts) = (pool("crossrank", 0)?, pool("crossrank-text", TEXT_NICE)?);
        let started = |error: std::io::Error| Error::Threads { reason: error.to_string() };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.clamp(1, 4))
            .thread_name("crossrank-http")
            .enable_all()
            .build()
            .map_err(started)?;
        let metrics = Arc::new(Metrics::new().map_err(|error| Error::Threads { reason: error.to_string() })?);
        let listen = |source| Error::Listen { address: options.address, source };
        let listener = runtime.block_on(TcpListener::bind(options.address)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let dispatcher =
            Dispatcher::start(threads, options.max_queue, options.before_batch.clone(), metrics.clone())
                .map_err(started)?;
        let models =
            Models::new(models, options.strict_model, options.label.clone(), engine, options.max_queue);
        let app = Arc::new(App {
            keys: Keys::new(&options.api_keys),
            held: Held::default(),
            models,
            dispatcher: dispatcher.clone(),
            texts,
            metrics,
            draining: AtomicBool::new(false),
            options,
        });
        let (ending, ended) = watch::channel(false);
        let main = runtime.spawn(run(app, listener, ended));
        Ok(Self { runtime, address, ending: Arc::new(ending), main, dispatcher })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it to end: it accepts no more connections, and answers what it has accepted.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Ends on SIGTERM and SIGINT, from now on.
    ///
    /// # Errors
    /// When the system does not let signals be watched.
    #[cfg(unix)]
    pub fn end_on_signals(&self) -> Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let _entered = self.runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signals = signal(kind).map_err(|error| Error::Threads { reason: error.to_string() })?;
            let ending = self.ending.clone();
            self.runtime.spawn(async move {
                if signals.recv().await.is_some() {
                    tracing::info!("ending: no more connections are accepted");
                    ending.send_replace(true);
                }
            });
        }
        Ok(())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When the first model cannot be loaded.
    pub fn wait(self) -> Result<()> {
        let Self { runtime, main, dispatcher, .. } = self;
        let result = runtime.block_on(main);
        dispatcher.close();
        runtime.shutdown_background();
        result.unwrap_or_else(|error| Err(Error::Threads { reason: error.to_string() }))
    }
}

/// Makes the thread that calls it yield to others. Where a system has that for processes alone, nothing is changed.
fn be_nice(nice: i32) {
    #[cfg(target_os = "linux")]
    {
        // A thread may always yield more; if not, it only takes its share.
        let _ = rustix::process::nice(nice);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = nice;
}

fn check(models: &[ModelSource]) -> Result<()> {
    if models.is_empty() {
        return Err(Error::Models { reason: "expected at least one model, found none".into() });
    }
    for (i, model) in models.iter().enumerate() {
        if models.iter().take(i).any(|other| other.name == model.name) {
            return Err(Error::Models { reason: format!("two models are called `{}`", model.name) });
        }
    }
    Ok(())
}

async fn run(app: Arc<App>, listener: TcpListener, ended: watch::Receiver<bool>) -> Result<()> {
    let router = router(&app);
    let connections = tokio::spawn(connections::serve(app.clone(), listener, router, ended.clone()));
    let draining = async {
        let mut ended = ended;
        let _ = ended.wait_for(|ended| *ended).await;
        app.draining.store(true, Ordering::Relaxed);
    };
    let first = async {
        match app.models.load(0).await {
            Err(reason) => {
                Err(Error::Model { name: app.models.names().next().unwrap_or_default().to_owned(), reason })
            }
            Ok(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = first => return result,
        () = draining => {}
    }
    let result = connections.await;
    result.map_err(|error| Error::Threads { reason: error.to_string() })
}
