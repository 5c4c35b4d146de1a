//! Connections: who may have one, and for how long.
//!
//! A connection costs a descriptor and some kilobytes, and no worker: what is slow to send or to read waits here, within
//! limits of time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;

use crate::app::App;

/// Descriptors that are left for everything else: models, logs, the runtime.
const RESERVED: u64 = 64;
/// The most connections where descriptors allow more.
const MOST: usize = 16_384;
/// Pauses after an error to accept, which is mostly that there are no descriptors: from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How long a connection stays open when the server is told to end, for a request that is on its way already: accepted by
/// the system, not read yet.
const LAST_CHANCE: Duration = Duration::from_millis(100);

/// How many connections there may be at once.
pub(crate) fn most() -> usize {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let room = limit.map_or(MOST as u64, |limit| limit.saturating_sub(RESERVED).max(limit / 2));
        usize::try_from(room).unwrap_or(MOST).clamp(1, MOST)
    }
    #[cfg(not(unix))]
    MOST
}

/// Serves connections until `ending` is true, then until those that are open are done, or for as long as draining may take.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    router: Router,
    mut ending: watch::Receiver<bool>,
) {
    let most = app.options.max_connections.unwrap_or_else(most);
    let places = Arc::new(Semaphore::new(most));
    let mut pause = PAUSES.0;
    loop {
        let place = tokio::select! {
            biased;
            _ = ended(&mut ending) => break,
            place = places.clone().acquire_owned() => place,
        };
        // Nobody closes it.
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            biased;
            _ = ended(&mut ending) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                pause = PAUSES.0;
                start(&app, stream, &router, place, ending.clone());
            }
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                drop(place);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
    for stream in connected(listener) {
        match places.clone().try_acquire_owned() {
            Ok(place) => start(&app, stream, &router, place, ending.clone()),
            Err(_) => break,
        }
    }
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    if tokio::time::timeout(app.options.drain_timeout, places.acquire_many(all)).await.is_err() {
        tracing::warn!("some connections were cut: they took too long");
    }
}

/// Who has connected and was not accepted yet, when nobody else may. The system itself is asked: the runtime hears of a
/// connection only some time after it was made, and one that is left when the listener closes is reset.
fn connected(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else { return vec![] };
    let accept = || {
        let (stream, _) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    };
    std::iter::from_fn(accept).collect()
}

/// Returns once the server is to end.
async fn ended(ending: &mut watch::Receiver<bool>) {
    // An error is that nobody can say so any more, which comes to the same.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Whether an error is about the connection that came, not about those to come.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn start(
    app: &Arc<App>,
    stream: TcpStream,
    router: &Router,
    place: OwnedSemaphorePermit,
    mut ending: watch::Receiver<bool>,
) {
    let (app, router) = (app.clone(), router.clone());
    app.metrics.connections.inc();
    tokio::spawn(async move {
        // Answers are written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(app.options.write_timeout));
        let stream = TokioIo::new(Box::pin(stream));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(app.options.head_timeout);
        let connection = builder.serve_connection(stream, TowerToHyperService::new(router));
        tokio::pin!(connection);
        let last = async {
            ended(&mut ending).await;
            tokio::time::sleep(LAST_CHANCE).await;
        };
        let result = tokio::select! {
            biased;
            result = &mut connection => result,
            () = last => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended early");
        }
        app.metrics.connections.dec();
        drop(place);
    });
}
