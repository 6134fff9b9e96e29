//! What a room asks of a saver, answered from memory.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::{self, StreamExt as _};
use longline_pb::saver::saver_server::Saver;
use longline_pb::saver::{
    AccountReply, AccountRequest, AckBatch, BroadcastRecord, CheckBatch, ClaimBroadcastsReply,
    ClaimBroadcastsRequest, ClaimUplinksReply, ClaimUplinksRequest, FinishUplinksRequest,
    ListBroadcastsReply, ListBroadcastsRequest, LoadBatch, MessageRecord, Product, ProductsEvent, PutBatch,
    PutBroadcastReply, PutBroadcastRequest, PutUplinkBatch, ReadBroadcastRequest, ReadInboxReply,
    ReadInboxRequest, ReadMessageRequest, ReadProductRequest, RecallReply, RecallRequest,
    ReportBroadcastRequest, WatchProductsRequest, WriteProductRequest,
};
use longline_pb::types::Empty;
use longline_rpc::methods::{SaverAck, SaverCheck, SaverLoad, SaverPut, SaverPutUplink};
use longline_rpc::{PipelineStream, ServeOptions, serve, status};
use longline_types::{Error, ErrorCode};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::shared::Shared;

/// A batch is answered before the next is read.
const BATCHES: ServeOptions = ServeOptions { concurrency: 1 };

/// The service.
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) product: Product,
    pub(crate) stop: CancellationToken,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Saver for Service {
    type PutStream = PipelineStream<SaverPut>;
    type LoadStream = PipelineStream<SaverLoad>;
    type CheckStream = PipelineStream<SaverCheck>;
    type AckStream = PipelineStream<SaverAck>;
    type PutUplinkStream = PipelineStream<SaverPutUplink>;
    type WatchProductsStream = Pin<Box<dyn Stream<Item = Result<ProductsEvent, Status>> + Send>>;

    async fn load(&self, request: Request<Streaming<LoadBatch>>) -> Answer<Self::LoadStream> {
        let shared = Arc::clone(&self.shared);
        Ok(serve::<SaverLoad, _, _>(request.into_inner(), BATCHES, &self.stop, move |batch| {
            let replies = shared.with(|post| batch.iter().map(|request| post.load(request)).collect());
            std::future::ready(replies)
        }))
    }

    async fn check(&self, request: Request<Streaming<CheckBatch>>) -> Answer<Self::CheckStream> {
        let shared = Arc::clone(&self.shared);
        Ok(serve::<SaverCheck, _, _>(request.into_inner(), BATCHES, &self.stop, move |batch| {
            let replies = shared.with(|post| batch.iter().map(|request| post.check(request)).collect());
            std::future::ready(replies)
        }))
    }

    async fn ack(&self, request: Request<Streaming<AckBatch>>) -> Answer<Self::AckStream> {
        let shared = Arc::clone(&self.shared);
        Ok(serve::<SaverAck, _, _>(request.into_inner(), BATCHES, &self.stop, move |batch| {
            let replies = shared.with(|post| batch.iter().map(|request| post.ack(request)).collect());
            std::future::ready(replies)
        }))
    }

    async fn watch_products(&self, _: Request<WatchProductsRequest>) -> Answer<Self::WatchProductsStream> {
        // All there is, and it never changes.
        let all = ProductsEvent { snapshot: true, products: vec![self.product.clone()] };
        let events = stream::once(std::future::ready(Ok(all))).chain(stream::pending());
        Ok(Response::new(Box::pin(events.take_until(self.stop.clone().cancelled_owned()))))
    }

    async fn read_product(&self, request: Request<ReadProductRequest>) -> Answer<Product> {
        match request.into_inner().id {
            id if id == self.product.id => Ok(Response::new(self.product.clone())),
            id => Err(status(Error::new(ErrorCode::NotFound, format!("there is no product {id}")))),
        }
    }

    async fn put(&self, _: Request<Streaming<PutBatch>>) -> Answer<Self::PutStream> {
        Err(not_here("put"))
    }

    async fn put_uplink(&self, _: Request<Streaming<PutUplinkBatch>>) -> Answer<Self::PutUplinkStream> {
        Err(not_here("put_uplink"))
    }

    async fn read_message(&self, _: Request<ReadMessageRequest>) -> Answer<MessageRecord> {
        Err(not_here("read_message"))
    }

    async fn recall(&self, _: Request<RecallRequest>) -> Answer<RecallReply> {
        Err(not_here("recall"))
    }

    async fn read_inbox(&self, _: Request<ReadInboxRequest>) -> Answer<ReadInboxReply> {
        Err(not_here("read_inbox"))
    }

    async fn account(&self, _: Request<AccountRequest>) -> Answer<AccountReply> {
        Err(not_here("account"))
    }

    async fn put_broadcast(&self, _: Request<PutBroadcastRequest>) -> Answer<PutBroadcastReply> {
        Err(not_here("put_broadcast"))
    }

    async fn read_broadcast(&self, _: Request<ReadBroadcastRequest>) -> Answer<BroadcastRecord> {
        Err(not_here("read_broadcast"))
    }

    async fn claim_broadcasts(&self, _: Request<ClaimBroadcastsRequest>) -> Answer<ClaimBroadcastsReply> {
        Err(not_here("claim_broadcasts"))
    }

    async fn report_broadcast(&self, _: Request<ReportBroadcastRequest>) -> Answer<Empty> {
        Err(not_here("report_broadcast"))
    }

    async fn list_broadcasts(&self, _: Request<ListBroadcastsRequest>) -> Answer<ListBroadcastsReply> {
        Err(not_here("list_broadcasts"))
    }

    async fn claim_uplinks(&self, _: Request<ClaimUplinksRequest>) -> Answer<ClaimUplinksReply> {
        Err(not_here("claim_uplinks"))
    }

    async fn finish_uplinks(&self, _: Request<FinishUplinksRequest>) -> Answer<Empty> {
        Err(not_here("finish_uplinks"))
    }

    async fn write_product(&self, _: Request<WriteProductRequest>) -> Answer<Product> {
        Err(not_here("write_product"))
    }
}

/// Rooms do not ask for it, and only they are here.
fn not_here(method: &str) -> Status {
    Status::unimplemented(format!("the load tester's backend stands behind a room alone and has no {method}"))
}
