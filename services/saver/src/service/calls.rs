//! The gRPC methods: pipelines are handed on, rare calls are answered here.

use std::future::Future;

use longline_pb::saver::saver_server::Saver;
use longline_pb::saver::{
    AccountReply, AccountRequest, AckBatch, BroadcastRecord, CheckBatch, ClaimBroadcastsReply,
    ClaimBroadcastsRequest, ClaimUplinksReply, ClaimUplinksRequest, Count, FinishUplinksRequest,
    ListBroadcastsReply, ListBroadcastsRequest, LoadBatch, MessageRecord, Product, ProductsEvent, PutBatch,
    PutBroadcastReply, PutBroadcastRequest, PutUplinkBatch, ReadBroadcastRequest, ReadInboxReply,
    ReadInboxRequest, ReadMessageRequest, ReadProductRequest, RecallReply, RecallRequest,
    ReportBroadcastRequest, WatchProductsRequest, WriteProductRequest,
};
use longline_pb::{convert, types};
use longline_rpc::methods::{SaverAck, SaverCheck, SaverLoad, SaverPut, SaverPutUplink};
use longline_rpc::{PipelineStream, ServeOptions, serve, status};
use longline_types::{Error, ErrorCode, MessageState, ProductId};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, WATCHES, requests};
use crate::metrics::Operation;
use crate::store::Store;

