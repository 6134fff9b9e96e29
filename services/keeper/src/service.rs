//! The keeper's gRPC: checks, asks the desk, answers.

use std::future::Future;
use std::sync::Arc;

use longline_pb::keeper::keeper_server::Keeper;
use longline_pb::keeper::{
    ConfigEntry, ConfigEvent, LeaveRequest, ReadConfigRequest, RegisterRequest, Registration, RenewReply,
    RenewRequest, ViewEvent, WatchConfigRequest, WatchViewRequest, WriteConfigRequest,
};
use longline_pb::types::Empty;
use longline_rpc::status;
use longline_types::{Error, ErrorCode};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::desk::{Ask, DeskHandle};
use crate::metrics::Metrics;
use crate::store::config_entry;
use crate::{check, entries, views};

/// Most open watches; every node has one or two.
const WATCHES: usize = 8192;

pub(crate) struct Service {
    desk: DeskHandle,
    watches: Arc<Semaphore>,
    metrics: Metrics,
    shutdown: CancellationToken,
}

impl Service {
    pub(crate) fn new(desk: DeskHandle, metrics: Metrics, shutdown: CancellationToken) -> Service {
        Service { desk, watches: Arc::new(Semaphore::new(WATCHES)), metrics, shutdown }
    }

    /// Answers with a stream that `sending` fills, until it ends, the reader goes, or the keeper stops.
    fn watch<T, F>(
        &self,
        sending: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F,
    ) -> Result<Response<ReceiverStream<Result<T, Status>>>, Status>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let permit = self.watches.clone().try_acquire_owned().map_err(|_| {
            status(Error::new(ErrorCode::ResourceExhausted, format!("there are {WATCHES} watches already")))
        })?;
        // One event ahead: a reader that is slow is to get the latest, not a queue.
        let (to, events) = mpsc::channel(1);
        let sending = sending(to.clone());
        let (watches, shutdown) = (self.metrics.watches.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            let _permit = permit;
            watches.inc();
            tokio::select! {
                () = sending => {}
                () = to.closed() => {}
                () = shutdown.cancelled() => {}
            }
            watches.dec();
        });
        Ok(Response::new(ReceiverStream::new(events)))
    }
}

#[tonic::async_trait]
impl Keeper for Service {
    type WatchViewStream = ReceiverStream<Result<ViewEvent, Status>>;
    type WatchConfigStream = ReceiverStream<Result<ConfigEvent, Status>>;

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Registration>, Status> {
        let request = request.into_inner();
        let previous_incarnation = request.previous_incarnation;
        let about = check::about(request).map_err(status)?;
        let ask = |reply| Ask::Register { about, previous_incarnation, reply };
        self.desk.ask(ask).await.map(Response::new).map_err(status)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let request = request.into_inner();
        let node = check::node(request.number, request.incarnation).map_err(status)?;
        let state = check::state(request.state).map_err(status)?;
        let load = request.load.unwrap_or_default().into();
        let ask = |reply| Ask::Renew { node, state, load, want_grant: request.want_grant, reply };
        self.desk.ask(ask).await.map(Response::new).map_err(status)
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        let node = check::node(request.number, request.incarnation).map_err(status)?;
        self.desk.ask(|reply| Ask::Leave { node, reply }).await.map_err(status)?;
        Ok(Response::new(Empty {}))
    }

    async fn watch_view(
        &self,
        _request: Request<WatchViewRequest>,
    ) -> Result<Response<Self::WatchViewStream>, Status> {
        self.watch(|to| views::send(self.desk.views.clone(), self.desk.loads.clone(), to))
    }

    async fn watch_config(
        &self,
        request: Request<WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        let prefix = request.into_inner().prefix;
        check::prefix(&prefix).map_err(status)?;
        self.watch(|to| entries::send(self.desk.clone(), prefix, to))
    }

    async fn read_config(
        &self,
        request: Request<ReadConfigRequest>,
    ) -> Result<Response<ConfigEntry>, Status> {
        let key = request.into_inner().key;
        check::key(&key).map_err(status)?;
        let entry = self.desk.ask(|reply| Ask::Read { key, reply }).await.map_err(status)?;
        Ok(Response::new(config_entry(entry)))
    }

    async fn write_config(
        &self,
        request: Request<WriteConfigRequest>,
    ) -> Result<Response<ConfigEntry>, Status> {
        let mut request = request.into_inner();
        let value = check::change(&mut request).map_err(status)?;
        let (key, expected_revision) = (request.key, request.expected_revision);
        let ask = |reply| Ask::Write { key, value, expected_revision, reply };
        let entry = self.desk.ask(ask).await.map_err(status)?;
        Ok(Response::new(config_entry(entry)))
    }
}
