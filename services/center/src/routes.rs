//! Where addresses are connected, as the registers know it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use longline_pb::register::{ChangeRequest, LookupReply, LookupRequest, Unbind, change_request};
use longline_rpc::methods::{RegisterChange, RegisterLookup};
use longline_rpc::{Linger, Peers, PipelineOptions, Pipelines, WhenFull};
use longline_types::{AddressKey, Error, ErrorCode, Route};
use tokio::time::Instant;

/// What a register says of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Whereabouts {
    /// Connected there, or was a moment ago.
    At(Route),
    /// Not connected.
    Nowhere,
    /// Nobody can say now (R3): the owner is refilling, or cannot be asked. It is not the same as "not connected".
    Unknown(Error),
}

/// Asks the registers of the view. Clones share the pipelines.
#[derive(Clone)]
pub(crate) struct Routes {
    peers: Peers,
    lookups: Pipelines<RegisterLookup>,
    changes: Pipelines<RegisterChange>,
    timeout: Duration,
}

/// How long a lookup waits for the view in which the slot has another owner.
const NEWER_VIEW: Duration = Duration::from_millis(500);
/// Removals wait this long for company.
const UNBIND_LINGER: Duration = Duration::from_millis(2);

impl Routes {
    pub(crate) fn new(peers: Peers, timeout: Duration) -> Routes {
        let lookups = PipelineOptions { when_full: WhenFull::Wait, ..PipelineOptions::default() };
        let changes = PipelineOptions { linger: Linger::Always(UNBIND_LINGER), ..lookups };
        Routes { lookups: peers.pipelines(lookups), changes: peers.pipelines(changes), peers, timeout }
    }

    /// Where each of these is. A slot that has just changed its owner is asked for once more, of the new one.
    pub(crate) async fn find(&self, keys: &[AddressKey]) -> Vec<Whereabouts> {
        let asked_in = self.peers.view().number;
        let mut found = self.ask(keys).await;
        let moved: Vec<usize> = (0..found.len()).filter(|&i| is_moved(&found[i])).collect();
        if !moved.is_empty() && self.view_after(asked_in).await {
            let keys: Vec<AddressKey> = moved.iter().map(|&i| keys[i]).collect();
            for (index, again) in moved.into_iter().zip(self.ask(&keys).await) {
                found[index] = again;
            }
        }
        found
    }

    /// Where this one is.
    pub(crate) async fn find_one(&self, key: AddressKey) -> Whereabouts {
        let missing = || Whereabouts::Unknown(Error::internal("a lookup got no result"));
        self.find(&[key]).await.pop().unwrap_or_else(missing)
    }

    /// Asks the registers to remove exactly these routes (D3). What fails is left to the rooms' slow round.
    pub(crate) async fn remove(&self, stale: Vec<(AddressKey, Route)>) {
        let view = self.peers.view();
        let mut by_owner: BTreeMap<u32, Vec<ChangeRequest>> = BTreeMap::new();
        for (key, route) in stale {
            if let Some(owner) = view.owner(key.slot()) {
                let unbind = Unbind { key: Some(key.into()), route: Some(route.into()) };
                let what = Some(change_request::What::Unbind(unbind));
                by_owner.entry(owner.node).or_default().push(ChangeRequest { view: view.number, what });
            }
        }
        let calls =
            by_owner.into_iter().map(|(node, group)| self.changes.call_group(node, group, self.timeout));
        for error in join_all(calls).await.into_iter().flatten().filter_map(Result::err) {
            tracing::debug!(%error, "a stale route was not removed");
        }
    }

    async fn ask(&self, keys: &[AddressKey]) -> Vec<Whereabouts> {
        let view = self.peers.view();
        let nobody = Error::unavailable(format!("no register owns the slot in view {}", view.number));
        let mut found = vec![Whereabouts::Unknown(nobody); keys.len()];
        let mut by_owner: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, key) in keys.iter().enumerate() {
            if let Some(owner) = view.owner(key.slot()) {
                by_owner.entry(owner.node).or_default().push(index);
            }
        }
        let calls = by_owner.into_iter().map(|(node, indexes)| {
            let request = |&i: &usize| LookupRequest { key: Some(keys[i].into()), view: view.number };
            let group = indexes.iter().map(request).collect();
            async move { (indexes, self.lookups.call_group(node, group, self.timeout).await) }
        });
        for (indexes, replies) in join_all(calls).await {
            for (index, reply) in indexes.into_iter().zip(replies) {
                found[index] = whereabouts(reply);
            }
        }
        found
    }

    /// Waits a moment for a view later than this one.
    async fn view_after(&self, number: u64) -> bool {
        let until = Instant::now() + NEWER_VIEW;
        let mut views = self.peers.views();
        while views.borrow_and_update().number <= number {
            if !matches!(tokio::time::timeout_at(until, views.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }
}

fn whereabouts(reply: Result<LookupReply, Error>) -> Whereabouts {
    match reply {
        Ok(LookupReply { error: Some(error), .. }) => Whereabouts::Unknown(error.into()),
        Ok(LookupReply { route: Some(route), .. }) => Whereabouts::At(route.into()),
        Ok(LookupReply { route: None, .. }) => Whereabouts::Nowhere,
        Err(error) => Whereabouts::Unknown(error),
    }
}

/// Whether another register may know.
fn is_moved(found: &Whereabouts) -> bool {
    matches!(found, Whereabouts::Unknown(e) if matches!(e.code, ErrorCode::WrongNode | ErrorCode::Unavailable))
}
