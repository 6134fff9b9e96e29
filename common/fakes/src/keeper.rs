use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

const LEASE_MS: u32 = 300;
const HOUR_MS: u64 = 3_600_000;

/// A keeper that takes whoever comes, whose leases never end. Serves until its runtime ends.
#[derive(Clone)]
pub struct FakeKeeper {
    /// host:port.
    pub address: String,
    nodes: Arc<Mutex<Vec<Node>>>,
    view: watch::Sender<Arc<View>>,
}

impl FakeKeeper {
    /// Serves a view of these nodes and of those that will register. The first register among them owns all slots.
    ///
    /// # Panics
    /// If no port can be opened.
    pub async fn start(nodes: Vec<Node>) -> FakeKeeper {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let view = watch::Sender::new(Arc::default());
        let keeper = FakeKeeper { address, nodes: Arc::new(Mutex::new(nodes)), view };
        keeper.change(|_| {});
        let routes = tonic::service::Routes::new(KeeperServer::new(keeper.clone()));
        tokio::spawn(longline_rpc::listen(listener, routes, CancellationToken::new(), Duration::ZERO));
        keeper
    }

    /// The view and its changes, as members see them.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Changes the nodes and publishes the next view.
    pub fn change(&self, change: impl FnOnce(&mut Vec<Node>)) {
        let mut nodes = self.lock();
        change(&mut nodes);
        let number = self.view.borrow().number + 1;
        let register = nodes.iter().find(|n| n.role == Role::Register);
        let owner = register.map(|n| SlotOwner { node: n.number, generation: 1 });
        let slots = owner.map_or(vec![], |owner| vec![owner; SLOTS]);
        self.view.send_replace(Arc::new(View::new(number, nodes.clone(), slots)));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ready node, with an incarnation of its own.
pub fn node(number: u32, role: Role, rpc: String) -> Node {
    Node {
        number,
        incarnation: u64::from(number) + 1000,
        role,
        name: format!("{role}-{number}"),
        idc: "default".into(),
        rpc,
        public: vec![],
        noise_key: String::new(),
        state: NodeState::Ready,
        load: Load::default(),
        registered_at_ms: 1,
        version: String::new(),
    }
}

type Reply<T> = Result<Response<T>, Status>;
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Keeper for FakeKeeper {
    type WatchViewStream = Events<ViewEvent>;
    type WatchConfigStream = Events<ConfigEvent>;

    async fn register(&self, request: Request<RegisterRequest>) -> Reply<Registration> {
        let about = request.into_inner();
        let role = convert::role(about.role()).ok_or_else(|| Status::invalid_argument("role"))?;
        let mut joined = node(0, role, about.rpc.clone());
        (joined.state, joined.public, joined.idc) = (about.state().into(), about.public, about.idc);
        self.change(|nodes| {
            joined.number = 500 + nodes.len() as u32;
            joined.incarnation = u64::from(joined.number) + 1000;
            nodes.push(joined.clone());
        });
        let grant = IdGrant { number: joined.number, from_ms: now_ms(), until_ms: now_ms() + HOUR_MS };
        Ok(Response::new(Registration {
            number: joined.number,
            incarnation: joined.incarnation,
            lease_ms: LEASE_MS,
            grant: Some(grant),
            view: Some(keeper::View::from(&**self.view.borrow())),
            cluster: "test".into(),
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Reply<RenewReply> {
        let request = request.into_inner();
        let state: NodeState = request.state().into();
        let changed = self.lock().iter().any(|n| n.number == request.number && n.state != state);
        if changed {
            self.change(|nodes| {
                nodes.iter_mut().filter(|n| n.number == request.number).for_each(|n| n.state = state)
            });
        }
        Ok(Response::new(RenewReply {
            view_number: self.view.borrow().number,
            grant: None,
            now_ms: now_ms(),
        }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Reply<Empty> {
        let number = request.into_inner().number;
        self.change(|nodes| nodes.retain(|n| n.number != number));
        Ok(Response::new(Empty {}))
    }

    async fn watch_view(&self, _: Request<WatchViewRequest>) -> Reply<Self::WatchViewStream> {
        let event =
            |view: Arc<View>| ViewEvent { what: Some(view_event::What::View(keeper::View::from(&*view))) };
        Ok(Response::new(Box::pin(WatchStream::new(self.views()).map(move |view| Ok(event(view))))))
    }

    async fn watch_config(&self, _: Request<WatchConfigRequest>) -> Reply<Self::WatchConfigStream> {
        Err(Status::unimplemented("configuration"))
    }

    async fn read_config(&self, _: Request<ReadConfigRequest>) -> Reply<ConfigEntry> {
        Err(Status::unimplemented("configuration"))
    }

    async fn write_config(&self, _: Request<WriteConfigRequest>) -> Reply<ConfigEntry> {
        Err(Status::unimplemented("configuration"))
    }
}
