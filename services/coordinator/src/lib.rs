//! The coordinator: what devices say reaches the business, at least once, and what the business wants of a session reaches the room.
//!
//! An uplink is stored before it is answered ([`intake`]), held by this coordinator under a lease. [`delivery`] posts it to the
//! product's webhook, each product within its share of calls; what was not taken goes back to the store with the time of the next
//! try. The [`sweep`] claims what is due, also what a dead coordinator held, so nothing here is the only copy of anything.
//! Presence takes the same way. [`kick`] finds a session and ends it.

mod body;
mod config;
mod delivery;
mod finish;
mod intake;
mod kick;
mod metrics;
mod schedule;
mod service;
mod sweep;
mod webhook;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use longline_boot::Deps;
use longline_member::{JoinError, Member, Options, join};
use longline_pb::coordinator::coordinator_server::CoordinatorServer;
use longline_products::ProductTable;
use longline_rpc::{MAX_MESSAGE, Peers, PipelineOptions, listen};
use longline_types::{NodeState, Role};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;

pub use config::{Config, WebhookConfig};

use config::millis;
use delivery::{Courier, Delivery};
use finish::Finisher;
use intake::Desk;
use kick::Kicks;
use metrics::Metrics;
use schedule::Schedule;
use service::Service;
use sweep::Sweep;
use webhook::Webhooks;

/// Opens the socket. The keeper is not needed yet.
pub async fn bind(config: Config, deps: Deps) -> anyhow::Result<Bound> {
    config.check()?;
    let address = config.node.rpc;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (node.rpc)"))?;
    let rpc = listener.local_addr()?;
    Ok(Bound { config, deps, listener, rpc })
}

/// A coordinator whose socket is open.
pub struct Bound {
    config: Config,
    deps: Deps,
    listener: TcpListener,
    rpc: SocketAddr,
}

impl Bound {
    /// Where gRPC really listens.
    pub fn rpc(&self) -> SocketAddr {
        self.rpc
    }

    /// Nothing: devices and businesses do not call coordinators.
    pub fn public(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Joins the cluster, waiting for a keeper and a saver however long, and serves until `shutdown`; then stops in order, within
    /// `node.shutdown_s`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Bound { config, deps, listener, rpc } = self;
        deps.health.not_ready("waiting for a keeper");
        let options = Options {
            role: Role::Coordinator,
            node: config.node.clone(),
            rpc,
            public: Vec::new(),
            noise_key: String::new(),
        };
        let member = match join(options, shutdown.clone()).await {
            Ok(member) => member,
            Err(JoinError::Shutdown) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let parts = Parts::start(&config, &deps, &member)?;
        // Ends everything if this future is dropped.
        let _stop: DropGuard = parts.stop.clone().drop_guard();
        let grace = Duration::from_secs(config.node.shutdown_s);
        let mut serving = tokio::spawn(listen(listener, parts.routes(), parts.stop.clone(), grace / 4));
        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = parts.take_work(&deps, &member, &shutdown) => None,
        };
        deps.health.not_ready("stopping");
        member.set_state(NodeState::Draining);
        parts.stop_in_order(grace).await;
        let ended = match ended {
            Some(ended) => ended,
            None => serving.await,
        };
        member.leave().await;
        ended.context("the gRPC server panicked")?.context("the gRPC server failed")
    }
}

/// What a coordinator consists of, once it has a place in the cluster.
struct Parts {
    desk: Desk,
    kicks: Kicks,
    metrics: Metrics,
    finisher: Finisher,
    stop: CancellationToken,
}

impl Parts {
    fn start(config: &Config, deps: &Deps, member: &Member) -> anyhow::Result<Parts> {
        let stop = CancellationToken::new();
        let registry = &deps.registry;
        let metrics = Metrics::register(registry)?;
        let peers = Peers::new(member.view(), registry);
        let products = ProductTable::start(peers.clone(), stop.clone());
        let finisher = Finisher::start(peers.clone(), registry)?;
        let courier = Courier {
            products: products.clone(),
            webhooks: Webhooks::new(millis(config.webhooks.timeout_ms))
                .context("cannot make an HTTP client")?,
            finisher: finisher.clone(),
            schedule: Schedule::new(&config.webhooks),
            metrics: metrics.clone(),
        };
        let desk = Desk {
            member: member.clone(),
            products,
            puts: peers.pipelines(PipelineOptions::default()),
            delivery: Delivery::start(&config.webhooks, courier, registry)?,
            metrics: metrics.clone(),
            store_timeout: millis(config.store_timeout_ms),
            lease_ms: config.webhooks.lease_ms,
        };
        let kicks = Kicks {
            lookups: peers.pipelines(PipelineOptions::default()),
            peers: peers.clone(),
            timeout: millis(config.kick_timeout_ms),
        };
        let sweep = Sweep {
            member: member.clone(),
            peers,
            delivery: desk.delivery.clone(),
            metrics: metrics.clone(),
            every: millis(config.webhooks.sweep_every_ms),
            lease_ms: config.webhooks.lease_ms,
        };
        let mut loaded = desk.products.loaded();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            // Without products there is nowhere to deliver to.
            if loaded.wait_for(|loaded| *loaded).await.is_ok() {
                sweep.run().await;
            }
        }));
        Ok(Parts { desk, kicks, metrics, finisher, stop })
    }

    fn routes(&self) -> Routes {
        let service = Service {
            desk: self.desk.clone(),
            kicks: self.kicks.clone(),
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        };
        Routes::new(CoordinatorServer::new(service).max_decoding_message_size(MAX_MESSAGE))
    }

    /// Ready as soon as the products are known; ends with `shutdown`.
    async fn take_work(&self, deps: &Deps, member: &Member, shutdown: &CancellationToken) {
        deps.health.not_ready("waiting for a saver");
        let mut loaded = self.desk.products.loaded();
        tokio::select! {
            _ = loaded.wait_for(|loaded| *loaded) => {}
            () = shutdown.cancelled() => return,
        }
        member.set_state(NodeState::Ready);
        deps.health.ready();
        shutdown.cancelled().await;
    }

    /// No new requests, then the calls that have begun, then what the store has to know of them.
    async fn stop_in_order(&self, grace: Duration) {
        let began = Instant::now();
        self.stop.cancel();
        self.desk.delivery.stop(grace / 2).await;
        self.finisher.stop((grace * 3 / 4).saturating_sub(began.elapsed())).await;
    }
}
