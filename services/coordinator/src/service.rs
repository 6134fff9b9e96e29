//! The gRPC side: unpacks requests and packs replies.

use futures::future::join_all;
use longline_pb::convert::address;
use longline_pb::coordinator::coordinator_server::Coordinator;
use longline_pb::coordinator::{
    KickReply, KickRequest, PresenceBatch, PresenceReply, UplinkBatch, UplinkReply,
};
use longline_rpc::methods::{CoordinatorPresence, CoordinatorUplink};
use longline_rpc::{PipelineStream, ServeOptions, serve, status};
use longline_types::Error;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::intake::Desk;
use crate::kick::Kicks;
use crate::metrics::Metrics;

pub(crate) struct Service {
    pub(crate) desk: Desk,
    pub(crate) kicks: Kicks,
    pub(crate) metrics: Metrics,
    /// Ends the pipelines.
    pub(crate) stop: CancellationToken,
}

/// Batches of one room that are being stored at once.
const BATCHES: ServeOptions = ServeOptions { concurrency: 16 };

#[tonic::async_trait]
impl Coordinator for Service {
    type UplinkStream = PipelineStream<CoordinatorUplink>;
    type PresenceStream = PipelineStream<CoordinatorPresence>;

    async fn uplink(
        &self,
        request: Request<Streaming<UplinkBatch>>,
    ) -> Result<Response<Self::UplinkStream>, Status> {
        let desk = self.desk.clone();
        let handle = move |batch: Vec<_>| {
            let desk = desk.clone();
            async move {
                join_all(batch.into_iter().map(|r| desk.uplink(r))).await.into_iter().map(uplinked).collect()
            }
        };
        Ok(serve::<CoordinatorUplink, _, _>(request.into_inner(), BATCHES, &self.stop, handle))
    }

    async fn presence(
        &self,
        request: Request<Streaming<PresenceBatch>>,
    ) -> Result<Response<Self::PresenceStream>, Status> {
        let desk = self.desk.clone();
        let handle = move |batch: Vec<_>| {
            let desk = desk.clone();
            async move {
                join_all(batch.into_iter().map(|r| desk.presence(r))).await.into_iter().map(noted).collect()
            }
        };
        Ok(serve::<CoordinatorPresence, _, _>(request.into_inner(), BATCHES, &self.stop, handle))
    }

    async fn kick(&self, request: Request<KickRequest>) -> Result<Response<KickReply>, Status> {
        let request = request.into_inner();
        let address = address(&request.address).map_err(status)?;
        let result = self.kicks.kick(&address, &request.detail).await;
        self.metrics.kick(&result);
        result.map(|kicked| Response::new(KickReply { kicked })).map_err(status)
    }
}

fn uplinked(result: Result<(), Error>) -> UplinkReply {
    UplinkReply { error: result.err().map(Into::into) }
}

fn noted(result: Result<(), Error>) -> PresenceReply {
    PresenceReply { error: result.err().map(Into::into) }
}
