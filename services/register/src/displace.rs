//! Telling rooms which of their routes are not current any more, until they confirm or leave the view (R5).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longline_pb::room::DisplaceRequest;
use longline_rpc::methods::RoomDisplace;
use longline_rpc::{Peers, PipelineOptions, Pipelines, WhenFull};
use longline_types::{AddressKey, Route, limits};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::rooms::Room;

const CONFIRM_WITHIN: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A route that was displaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Displaced {
    pub(crate) key: AddressKey,
    pub(crate) route: Route,
}

/// The displaced routes of each room that it has not confirmed. Bounded over all rooms; what comes beyond that is dropped and
/// counted, and the room learns it when it next asserts the route (R6).
#[derive(Clone)]
pub(crate) struct Displacer {
    shared: Arc<Shared>,
}

struct Shared {
    peers: Peers,
    rooms: Pipelines<RoomDisplace>,
    bound: usize,
    metrics: Metrics,
    stop: CancellationToken,
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    /// A room that has a queue has a task that empties it.
    by_room: HashMap<Room, VecDeque<Displaced>>,
    count: usize,
}

impl Displacer {
    pub(crate) fn new(peers: Peers, bound: usize, metrics: Metrics, stop: CancellationToken) -> Displacer {
        let options = PipelineOptions { when_full: WhenFull::Wait, ..PipelineOptions::default() };
        let rooms = peers.pipelines(options);
        Displacer {
            shared: Arc::new(Shared { peers, rooms, bound, metrics, stop, queues: Mutex::default() }),
        }
    }

    /// Has these told to their rooms.
    pub(crate) fn tell(&self, displaced: impl IntoIterator<Item = Displaced>) {
        for one in displaced {
            let room = Room { number: one.route.node, incarnation: one.route.incarnation };
            if self.shared.queue(room, one) {
                tokio::spawn(self.shared.clone().empty(room));
            }
        }
    }
}

impl Shared {
    /// Queues it; true if the room has no task yet.
    fn queue(&self, room: Room, displaced: Displaced) -> bool {
        let mut queues = self.lock();
        if queues.count >= self.bound {
            self.metrics.displaced_dropped.inc();
            return false;
        }
        queues.count += 1;
        self.metrics.displacing.set(queues.count as i64);
        let first = !queues.by_room.contains_key(&room);
        queues.by_room.entry(room).or_default().push_back(displaced);
        first
    }

    /// Tells the room until nothing is left.
    async fn empty(self: Arc<Shared>, room: Room) {
        let mut pause = FIRST_PAUSE;
        while let Some(group) = self.group(room) {
            if !self.is_live(room) {
                self.give_up(room);
                return;
            }
            let requests = group.iter().map(request).collect();
            let replies = tokio::select! {
                replies = self.rooms.call_group(room.number, requests, CONFIRM_WITHIN) => replies,
                () = self.stop.cancelled() => return,
            };
            let unconfirmed: Vec<Displaced> =
                group.iter().zip(&replies).filter(|(_, reply)| reply.is_err()).map(|(d, _)| *d).collect();
            self.metrics.displaced_told.inc_by((group.len() - unconfirmed.len()) as u64);
            let failed = !unconfirmed.is_empty();
            self.settle(room, group.len(), unconfirmed);
            if failed {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.stop.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                pause = FIRST_PAUSE;
            }
        }
    }

    /// The next to tell. None: the queue is empty, and gone.
    fn group(&self, room: Room) -> Option<Vec<Displaced>> {
        let mut queues = self.lock();
        let group: Vec<Displaced> =
            queues.by_room.get(&room)?.iter().take(limits::BATCH_ITEMS).copied().collect();
        if group.is_empty() {
            queues.by_room.remove(&room);
            return None;
        }
        Some(group)
    }

    /// Takes the first `told` off the queue, and puts those that were not confirmed behind the others.
    fn settle(&self, room: Room, told: usize, unconfirmed: Vec<Displaced>) {
        let mut queues = self.lock();
        queues.count = queues.count + unconfirmed.len() - told;
        self.metrics.displacing.set(queues.count as i64);
        if let Some(queue) = queues.by_room.get_mut(&room) {
            queue.drain(..told);
            queue.extend(unconfirmed);
        }
    }

    /// The room has left the view: its sessions are nobody's.
    fn give_up(&self, room: Room) {
        let mut queues = self.lock();
        let left = queues.by_room.remove(&room).map_or(0, |queue| queue.len());
        queues.count -= left;
        self.metrics.displacing.set(queues.count as i64);
        self.metrics.displaced_left.inc_by(left as u64);
    }

    fn is_live(&self, room: Room) -> bool {
        self.peers.view().node(room.number).is_some_and(|n| n.incarnation == room.incarnation)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(displaced: &Displaced) -> DisplaceRequest {
    DisplaceRequest {
        key_high: displaced.key.high,
        key_low: displaced.key.low,
        route: Some(displaced.route.into()),
    }
}

#[cfg(test)]
mod tests {
    use longline_testkit::eventually;
    use longline_types::{Load, Node, NodeState, Role, SessionId, Stamp, View};
    use prometheus::Registry;
    use tokio::sync::watch;

    use super::*;

    fn displaced(counter: u64) -> Displaced {
        let stamp = Stamp { generation: 1, counter };
        Displaced {
            key: AddressKey { high: 1, low: counter },
            route: Route { stamp, node: 5, incarnation: 50, session: SessionId(counter) },
        }
    }

    /// A view with a room that nobody answers for.
    fn view(number: u64, with_room: bool) -> Arc<View> {
        let room = Node {
            number: 5,
            incarnation: 50,
            role: Role::Room,
            name: String::new(),
            idc: String::new(),
            rpc: "127.0.0.1:1".into(),
            public: Vec::new(),
            noise_key: String::new(),
            state: NodeState::Ready,
            load: Load::default(),
            registered_at_ms: 0,
            version: String::new(),
        };
        Arc::new(View::new(number, with_room.then_some(room), Vec::new()))
    }

    #[tokio::test]
    async fn what_is_not_confirmed_is_kept_up_to_the_bound_until_the_room_leaves_r5() {
        let (views, watched) = watch::channel(view(1, true));
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let peers = Peers::new(watched, &registry);
        let displacer = Displacer::new(peers, 2, metrics.clone(), CancellationToken::new());
        displacer.tell((1..=3).map(displaced));
        assert_eq!((metrics.displacing.get(), metrics.displaced_dropped.get()), (2, 1));
        views.send_replace(view(2, false));
        eventually(Duration::from_secs(20), "the room is given up", async || metrics.displacing.get() == 0)
            .await;
        assert_eq!((metrics.displaced_left.get(), metrics.displaced_told.get()), (2, 0));
        displacer.tell([displaced(4)]);
        eventually(Duration::from_secs(20), "and so are later ones", async || {
            metrics.displaced_left.get() == 3
        })
        .await;
    }
}
