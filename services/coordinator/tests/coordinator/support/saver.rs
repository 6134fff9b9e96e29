//! A saver with products and a queue of uplinks, in memory.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use longline_fakes::node;
use longline_pb::saver::saver_server::{Saver, SaverServer};
use longline_pb::saver::{
    self, Product, ProductsEvent, PutUplinkReply, PutUplinkRequest, UplinkKind, UplinkRecord,
};
use longline_pb::types::Empty;
use longline_rpc::methods::{SaverAck, SaverCheck, SaverLoad, SaverPut, SaverPutUplink};
use longline_rpc::{PipelineStream, ServeOptions, serve, status};
use longline_types::{Error, Role, now_ms};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// One uplink in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) record: UplinkRecord,
    /// End of the claim, or time of the next try.
    pub(crate) due_at_ms: u64,
    pub(crate) finished: bool,
}

#[derive(Clone)]
pub(crate) struct FakeSaver {
    pub(crate) node: longline_types::Node,
    products: Arc<Vec<Product>>,
    queue: Arc<Mutex<Vec<Row>>>,
    broken: Arc<Mutex<Option<Error>>>,
}

impl FakeSaver {
    pub(crate) async fn start(number: u32, products: Vec<Product>) -> FakeSaver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = node(number, Role::Saver, listener.local_addr().unwrap().to_string());
        let saver =
            FakeSaver { node, products: Arc::new(products), queue: Arc::default(), broken: Arc::default() };
        let routes = tonic::service::Routes::new(SaverServer::new(saver.clone()));
        tokio::spawn(longline_rpc::listen(listener, routes, CancellationToken::new(), Duration::ZERO));
        saver
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Vec<Row>> {
        self.queue.lock().unwrap()
    }

    /// Whether everything in the queue is finished.
    pub(crate) fn all_finished(&self) -> bool {
        self.queue().iter().all(|row| row.finished)
    }

    /// Puts now fail like this.
    pub(crate) fn break_with(&self, error: Error) {
        *self.broken.lock().unwrap() = Some(error);
    }

    fn put(&self, request: PutUplinkRequest) -> PutUplinkReply {
        if let Some(error) = self.broken.lock().unwrap().clone() {
            return PutUplinkReply { repeated_request: false, error: Some(error.into()) };
        }
        let record = request.record.unwrap();
        let mut queue = self.queue();
        let repeats = |old: &UplinkRecord| {
            let sequence = |r: &UplinkRecord| (r.address.clone(), r.device.clone(), r.sequence);
            let data = record.kind() == UplinkKind::Data && record.sequence != 0;
            old.id == record.id
                || (data && old.kind() == UplinkKind::Data && sequence(old) == sequence(&record))
        };
        let repeated_request = queue.iter().any(|row| repeats(&row.record));
        if !repeated_request {
            let due_at_ms = now_ms() + u64::from(request.lease_ms);
            queue.push(Row { record, due_at_ms, finished: false });
        }
        PutUplinkReply { repeated_request, error: None }
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

    async fn put_uplink(
        &self,
        request: Request<Streaming<saver::PutUplinkBatch>>,
    ) -> Reply<Self::PutUplinkStream> {
        let saver = self.clone();
        let handle = move |batch: Vec<PutUplinkRequest>| {
            let replies = batch.into_iter().map(|request| saver.put(request)).collect();
            async move { replies }
        };
        let (options, stop) = (ServeOptions { concurrency: 1 }, CancellationToken::new());
        Ok(serve::<SaverPutUplink, _, _>(request.into_inner(), options, &stop, handle))
    }

    async fn claim_uplinks(
        &self,
        request: Request<saver::ClaimUplinksRequest>,
    ) -> Reply<saver::ClaimUplinksReply> {
        let request = request.into_inner();
        let now = now_ms();
        let mut queue = self.queue();
        queue.sort_by_key(|row| row.record.id);
        let due = queue.iter_mut().filter(|row| !row.finished && row.due_at_ms <= now);
        let uplinks = due.take(request.limit as usize).map(|row| {
            row.due_at_ms = now + u64::from(request.lease_ms);
            row.record.clone()
        });
        Ok(Response::new(saver::ClaimUplinksReply { uplinks: uplinks.collect() }))
    }

    async fn finish_uplinks(&self, request: Request<saver::FinishUplinksRequest>) -> Reply<Empty> {
        let mut queue = self.queue();
        for outcome in request.into_inner().uplinks {
            for row in queue.iter_mut().filter(|row| row.record.id == outcome.id && !row.finished) {
                row.finished = outcome.taken;
                row.due_at_ms = outcome.next_try_at_ms;
                row.record.attempts += u32::from(!outcome.taken);
            }
        }
        Ok(Response::new(Empty {}))
    }

    async fn watch_products(
        &self,
        _: Request<saver::WatchProductsRequest>,
    ) -> Reply<Self::WatchProductsStream> {
        let products = self.products.to_vec();
        let snapshot = tokio_stream::once(Ok(ProductsEvent { snapshot: true, products }));
        Ok(Response::new(Box::pin(snapshot.chain(tokio_stream::pending()))))
    }

    async fn read_product(&self, request: Request<saver::ReadProductRequest>) -> Reply<Product> {
        let id = request.into_inner().id;
        let found = self.products.iter().find(|p| p.id == id).cloned();
        found.map(Response::new).ok_or_else(|| status(Error::not_found("no such product")))
    }

    not_served! {
        put: Streaming<saver::PutBatch> => Self::PutStream,
        load: Streaming<saver::LoadBatch> => Self::LoadStream,
        check: Streaming<saver::CheckBatch> => Self::CheckStream,
        ack: Streaming<saver::AckBatch> => Self::AckStream,
        read_message: saver::ReadMessageRequest => saver::MessageRecord,
        recall: saver::RecallRequest => saver::RecallReply,
        read_inbox: saver::ReadInboxRequest => saver::ReadInboxReply,
        account: saver::AccountRequest => saver::AccountReply,
        put_broadcast: saver::PutBroadcastRequest => saver::PutBroadcastReply,
        read_broadcast: saver::ReadBroadcastRequest => saver::BroadcastRecord,
        claim_broadcasts: saver::ClaimBroadcastsRequest => saver::ClaimBroadcastsReply,
        report_broadcast: saver::ReportBroadcastRequest => Empty,
        list_broadcasts: saver::ListBroadcastsRequest => saver::ListBroadcastsReply,
        write_product: saver::WriteProductRequest => Product,
    }
}
