//! Pipelines of one method to the nodes that answer it.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use longline_types::{Error, Node, View};
use tokio::time::Instant;

use crate::any::{Attempts, Next};
use crate::metrics::{MethodMetrics, Metrics};
use crate::peers::NodeTable;
use crate::pipeline::Pipeline;
use crate::{Method, Peers, PipelineOptions};

/// A pipeline per node, opened at its first use and dropped when the node leaves the view. Clones share them.
pub struct Pipelines<M: Method> {
    peers: Peers,
    options: PipelineOptions,
    metrics: MethodMetrics,
    table: Arc<Table<M>>,
}

impl<M: Method> Clone for Pipelines<M> {
    fn clone(&self) -> Self {
        Self {
            peers: self.peers.clone(),
            options: self.options,
            metrics: self.metrics.clone(),
            table: self.table.clone(),
        }
    }
}

struct Table<M: Method>(DashMap<u32, (u64, Arc<Pipeline<M>>)>);

impl<M: Method> NodeTable for Table<M> {
    fn retain(&self, view: &View) {
        self.0.retain(|number, (incarnation, _)| {
            view.node(*number).is_some_and(|n| n.incarnation == *incarnation)
        });
    }
}

impl<M: Method> Pipelines<M> {
    pub(crate) fn new(peers: Peers, options: PipelineOptions, metrics: &Metrics) -> Pipelines<M> {
        let table = Arc::new(Table(DashMap::new()));
        let weak = Arc::downgrade(&table);
        peers.follow(weak);
        Pipelines { peers, options, metrics: MethodMetrics::new(metrics, M::NAME), table }
    }

    /// One request to the node with this number. [`ErrorCode::Unavailable`](longline_types::ErrorCode): nothing was sent;
    /// `DeadlineExceeded`: the outcome is unknown; `ResourceExhausted`: the pipeline is full.
    pub async fn call(&self, node: u32, request: M::Request, deadline: Duration) -> Result<M::Reply, Error> {
        one(self.call_group(node, vec![request], deadline).await)
    }

    /// A group to the node with this number; it stays together on the way. The replies are parallel to the requests.
    pub async fn call_group(
        &self,
        node: u32,
        requests: Vec<M::Request>,
        deadline: Duration,
    ) -> Vec<Result<M::Reply, Error>> {
        let until = Instant::now() + deadline;
        match self.peers.node(node).and_then(|node| self.pipeline(&node)) {
            Ok(pipeline) => pipeline.call_group(requests, until).await,
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// One request to the ready node that this key prefers, or to the next ones while a failure may be retried.
    pub async fn call_any(
        &self,
        key: u64,
        request: M::Request,
        deadline: Duration,
    ) -> Result<M::Reply, Error> {
        one(self.group_any(key, vec![request], deadline).await)
    }

    /// A group to the ready node that this key prefers. What failed in a way that may be retried (not sent, or unknown and
    /// the method is idempotent) goes to the next node, until the deadline.
    pub async fn group_any(
        &self,
        key: u64,
        requests: Vec<M::Request>,
        deadline: Duration,
    ) -> Vec<Result<M::Reply, Error>> {
        let mut results: Vec<Option<Result<M::Reply, Error>>> = requests.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..requests.len()).collect();
        let mut attempts = Attempts::new(self.peers.clone(), M::ROLE, key, deadline, M::IDEMPOTENT);
        let mut last = None;
        while !open.is_empty() {
            let (node, until) = match attempts.next(last.take()).await {
                Next::Try { node, until } => (node, until),
                Next::GiveUp(error) => {
                    for index in open {
                        results[index].get_or_insert_with(|| Err(error.clone()));
                    }
                    break;
                }
            };
            let group = open.iter().map(|&index| requests[index].clone()).collect();
            let replies = match self.pipeline(&node) {
                Ok(pipeline) => pipeline.call_group(group, until).await,
                Err(error) => open.iter().map(|_| Err(error.clone())).collect(),
            };
            let mut again = Vec::new();
            for (index, reply) in open.into_iter().zip(replies) {
                if let Err(error) = &reply
                    && attempts.may_retry(error)
                {
                    last = Some(error.clone());
                    again.push(index);
                }
                results[index] = Some(reply);
            }
            open = again;
        }
        let missing = || Err(Error::internal("a request got no result"));
        results.into_iter().map(|r| r.unwrap_or_else(missing)).collect()
    }

    fn pipeline(&self, node: &Node) -> Result<Arc<Pipeline<M>>, Error> {
        if let Some(entry) = self.table.0.get(&node.number)
            && entry.0 == node.incarnation
        {
            return Ok(entry.1.clone());
        }
        let channel = self.peers.channel(node)?;
        let mut entry = self.table.0.entry(node.number).or_insert_with(|| {
            (node.incarnation, Arc::new(Pipeline::start(channel.clone(), self.options, self.metrics.clone())))
        });
        if entry.0 != node.incarnation {
            *entry =
                (node.incarnation, Arc::new(Pipeline::start(channel, self.options, self.metrics.clone())));
        }
        Ok(entry.1.clone())
    }
}

fn one<R>(replies: Vec<Result<R, Error>>) -> Result<R, Error> {
    replies.into_iter().next().unwrap_or_else(|| Err(Error::internal("a request got no result")))
}
