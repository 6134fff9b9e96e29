//! What the cluster asks of the room, over gRPC.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longline_pb::convert;
use longline_pb::room::room_server::Room;
use longline_pb::room::{
    BroadcastProgress, BroadcastRequest, DeliverBatch, DeliverReply, DeliverRequest, DeliverResult,
    DisplaceBatch, DisplaceReply, DisplaceRequest, InFlight, InspectReply, InspectRequest, KickReply,
    KickRequest,
};
use longline_pb::types;
use longline_rpc::methods::{RoomDeliver, RoomDisplace};
use longline_rpc::{PipelineStream, ServeOptions, serve, status};
use longline_types::{Address, AddressKey, Error, ErrorCode, ProductId, Route};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::Walks;
use crate::link::{Command, Delivered, Delivery, Inspection, Message};
use crate::links::{Links, displace_here};

/// Batches of one stream that are under way at once. Deliveries keep their order: a shard's queue is in order, and a batch is
/// queued before the next is read.
const CONCURRENCY: usize = 8;
/// How long a shard may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// The gRPC service of one room.
#[derive(Clone)]
pub(crate) struct RoomService {
    links: Arc<Links>,
    walks: Arc<Walks>,
    shutdown: CancellationToken,
}

impl RoomService {
    pub(crate) fn new(links: Arc<Links>, shutdown: CancellationToken) -> RoomService {
        RoomService { links, walks: Arc::default(), shutdown }
    }

    /// Asks the shard that holds the route's session; none if there is no such shard.
    async fn ask<R>(
        &self,
        route: &Route,
        command: impl FnOnce(oneshot::Sender<R>) -> Command,
    ) -> Result<Option<R>, Status> {
        let Some(shard) = self.links.answers.shard(route.session) else { return Ok(None) };
        let (reply, answer) = oneshot::channel();
        let busy = || status(Error::new(ErrorCode::ResourceExhausted, "the shard's queue is full"));
        shard.command(command(reply)).map_err(|_| busy())?;
        let late = || status(Error::new(ErrorCode::DeadlineExceeded, "the shard did not answer in time"));
        tokio::time::timeout(ANSWER_DEADLINE, answer).await.map_err(|_| late())?.map(Some).map_err(|_| late())
    }
}

#[tonic::async_trait]
impl Room for RoomService {
    type DeliverStream = PipelineStream<RoomDeliver>;
    type DisplaceStream = PipelineStream<RoomDisplace>;

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverBatch>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let links = self.links.clone();
        let options = ServeOptions { concurrency: CONCURRENCY };
        Ok(serve::<RoomDeliver, _, _>(request.into_inner(), options, &self.shutdown, move |batch| {
            // Queued here, before the next batch is read; only the results are waited for.
            let waiting = queue(&links, batch);
            async move { waiting.results().await }
        }))
    }

    async fn displace(
        &self,
        request: Request<Streaming<DisplaceBatch>>,
    ) -> Result<Response<Self::DisplaceStream>, Status> {
        let links = self.links.clone();
        let options = ServeOptions { concurrency: CONCURRENCY };
        Ok(serve::<RoomDisplace, _, _>(request.into_inner(), options, &self.shutdown, move |batch| {
            let links = links.clone();
            async move { futures::future::join_all(batch.into_iter().map(|item| displace(&links, item))).await }
        }))
    }

    async fn broadcast(
        &self,
        request: Request<BroadcastRequest>,
    ) -> Result<Response<BroadcastProgress>, Status> {
        let request = request.into_inner();
        let message: Message = convert::required(request.message, "message").map_err(status)?.into();
        let product = ProductId(request.product);
        let progress = if request.start {
            let shards = self.links.answers.shards();
            let started = self.walks.start(shards, product, &message, request.rate_per_second);
            Some(started.map_err(status)?)
        } else {
            self.walks.progress(product, message.id)
        };
        Ok(Response::new(progress.map_or_else(BroadcastProgress::default, |p| BroadcastProgress {
            known: true,
            done: p.done,
            sessions: p.sessions,
            pushed: p.pushed,
            acked: p.acked,
        })))
    }

    async fn inspect(&self, request: Request<InspectRequest>) -> Result<Response<InspectReply>, Status> {
        let InspectRequest { address, route } = request.into_inner();
        let (address, route) = named(&address, route)?;
        let found = self.ask(&route, |reply| Command::Inspect { address, route, reply }).await?;
        Ok(Response::new(found.flatten().map_or_else(InspectReply::default, inspected)))
    }

    async fn kick(&self, request: Request<KickRequest>) -> Result<Response<KickReply>, Status> {
        let KickRequest { address, route, detail } = request.into_inner();
        let (address, route) = named(&address, route)?;
        let found = self.ask(&route, |reply| Command::Kick { address, route, detail, reply }).await?;
        Ok(Response::new(KickReply { found: found.unwrap_or(false) }))
    }
}

