//! The gRPC in front of the store: checks, asks, counts, answers.

mod calls;
mod pipelines;
mod requests;

use std::sync::Arc;

use longline_member::Member;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::metrics::Metrics;

/// Most open watches of products; every node has one.
const WATCHES: usize = 8192;

/// The service over one store. Clones share everything.
pub(crate) struct Service<S> {
    store: Arc<S>,
    catalog: Catalog,
    metrics: Metrics,
    member: Member,
    watches: Arc<Semaphore>,
    /// Ends pipelines and watches.
    stop: CancellationToken,
}

impl<S> Service<S> {
    pub(crate) fn new(
        store: Arc<S>,
        catalog: Catalog,
        metrics: Metrics,
        member: Member,
        stop: CancellationToken,
    ) -> Service<S> {
        let watches = Arc::new(Semaphore::new(WATCHES));
        Service { store, catalog, metrics, member, watches, stop }
    }
}

impl<S> Clone for Service<S> {
    fn clone(&self) -> Service<S> {
        Service {
            store: self.store.clone(),
            catalog: self.catalog.clone(),
            metrics: self.metrics.clone(),
            member: self.member.clone(),
            watches: self.watches.clone(),
            stop: self.stop.clone(),
        }
    }
}
