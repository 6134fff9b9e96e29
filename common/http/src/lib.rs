//! Serving HTTP/1.1 and h2c (gRPC) on one port that the outside reaches, against clients that mean no good: connections are
//! bounded, and each has a deadline for its first request and for every request's head.
//!
//! Deadlines for bodies and answers are the router's.

mod connection;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connection::Serve;
pub use metrics::HttpMetrics;

/// What the outside may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Connections at once; more are closed as they come.
    pub max_connections: usize,
    /// For a request's head to arrive, also of the first one on a connection, and for an idle connection.
    pub head_timeout: Duration,
    /// Requests of one h2 connection at once.
    pub max_streams: u32,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { max_connections: 10_000, head_timeout: Duration::from_secs(10), max_streams: 256 }
    }
}

/// After a failed accept (no file descriptors, say) the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then lets requests in flight end for at most `deadline`. Handlers find the peer's address in
/// [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo).
pub async fn listen(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    metrics: HttpMetrics,
    shutdown: CancellationToken,
    deadline: Duration,
) {
    let slots = Arc::new(Semaphore::new(bounds.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    let serve = Serve::new(router, bounds, metrics.clone(), shutdown.clone());
    while let Some((stream, peer, slot)) = accept(&listener, &slots, &metrics, &shutdown).await {
        let serving = serve.clone().connection(stream, peer, slot);
        connections.spawn(cut.clone().run_until_cancelled_owned(serving));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(deadline, connections.wait()).await.is_err() {
        tracing::warn!(?deadline, "requests were still in flight at the deadline and were cut");
        cut.cancel();
        connections.wait().await;
    }
}

/// The next connection that there is room for; none once `shutdown` is set.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    metrics: &HttpMetrics,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    loop {
        match shutdown.run_until_cancelled(listener.accept()).await? {
            Ok((stream, peer)) => match Arc::clone(slots).try_acquire_owned() {
                Ok(slot) => return Some((stream, peer, slot)),
                Err(_) => metrics.refused.inc(),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
