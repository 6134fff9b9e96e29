//! What a center does, once: HTTP and gRPC are thin over this. No operation keeps state here; what must last is with the savers.

mod broadcasts;
mod messages;
mod nodes;
mod products;
mod send;
mod users;

use std::sync::Arc;
use std::time::Duration;

use longline_products::ProductTable;
use longline_rpc::methods::SaverPut;
use longline_rpc::{Peers, PipelineOptions, Pipelines, WhenFull};
use longline_types::{ErrorCode, IdMaker};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

pub(crate) use broadcasts::{BroadcastStatus, NewBroadcast};
pub(crate) use messages::{MessageStatus, Step};
pub(crate) use products::{Changes, Field, RouteChange};
pub(crate) use send::{Prepared, Send, Sent, Stored};
pub(crate) use users::{Session, UserStatus};

use crate::Failure;
use crate::config::{Config, millis};
use crate::hints::{Bounds, Hints};
use crate::metrics::Metrics;
use crate::routes::Routes;

/// The operations. Clones share all.
#[derive(Clone)]
pub(crate) struct Ops {
    shared: Arc<Shared>,
}

struct Shared {
    peers: Peers,
    products: ProductTable,
    ids: Arc<IdMaker>,
    put: Pipelines<SaverPut>,
    routes: Routes,
    hints: Hints,
    /// Woken when a broadcast was accepted here.
    driver: Arc<Notify>,
    /// Sends under way.
    tasks: TaskTracker,
    /// Requests being handled, over HTTP and as single gRPC calls; a stream has a bound of its own.
    requests: Arc<Semaphore>,
    metrics: Metrics,
    put_timeout: Duration,
    ask_timeout: Duration,
}

impl Ops {
    pub(crate) fn new(
        config: &Config,
        peers: Peers,
        products: ProductTable,
        ids: Arc<IdMaker>,
        metrics: Metrics,
    ) -> Ops {
        let step = millis(config.hints.step_timeout_ms);
        let bounds = Bounds { items: config.hints.max_items, bytes: config.hints.max_bytes };
        let routes = Routes::new(peers.clone(), step);
        let shared = Shared {
            // Bursts wait for room, as many as requests are let in; after the deadline they are refused.
            put: peers.pipelines(PipelineOptions { when_full: WhenFull::Wait, ..PipelineOptions::default() }),
            hints: Hints::new(&peers, routes.clone(), bounds, step, metrics.clone()),
            routes,
            peers,
            products,
            ids,
            driver: Arc::default(),
            tasks: TaskTracker::new(),
            requests: Arc::new(Semaphore::new(config.http.max_requests.clamp(1, Semaphore::MAX_PERMITS))),
            metrics,
            put_timeout: millis(config.put_timeout_ms),
            ask_timeout: millis(config.ask_timeout_ms),
        };
        Ops { shared: Arc::new(shared) }
    }

    /// All products, kept in memory.
    pub(crate) fn products(&self) -> &ProductTable {
        &self.shared.products
    }

    /// What the center counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Woken when a broadcast was accepted here, so that driving begins at once.
    pub(crate) fn broadcast_accepted(&self) -> Arc<Notify> {
        self.shared.driver.clone()
    }

    /// Lets a request in, for as long as the permit is held, or refuses it: too many are being handled.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.shared.requests.clone().try_acquire_owned().map_err(|_| {
            self.shared.metrics.overloaded.inc();
            let message = "too many requests are being handled; come again a moment later";
            Failure::new(ErrorCode::Unavailable, "overloaded", message)
        })
    }

    /// Waits for the sends and hints under way. To be called once nothing is sent any more.
    pub(crate) async fn drained(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.hints.drained().await;
    }
}
