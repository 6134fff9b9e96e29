//! The room's place in the cluster: tells the shards who they are (R4), reports load, and sends the clients elsewhere if the
//! cluster cannot be reached for long.

use std::sync::Arc;
use std::time::Duration;

use longline_pb::register::{AddressKey, LookupRequest};
use longline_rpc::methods::RegisterLookup;
use longline_rpc::{PipelineOptions, Pipelines};
use longline_types::Role;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::load::LoadMeter;
use super::{Cause, Links};
use crate::link::{Command, Identity};

const EVERY: Duration = Duration::from_secs(1);
/// Without a lease for this long, the registers are asked; if none answers either, the room is isolated (R4).
const ISOLATED_AFTER: Duration = Duration::from_secs(60);
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// Runs until the room stops.
pub(crate) async fn follow(links: Arc<Links>, stop: CancellationToken) {
    let mut identities = links.member.identity();
    let mut meter = LoadMeter::new(links.sessions.clone(), links.capacity);
    let mut isolation = Isolation::new(&links);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut identity = *identities.borrow_and_update();
    announce(&links, &identity).await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = identities.changed() => {
                if changed.is_err() {
                    return;
                }
                links.metrics.incarnations.inc();
                identity = *identities.borrow_and_update();
                announce(&links, &identity).await;
            }
            _ = ticks.tick() => {
                links.member.set_load(meter.read());
                isolation.look(&links).await;
            }
        }
    }
}

async fn announce(links: &Links, identity: &longline_member::Identity) {
    tracing::info!(node = identity.number, incarnation = identity.incarnation, "the room has its place");
    let identity = Identity { node: identity.number, incarnation: identity.incarnation };
    links.departures.command_all(|| Command::Identity(identity)).await;
}

/// Whether neither keeper nor any register can be reached. Silence of the keeper alone closes nothing.
struct Isolation {
    lookup: Pipelines<RegisterLookup>,
    /// Since when there is no lease.
    since: Option<Instant>,
    told: bool,
}

impl Isolation {
    fn new(links: &Links) -> Isolation {
        Isolation { lookup: links.peers.pipelines(PipelineOptions::default()), since: None, told: false }
    }

    async fn look(&mut self, links: &Links) {
        if links.member.lease_valid() {
            self.since = None;
            if std::mem::take(&mut self.told) {
                tracing::info!("the room has found its way back into the cluster");
                links.departures.end(Cause::Isolation).await;
            }
            return;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.told || since.elapsed() < ISOLATED_AFTER || self.reaches_a_register(links).await {
            return;
        }
        tracing::error!("neither a keeper nor a register answers: clients are told to go elsewhere");
        self.told = true;
        links.departures.begin(Cause::Isolation).await;
    }

    async fn reaches_a_register(&self, links: &Links) -> bool {
        let view = links.peers.view();
        for register in view.live(Role::Register) {
            let probe = LookupRequest { key: Some(AddressKey { high: 0, low: 0 }), view: view.number };
            if self.lookup.call(register.number, probe, PROBE_DEADLINE).await.is_ok() {
                return true;
            }
        }
        false
    }
}
