//! The register: where each address is connected, by slot, in memory.
//!
//! `slot` is one slot's state machine and `table` all of them under one view, both without I/O; `register` brings views to the
//! table, `displace` tells rooms what is not theirs any more, `service` is the gRPC in front. A register owns what its own
//! view says it owns, forgets what it loses, and is refilled by the rooms.

mod config;
mod displace;
mod entry;
mod metrics;
#[cfg(test)]
mod properties;
mod register;
mod rooms;
mod service;
mod slot;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use longline_boot::Deps;
use longline_member::{JoinError, Options, join};
use longline_pb::register::register_server::RegisterServer;
use longline_rpc::{MAX_MESSAGE, Peers};
use longline_types::{NodeState, Role};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use config::Config;
use displace::Displacer;
use metrics::Metrics;
use register::Register;
use service::Service;

/// A register whose port is open.
pub struct Bound {
    config: Config,
    deps: Deps,
    metrics: Metrics,
    listener: TcpListener,
    address: SocketAddr,
}

/// Opens the port.
pub async fn bind(config: Config, deps: Deps) -> anyhow::Result<Bound> {
    config.check()?;
    let metrics = Metrics::new(&deps.registry)?;
    let listener = TcpListener::bind(config.node.rpc)
        .await
        .with_context(|| format!("cannot listen on {}", config.node.rpc))?;
    let address = listener.local_addr()?;
    Ok(Bound { config, deps, metrics, listener, address })
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

    /// Joins the keeper, however long that takes, and serves until `shutdown`; then hands its slots over, ends the streams and
    /// leaves.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Bound { config, deps, metrics, listener, address } = self;
        deps.health.not_ready("waiting for a keeper");
        let options = Options {
            role: Role::Register,
            node: config.node.clone(),
            rpc: address,
            public: Vec::new(),
            noise_key: String::new(),
        };
        let member = match join(options, shutdown.clone()).await {
            Ok(member) => member,
            Err(JoinError::Shutdown) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let stop = CancellationToken::new();
        let peers = Peers::new(member.view(), &deps.registry);
        let displacer = Displacer::new(peers, config.displacements, metrics.clone(), stop.clone());
        let register = Arc::new(Register::new(member.clone(), displacer, metrics, config.catch_up()));
        let service = RegisterServer::new(Service::new(register.clone(), stop.clone()))
            .max_decoding_message_size(MAX_MESSAGE);
        let deadline = Duration::from_secs(config.node.shutdown_s);
        let serving = longline_rpc::listen(listener, Routes::new(service), stop.clone(), deadline / 2);

        member.set_state(NodeState::Ready);
        deps.health.ready();
        let serving = async {
            let served = serving.await;
            // Whatever ended it, the rest ends too.
            stop.cancel();
            served
        };
        let stopping = stop.run_until_cancelled(async {
            shutdown.cancelled().await;
            deps.health.not_ready("stopping");
            register.drain(deadline / 4).await;
            stop.cancel();
        });
        let (follow, sweep, count) = (register.follow(&stop), register.sweep(&stop), register.count(&stop));
        let (served, ..) = tokio::join!(serving, stopping, follow, sweep, count);
        member.leave().await;
        served.context("gRPC failed")
    }
}
