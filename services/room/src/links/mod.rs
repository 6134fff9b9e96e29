//! The links: what the shards ask, carried through the pipelines to the other services, and the answers brought back.
//!
//! [`dispatch`] takes the questions off the shards' queue and gives each kind to its own lane, so that a saver that hangs does
//! not keep a bind waiting. A lane that is full answers "failed" at once; the shard asks again after its backoff.

mod answers;
mod bind;
mod departures;
mod dispatch;
mod identity;
mod inbox;
mod lane;
mod line;
mod load;
mod metrics;
mod orders;
mod refill;
mod routes;
mod signpost;
mod tickets;
mod uplink;

use std::sync::Arc;
use std::time::Duration;

use longline_boot::Health;
use longline_member::Member;
use longline_products::ProductTable;
use longline_rpc::methods::{
    CoordinatorPresence, CoordinatorUplink, RegisterChange, SaverAck, SaverCheck, SaverLoad,
};
use longline_rpc::{Linger, Peers, PipelineOptions, Pipelines, WhenFull};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::answers::Answers;
pub(crate) use self::departures::Cause;
use self::departures::{Departures, Parts};
use self::lane::Lane;
use self::line::Line;
use self::load::CountSessions;
use self::metrics::Metrics;
#[cfg(test)]
pub(crate) use self::metrics::metric_descriptions;
pub use self::orders::{DRAIN_PREFIX, drain_key};
use self::refill::Refills;
use self::routes::Routes;
pub(crate) use self::routes::displace_here;
use self::signpost::Signpost;
use self::tickets::Tickets;
use crate::DrainConfig;
use crate::link::{ClusterReceiver, ShardSender};

/// Acks, checks and presence wait this long for company.
const LINGER: Duration = Duration::from_millis(2);
/// Batches of binds, and of loads, are this long apart: a device waits for both, and in a storm a batch for each would be most of its cost.
const PACE: Duration = Duration::from_millis(4);
/// How long a load, check, ack or uplink may take, all tries together.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the links stand on.
pub(crate) struct Deps {
    pub(crate) member: Member,
    pub(crate) peers: Peers,
    pub(crate) products: ProductTable,
    pub(crate) shards: Vec<ShardSender>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) sessions: CountSessions,
    /// Most sessions of the room.
    pub(crate) capacity: u64,
    pub(crate) health: Health,
    /// The room's data centre.
    pub(crate) idc: String,
    pub(crate) drain: DrainConfig,
}

/// Everything the lanes share.
pub(crate) struct Links {
    pub(crate) member: Member,
    pub(crate) peers: Peers,
    pub(crate) products: ProductTable,
    pub(crate) answers: Answers,
    pub(crate) metrics: Metrics,
    pub(crate) routes: Routes,
    pub(crate) refills: Refills,
    pub(crate) tasks: TaskTracker,
    pub(crate) departures: Departures,
    pub(crate) tickets: Arc<Tickets>,
    change: Pipelines<RegisterChange>,
    load: Pipelines<SaverLoad>,
    check: Pipelines<SaverCheck>,
    ack: Pipelines<SaverAck>,
    uplink: Pipelines<CoordinatorUplink>,
    presence: Pipelines<CoordinatorPresence>,
    loads: Lane,
    checks: Arc<Line>,
    acks: Arc<Line>,
    uplinks: Lane,
    presences: Lane,
    sessions: CountSessions,
    capacity: u64,
}

impl Links {
    /// Links for these shards; they do nothing before [`Links::run`].
    pub(crate) fn new(deps: Deps) -> Arc<Links> {
        let Deps { member, peers, products, shards, registry, sessions, capacity, health, idc, drain } = deps;
        let waiting = PipelineOptions { when_full: WhenFull::Wait, ..PipelineOptions::default() };
        let lingering = PipelineOptions { linger: Linger::Always(LINGER), ..waiting };
        let paced = PipelineOptions { linger: Linger::Paced(PACE), ..waiting };
        let metrics = Metrics::new(&registry);
        let tickets = Arc::new(Tickets::new(drain.ticket(), &metrics));
        let departures = Departures::new(Parts {
            config: drain,
            member: member.clone(),
            health,
            signpost: Arc::new(Signpost::new(member.clone(), idc, tickets.clone())),
            shards: shards.clone(),
            sessions: sessions.clone(),
            gauge: metrics.draining.clone(),
        });
        let lane = |name| Lane::new(name, &metrics);
        Arc::new(Links {
            change: peers.pipelines(paced),
            load: peers.pipelines(paced),
            check: peers.pipelines(lingering),
            ack: peers.pipelines(lingering),
            uplink: peers.pipelines(waiting),
            presence: peers.pipelines(lingering),
            loads: lane("load"),
            checks: Line::new("check", &metrics),
            acks: Line::new("ack", &metrics),
            uplinks: lane("uplink"),
            presences: lane("presence"),
            routes: Routes::new(&metrics),
            refills: Refills::new(shards.len()),
            answers: Answers::new(shards),
            tasks: TaskTracker::new(),
            departures,
            tickets,
            member,
            peers,
            products,
            metrics,
            sessions,
            capacity,
        })
    }

    /// Carries questions and answers until the shards are gone (their end of the queue is dropped), then lets what is under way
    /// end, for at most `deadline`.
    pub(crate) async fn run(self: Arc<Self>, questions: ClusterReceiver, deadline: Duration) {
        let watching = CancellationToken::new();
        let watchers = [
            tokio::spawn(identity::follow(self.clone(), watching.clone())),
            tokio::spawn(refill::follow(self.clone(), watching.clone())),
            tokio::spawn(orders::follow(self.clone(), watching.clone())),
            tokio::spawn(tickets::follow(self.tickets.clone(), self.member.clone(), watching.clone())),
        ];
        dispatch::run(&self, questions).await;
        watching.cancel();
        for watcher in watchers {
            if let Err(error) = watcher.await {
                tracing::error!(%error, "a watcher of the links ended badly");
            }
        }
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "questions were still unanswered at the deadline");
        }
    }
}
