//! The room as a service: sockets first, then the cluster, then devices; and all of it in reverse at the end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use longline_boot::Deps;
use longline_config::NodeConfig;
use longline_member::{Member, Options};
use longline_noise::StaticKey;
use longline_pb::room::room_server::RoomServer;
use longline_products::ProductTable;
use longline_rpc::{MAX_MESSAGE, Peers, listen};
use longline_types::{NodeState, Role};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::admission;
use crate::links::{self, Cause, Links};
use crate::list::one_or_more;
use crate::service::RoomService;
use crate::{
    Certificates, DrainConfig, Engine, EngineConfig, Listeners, NoiseConfig, ProxyConfig, TlsConfig,
    Transports, WebSocketConfig, open_noise_key,
};

/// A room's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this node is.
    pub node: NodeConfig,
    /// Where devices connect, one address or a list; port 0: a free one. Each speaks every transport.
    #[serde(deserialize_with = "one_or_more")]
    pub listen: Vec<SocketAddr>,
    /// host:port under which devices reach `listen`, as the dispatcher tells them, one or a list; none: the addresses it really
    /// listens on.
    #[serde(deserialize_with = "one_or_more")]
    pub public: Vec<String>,
    /// Offers TLS.
    pub tls: Option<TlsConfig>,
    /// Where WebSocket is offered.
    pub websocket: WebSocketConfig,
    /// Which load balancers are believed.
    pub proxy: ProxyConfig,
    /// Offers the encryption of Longline itself.
    pub noise: Option<NoiseConfig>,
    /// How far the threads that speak to the cluster (links, gRPC, admin port) stand behind the shards where they share processors:
    /// what is added to their nice value, 0 to 19. Without meaning in `standalone`, where those threads are every service's.
    pub runtime_nice: u8,
    /// How it is emptied.
    pub drain: DrainConfig,
    /// How sessions are held.
    pub engine: EngineConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node: NodeConfig::default(),
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9000))],
            public: Vec::new(),
            tls: None,
            websocket: WebSocketConfig::default(),
            proxy: ProxyConfig::default(),
            noise: None,
            runtime_nice: 5,
            drain: DrainConfig::default(),
            engine: EngineConfig::default(),
        }
    }
}

/// Opens the room's sockets. Devices may connect from now on; they are greeted once the room runs.
pub async fn bind(config: Config, deps: Deps) -> anyhow::Result<Bound> {
    let rpc = tokio::net::TcpListener::bind(config.node.rpc)
        .await
        .with_context(|| format!("cannot listen on {} (node.rpc)", config.node.rpc))?;
    anyhow::ensure!(config.runtime_nice <= 19, "runtime_nice must be 0 to 19");
    anyhow::ensure!(config.websocket.path.starts_with('/'), "websocket.path must begin with a slash");
    let certificates = config.tls.clone().map(Certificates::open).transpose().context("[tls]")?;
    let noise =
        config.noise.as_ref().map(|noise| open_noise_key(&noise.key)).transpose().context("[noise]")?;
    let devices =
        Listeners::bind(&config.listen, &config.engine).context("cannot listen for devices (listen)")?;
    let (rpc_address, public) = (rpc.local_addr()?, devices.addresses().to_vec());
    Ok(Bound { rpc_address, public, rpc, devices, certificates, noise, config, deps })
}

/// A room with open sockets.
pub struct Bound {
    config: Config,
    deps: Deps,
    rpc: tokio::net::TcpListener,
    rpc_address: SocketAddr,
    devices: Listeners,
    certificates: Option<Arc<Certificates>>,
    noise: Option<Arc<StaticKey>>,
    public: Vec<SocketAddr>,
}

impl Bound {
    /// Where gRPC really listens.
    pub fn rpc(&self) -> SocketAddr {
        self.rpc_address
    }

    /// Where devices really connect.
    pub fn public(&self) -> Vec<SocketAddr> {
        self.public.clone()
    }

