//! A register that knows one route, and a room that holds one session.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use longline_fakes::node;
use longline_pb::register::register_server::{Register, RegisterServer};
use longline_pb::register::{ChangeBatch, LookupBatch, LookupReply};
use longline_pb::room::room_server::{Room, RoomServer};
use longline_pb::room::{
    BroadcastProgress, BroadcastRequest, DeliverBatch, DisplaceBatch, InspectReply, InspectRequest,
    KickReply, KickRequest,
};
use longline_rpc::methods::{RegisterChange, RegisterLookup, RoomDeliver, RoomDisplace};
use longline_rpc::{PipelineStream, ServeOptions, serve};
use longline_types::{AddressKey, Error, Node, Role, Route};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

type Reply<T> = Result<Response<T>, Status>;

/// Answers every lookup the same way, and with an error as often as it is told first.
#[derive(Clone)]
pub(crate) struct FakeRegister {
    pub(crate) node: Node,
    state: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    route: Option<Route>,
    errors: Vec<Error>,
    asked: Vec<AddressKey>,
}

impl FakeRegister {
    pub(crate) async fn start(number: u32) -> FakeRegister {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = node(number, Role::Register, listener.local_addr().unwrap().to_string());
        let register = FakeRegister { node, state: Arc::default() };
        let routes = tonic::service::Routes::new(RegisterServer::new(register.clone()));
        tokio::spawn(longline_rpc::listen(listener, routes, CancellationToken::new(), Duration::ZERO));
        register
    }

    pub(crate) fn set_route(&self, route: Route) {
        self.state.lock().unwrap().route = Some(route);
    }

    /// The next lookups fail like this, the last of them first.
    pub(crate) fn fail_with(&self, errors: impl IntoIterator<Item = Error>) {
        self.state.lock().unwrap().errors.extend(errors);
    }

    pub(crate) fn asked(&self) -> Vec<AddressKey> {
        self.state.lock().unwrap().asked.clone()
    }

    fn look_up(&self, key: AddressKey, view: u64) -> LookupReply {
        let mut known = self.state.lock().unwrap();
        known.asked.push(key);
        match known.errors.pop() {
            Some(error) => LookupReply { route: None, error: Some(error.into()), view },
            None => LookupReply { route: known.route.map(Into::into), error: None, view },
        }
    }
}

#[tonic::async_trait]
impl Register for FakeRegister {
    type ChangeStream = PipelineStream<RegisterChange>;
    type LookupStream = PipelineStream<RegisterLookup>;

    async fn change(&self, _: Request<Streaming<ChangeBatch>>) -> Reply<Self::ChangeStream> {
        Err(Status::unimplemented("change"))
    }

    async fn lookup(&self, request: Request<Streaming<LookupBatch>>) -> Reply<Self::LookupStream> {
        let register = self.clone();
        let handle = move |batch: Vec<longline_pb::register::LookupRequest>| {
            let replies =
                batch.into_iter().map(|r| register.look_up(r.key.unwrap().into(), r.view)).collect();
            async move { replies }
        };
        let (options, stop) = (ServeOptions { concurrency: 1 }, CancellationToken::new());
        Ok(serve::<RegisterLookup, _, _>(request.into_inner(), options, &stop, handle))
    }
}

/// Knows the session of one route.
#[derive(Clone)]
pub(crate) struct FakeRoom {
    pub(crate) node: Node,
    holds: Arc<Mutex<Option<Route>>>,
    kicks: Arc<Mutex<Vec<KickRequest>>>,
}

impl FakeRoom {
    pub(crate) async fn start(number: u32) -> FakeRoom {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = node(number, Role::Room, listener.local_addr().unwrap().to_string());
        let room = FakeRoom { node, holds: Arc::default(), kicks: Arc::default() };
        let routes = tonic::service::Routes::new(RoomServer::new(room.clone()));
        tokio::spawn(longline_rpc::listen(listener, routes, CancellationToken::new(), Duration::ZERO));
        room
    }

    pub(crate) fn hold(&self, route: Route) {
        *self.holds.lock().unwrap() = Some(route);
    }

    pub(crate) fn kicks(&self) -> Vec<KickRequest> {
        self.kicks.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl Room for FakeRoom {
    type DeliverStream = PipelineStream<RoomDeliver>;
    type DisplaceStream = PipelineStream<RoomDisplace>;

    async fn deliver(&self, _: Request<Streaming<DeliverBatch>>) -> Reply<Self::DeliverStream> {
        Err(Status::unimplemented("deliver"))
    }

    async fn displace(&self, _: Request<Streaming<DisplaceBatch>>) -> Reply<Self::DisplaceStream> {
        Err(Status::unimplemented("displace"))
    }

    async fn broadcast(&self, _: Request<BroadcastRequest>) -> Reply<BroadcastProgress> {
        Err(Status::unimplemented("broadcast"))
    }

    async fn inspect(&self, _: Request<InspectRequest>) -> Reply<InspectReply> {
        Err(Status::unimplemented("inspect"))
    }

    async fn kick(&self, request: Request<KickRequest>) -> Reply<KickReply> {
        let request = request.into_inner();
        let route = request.route.map(Route::from);
        self.kicks.lock().unwrap().push(request);
        let mut holds = self.holds.lock().unwrap();
        let found = holds.is_some() && *holds == route;
        if found {
            *holds = None;
        }
        Ok(Response::new(KickReply { found }))
    }
}
