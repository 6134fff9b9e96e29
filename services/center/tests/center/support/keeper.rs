//! A keeper with a fixed cluster, into which the center is taken.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use longline_pb::keeper::keeper_server::{Keeper, KeeperServer};
use longline_pb::keeper::{
    ConfigEntry, ConfigEvent, IdGrant, LeaveRequest, ReadConfigRequest, RegisterRequest, Registration,
    RenewReply, RenewRequest, ViewEvent, WatchConfigRequest, WatchViewRequest, WriteConfigRequest,
    view_event,
};
use longline_pb::types::Empty;
use longline_pb::{convert, keeper};
use longline_types::{Load, Node, NodeState, Role, SLOTS, SlotOwner, View, now_ms};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::serve;

/// Number that the first center gets; each later one gets the next.
pub(crate) const CENTER: u32 = 10;
const HOUR_MS: u64 = 3_600_000;

#[derive(Clone)]
pub(crate) struct FakeKeeper {
    pub(crate) address: String,
    nodes: Arc<Mutex<Vec<Node>>>,
    view: watch::Sender<Arc<View>>,
}

impl FakeKeeper {
    /// The one register among the nodes owns every slot.
    pub(crate) async fn start(nodes: Vec<Node>) -> FakeKeeper {
        let (listener, address) = super::listener().await;
        let fake = FakeKeeper {
            address,
            nodes: Arc::new(Mutex::new(nodes)),
            view: watch::Sender::new(Arc::default()),
        };
        fake.change(|_| {});
        serve(listener, KeeperServer::new(fake.clone()));
        fake
    }

    /// Changes the nodes and publishes the next view.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<Node>)) {
        let mut nodes = self.nodes.lock().unwrap();
        change(&mut nodes);
        let owner = nodes.iter().find(|n| n.role == Role::Register).map(|n| n.number);
        let slots = owner.map_or_else(Vec::new, |node| vec![SlotOwner { node, generation: 1 }; SLOTS]);
        let number = self.view.borrow().number + 1;
        self.view.send_replace(Arc::new(View::new(number, nodes.clone(), slots)));
    }

    /// State of a center as it last reported it.
    pub(crate) fn state(&self, number: u32) -> Option<NodeState> {
        self.nodes.lock().unwrap().iter().find(|n| n.number == number).map(|n| n.state)
    }

    fn wire_view(&self) -> keeper::View {
        keeper::View::from(&**self.view.borrow())
    }
}

/// A ready node.
pub(crate) fn node(number: u32, role: Role, rpc: String) -> Node {
    Node {
        number,
        incarnation: 1000 + u64::from(number),
        role,
        name: format!("{role}-{number}"),
        idc: "default".into(),
        public: vec![format!("{role}-{number}.example:9000")],
        rpc,
        state: NodeState::Ready,
        load: Load::default(),
        registered_at_ms: 1_735_689_600_000,
        version: "1.0".into(),
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Keeper for FakeKeeper {
    type WatchViewStream = Pin<Box<dyn Stream<Item = Result<ViewEvent, Status>> + Send>>;
    type WatchConfigStream = Pin<Box<dyn Stream<Item = Result<ConfigEvent, Status>> + Send>>;

    async fn register(&self, request: Request<RegisterRequest>) -> Reply<Registration> {
        let request = request.into_inner();
        let centers = self.nodes.lock().unwrap().iter().filter(|n| n.role == Role::Center).count() as u32;
        let mut joined = node(CENTER + centers, convert::role(request.role()).unwrap(), request.rpc);
        joined.public = request.public;
        joined.state = NodeState::Starting;
        let (number, incarnation) = (joined.number, joined.incarnation);
        self.change(|nodes| nodes.push(joined));
        Ok(Response::new(Registration {
            number,
            incarnation,
            lease_ms: 600,
            grant: Some(IdGrant { number, from_ms: now_ms(), until_ms: now_ms() + HOUR_MS }),
            view: Some(self.wire_view()),
            cluster: "test".into(),
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Reply<RenewReply> {
        let request = request.into_inner();
        let state: NodeState = request.state().into();
        if self.state(request.number).is_some_and(|before| before != state) {
            let set = |nodes: &mut Vec<Node>| {
                nodes.iter_mut().filter(|n| n.number == request.number).for_each(|n| n.state = state);
            };
            self.change(set);
        }
        let view_number = self.view.borrow().number;
        Ok(Response::new(RenewReply { view_number, grant: None, now_ms: now_ms() }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Reply<Empty> {
        let number = request.into_inner().number;
        self.change(|nodes| nodes.retain(|n| n.number != number));
        Ok(Response::new(Empty {}))
    }

    async fn watch_view(&self, _: Request<WatchViewRequest>) -> Reply<Self::WatchViewStream> {
        let views = WatchStream::new(self.view.subscribe());
        let event = |view: Arc<View>| ViewEvent { what: Some(view_event::What::View((&*view).into())) };
        Ok(Response::new(Box::pin(views.map(move |view| Ok(event(view))))))
    }

    async fn watch_config(&self, _: Request<WatchConfigRequest>) -> Reply<Self::WatchConfigStream> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn read_config(&self, _: Request<ReadConfigRequest>) -> Reply<ConfigEntry> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn write_config(&self, _: Request<WriteConfigRequest>) -> Reply<ConfigEntry> {
        Err(Status::unimplemented("not needed here"))
    }
}
