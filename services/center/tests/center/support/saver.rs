//! A saver that keeps everything in memory, and fails where the test says so.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use longline_pb::saver::saver_server::Saver;
use longline_pb::saver::*;
use longline_pb::types::{Empty, MessageState};
use longline_rpc::methods::{SaverAck, SaverCheck, SaverLoad, SaverPut, SaverPutUplink};
use longline_rpc::{PipelineStream, ServeOptions, serve, status};
use longline_types::{Error, ErrorCode, now_ms};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Number of the saver in the view.
pub(crate) const SAVER: u32 = 1;

#[derive(Clone, Default)]
pub(crate) struct FakeSaver {
    state: Arc<Mutex<State>>,
    products: watch::Sender<Vec<Product>>,
}

#[derive(Default)]
pub(crate) struct State {
    /// As they came.
    pub(crate) puts: Vec<PutRequest>,
    /// Errors that the next puts for a user end in.
    pub(crate) refusals: HashMap<String, VecDeque<ErrorCode>>,
    pub(crate) messages: HashMap<u64, MessageRecord>,
    keys: HashMap<(String, String), (u64, Vec<u8>)>,
    pub(crate) inboxes: HashMap<String, ReadInboxReply>,
    pub(crate) broadcasts: Vec<Broadcast>,
    /// How late those who watch the products hear of a change.
    pub(crate) lag: Duration,
}

#[derive(Default)]
pub(crate) struct Broadcast {
    pub(crate) record: BroadcastRecord,
    key: String,
    digest: Vec<u8>,
    claimed: Option<(u64, u64)>,
    /// Incarnations that claimed it, in order.
    pub(crate) claims: Vec<u64>,
}

impl FakeSaver {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Puts for this user fail like this, one after the other; then they work.
    pub(crate) fn refuse(&self, user: &str, errors: &[ErrorCode]) {
        self.state().refusals.insert(user.into(), errors.iter().copied().collect());
    }

    /// Ends a message, as a room's ack or time would.
    pub(crate) fn end(&self, id: u64, state: MessageState) {
        let mut saver = self.state();
        let record = saver.messages.get_mut(&id).unwrap();
        record.state = state.into();
        record.ended_at_ms = now_ms();
    }

    /// A broadcast that a center drove which has died, whose claim stands for this long.
    pub(crate) fn leave_broadcast(&self, record: BroadcastRecord, lease_ms: u64) {
        let claimed = Some((1, now_ms() + lease_ms));
        self.state().broadcasts.push(Broadcast { record, claimed, ..Broadcast::default() });
    }

    /// Adds or changes a product behind everybody's back.
    pub(crate) fn store_product(&self, product: Product) {
        self.products.send_modify(|products| {
            products.retain(|p| p.id != product.id);
            products.push(product);
        });
    }

    pub(crate) fn product(&self, id: u32) -> Option<Product> {
        self.products.borrow().iter().find(|p| p.id == id).cloned()
    }

    fn put(&self, request: PutRequest) -> PutReply {
        let mut state = self.state();
        state.puts.push(request.clone());
        let (address, message) = (request.address.unwrap(), request.message.unwrap());
        if let Some(code) = state.refusals.get_mut(&address.user).and_then(VecDeque::pop_front) {
            return PutReply {
                error: Some(Error::new(code, "as the test says").into()),
                ..PutReply::default()
            };
        }
        let waiting = MessageState::Waiting.into();
        if !request.idempotency_key.is_empty() {
            let key = (request.idempotency_key, address.user.clone());
            match state.keys.get(&key) {
                Some((_, digest)) if *digest != request.digest => {
                    let error = Error::new(ErrorCode::Conflict, "the key was used for another request");
                    return PutReply { error: Some(error.into()), ..PutReply::default() };
                }
                Some((id, _)) => {
                    let state = state.messages[id].state;
                    return PutReply { id: *id, state, repeated_request: true, error: None };
                }
                None => state.keys.insert(key, (message.id, request.digest)),
            };
        }
        let record = MessageRecord {
            address: Some(address),
            id: message.id,
            state: waiting,
            class: message.class,
            accepted_at_ms: message.sent_at_ms,
            expires_at_ms: message.expires_at_ms,
            stored_at_ms: now_ms(),
            stored_by: SAVER,
            collapse_key: request.collapse_key,
            ..MessageRecord::default()
        };
        state.messages.insert(message.id, record);
        PutReply { id: message.id, state: waiting, ..PutReply::default() }
    }

