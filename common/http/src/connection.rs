use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::{Bounds, HttpMetrics};

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How connections are served.
#[derive(Clone)]
pub(crate) struct Serve {
    router: Router,
    builder: Builder<TokioExecutor>,
    head_timeout: Duration,
    metrics: HttpMetrics,
    shutdown: CancellationToken,
}

impl Serve {
    pub(crate) fn new(
        router: Router,
        bounds: Bounds,
        metrics: HttpMetrics,
        shutdown: CancellationToken,
    ) -> Serve {
        Serve { router, builder: builder(bounds), head_timeout: bounds.head_timeout, metrics, shutdown }
    }

    /// Serves one connection to its end.
    pub(crate) async fn connection(self, stream: TcpStream, peer: SocketAddr, _slot: OwnedSemaphorePermit) {
        let _open = Open::count(&self.metrics);
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let asked = Arc::new(AtomicBool::new(false));
        let service = TowerToHyperService::new(service(self.router, peer, Arc::clone(&asked)));
        let serving = self.builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        // Covers what the deadline for heads does not: finding out the version, and h2 before its first request.
        let first_request = tokio::time::sleep(self.head_timeout);
        tokio::pin!(first_request);
        let (mut waiting, mut stopping) = (true, false);
        loop {
            tokio::select! {
                result = serving.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, %peer, "a connection ended in an error");
                    }
                    return;
                }
                () = first_request.as_mut(), if waiting => {
                    if !asked.load(Ordering::Relaxed) {
                        return;
                    }
                    waiting = false;
                }
                () = self.shutdown.cancelled(), if !stopping => {
                    serving.as_mut().graceful_shutdown();
                    stopping = true;
                }
            }
        }
    }
}

/// The router, told who asks; notes that somebody did.
fn service(
    router: Router,
    peer: SocketAddr,
    asked: Arc<AtomicBool>,
) -> impl Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    tower::service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    })
}

fn builder(bounds: Bounds) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(bounds.max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .adaptive_window(false)
        .keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

/// Counts a connection for as long as it lives, however it ends.
struct Open(HttpMetrics);

impl Open {
    fn count(metrics: &HttpMetrics) -> Open {
        metrics.connections.inc();
        Open(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
