//! A keeper that takes whoever comes, and has no leases to end.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longline_pb::keeper::keeper_server::{Keeper, KeeperServer};
use longline_pb::keeper::{
    ConfigEntry, ConfigEvent, IdGrant, LeaveRequest, ReadConfigRequest, RegisterRequest, Registration,
    RenewReply, RenewRequest, ViewEvent, WatchConfigRequest, WatchViewRequest, WriteConfigRequest,
    view_event,
};
use longline_pb::types::Empty;
use longline_pb::{convert, keeper};
use longline_types::{Node, View, now_ms};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

#[derive(Clone)]
pub(crate) struct FakeKeeper {
    pub(crate) address: String,
    nodes: Arc<Mutex<Vec<Node>>>,
    view: watch::Sender<Arc<View>>,
}

impl FakeKeeper {
    pub(crate) async fn start() -> FakeKeeper {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let view = watch::Sender::new(Arc::default());
        let keeper = FakeKeeper { address, nodes: Arc::default(), view };
        let routes = tonic::service::Routes::new(KeeperServer::new(keeper.clone()));
        tokio::spawn(longline_rpc::listen(listener, routes, CancellationToken::new(), Duration::ZERO));
        keeper
    }

    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Node>)) {
        let mut nodes = self.nodes.lock().unwrap();
        change(&mut nodes);
        let number = self.view.borrow().number + 1;
        self.view.send_replace(Arc::new(View::new(number, nodes.clone(), vec![])));
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
        let mut number = 0;
        self.change(|nodes| {
            number = 40 + nodes.len() as u32;
            nodes.push(Node {
                number,
                incarnation: u64::from(number) + 1000,
                role: convert::role(about.role()).unwrap(),
                name: about.name.clone(),
                idc: about.idc.clone(),
                rpc: about.rpc.clone(),
                public: about.public.clone(),
                noise_key: about.noise_key.clone(),
                state: about.state().into(),
                load: Default::default(),
                registered_at_ms: now_ms(),
                version: String::new(),
            });
        });
        Ok(Response::new(Registration {
            number,
            incarnation: u64::from(number) + 1000,
            lease_ms: 300,
            grant: Some(IdGrant { number, from_ms: now_ms(), until_ms: now_ms() + 3_600_000 }),
            view: Some(keeper::View::from(&**self.view.borrow())),
            cluster: "test".into(),
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Reply<RenewReply> {
        let request = request.into_inner();
        let state = request.state().into();
        let news = self.nodes.lock().unwrap().iter().any(|n| n.number == request.number && n.state != state);
        if news {
            self.change(|nodes| {
                nodes.iter_mut().filter(|n| n.number == request.number).for_each(|n| n.state = state);
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
