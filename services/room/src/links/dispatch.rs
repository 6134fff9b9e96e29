//! Takes the questions off the shards' queue, and gives each kind to its lane.

use std::sync::Arc;

use super::{Links, bind, inbox, refill, routes, uplink};
use crate::link::{ClusterReceiver, ToCluster};

/// Batches taken together: what company a question finds, without holding back those behind.
const BATCHES: usize = 16;

/// Runs until the shards are gone.
pub(crate) async fn run(links: &Arc<Links>, mut questions: ClusterReceiver) {
    let mut batches = Vec::with_capacity(BATCHES);
    while questions.recv_many(&mut batches, BATCHES).await > 0 {
        let mut kinds = Kinds::default();
        for question in batches.drain(..).flatten() {
            kinds.add(question);
        }
        kinds.dispatch(links);
    }
}

/// Questions by kind, each in the order of its coming.
#[derive(Default)]
struct Kinds {
    /// Binds are decided on (product, token) before they become operations on routes.
    binds: Vec<crate::link::BindRequest>,
    routes: Vec<routes::Operation>,
    loads: Vec<crate::link::LoadRequest>,
    checks: Vec<inbox::Check>,
    acks: Vec<inbox::Ack>,
    uplinks: Vec<crate::link::UplinkRequest>,
    presences: Vec<uplink::Presence>,
    refilled: Vec<refill::Refilled>,
}

impl Kinds {
    fn add(&mut self, question: ToCluster) {
        match question {
            ToCluster::Bind(request) => self.binds.push(request),
            ToCluster::Unbind { address, route } => {
                self.routes.push(routes::Operation::Unbind { key: address.key(), route });
            }
            ToCluster::Assert(request) => self.routes.push(routes::Operation::Assert(request)),
            ToCluster::Load(request) => self.loads.push(request),
            ToCluster::Check { bind, address } => self.checks.push(inbox::Check { bind, address }),
            ToCluster::Ack { bind, address, id, broadcast_seq, written_at_ms } => {
                self.acks.push(inbox::Ack { bind, address, id, broadcast_seq, written_at_ms });
            }
            ToCluster::Uplink(request) => self.uplinks.push(request),
            ToCluster::Presence { address, device, session, at_ms, change } => {
                self.presences.push(uplink::Presence { address, device, session, at_ms, change });
            }
            ToCluster::Refilled { shard, refill } => self.refilled.push(refill::Refilled { shard, refill }),
        }
    }

    fn dispatch(self, links: &Arc<Links>) {
        // Unbinds and asserts before binds: they were asked for by sessions that had their answer already.
        routes::submit(links, self.routes);
        refill::refilled(links, self.refilled);
        bind::decide(links, self.binds);
        inbox::load(links, self.loads);
        inbox::check(links, self.checks);
        inbox::ack(links, self.acks);
        uplink::uplink(links, self.uplinks);
        uplink::presence(links, self.presences);
    }
}