    /// Joins the cluster, serves devices until `shutdown`, then lets them go.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Bound { config, deps, rpc, rpc_address, devices, certificates, noise, public } = self;
        deps.health.not_ready("waits for the keeper");
        let options = Options {
            role: Role::Room,
            node: config.node.clone(),
            rpc: rpc_address,
            public: advertised(&config, &public)?,
            noise_key: noise.as_ref().map(|key| key.public().to_string()).unwrap_or_default(),
        };
        let member = match longline_member::join(options, shutdown.clone()).await {
            Err(longline_member::JoinError::Shutdown) => return Ok(()),
            joined => joined?,
        };
        deps.health.not_ready("waits for the products");
        let peers = Peers::new(member.view(), &deps.registry);
        let products = ProductTable::start(peers.clone(), shutdown.clone());
        let mut loaded = products.loaded();
        tokio::select! {
            () = shutdown.cancelled() => {
                member.leave().await;
                return Ok(());
            }
            ready = async { loaded.wait_for(|loaded| *loaded).await.is_ok() } => {
                anyhow::ensure!(ready, "the table of products has ended");
            }
        }
        let mut transports =
            Transports::default().with_websocket(config.websocket.clone()).with_proxies(config.proxy.clone());
        if let Some(certificates) = certificates {
            Arc::clone(&certificates).watch(&deps.registry, shutdown.clone())?;
            transports = transports.with_tls(certificates);
        }
        if let Some(key) = noise {
            transports = transports.with_noise(key);
        }
        let engine = Engine::start_with(config.engine.clone(), transports, devices, &deps.registry)?;
        let documents = admission::Documents::new(&deps.registry)?;
        // Ends with the membership.
        tokio::spawn(admission::follow(engine.admission(), member.config(admission::KEY), documents));
        let running = Running::start(&config, &deps, member, peers, products, engine, rpc);
        running.until(shutdown).await
    }
}

/// What devices are told: the configured addresses, else the real ones.
fn advertised(config: &Config, real: &[SocketAddr]) -> anyhow::Result<Vec<String>> {
    if !config.public.is_empty() {
        return Ok(config.public.clone());
    }
    if let Some(wildcard) = real.iter().find(|address| address.ip().is_unspecified()) {
        anyhow::bail!(
            "devices cannot connect to {wildcard}: set `public` to the host:port under which they reach this room"
        );
    }
    Ok(real.iter().map(ToString::to_string).collect())
}

/// A room at work.
struct Running {
    member: Member,
    engine: Engine,
    links: Arc<Links>,
    carrying: tokio::task::JoinHandle<()>,
    rpc: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    stop_rpc: CancellationToken,
    deadline: Duration,
}

impl Running {
    fn start(
        config: &Config,
        deps: &Deps,
        member: Member,
        peers: Peers,
        products: ProductTable,
        mut engine: Engine,
        rpc: tokio::net::TcpListener,
    ) -> Running {
        let deadline = Duration::from_secs(config.node.shutdown_s);
        let links = Links::new(links::Deps {
            member: member.clone(),
            peers,
            products,
            shards: engine.shards().to_vec(),
            registry: deps.registry.clone(),
            sessions: engine.session_count(),
            capacity: config.engine.max_sessions.into(),
            health: deps.health.clone(),
            idc: config.node.idc.clone(),
            drain: config.drain,
        });
        let stop_rpc = CancellationToken::new();
        let service = RoomServer::new(RoomService::new(Arc::clone(&links), stop_rpc.clone()))
            .max_decoding_message_size(MAX_MESSAGE);
        let rpc =
            tokio::spawn(listen(rpc, tonic::service::Routes::new(service), stop_rpc.clone(), deadline / 4));
        let carrying = tokio::spawn(links.clone().run(engine.take_questions(), deadline / 4));
        member.set_state(NodeState::Ready);
        deps.health.ready();
        Running { member, engine, links, carrying, rpc, stop_rpc, deadline }
    }

    /// Works until it is told to stop, or a part ends that should not have.
    async fn until(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            reason = self.engine.failed() => Err(anyhow::anyhow!("a shard has ended: {reason}")),
            _ = &mut self.carrying => Err(anyhow::anyhow!("the links have ended")),
            served = &mut self.rpc => Err(anyhow::anyhow!("gRPC has ended: {served:?}")),
        };
        self.stop().await;
        ended
    }

    /// No new devices; those that are here are asked to go, one after the other; what they have acknowledged still gets through; then
    /// the room leaves the cluster.
    async fn stop(mut self) {
        if tokio::time::timeout(self.deadline / 4, self.links.departures.begin(Cause::Stop)).await.is_err() {
            tracing::warn!("a shard's queue is full; its devices are closed without notice");
        }
        self.links.departures.finished().await;
        if let Err(error) = self.engine.stop(self.deadline / 4).await {
            tracing::error!(%error, "a shard did not stop in time");
        }
        if !self.carrying.is_finished()
            && tokio::time::timeout(self.deadline / 4, &mut self.carrying).await.is_err()
        {
            self.carrying.abort();
        }
        self.stop_rpc.cancel();
        if !self.rpc.is_finished() && tokio::time::timeout(self.deadline / 4, &mut self.rpc).await.is_err() {
            self.rpc.abort();
        }
        self.member.leave().await;
    }
}
