//! The keeper: node registry with leases, the view, grants of message ids, configuration. One process in this version.
//!
//! `state` decides without I/O, `store` keeps its records on disk (redb), `desk` is the one task that brings both together:
//! nothing is answered or shown before it is on disk, so a killed keeper comes back with everything it has promised. `service`
//! is the gRPC in front.

mod check;
mod config;
mod desk;
mod entries;
mod leases;
mod metrics;
mod service;
mod state;
mod store;
mod views;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use longline_boot::Deps;
use longline_pb::keeper::keeper_server::KeeperServer;
use longline_rpc::MAX_MESSAGE;
use longline_types::{NodeState, Role};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use config::Config;
use desk::{Desk, DeskHandle};
use metrics::Metrics;
use service::Service;
use state::{About, Cluster};
use store::Store;

/// A keeper whose state is read and whose port is open.
pub struct Bound {
    config: Config,
    deps: Deps,
    metrics: Metrics,
    listener: TcpListener,
    address: SocketAddr,
    own: About,
    desk: Desk,
    handle: DeskHandle,
}

/// Reads the state from disk, or makes a new cluster, and opens the port.
pub async fn bind(config: Config, deps: Deps) -> anyhow::Result<Bound> {
    config.check()?;
    let listener = TcpListener::bind(config.node.rpc)
        .await
        .with_context(|| format!("cannot listen on {}", config.node.rpc))?;
    let address = listener.local_addr()?;
    let own = about(&config, address)?;
    let metrics = Metrics::new(&deps.registry)?;
    let store = Store::open(&config.data)?;
    let restored = store.read().context("the keeper's state cannot be read")?;
    let mut records = Vec::new();
    let new_name = format!("longline-{:08x}", rand::random::<u32>());
    let cluster = Cluster::restore(restored, &new_name, config.terms(), &mut records);
    let (desk, handle) = Desk::new(cluster, records, store, config.lease(), metrics.clone());
    Ok(Bound { config, deps, metrics, listener, address, own, desk, handle })
}

impl Bound {
    /// Where its gRPC listens.
    pub fn rpc(&self) -> SocketAddr {
        self.address
    }

    /// It has no other ports.
    pub fn public(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Serves until `shutdown`. An error if the state can no longer be written.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.desk.open(self.own).await?;
        let stop_desk = CancellationToken::new();
        let mut desk = tokio::spawn(self.desk.run(stop_desk.clone()));
        let service = KeeperServer::new(Service::new(self.handle, self.metrics, shutdown.clone()))
            .max_decoding_message_size(MAX_MESSAGE);
        let deadline = Duration::from_secs(self.config.node.shutdown_s);
        let serving = longline_rpc::listen(self.listener, Routes::new(service), shutdown, deadline);
        self.deps.health.ready();
        tracing::info!(address = %self.address, "the keeper serves");
        let served = tokio::select! {
            served = serving => served.context("gRPC failed"),
            ended = &mut desk => return ended.context("the desk panicked")?,
        };
        self.deps.health.not_ready("stopping");
        stop_desk.cancel();
        desk.await.context("the desk panicked")??;
        served
    }
}

fn about(config: &Config, address: SocketAddr) -> anyhow::Result<About> {
    Ok(About {
        role: Role::Keeper,
        name: config.node.name.clone().unwrap_or_default(),
        idc: config.node.idc.clone(),
        rpc: config.node.advertised(address)?,
        public: Vec::new(),
        noise_key: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: NodeState::Ready,
    })
}
