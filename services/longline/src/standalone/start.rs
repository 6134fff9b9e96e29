//! The services of the standalone process, one after the other.

use std::net::SocketAddr;

use anyhow::Context as _;
use futures::future::join_all;
use longline_boot::{Boot, Health, Parts};
use longline_config::NodeConfig;

use super::banner::reachable;
use super::{Config, DataDir};
use crate::service::Service;

/// All services, their ports open.
pub(crate) struct Started {
    /// The API.
    pub(crate) http: SocketAddr,
    /// Devices.
    pub(crate) room: SocketAddr,
    /// Devices that ask for a room.
    pub(crate) dispatcher: SocketAddr,
    /// Who holds the configuration.
    pub(crate) keeper: SocketAddr,
    health: Vec<Health>,
}

impl Started {
    /// Ends when every service is ready.
    pub(crate) async fn ready(&self) {
        join_all(self.health.iter().map(Health::wait_ready)).await;
    }
}

/// Binds and runs every service: the keeper first, what stands on others after them.
pub(crate) async fn all(
    config: &Config,
    data: &DataDir,
    boot: &Boot,
    parts: &mut Parts,
) -> anyhow::Result<Started> {
    let Config { listen, keeper, saver, register, coordinator, room, center, dispatcher, .. } =
        config.clone();
    let mut starter =
        Starter { boot, parts, keepers: Vec::new(), shutdown_s: config.shutdown_s, health: Vec::new() };
    let loopback = NodeConfig::default().rpc;

    let mut keeper = longline_keeper::Config { data: data.join("keeper"), ..keeper };
    starter.node(&mut keeper.node, loopback);
    let (keeper, _) = starter.start::<longline_keeper::Bound>(keeper).await?;
    starter.keepers = vec![keeper.to_string()];

    let mut saver = longline_saver::Config {
        store: longline_saver::StoreConfig::sqlite(data.join("longline.db")),
        ..saver
    };
    starter.node(&mut saver.node, loopback);
    starter.start::<longline_saver::Bound>(saver).await?;

    let mut register = register;
    starter.node(&mut register.node, loopback);
    starter.start::<longline_register::Bound>(register).await?;

    let mut coordinator = coordinator;
    starter.node(&mut coordinator.node, loopback);
    starter.start::<longline_coordinator::Bound>(coordinator).await?;

    let mut room = longline_room::Config { listen: vec![listen.room], ..room };
    if room.public.is_empty() {
        room.public.extend(loopback_of(listen.room));
    }
    starter.node(&mut room.node, loopback);
    let (_, room) = starter.start::<longline_room::Bound>(room).await?;

    let mut center = longline_center::Config { admin_key_file: Some(data.admin_key_file()), ..center };
    starter.node(&mut center.node, listen.http);
    let (http, _) = starter.start::<longline_center::Bound>(center).await?;

    let mut dispatcher = dispatcher;
    starter.node(&mut dispatcher.node, listen.dispatcher);
    let (dispatcher, _) = starter.start::<longline_dispatcher::Bound>(dispatcher).await?;

    let room = room.first().copied().context("the room opened no port for devices")?;
    Ok(Started { http, room, dispatcher, keeper, health: starter.health })
}

struct Starter<'a> {
    boot: &'a Boot,
    parts: &'a mut Parts,
    keepers: Vec<String>,
    shutdown_s: u64,
    health: Vec<Health>,
}

impl Starter<'_> {
    /// What this process decides for its nodes.
    fn node(&self, node: &mut NodeConfig, rpc: SocketAddr) {
        node.keepers.clone_from(&self.keepers);
        node.rpc = rpc;
        node.advertise = node.advertise.take().or_else(|| loopback_of(rpc));
        node.admin = None; // one for the process
        node.shutdown_s = self.shutdown_s;
    }

    /// Opens the service's ports and lets it run. Its gRPC and public addresses.
    async fn start<S: Service>(
        &mut self,
        config: S::Config,
    ) -> anyhow::Result<(SocketAddr, Vec<SocketAddr>)> {
        let name = S::ROLE.name();
        let deps = self.boot.deps(name);
        self.health.push(deps.health.clone());
        let bound = S::bind(config, deps).await.with_context(|| format!("cannot start the {name}"))?;
        let addresses = (bound.rpc(), bound.public());
        self.parts.spawn(name, |stop| bound.run(stop));
        Ok(addresses)
    }
}

/// What the services of this process are told instead of a wildcard.
fn loopback_of(listen: SocketAddr) -> Option<String> {
    (listen.ip().is_unspecified() && listen.port() != 0).then(|| reachable(listen).to_string())
}
