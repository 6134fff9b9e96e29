//! The start, the life and the ordered end of a saver.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use longline_boot::Deps;
use longline_member::{JoinError, Member, Options, join};
use longline_pb::saver::saver_server::SaverServer;
use longline_rpc::{MAX_MESSAGE, listen};
use longline_types::{NodeState, Role};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;

use crate::catalog::Catalog;
use crate::config::{Config, StoreConfig, millis};
use crate::metrics::Metrics;
use crate::service::Service;
use crate::store::Store;
use crate::store::cluster::{self, Cluster, OpenError};
use crate::store::sqlite::Sqlite;
use crate::sweeps::Sweeps;

/// First and longest wait between two tries to open the databases.
const OPEN_AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Opens the socket. Neither the keeper nor the databases are needed yet.
pub async fn bind(config: Config, deps: Deps) -> anyhow::Result<Bound> {
    config.check()?;
    let address = config.node.rpc;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (node.rpc)"))?;
    let rpc = listener.local_addr()?;
    Ok(Bound { config, deps, listener, rpc })
}

/// A saver whose socket is open.
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

    /// Nothing: devices and businesses do not call savers.
    pub fn public(&self) -> Vec<SocketAddr> {
        Vec::new()
    }

    /// Opens the store (a file at once; Redis and MySQL are waited for, however long), joins the cluster, and serves until
    /// `shutdown`; then stops in order, within `node.shutdown_s`.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        match self.config.store.clone() {
            StoreConfig::Sqlite(config) => {
                let path = &config.path;
                let store =
                    Sqlite::open(path).await.with_context(|| format!("cannot open {}", path.display()))?;
                self.serve(store, shutdown).await
            }
            StoreConfig::Cluster(config) => {
                let store = tokio::select! {
                    store = self.open_cluster(&config) => store?,
                    () = shutdown.cancelled() => return Ok(()),
                };
                self.serve(store, shutdown).await
            }
        }
    }

    /// Tries until the databases are there; meanwhile the reason stands in `/readyz`.
    async fn open_cluster(&self, config: &cluster::Config) -> anyhow::Result<Cluster> {
        let (mut pause, longest) = OPEN_AGAIN;
        loop {
            match Cluster::open(config).await {
                Ok(store) => return Ok(store),
                Err(OpenError::Refused(why)) => anyhow::bail!("the store cannot be used: {why}"),
                Err(OpenError::Unavailable(why)) => {
                    self.deps.health.not_ready(format!("waiting for the databases: {why}"));
                    tracing::warn!("the databases are not there yet: {why}");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn serve<S: Store>(self, store: S, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Bound { config, deps, listener, rpc } = self;
        deps.health.not_ready("waiting for a keeper");
        let options = Options {
            role: Role::Saver,
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
        let (stop, store) = (CancellationToken::new(), Arc::new(store));
        // Ends everything if this future is dropped.
        let _stop: DropGuard = stop.clone().drop_guard();
        let metrics = Metrics::register(&deps.registry)?;
        let catalog = Catalog::new();
        let service =
            Service::new(store.clone(), catalog.clone(), metrics.clone(), member.clone(), stop.clone());
        let routes = Routes::new(
            SaverServer::new(service)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
        );
        let grace = Duration::from_secs(config.node.shutdown_s);
        let mut serving = tokio::spawn(listen(listener, routes, stop.clone(), grace / 2));

        let background = Background { stop: CancellationToken::new() };
        let follow =
            catalog.clone().follow(store.clone(), metrics.clone(), millis(config.sweeps.products_every_ms));
        let sweeps = Sweeps { store: store.clone(), config: config.sweeps.clone(), metrics };
        let mut sweeping = background.spawn(async { tokio::join!(follow, sweeps.run()) });
        // The store's own work ends after the last request.
        let storing = tokio::spawn({
            let (store, stop) = (store.clone(), background.stop.clone());
            async move { store.run(stop).await }
        });

        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            _ = &mut sweeping => anyhow::bail!("the sweeps panicked"),
            () = take_work(&catalog, &deps, &member, &shutdown) => None,
        };
        deps.health.not_ready("stopping");
        member.set_state(NodeState::Draining);
        stop.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => serving.await,
        };
        background.stop.cancel();
        let stored = tokio::time::timeout(grace / 4, storing).await;
        member.leave().await;
        ended.context("the gRPC server panicked")?.context("the gRPC server failed")?;
        stored.context("the store did not end in time")?.context("the store panicked")
    }
}

/// Tasks that end with their token.
struct Background {
    stop: CancellationToken,
}

impl Background {
    fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(work))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Ready as soon as the products are read, for that proves the store; ends with `shutdown`.
async fn take_work(catalog: &Catalog, deps: &Deps, member: &Member, shutdown: &CancellationToken) {
    deps.health.not_ready("reading products");
    tokio::select! {
        () = catalog.loaded() => {}
        () = shutdown.cancelled() => return,
    }
    member.set_state(NodeState::Ready);
    deps.health.ready();
    shutdown.cancelled().await;
}