fn named(address: &Option<types::Address>, route: Option<types::Route>) -> Result<(Address, Route), Status> {
    let address = convert::address(address).map_err(status)?;
    Ok((address, convert::required(route, "route").map_err(status)?.into()))
}

/// Deliveries that were handed to shards.
struct Waiting {
    results: Vec<DeliverResult>,
    shards: Vec<(Vec<usize>, oneshot::Receiver<Vec<Delivered>>)>,
}

/// Hands a batch to the shards, in its order.
fn queue(links: &Links, batch: Vec<DeliverRequest>) -> Waiting {
    let came_at = Instant::now();
    let shards = links.answers.shards();
    let mut results = vec![DeliverResult::NotHere; batch.len()];
    let mut by_shard: Vec<(Vec<usize>, Vec<Delivery>)> = shards.iter().map(|_| Default::default()).collect();
    for (index, item) in batch.into_iter().enumerate() {
        let Some(delivery) = delivery(item) else { continue };
        if let Some((indexes, deliveries)) = by_shard.get_mut(usize::from(delivery.route.session.shard())) {
            indexes.push(index);
            deliveries.push(delivery);
        }
    }
    let mut waiting = Vec::new();
    for (shard, (indexes, deliveries)) in shards.iter().zip(by_shard) {
        if deliveries.is_empty() {
            continue;
        }
        // What the shard does not answer it has refused.
        indexes.iter().for_each(|&index| results[index] = DeliverResult::Overloaded);
        if let Ok(answer) = shard.deliver(deliveries, came_at) {
            waiting.push((indexes, answer));
        }
    }
    Waiting { results, shards: waiting }
}

fn delivery(item: DeliverRequest) -> Option<Delivery> {
    let address = convert::address(&item.address).ok()?;
    Some(Delivery { address, route: item.route?.into(), message: item.message?.into() })
}

impl Waiting {
    async fn results(mut self) -> Vec<DeliverReply> {
        for (indexes, answer) in self.shards {
            let Ok(Ok(delivered)) = tokio::time::timeout(ANSWER_DEADLINE, answer).await else { continue };
            for (index, delivered) in indexes.into_iter().zip(delivered) {
                self.results[index] = match delivered {
                    Delivered::Pushed => DeliverResult::Pushed,
                    Delivered::Deferred => DeliverResult::Deferred,
                    Delivered::NotHere => DeliverResult::NotHere,
                    Delivered::Dropped => DeliverResult::Dropped,
                };
            }
        }
        self.results.into_iter().map(|result| DeliverReply { result: result.into() }).collect()
    }
}

async fn displace(links: &Links, item: DisplaceRequest) -> DisplaceReply {
    let key = AddressKey { high: item.key_high, low: item.key_low };
    match item.route {
        Some(route) => DisplaceReply { found: displace_here(links, key, route.into()).await },
        None => DisplaceReply { found: false },
    }
}

fn inspected(i: Inspection) -> InspectReply {
    InspectReply {
        found: true,
        connected_at_ms: i.connected_at_ms,
        peer: i.peer,
        device: i.device,
        sdk: i.sdk,
        platform: i.platform,
        heartbeat_s: i.heartbeat_s,
        dirty: i.dirty,
        loading: i.loading,
        window: i.window,
        in_flight: i
            .in_flight
            .into_iter()
            .map(|(id, written_at_ms)| InFlight { id: id.0, written_at_ms })
            .collect(),
        last_seen_ms: i.last_seen_ms,
        transport: i.transport.to_owned(),
        state: i.state.to_owned(),
        network: i.network.to_owned(),
        binds: i.binds,
        stalled: i.stalled,
        unconfirmed: i.unconfirmed,
        unwritten_bytes: i.unwritten_bytes,
        frames_left: i.frames_left,
    }
}
