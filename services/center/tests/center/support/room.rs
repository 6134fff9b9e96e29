//! A room whose sessions the test invents.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use longline_pb::room::room_server::Room;
use longline_pb::room::{
    BroadcastProgress, BroadcastRequest, DeliverBatch, DeliverReply, DeliverRequest, DeliverResult,
    DisplaceBatch, InspectReply, InspectRequest, KickReply, KickRequest,
};
use longline_rpc::methods::{RoomDeliver, RoomDisplace};
use longline_rpc::{PipelineStream, ServeOptions, serve};
use longline_types::{Route, SessionId, Stamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// What a room was handed: user, message id, payload.
pub(crate) type Delivered = (String, u64, Vec<u8>);

#[derive(Clone)]
pub(crate) struct FakeRoom {
    pub(crate) number: u32,
    state: Arc<Mutex<State>>,
    /// False: deliveries wait.
    open: watch::Sender<bool>,
    handed: watch::Sender<Vec<Delivered>>,
}

#[derive(Default)]
struct State {
    results: HashMap<String, DeliverResult>,
    sessions: HashMap<String, InspectReply>,
    progress: BroadcastProgress,
    broadcasts: Vec<BroadcastRequest>,
}

impl FakeRoom {
    pub(crate) fn new(number: u32) -> FakeRoom {
        let open = watch::Sender::new(true);
        FakeRoom { number, state: Arc::default(), open, handed: watch::Sender::default() }
    }

    /// A route into this room.
    pub(crate) fn route(&self, session: u64) -> Route {
        Route {
            stamp: Stamp { generation: 1, counter: session },
            node: self.number,
            incarnation: 1000 + u64::from(self.number),
            session: SessionId(session),
        }
    }

    /// What this user's deliveries end in; by default they are pushed.
    pub(crate) fn answer(&self, user: &str, result: DeliverResult) {
        self.state.lock().unwrap().results.insert(user.into(), result);
    }

    /// What an inspection of this user finds.
    pub(crate) fn session(&self, user: &str, session: InspectReply) {
        self.state.lock().unwrap().sessions.insert(user.into(), session);
    }

    /// What broadcasts are answered from now on.
    pub(crate) fn set_progress(&self, progress: BroadcastProgress) {
        self.state.lock().unwrap().progress = progress;
    }

    /// Requests of broadcasts so far.
    pub(crate) fn broadcasts(&self) -> Vec<BroadcastRequest> {
        self.state.lock().unwrap().broadcasts.clone()
    }

    /// Holds deliveries back, or lets them go.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Waits until this many messages were handed over, and returns them in order.
    pub(crate) async fn handed(&self, count: usize) -> Vec<Delivered> {
        let mut handed = self.handed.subscribe();
        let enough = handed.wait_for(|handed| handed.len() >= count);
        let enough = tokio::time::timeout(super::SOON, enough).await;
        enough.unwrap_or_else(|_| panic!("{count} messages: {:?}", self.handed.borrow())).unwrap().clone()
    }

    fn deliver(&self, request: DeliverRequest) -> DeliverReply {
        let (user, message) = (request.address.unwrap().user, request.message.unwrap());
        let result = self.state.lock().unwrap().results.get(&user).copied().unwrap_or(DeliverResult::Pushed);
        self.handed.send_modify(|handed| handed.push((user, message.id, message.payload.to_vec())));
        DeliverReply { result: result.into() }
    }
}

#[tonic::async_trait]
impl Room for FakeRoom {
    type DeliverStream = PipelineStream<RoomDeliver>;
    type DisplaceStream = PipelineStream<RoomDisplace>;

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverBatch>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let fake = self.clone();
        let options = ServeOptions { concurrency: 1 };
        Ok(serve::<RoomDeliver, _, _>(
            request.into_inner(),
            options,
            &CancellationToken::new(),
            move |batch| {
                let fake = fake.clone();
                async move {
                    let _ = fake.open.subscribe().wait_for(|open| *open).await;
                    batch.into_iter().map(|request| fake.deliver(request)).collect()
                }
            },
        ))
    }

    async fn displace(
        &self,
        _: Request<Streaming<DisplaceBatch>>,
    ) -> Result<Response<Self::DisplaceStream>, Status> {
        Err(Status::unimplemented("a center displaces nobody"))
    }

    async fn broadcast(
        &self,
        request: Request<BroadcastRequest>,
    ) -> Result<Response<BroadcastProgress>, Status> {
        let mut state = self.state.lock().unwrap();
        state.broadcasts.push(request.into_inner());
        Ok(Response::new(state.progress))
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectReply>, Status> {
        let user = request.into_inner().address.unwrap().user;
        Ok(Response::new(self.state.lock().unwrap().sessions.get(&user).cloned().unwrap_or_default()))
    }

    async fn kick(&self, _: Request<KickRequest>) -> Result<Response<KickReply>, Status> {
        Err(Status::unimplemented("a center kicks through a coordinator"))
    }
}