    fn write(&self, mut product: Product, expected: u64) -> Result<Product, Error> {
        let conflict = |why: &str| Err(Error::new(ErrorCode::Conflict, why));
        let products = self.products.borrow().clone();
        if products.iter().any(|p| p.name == product.name && p.id != product.id) {
            return conflict("the name is taken");
        }
        let stored = products.iter().find(|p| p.id == product.id).map_or(0, |p| p.revision);
        if product.id == 0 {
            product.id = products.iter().map(|p| p.id).max().unwrap_or(0) + 1;
        } else if stored != expected {
            return conflict("another revision is stored");
        }
        product.revision = stored + 1;
        product.changed_at_ms = now_ms();
        if stored == 0 {
            product.created_at_ms = now_ms();
        }
        self.store_product(product.clone());
        Ok(product)
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn absent<T>(what: Option<T>) -> Answer<T> {
    what.map(Response::new).ok_or_else(|| status(Error::not_found("not here")))
}

#[tonic::async_trait]
impl Saver for FakeSaver {
    type PutStream = PipelineStream<SaverPut>;
    type LoadStream = PipelineStream<SaverLoad>;
    type CheckStream = PipelineStream<SaverCheck>;
    type AckStream = PipelineStream<SaverAck>;
    type PutUplinkStream = PipelineStream<SaverPutUplink>;
    type WatchProductsStream = Pin<Box<dyn Stream<Item = Result<ProductsEvent, Status>> + Send>>;

    async fn put(&self, request: Request<Streaming<PutBatch>>) -> Answer<Self::PutStream> {
        let fake = self.clone();
        let options = ServeOptions { concurrency: 8 };
        Ok(serve::<SaverPut, _, _>(request.into_inner(), options, &CancellationToken::new(), move |batch| {
            let replies = batch.into_iter().map(|request| fake.put(request)).collect();
            std::future::ready(replies)
        }))
    }

    async fn load(&self, _: Request<Streaming<LoadBatch>>) -> Answer<Self::LoadStream> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn check(&self, _: Request<Streaming<CheckBatch>>) -> Answer<Self::CheckStream> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn ack(&self, _: Request<Streaming<AckBatch>>) -> Answer<Self::AckStream> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn put_uplink(&self, _: Request<Streaming<PutUplinkBatch>>) -> Answer<Self::PutUplinkStream> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn read_message(&self, request: Request<ReadMessageRequest>) -> Answer<MessageRecord> {
        let request = request.into_inner();
        let record = self.state().messages.get(&request.id).cloned();
        absent(record.filter(|r| r.address.as_ref().is_some_and(|a| a.product == request.product)))
    }

    async fn recall(&self, request: Request<RecallRequest>) -> Answer<RecallReply> {
        let mut state = self.state();
        let Some(record) = state.messages.get_mut(&request.into_inner().id) else { return absent(None) };
        let recalled = record.state() == MessageState::Waiting;
        if recalled {
            record.state = MessageState::Recalled.into();
            record.ended_at_ms = now_ms();
        }
        Ok(Response::new(RecallReply { recalled, state: record.state, address: record.address.clone() }))
    }

    async fn read_inbox(&self, request: Request<ReadInboxRequest>) -> Answer<ReadInboxReply> {
        let user = request.into_inner().address.unwrap().user;
        Ok(Response::new(self.state().inboxes.get(&user).copied().unwrap_or_default()))
    }

    async fn account(&self, request: Request<AccountRequest>) -> Answer<AccountReply> {
        let product = request.into_inner().product;
        let state = self.state();
        let of_product =
            |r: &&MessageRecord| product == 0 || r.address.as_ref().is_some_and(|a| a.product == product);
        let mut counts = HashMap::new();
        for record in state.messages.values().filter(of_product) {
            *counts.entry(record.state).or_insert(0) += 1;
        }
        let accepted = counts.values().sum();
        let counts = counts.into_iter().map(|(state, count)| Count { state, count }).collect();
        Ok(Response::new(AccountReply { counts, accepted }))
    }

    async fn put_broadcast(&self, request: Request<PutBroadcastRequest>) -> Answer<PutBroadcastReply> {
        let request = request.into_inner();
        let mut state = self.state();
        let same_key = |b: &&Broadcast| !b.key.is_empty() && b.key == request.idempotency_key;
        if let Some(first) = state.broadcasts.iter().find(same_key) {
            if first.digest != request.digest {
                return Err(status(Error::new(ErrorCode::Conflict, "the key was used for another request")));
            }
            let message = first.record.message.as_ref().unwrap();
            let (id, seq) = (message.id, message.broadcast_seq);
            return Ok(Response::new(PutBroadcastReply { id, seq, repeated_request: true }));
        }
        let mut message = request.message.unwrap();
        message.broadcast_seq = state.broadcasts.len() as u64 + 1;
        let (id, seq) = (message.id, message.broadcast_seq);
        let record = BroadcastRecord {
            product: request.product,
            message: Some(message),
            rate_per_second: request.rate_per_second,
            created_at_ms: now_ms(),
            ..BroadcastRecord::default()
        };
        let (key, digest) = (request.idempotency_key, request.digest);
        state.broadcasts.push(Broadcast { record, key, digest, ..Broadcast::default() });
        Ok(Response::new(PutBroadcastReply { id, seq, repeated_request: false }))
    }

    async fn read_broadcast(&self, request: Request<ReadBroadcastRequest>) -> Answer<BroadcastRecord> {
        let id = request.into_inner().id;
        let state = self.state();
        let found = state.broadcasts.iter().find(|b| b.record.message.as_ref().is_some_and(|m| m.id == id));
        absent(found.map(|b| b.record.clone()))
    }

    async fn claim_broadcasts(
        &self,
        request: Request<ClaimBroadcastsRequest>,
    ) -> Answer<ClaimBroadcastsReply> {
        let request = request.into_inner();
        let now = now_ms();
        let mut state = self.state();
        let free = state
            .broadcasts
            .iter_mut()
            .filter(|b| !b.record.finished && b.claimed.is_none_or(|(_, until)| until <= now))
            .take(request.limit as usize);
        let claim = |b: &mut Broadcast| {
            b.claimed = Some((request.incarnation, now + u64::from(request.lease_ms)));
            b.claims.push(request.incarnation);
            b.record.clone()
        };
        Ok(Response::new(ClaimBroadcastsReply { broadcasts: free.map(claim).collect() }))
    }

    async fn report_broadcast(&self, request: Request<ReportBroadcastRequest>) -> Answer<Empty> {
        let request = request.into_inner();
        let mut state = self.state();
        let found = state
            .broadcasts
            .iter_mut()
            .find(|b| b.record.message.as_ref().is_some_and(|m| m.id == request.id));
        let Some(broadcast) = found else { return absent(None) };
        if broadcast.claimed.is_none_or(|(incarnation, _)| incarnation != request.incarnation) {
            return Err(status(Error::new(ErrorCode::Conflict, "the claim is another's")));
        }
        broadcast.claimed = Some((request.incarnation, now_ms() + u64::from(request.lease_ms)));
        broadcast.record.rooms = request.rooms;
        broadcast.record.finished |= request.finished;
        Ok(Response::new(Empty {}))
    }

    async fn list_broadcasts(&self, _: Request<ListBroadcastsRequest>) -> Answer<ListBroadcastsReply> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn claim_uplinks(&self, _: Request<ClaimUplinksRequest>) -> Answer<ClaimUplinksReply> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn finish_uplinks(&self, _: Request<FinishUplinksRequest>) -> Answer<Empty> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn watch_products(&self, _: Request<WatchProductsRequest>) -> Answer<Self::WatchProductsStream> {
        let changes = tokio_stream::wrappers::WatchStream::new(self.products.subscribe());
        let fake = self.clone();
        let event = move |products| {
            let lag = fake.state().lag;
            async move {
                tokio::time::sleep(lag).await;
                Ok(ProductsEvent { snapshot: true, products })
            }
        };
        Ok(Response::new(Box::pin(changes.then(event))))
    }

    async fn read_product(&self, request: Request<ReadProductRequest>) -> Answer<Product> {
        absent(self.product(request.into_inner().id))
    }

    async fn write_product(&self, request: Request<WriteProductRequest>) -> Answer<Product> {
        let request = request.into_inner();
        self.write(request.product.unwrap(), request.expected_revision).map(Response::new).map_err(status)
    }
}
