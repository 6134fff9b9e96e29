//! A coordinator that notes who is kicked.

use std::sync::{Arc, Mutex};

use longline_pb::coordinator::coordinator_server::Coordinator;
use longline_pb::coordinator::{KickReply, KickRequest, PresenceBatch, UplinkBatch};
use longline_rpc::PipelineStream;
use longline_rpc::methods::{CoordinatorPresence, CoordinatorUplink};
use tonic::{Request, Response, Status, Streaming};

/// Everybody but `nobody` is connected.
#[derive(Clone, Default)]
pub(crate) struct FakeCoordinator(Arc<Mutex<Vec<(String, String)>>>);

impl FakeCoordinator {
    /// User and detail of each kick.
    pub(crate) fn kicks(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl Coordinator for FakeCoordinator {
    type UplinkStream = PipelineStream<CoordinatorUplink>;
    type PresenceStream = PipelineStream<CoordinatorPresence>;

    async fn uplink(
        &self,
        _: Request<Streaming<UplinkBatch>>,
    ) -> Result<Response<Self::UplinkStream>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn presence(
        &self,
        _: Request<Streaming<PresenceBatch>>,
    ) -> Result<Response<Self::PresenceStream>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn kick(&self, request: Request<KickRequest>) -> Result<Response<KickReply>, Status> {
        let request = request.into_inner();
        let user = request.address.unwrap().user;
        let kicked = user != "nobody";
        self.0.lock().unwrap().push((user, request.detail));
        Ok(Response::new(KickReply { kicked }))
    }
}
