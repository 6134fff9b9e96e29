//! The channel table: one connection per node of the view, shared by everything a service asks of it.

use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use dashmap::DashMap;
use longline_types::{Error, Node, Role, View};
use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::any::{Attempts, Next};
use crate::metrics::Metrics;
use crate::{Method, PipelineOptions, Pipelines, endpoint, error};

/// The nodes of the cluster as one service sees them, with a channel to each it has asked something of. Clones share all.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    view: watch::Receiver<Arc<View>>,
    channels: DashMap<u32, (u64, Channel)>,
    /// Told when nodes have left the view.
    tables: Mutex<Vec<Weak<dyn NodeTable>>>,
    metrics: Metrics,
}

/// Something kept per node that has to go when the node does.
pub(crate) trait NodeTable: Send + Sync {
    /// Drops what belongs to nodes that are not in the view.
    fn retain(&self, view: &View);
}

impl Peers {
    /// Follows the view for as long as a clone lives. To be called inside a tokio runtime.
    pub fn new(view: watch::Receiver<Arc<View>>, registry: &Registry) -> Peers {
        let shared = Arc::new(Shared {
            view: view.clone(),
            channels: DashMap::new(),
            tables: Mutex::default(),
            metrics: Metrics::new(registry),
        });
        tokio::spawn(follow(view, Arc::downgrade(&shared)));
        Peers { shared }
    }

    /// The view now.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.borrow().clone()
    }

    /// The view and its changes.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.shared.view.clone()
    }

    /// The channel to this node: connected at first use, again when it breaks, dropped when the node leaves the view.
    pub fn channel(&self, node: &Node) -> Result<Channel, Error> {
        if let Some(entry) = self.shared.channels.get(&node.number)
            && entry.0 == node.incarnation
        {
            return Ok(entry.1.clone());
        }
        let channel = endpoint(&node.rpc)
            .map_err(|e| {
                Error::internal(format!("node {} has no usable address {:?}: {e}", node.number, node.rpc))
            })?
            .connect_lazy();
        self.shared.channels.insert(node.number, (node.incarnation, channel.clone()));
        Ok(channel)
    }

    /// A pipeline of this method to every node that it will be called on.
    pub fn pipelines<M: Method>(&self, options: PipelineOptions) -> Pipelines<M> {
        Pipelines::new(self.clone(), options, &self.shared.metrics)
    }

    /// A unary call to one node.
    pub async fn unary_to<R, F, Fut>(&self, node: u32, deadline: Duration, call: F) -> Result<R, Error>
    where
        F: FnOnce(Channel) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let channel = self.channel(&self.node(node)?)?;
        within(Instant::now() + deadline, call(channel)).await
    }

    /// A unary call to the ready nodes of a role, in the key's order of preference, the next while a failure is safe to retry,
    /// until the deadline.
    pub async fn unary<R, F, Fut>(
        &self,
        role: Role,
        key: u64,
        deadline: Duration,
        call: F,
    ) -> Result<R, Error>
    where
        F: Fn(Channel) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let mut attempts = Attempts::new(self.clone(), role, key, deadline, false);
        let mut last = None;
        loop {
            match attempts.next(last).await {
                Next::Try { node, until } => match self.channel(&node) {
                    Ok(channel) => match within(until, call(channel)).await {
                        Ok(reply) => return Ok(reply),
                        Err(error) => last = Some(error),
                    },
                    Err(error) => last = Some(error),
                },
                Next::GiveUp(error) => return Err(error),
            }
        }
    }

    /// The node with this number, if it is in the view.
    pub(crate) fn node(&self, number: u32) -> Result<Node, Error> {
        let view = self.view();
        view.node(number)
            .cloned()
            .ok_or_else(|| Error::unavailable(format!("node {number} is not in view {}", view.number)))
    }

    pub(crate) fn follow(&self, table: Weak<dyn NodeTable>) {
        self.shared.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(table);
    }
}

async fn within<R>(
    until: Instant,
    call: impl Future<Output = Result<Response<R>, Status>>,
) -> Result<R, Error> {
    match tokio::time::timeout_at(until, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(error(status)),
        Err(_) => Err(Error::new(longline_types::ErrorCode::DeadlineExceeded, "no reply in time")),
    }
}

/// Drops what belongs to nodes that have left, until the last clone of the peers is gone.
async fn follow(mut view: watch::Receiver<Arc<View>>, shared: Weak<Shared>) {
    // A view that never changes must not keep this task: the strong count is looked at now and then.
    loop {
        let changed = tokio::time::timeout(Duration::from_secs(60), view.changed()).await;
        let Some(shared) = shared.upgrade() else { return };
        let now = view.borrow_and_update().clone();
        shared.channels.retain(|number, (incarnation, _)| {
            now.node(*number).is_some_and(|n| n.incarnation == *incarnation)
        });
        let mut tables = shared.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tables.retain(|table| table.upgrade().inspect(|t| t.retain(&now)).is_some());
        if matches!(changed, Ok(Err(_))) {
            return;
        }
    }
}
