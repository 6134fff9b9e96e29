//! The dispatcher: which rooms shall this client try?
//!
//! [`longline_placement`] orders the rooms of the view by weighted rendezvous hashing, so that a user comes back to the same room while it is
//! healthy and every dispatcher says the same without asking another. [`failures`] adds what clients report, bounded in what it
//! can do; [`limit`] bounds what one client address may ask. Nothing here has to survive a restart.

mod config;
mod dispatch;
mod failures;
mod grpc;
mod http;
mod limit;
mod metrics;
mod query;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use longline_boot::Deps;
use longline_http::{Bounds, HttpMetrics, listen};
use longline_member::{JoinError, Options, join};
use longline_types::{NodeState, Role};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;

pub use config::Config;

use dispatch::Dispatch;
use http::Api;
use metrics::Metrics;

/// How often what has faded is dropped.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Opens the port. The keeper is not needed yet.
pub async fn bind(config: Config, deps: Deps) -> anyhow::Result<Bound> {
    let address = config.node.rpc;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (node.rpc)"))?;
    let rpc = listener.local_addr()?;
    let public = config.node.advertised(rpc)?;
    Ok(Bound { config, deps, listener, rpc, public })
}

/// A dispatcher whose port is open.
pub struct Bound {
    config: Config,
    deps: Deps,
    listener: TcpListener,
    rpc: SocketAddr,
    public: String,
}

impl Bound {
    /// Where gRPC really listens.
    pub fn rpc(&self) -> SocketAddr {
        self.rpc
    }

    /// Where HTTP really listens: the same port.
    pub fn public(&self) -> Vec<SocketAddr> {
        vec![self.rpc]
    }

    /// Joins the cluster, waiting for a keeper however long, and serves until `shutdown`; then lets requests in flight end, within
    /// `node.shutdown_s`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Bound { config, deps, listener, rpc, public } = self;
        deps.health.not_ready("waiting for a keeper");
        let options = Options {
            role: Role::Dispatcher,
            node: config.node.clone(),
            rpc,
            public: vec![public],
            noise_key: String::new(),
        };
        let member = match join(options, shutdown.clone()).await {
            Ok(member) => member,
            Err(JoinError::Shutdown) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let dispatch = Dispatch::new(&config, member.view(), Metrics::register(&deps.registry)?);
        let metrics = HttpMetrics::register(&deps.registry)?;
        member.set_state(NodeState::Ready);
        deps.health.ready();
        let stopping = async {
            shutdown.cancelled().await;
            deps.health.not_ready("stopping");
            member.set_state(NodeState::Draining);
            // Ends with the listener.
            std::future::pending::<()>().await;
        };
        let grace = Duration::from_secs(config.node.shutdown_s) / 2;
        tokio::select! {
            () = listen(listener, router(&config, &dispatch), bounds(&config), metrics, shutdown.clone(), grace) => {}
            () = tidy(&dispatch) => {}
            () = stopping => {}
        }
        member.leave().await;
        Ok(())
    }
}

/// HTTP and gRPC as one router.
fn router(config: &Config, dispatch: &Dispatch) -> Router {
    let api = Api { dispatch: dispatch.clone(), trusted_proxies: config.trusted_proxies };
    let timeout = Duration::from_millis(config.request_timeout_ms.max(1));
    http::router(api.clone())
        .merge(grpc::routes(api))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, timeout))
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        max_connections: config.max_connections,
        head_timeout: Duration::from_millis(config.head_timeout_ms.max(1)),
        ..Bounds::default()
    }
}

async fn tidy(dispatch: &Dispatch) {
    loop {
        dispatch.tidy();
        tokio::time::sleep(TIDY_EVERY).await;
    }
}