/// Batches of one caller that are in the store at once.
const BATCHES: ServeOptions = ServeOptions { concurrency: 16 };
/// A list of broadcasts is cut here; who asks goes on above the last.
const LIST_BYTES: usize = 8 * 1024 * 1024;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl<S: Store> Saver for Service<S> {
    type PutStream = PipelineStream<SaverPut>;
    type LoadStream = PipelineStream<SaverLoad>;
    type CheckStream = PipelineStream<SaverCheck>;
    type AckStream = PipelineStream<SaverAck>;
    type PutUplinkStream = PipelineStream<SaverPutUplink>;
    type WatchProductsStream = ReceiverStream<Result<ProductsEvent, Status>>;

    async fn put(&self, request: Request<Streaming<PutBatch>>) -> Answer<Self::PutStream> {
        let service = self.clone();
        let handle = move |batch| service.clone().put_batch(batch);
        Ok(serve::<SaverPut, _, _>(request.into_inner(), BATCHES, &self.stop, handle))
    }

    async fn load(&self, request: Request<Streaming<LoadBatch>>) -> Answer<Self::LoadStream> {
        let service = self.clone();
        let handle = move |batch| service.clone().load_batch(batch);
        Ok(serve::<SaverLoad, _, _>(request.into_inner(), BATCHES, &self.stop, handle))
    }

    async fn check(&self, request: Request<Streaming<CheckBatch>>) -> Answer<Self::CheckStream> {
        let service = self.clone();
        let handle = move |batch| service.clone().check_batch(batch);
        Ok(serve::<SaverCheck, _, _>(request.into_inner(), BATCHES, &self.stop, handle))
    }

    async fn ack(&self, request: Request<Streaming<AckBatch>>) -> Answer<Self::AckStream> {
        let service = self.clone();
        let handle = move |batch| service.clone().ack_batch(batch);
        Ok(serve::<SaverAck, _, _>(request.into_inner(), BATCHES, &self.stop, handle))
    }

    async fn put_uplink(&self, request: Request<Streaming<PutUplinkBatch>>) -> Answer<Self::PutUplinkStream> {
        let service = self.clone();
        let handle = move |batch| service.clone().put_uplink_batch(batch);
        Ok(serve::<SaverPutUplink, _, _>(request.into_inner(), BATCHES, &self.stop, handle))
    }

    async fn read_message(&self, request: Request<ReadMessageRequest>) -> Answer<MessageRecord> {
        let ReadMessageRequest { product, id } = request.into_inner();
        self.rare(async {
            let record = self.store.message(requests::product(product)?, requests::id(id)?).await?;
            record.ok_or_else(|| no_message(product, id))
        })
        .await
    }

    async fn recall(&self, request: Request<RecallRequest>) -> Answer<RecallReply> {
        let RecallRequest { product, id } = request.into_inner();
        self.rare(async {
            let outcome = self.store.recall(requests::product(product)?, requests::id(id)?).await?;
            let outcome = outcome.ok_or_else(|| no_message(product, id))?;
            if outcome.recalled {
                self.metrics.ended(MessageState::Recalled, 1);
            }
            Ok(RecallReply {
                recalled: outcome.recalled,
                state: types::MessageState::from(outcome.state).into(),
                address: Some((&outcome.address).into()),
            })
        })
        .await
    }

    async fn read_inbox(&self, request: Request<ReadInboxRequest>) -> Answer<ReadInboxReply> {
        let request = request.into_inner();
        self.rare(async {
            let inbox = self.store.inbox(&convert::address(&request.address)?).await?;
            Ok(ReadInboxReply {
                waiting: inbox.waiting,
                broadcasts_waiting: inbox.broadcasts_waiting,
                oldest_id: inbox.oldest.map_or(0, |id| id.0),
            })
        })
        .await
    }

    async fn account(&self, request: Request<AccountRequest>) -> Answer<AccountReply> {
        let product = request.into_inner().product;
        self.rare(async {
            let account = self.store.account((product != 0).then_some(ProductId(product))).await?;
            let count = |(state, count)| Count { state: types::MessageState::from(state).into(), count };
            let counts = account.counts.into_iter().map(count).collect();
            Ok(AccountReply { counts, accepted: account.accepted })
        })
        .await
    }

    async fn put_broadcast(&self, request: Request<PutBroadcastRequest>) -> Answer<PutBroadcastReply> {
        let request = request.into_inner();
        self.rare(async {
            let stored = self.store.put_broadcast(requests::put_broadcast(request)?).await?;
            Ok(PutBroadcastReply { id: stored.id.0, seq: stored.seq, repeated_request: stored.repeated })
        })
        .await
    }

    async fn read_broadcast(&self, request: Request<ReadBroadcastRequest>) -> Answer<BroadcastRecord> {
        let ReadBroadcastRequest { product, id } = request.into_inner();
        self.rare(async {
            let record = self.store.broadcast(requests::product(product)?, requests::id(id)?).await?;
            record.ok_or_else(|| Error::not_found(format_args!("product {product} has no broadcast {id}")))
        })
        .await
    }

    async fn claim_broadcasts(
        &self,
        request: Request<ClaimBroadcastsRequest>,
    ) -> Answer<ClaimBroadcastsReply> {
        let request = request.into_inner();
        self.rare(async {
            let broadcasts = self.store.claim_broadcasts(requests::claim_broadcasts(request)?).await?;
            Ok(ClaimBroadcastsReply { broadcasts })
        })
        .await
    }

    async fn report_broadcast(&self, request: Request<ReportBroadcastRequest>) -> Answer<types::Empty> {
        let request = request.into_inner();
        self.rare(async {
            self.store.report_broadcast(requests::report(request)?).await?;
            Ok(types::Empty {})
        })
        .await
    }

    async fn list_broadcasts(&self, request: Request<ListBroadcastsRequest>) -> Answer<ListBroadcastsReply> {
        let request = request.into_inner();
        self.rare(async {
            let (product, limit) = (requests::product(request.product)?, requests::limit(request.limit)?);
            let broadcasts = self.store.broadcasts(product, request.above, limit).await?;
            Ok(ListBroadcastsReply { broadcasts: cut(broadcasts) })
        })
        .await
    }

    async fn claim_uplinks(&self, request: Request<ClaimUplinksRequest>) -> Answer<ClaimUplinksReply> {
        let request = request.into_inner();
        self.rare(async {
            let uplinks = self.store.claim_uplinks(requests::claim_uplinks(request)?).await?;
            Ok(ClaimUplinksReply { uplinks })
        })
        .await
    }

    async fn finish_uplinks(&self, request: Request<FinishUplinksRequest>) -> Answer<types::Empty> {
        let request = request.into_inner();
        self.rare(async {
            self.store.finish_uplinks(requests::finish_uplinks(request)?).await?;
            Ok(types::Empty {})
        })
        .await
    }

    async fn watch_products(
        &self,
        _request: Request<WatchProductsRequest>,
    ) -> Answer<Self::WatchProductsStream> {
        let permit = self.watches.clone().try_acquire_owned().map_err(|_| {
            status(Error::new(
                ErrorCode::ResourceExhausted,
                format_args!("there are {WATCHES} watches already"),
            ))
        })?;
        // One event ahead: a slow reader gets the latest, not a queue.
        let (to, events) = mpsc::channel(1);
        let (catalog, stop) = (self.catalog.clone(), self.stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = catalog.send(to.clone()) => {}
                () = to.closed() => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn read_product(&self, request: Request<ReadProductRequest>) -> Answer<Product> {
        let id = request.into_inner().id;
        self.rare(async {
            let product = self.store.product(requests::product(id)?).await?;
            product.ok_or_else(|| Error::not_found(format_args!("there is no product {id}")))
        })
        .await
    }

    async fn write_product(&self, request: Request<WriteProductRequest>) -> Answer<Product> {
        let request = request.into_inner();
        self.rare(async {
            let expected = request.expected_revision;
            let product = requests::write_product(request)?;
            let written = self.store.write_product(product, expected).await?;
            self.catalog.changed();
            Ok(written)
        })
        .await
    }
}

impl<S: Store> Service<S> {
    /// Answers a rare call: its time is taken and its failure counted.
    async fn rare<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Answer<T> {
        let _timer = self.metrics.call(Operation::Rare);
        call.await.map(Response::new).map_err(|error| {
            self.metrics.failed(Operation::Rare, &error);
            status(error)
        })
    }
}

fn no_message(product: u32, id: u64) -> Error {
    Error::not_found(format_args!("product {product} has no message {id}, or its record is past retention"))
}

/// As many as fit into one reply, at least one.
fn cut(mut broadcasts: Vec<BroadcastRecord>) -> Vec<BroadcastRecord> {
    let mut bytes = 0;
    let fitting = broadcasts.iter().take_while(|b| {
        bytes += b.encoded_len();
        bytes <= LIST_BYTES
    });
    let fitting = fitting.count().max(1);
    broadcasts.truncate(fitting);
    broadcasts
}
