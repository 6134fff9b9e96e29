//! From configuration to a serving node, and back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use longline_boot::Deps;
use longline_http::{Bounds, HttpMetrics};
use longline_member::{JoinError, Member, Options};
use longline_products::ProductTable;
use longline_rpc::Peers;
use longline_types::{NodeState, Role};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::auth::AdminKey;
use crate::broadcast::Driver;
use crate::config::{Config, millis};
use crate::grpc::Grpc;
use crate::http::Api;
use crate::metrics::Metrics;
use crate::ops::Ops;

/// A center whose port is open.
pub struct Bound {
    config: Config,
    deps: Deps,
    admin: AdminKey,
    metrics: Metrics,
    http_metrics: HttpMetrics,
    listener: TcpListener,
    address: SocketAddr,
    public: String,
}

/// Checks the configuration and opens the port. The keeper is not needed yet.
pub async fn bind(config: Config, deps: Deps) -> anyhow::Result<Bound> {
    let admin = AdminKey::from_config(&config)?;
    let metrics = Metrics::new(&deps.registry).context("register the center's metrics")?;
    let http_metrics = HttpMetrics::register(&deps.registry).context("register the port's metrics")?;
    let listener = TcpListener::bind(config.node.rpc)
        .await
        .with_context(|| format!("listen on {} (node.rpc)", config.node.rpc))?;
    let address = listener.local_addr()?;
    let public = config.node.advertised(address)?;
    deps.health.not_ready("joining the cluster");
    Ok(Bound { config, deps, admin, metrics, http_metrics, listener, address, public })
}

impl Bound {
    /// Where gRPC is served.
    pub fn rpc(&self) -> SocketAddr {
        self.address
    }

    /// Where HTTP is served: the same port.
    pub fn public(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    /// Joins the cluster, serves until `shutdown`, then finishes what is under way within `node.shutdown_s`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let options = Options {
            role: Role::Center,
            node: self.config.node.clone(),
            rpc: self.address,
            public: vec![self.public.clone()],
            noise_key: String::new(),
        };
        let member = match longline_member::join(options, shutdown.clone()).await {
            Ok(member) => member,
            Err(JoinError::Shutdown) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        self.serve(&member, shutdown).await;
        member.leave().await;
        Ok(())
    }

    async fn serve(self, member: &Member, shutdown: CancellationToken) {
        let peers = Peers::new(member.view(), &self.deps.registry);
        let products = ProductTable::start(peers.clone(), CancellationToken::new());
        let ops = Ops::new(&self.config, peers.clone(), products, member.ids(), self.metrics.clone());
        let background = TaskTracker::new();
        background.spawn(driver(&self.config, peers, &self.metrics).run(
            member.identity(),
            ops.broadcast_accepted(),
            shutdown.clone(),
        ));
        background.spawn(announce(member.clone(), ops.clone(), self.deps, shutdown.clone()));
        background.close();

        let stop = Duration::from_secs(self.config.node.shutdown_s);
        let router = router(ops.clone(), self.admin, &self.config, shutdown.clone());
        let bounds = Bounds {
            max_connections: self.config.http.max_connections,
            head_timeout: millis(self.config.http.head_timeout_ms),
            ..Bounds::default()
        };
        longline_http::listen(self.listener, router, bounds, self.http_metrics, shutdown, stop / 2).await;
        let rest = async {
            ops.drained().await;
            background.wait().await;
        };
        if tokio::time::timeout(stop / 4, rest).await.is_err() {
            tracing::warn!(
                "hints or broadcasts were still under way at the deadline; the inbox has what they were for"
            );
        }
    }
}

fn driver(config: &Config, peers: Peers, metrics: &Metrics) -> Driver {
    Driver::new(peers, config.broadcasts.clone(), millis(config.ask_timeout_ms), metrics.clone())
}

/// HTTP and gRPC as one router.
fn router(ops: Ops, admin: AdminKey, config: &Config, shutdown: CancellationToken) -> Router {
    let grpc = Routes::new(Grpc::server(ops.clone(), shutdown)).into_axum_router().reset_fallback();
    crate::http::router(Api::new(ops, admin, &config.http)).merge(grpc)
}

/// Tells the keeper and the probes when the center can serve, and when it stops.
async fn announce(member: Member, ops: Ops, deps: Deps, shutdown: CancellationToken) {
    deps.health.not_ready("waiting for a saver's products");
    let mut loaded = ops.products().loaded();
    let able = async {
        // It ends only with the table, which `ops` holds.
        let _ = loaded.wait_for(|loaded| *loaded).await;
    };
    if shutdown.run_until_cancelled(able).await.is_some() {
        member.set_state(NodeState::Ready);
        deps.health.ready();
    }
    shutdown.cancelled().await;
    deps.health.not_ready("stopping");
    member.set_state(NodeState::Draining);
}
