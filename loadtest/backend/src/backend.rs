//! The backend's life: joins, serves, leaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use longline_boot::Deps;
use longline_config::NodeConfig;
use longline_member::{JoinError, Member, join};
use longline_pb::saver::Product;
use longline_pb::saver::saver_server::SaverServer;
use longline_rpc::{MAX_MESSAGE, Peers, listen};
use longline_types::{NodeState, Role, now_ms};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::post::Post;
use crate::saver::Service;
use crate::shared::Shared;
use crate::walks::Walks;
use crate::{deliver, peer, walks};

/// Number of the one product.
pub const PRODUCT: u32 = 1;

/// For calls under way to end.
const GRACE: Duration = Duration::from_secs(2);

/// What a backend is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The keeper, as host:port.
    pub keeper: String,
    /// Where injectors connect. A port of 0 becomes a free one.
    pub inject: SocketAddr,
    /// The product's window: messages in flight per bind. 0: the default of a product.
    pub window: u32,
    /// Sessions a second to which a room sends a broadcast. 0: as fast as it can.
    pub broadcast_per_second: u32,
    /// Binds need a user token that is signed with this key (HS256; the text's bytes are the key).
    pub token_key: Option<String>,
}

/// A backend that has joined.
pub struct Backend {
    member: Member,
    peers: Peers,
    deps: Deps,
    rpc: TcpListener,
    injection: TcpListener,
    product: Product,
    broadcast_per_second: u32,
}

impl Backend {
    /// Opens the ports and joins; none if `shutdown` came first.
    ///
    /// # Errors
    /// If a port cannot be opened, or the keeper refuses.
    pub async fn join(
        options: Options,
        deps: Deps,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Option<Backend>> {
        deps.health.not_ready("waits for the keeper");
        let injection = TcpListener::bind(options.inject)
            .await
            .with_context(|| format!("cannot listen on {} for injectors", options.inject))?;
        let rpc = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen for gRPC")?;
        let node = NodeConfig {
            name: Some("backend".to_owned()),
            keepers: vec![options.keeper.clone()],
            ..NodeConfig::default()
        };
        let about = longline_member::Options {
            role: Role::Saver,
            node,
            rpc: rpc.local_addr()?,
            public: Vec::new(),
            noise_key: String::new(),
        };
        let member = match join(about, shutdown).await {
            Err(JoinError::Shutdown) => return Ok(None),
            joined => joined?,
        };
        let peers = Peers::new(member.view(), &deps.registry);
        let (product, broadcast_per_second) = (product(&options), options.broadcast_per_second);
        Ok(Some(Backend { member, peers, deps, rpc, injection, product, broadcast_per_second }))
    }

    /// Where injectors really connect.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn injection(&self) -> std::io::Result<SocketAddr> {
        self.injection.local_addr()
    }

    /// Serves rooms and injectors until `shutdown`.
    ///
    /// # Errors
    /// If gRPC can be served no more.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Backend { member, peers, deps, rpc, injection, product, broadcast_per_second } = self;
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let shared = Arc::new(Shared::new(Post::new(product.id)));
        let (to_walks, queue) = mpsc::channel(walks::QUEUE);
        let walks = Walks { product: product.id, per_second: broadcast_per_second, peers: peers.clone() };
        tokio::spawn(walks::run(queue, walks, stop.clone()));
        tokio::spawn(deliver::run(Arc::clone(&shared), peers, stop.clone()));
        tokio::spawn(peer::serve(injection, Arc::clone(&shared), to_walks, stop.clone()));
        let service = SaverServer::new(Service { shared, product, stop: stop.clone() })
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let mut serving = tokio::spawn(listen(rpc, Routes::new(service), stop.clone(), GRACE));
        member.set_state(NodeState::Ready);
        deps.health.ready();
        let ended = tokio::select! {
            () = shutdown.cancelled() => None,
            ended = &mut serving => Some(ended),
        };
        deps.health.not_ready("is stopping");
        stop.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => serving.await,
        };
        member.leave().await;
        ended.context("gRPC panicked")?.context("gRPC has ended")
    }
}

fn product(options: &Options) -> Product {
    let now = now_ms();
    Product {
        id: PRODUCT,
        name: "loadtest".to_owned(),
        revision: 1,
        require_token: options.token_key.is_some(),
        token_keys: options.token_key.iter().map(|key| key.as_bytes().to_vec()).collect(),
        window: options.window,
        created_at_ms: now,
        changed_at_ms: now,
        ..Product::default()
    }
}
