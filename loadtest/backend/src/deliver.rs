//! From the injectors to the rooms: lookups and deliveries, in groups of what is there.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::poll;
use futures::stream::{FuturesUnordered, StreamExt as _};
use longline_pb::register::{LookupReply, LookupRequest};
use longline_pb::room::DeliverReply;
use longline_pb::types::Route;
use longline_rpc::methods::{RegisterLookup, RoomDeliver};
use longline_rpc::{Peers, PipelineOptions, Pipelines, WhenFull};
use longline_types::{AddressKey, Error};
use tokio_util::sync::CancellationToken;

use crate::post::Item;
use crate::shared::Shared;
use crate::users::UserId;

/// For a room or a register to answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a register is asked that cannot say, and the pause before it is asked again.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(50);

type Answered = (Vec<Item>, Vec<Result<DeliverReply, Error>>);
type Found = Vec<(UserId, Option<Route>)>;
type Calls<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Brings everything on its way, until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, peers: Peers, stop: CancellationToken) {
    // What is under way is bounded by what is held; a pipeline that is full for a moment is waited for.
    let options = PipelineOptions { when_full: WhenFull::Wait, ..PipelineOptions::default() };
    let deliverer = Deliverer {
        shared,
        rooms: peers.pipelines(options),
        lookups: peers.pipelines(options),
        peers,
        deliveries: FuturesUnordered::new(),
        questions: FuturesUnordered::new(),
    };
    stop.run_until_cancelled(deliverer.run()).await;
}

struct Deliverer {
    shared: Arc<Shared>,
    peers: Peers,
    rooms: Pipelines<RoomDeliver>,
    lookups: Pipelines<RegisterLookup>,
    deliveries: Calls<Answered>,
    questions: Calls<Found>,
}

impl Deliverer {
    async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                Some((items, replies)) = self.deliveries.next() => {
                    self.shared.with(|post| post.delivered(items, replies));
                }
                Some(found) = self.questions.next() => {
                    self.shared.with(|post| found.into_iter().for_each(|(user, route)| post.found(user, route)));
                }
                () = self.shared.work.notified() => {}
            }
            self.ask();
            self.deliver().await;
        }
    }

    /// Has the routes looked up that are missing.
    fn ask(&self) {
        let asked = self.shared.with(|post| post.take_lookups());
        if !asked.is_empty() {
            self.questions.push(Box::pin(look_up(self.peers.clone(), self.lookups.clone(), asked)));
        }
    }

    /// Hands over all there is. Each call is begun before the next: so a room gets the messages of a user in their order.
    async fn deliver(&mut self) {
        loop {
            let groups = self.shared.with(|post| post.take_deliveries());
            if groups.is_empty() {
                return;
            }
            for (room, group) in groups {
                let rooms = self.rooms.clone();
                let mut call: Pin<Box<dyn Future<Output = Answered> + Send>> =
                    Box::pin(
                        async move { (group.items, rooms.call_group(room, group.requests, DEADLINE).await) },
                    );
                match poll!(call.as_mut()) {
                    std::task::Poll::Ready((items, replies)) => {
                        self.shared.with(|post| post.delivered(items, replies));
                    }
                    std::task::Poll::Pending => self.deliveries.push(call),
                }
            }
        }
    }
}

/// Asks the registers, again where they cannot say yet; in the end nobody knows.
async fn look_up(
    peers: Peers,
    lookups: Pipelines<RegisterLookup>,
    mut asked: Vec<(UserId, AddressKey)>,
) -> Found {
    let mut found = Found::with_capacity(asked.len());
    for _ in 0..TRIES {
        let mut unknown = Vec::new();
        for (one, reply) in ask_all(&peers, &lookups, std::mem::take(&mut asked)).await {
            match reply {
                Ok(LookupReply { error: None, route, .. }) => found.push((one.0, route)),
                _ => unknown.push(one),
            }
        }
        if unknown.is_empty() {
            return found;
        }
        asked = unknown;
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!(users = asked.len(), "no register says where users are");
    found.extend(asked.into_iter().map(|(user, _)| (user, None)));
    found
}

/// One question for each, by the owner of its slot.
async fn ask_all(
    peers: &Peers,
    lookups: &Pipelines<RegisterLookup>,
    asked: Vec<(UserId, AddressKey)>,
) -> Vec<((UserId, AddressKey), Result<LookupReply, Error>)> {
    let view = peers.view();
    let mut by_owner = BTreeMap::<Option<u32>, Vec<(UserId, AddressKey)>>::new();
    for one in asked {
        by_owner.entry(view.owner(one.1.slot()).map(|owner| owner.node)).or_default().push(one);
    }
    let mut all = Vec::new();
    for (owner, group) in by_owner {
        let requests =
            group.iter().map(|(_, key)| LookupRequest { key: Some((*key).into()), view: view.number });
        let replies = match owner {
            Some(node) => lookups.call_group(node, requests.collect(), DEADLINE).await,
            None => group.iter().map(|_| Err(Error::unavailable("no register owns the slot"))).collect(),
        };
        all.extend(group.into_iter().zip(replies));
    }
    all
}
