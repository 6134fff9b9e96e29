//! Serving HTTP/1.1 and h2c with prior knowledge on one port, against clients that mean no good: connections are bounded, and
//! each has a deadline for its first request and for every request's head.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::config::{HttpConfig, millis};
use crate::metrics::Metrics;

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;
const MAX_STREAMS: u32 = 256;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors, say) the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then lets requests in flight end for at most `deadline`.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    config: &HttpConfig,
    metrics: Metrics,
    shutdown: CancellationToken,
    deadline: Duration,
) {
    let slots = Arc::new(Semaphore::new(config.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let serve =
        Serve { router, builder: builder(config), head_timeout: millis(config.head_timeout_ms), metrics };
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match (accepted, slots.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(slot)) => {
                let serving = serve.clone().connection(stream, slot, shutdown.clone());
                connections.spawn(cut.clone().run_until_cancelled_owned(serving));
            }
            (Ok(_), Err(_)) => serve.metrics.connections_refused.inc(),
            (Err(error), _) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(deadline, connections.wait()).await.is_err() {
        tracing::warn!(?deadline, "requests were still in flight at the deadline and were cut");
        cut.cancel();
        connections.wait().await;
    }
}

fn builder(config: &HttpConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(millis(config.head_timeout_ms))
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .adaptive_window(false)
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

#[derive(Clone)]
struct Serve {
    router: Router,
    builder: Builder<TokioExecutor>,
    head_timeout: Duration,
    metrics: Metrics,
}

impl Serve {
    /// Serves one connection to its end.
    async fn connection(self, stream: TcpStream, _slot: OwnedSemaphorePermit, shutdown: CancellationToken) {
        let _open = Open::new(&self.metrics);
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let began = Arc::new(AtomicBool::new(false));
        let service = Began { inner: self.router, began: began.clone() };
        let serving = self.builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        tokio::pin!(serving);
        // Covers what the deadline for heads does not: finding out the version, and h2 before its first request.
        let first_request = tokio::time::sleep(self.head_timeout);
        tokio::pin!(first_request);
        let (mut waiting, mut stopping) = (true, false);
        loop {
            tokio::select! {
                result = serving.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a connection ended in an error");
                    }
                    return;
                }
                () = first_request.as_mut(), if waiting => {
                    if !began.load(Ordering::Relaxed) {
                        return;
                    }
                    waiting = false;
                }
                () = shutdown.cancelled(), if !stopping => {
                    serving.as_mut().graceful_shutdown();
                    stopping = true;
                }
            }
        }
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Open(prometheus::IntGauge);

impl Open {
    fn new(metrics: &Metrics) -> Open {
        metrics.connections.inc();
        Open(metrics.connections.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Notes that a request has come.
#[derive(Clone)]
struct Began {
    inner: Router,
    began: Arc<AtomicBool>,
}

impl<B> Service<http::Request<B>> for Began
where
    B: axum::body::HttpBody<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = <Router as Service<Request>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        <Router as Service<Request>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        self.began.store(true, Ordering::Relaxed);
        self.inner.call(request.map(axum::body::Body::new))
    }
}
