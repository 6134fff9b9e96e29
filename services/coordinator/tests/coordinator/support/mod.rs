//! A coordinator among fakes, all on loopback.

pub(crate) mod business;
pub(crate) mod saver;
pub(crate) mod sessions;

use std::time::Duration;

use longline_boot::Deps;
use longline_coordinator::{Config, bind};
use longline_fakes::FakeKeeper;
use longline_pb::coordinator::{PresenceRequest, UplinkRequest};
use longline_pb::saver::{Product, UplinkRoute};
use longline_pb::types::Address;
use longline_rpc::methods::{CoordinatorPresence, CoordinatorUplink};
use longline_rpc::{Peers, PipelineOptions, Pipelines};
use longline_types::{Error, Node, now_ms};
use prometheus::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const SECRET: &[u8] = b"the product's webhook secret";

/// A running coordinator, and a room's view of it.
pub(crate) struct Running {
    pub(crate) keeper: FakeKeeper,
    pub(crate) peers: Peers,
    pub(crate) deps: Deps,
    pub(crate) shutdown: CancellationToken,
    pub(crate) ended: JoinHandle<anyhow::Result<()>>,
    uplinks: Pipelines<CoordinatorUplink>,
    presence: Pipelines<CoordinatorPresence>,
}

/// Retries and sweeps fast enough for a test.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.webhooks.retry_first_ms = 20;
    config.webhooks.retry_longest_ms = 100;
    config.webhooks.sweep_every_ms = 20;
    config.kick_timeout_ms = 2_000;
    config
}

impl Running {
    pub(crate) async fn start(mut config: Config, nodes: Vec<Node>) -> Running {
        let keeper = FakeKeeper::start(nodes).await;
        config.node.keepers = vec![keeper.address.clone()];
        let (deps, shutdown) = (Deps::default(), CancellationToken::new());
        let bound = bind(config, deps.clone()).await.unwrap();
        let ended = tokio::spawn(bound.run(shutdown.clone()));
        tokio::time::timeout(SOON, deps.health.wait_ready()).await.expect("ready in time");
        let peers = Peers::new(keeper.views(), &Registry::new());
        Running {
            uplinks: peers.pipelines(PipelineOptions::default()),
            presence: peers.pipelines(PipelineOptions::default()),
            keeper,
            peers,
            deps,
            shutdown,
            ended,
        }
    }

    /// As a room does it.
    pub(crate) async fn uplink(&self, request: UplinkRequest) -> Result<(), Error> {
        let reply = self.uplinks.call_any(1, request, SOON).await?;
        longline_pb::convert::ok_or_error(reply.error)
    }

    /// As a room does it.
    pub(crate) async fn presence(&self, request: PresenceRequest) -> Result<(), Error> {
        let reply = self.presence.call_any(1, request, SOON).await?;
        longline_pb::convert::ok_or_error(reply.error)
    }

    /// A counter's value, by its name and label as `/metrics` shows them.
    pub(crate) fn counter(&self, line: &str) -> u64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.deps.registry.gather()).unwrap();
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |v| v.parse().unwrap())
    }
}

/// A product that takes data under route 1.
pub(crate) fn product(id: u32, url: String) -> Product {
    Product {
        id,
        name: format!("product-{id}"),
        revision: 1,
        routes: vec![UplinkRoute { number: 1, url }],
        webhook_secret: SECRET.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn address(product: u32) -> Option<Address> {
    Some(Address { product, user: "alice".into() })
}

pub(crate) fn uplink(product: u32, sequence: u64, payload: &str) -> UplinkRequest {
    UplinkRequest {
        address: address(product),
        device: "d1".into(),
        sequence,
        route: 1,
        payload: payload.to_owned().into(),
        received_at_ms: now_ms(),
    }
}
