//! A saver that knows products only, on loopback.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longline_pb::saver::saver_server::{Saver, SaverServer};
use longline_pb::saver::{self, Product, ProductsEvent};
use longline_pb::types::Empty;
use longline_rpc::methods::{SaverAck, SaverCheck, SaverLoad, SaverPut, SaverPutUplink};
use longline_rpc::{PipelineStream, status};
use longline_types::{Error, Load, Node, NodeState, Role};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

#[derive(Clone)]
pub(crate) struct FakeSaver {
    state: Arc<State>,
    /// Its place in the view.
    pub(crate) node: Node,
}

struct State {
    products: Mutex<Vec<Product>>,
    changes: broadcast::Sender<Product>,
    reads: AtomicUsize,
    watches: AtomicUsize,
    stop: CancellationToken,
}

impl FakeSaver {
    /// Serves until it is stopped.
    pub(crate) async fn start(number: u32, products: Vec<Product>) -> FakeSaver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node {
            number,
            incarnation: u64::from(number) + 100,
            role: Role::Saver,
            name: String::new(),
            idc: String::new(),
            rpc: listener.local_addr().unwrap().to_string(),
            public: vec![],
            noise_key: String::new(),
            state: NodeState::Ready,
            load: Load::default(),
            registered_at_ms: 0,
            version: String::new(),
        };
        let stop = CancellationToken::new();
        let state = State {
            products: Mutex::new(products),
            changes: broadcast::channel(16).0,
            reads: AtomicUsize::new(0),
            watches: AtomicUsize::new(0),
            stop: stop.clone(),
        };
        let saver = FakeSaver { state: Arc::new(state), node };
        let routes = tonic::service::Routes::new(SaverServer::new(saver.clone()));
        tokio::spawn(longline_rpc::listen(listener, routes, stop, Duration::ZERO));
        saver
    }

    /// Adds a product to what reads and snapshots say, without telling the watchers.
    pub(crate) fn add(&self, product: Product) {
        self.state.products.lock().unwrap().push(product);
    }

    /// Tells the watchers of a change.
    pub(crate) fn announce(&self, product: Product) {
        self.state.changes.send(product).unwrap();
    }

    pub(crate) fn reads(&self) -> usize {
        self.state.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn watches(&self) -> usize {
        self.state.watches.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.state.stop.cancel();
    }
}

type Reply<T> = Result<Response<T>, Status>;

/// Methods that no test calls.
macro_rules! not_served {
    ($($name:ident: $request:ty => $reply:ty),* $(,)?) => { $(
        fn $name<'a, 'b>(&'a self, _: Request<$request>) -> Pin<Box<dyn Future<Output = Reply<$reply>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        }
    )* };
}

#[tonic::async_trait]
impl Saver for FakeSaver {
    type PutStream = PipelineStream<SaverPut>;
    type LoadStream = PipelineStream<SaverLoad>;
    type CheckStream = PipelineStream<SaverCheck>;
    type AckStream = PipelineStream<SaverAck>;
    type PutUplinkStream = PipelineStream<SaverPutUplink>;
    type WatchProductsStream = Pin<Box<dyn Stream<Item = Result<ProductsEvent, Status>> + Send>>;

    async fn watch_products(
        &self,
        _: Request<saver::WatchProductsRequest>,
    ) -> Reply<Self::WatchProductsStream> {
        self.state.watches.fetch_add(1, Ordering::SeqCst);
        let changes = BroadcastStream::new(self.state.changes.subscribe());
        let products = self.state.products.lock().unwrap().clone();
        let snapshot = tokio_stream::once(ProductsEvent { snapshot: true, products });
        let changes = changes.map(|p| ProductsEvent { snapshot: false, products: vec![p.unwrap()] });
        let stop = self.state.stop.clone();
        let stream = futures::StreamExt::take_until(snapshot.chain(changes), stop.cancelled_owned());
        Ok(Response::new(Box::pin(stream.map(Ok))))
    }

    async fn read_product(&self, request: Request<saver::ReadProductRequest>) -> Reply<Product> {
        self.state.reads.fetch_add(1, Ordering::SeqCst);
        let id = request.into_inner().id;
        let products = self.state.products.lock().unwrap();
        let found = products.iter().find(|p| p.id == id).cloned();
        found.map(Response::new).ok_or_else(|| status(Error::not_found(format!("no product {id}"))))
    }

    not_served! {
        put: Streaming<saver::PutBatch> => Self::PutStream,
        load: Streaming<saver::LoadBatch> => Self::LoadStream,
        check: Streaming<saver::CheckBatch> => Self::CheckStream,
        ack: Streaming<saver::AckBatch> => Self::AckStream,
        put_uplink: Streaming<saver::PutUplinkBatch> => Self::PutUplinkStream,
        read_message: saver::ReadMessageRequest => saver::MessageRecord,
        recall: saver::RecallRequest => saver::RecallReply,
        read_inbox: saver::ReadInboxRequest => saver::ReadInboxReply,
        account: saver::AccountRequest => saver::AccountReply,
        put_broadcast: saver::PutBroadcastRequest => saver::PutBroadcastReply,
        read_broadcast: saver::ReadBroadcastRequest => saver::BroadcastRecord,
        claim_broadcasts: saver::ClaimBroadcastsRequest => saver::ClaimBroadcastsReply,
        report_broadcast: saver::ReportBroadcastRequest => Empty,
        list_broadcasts: saver::ListBroadcastsRequest => saver::ListBroadcastsReply,
        claim_uplinks: saver::ClaimUplinksRequest => saver::ClaimUplinksReply,
        finish_uplinks: saver::FinishUplinksRequest => Empty,
        write_product: saver::WriteProductRequest => Product,
    }
}
