//! Refills (R2): when a slot has a new owner or generation, every shard asserts the routes it holds of it, and once all of these
//! are answered the register is told that this room is done.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longline_pb::register::{ChangeReply, ChangeRequest, SlotDone, change_reply, change_request};
use longline_types::{Error, ErrorCode, Slot, SlotOwner, View};
use tokio_util::sync::CancellationToken;

use super::Links;
use crate::link::{Command, SlotSet};

/// A shard has asserted all it holds.
pub(crate) struct Refilled {
    pub(crate) shard: u8,
    pub(crate) refill: u64,
}

const CALL_DEADLINE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// The refills under way.
pub(crate) struct Refills {
    shards: usize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last: u64,
    under_way: HashMap<u64, Refill>,
}

struct Refill {
    slots: Vec<(Slot, SlotOwner)>,
    shards_done: HashSet<u8>,
    unanswered: usize,
}

impl Refills {
    pub(crate) fn new(shards: usize) -> Refills {
        Refills { shards, table: Mutex::default() }
    }

    /// An assertion of this refill is on its way.
    pub(crate) fn asserting(&self, refill: u64) {
        if let Some(refill) = self.lock().under_way.get_mut(&refill) {
            refill.unanswered += 1;
        }
    }

    fn begin(&self, slots: Vec<(Slot, SlotOwner)>) -> u64 {
        let mut table = self.lock();
        table.last += 1;
        let number = table.last;
        table.under_way.insert(number, Refill { slots, shards_done: HashSet::new(), unanswered: 0 });
        number
    }

    /// Notes a step, and gives the slots back if it was the last.
    fn step(&self, number: u64, step: impl FnOnce(&mut Refill)) -> Option<Vec<(Slot, SlotOwner)>> {
        let mut table = self.lock();
        let refill = table.under_way.get_mut(&number)?;
        step(refill);
        if refill.unanswered > 0 || refill.shards_done.len() < self.shards {
            return None;
        }
        table.under_way.remove(&number).map(|refill| refill.slots)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shards have asserted all they hold; their assertions came before this in the queue.
pub(crate) fn refilled(links: &Arc<Links>, refilled: Vec<Refilled>) {
    for Refilled { shard, refill } in refilled {
        let done = links.refills.step(refill, |r| {
            r.shards_done.insert(shard);
        });
        finish(links, done);
    }
}

/// An assertion of this refill was answered, or given up.
pub(crate) fn asserted(links: &Arc<Links>, refill: u64) {
    let done = links.refills.step(refill, |r| r.unanswered = r.unanswered.saturating_sub(1));
    finish(links, done);
}

fn finish(links: &Arc<Links>, slots: Option<Vec<(Slot, SlotOwner)>>) {
    if let Some(slots) = slots {
        links.tasks.spawn(tell(links.clone(), slots));
    }
}

/// Starts a refill whenever slots have a new owner or generation, and of all slots when this room has a new incarnation.
pub(crate) async fn follow(links: Arc<Links>, stop: CancellationToken) {
    let mut views = links.peers.views();
    let mut identities = links.member.identity();
    let mut known: Vec<SlotOwner> = Vec::new();
    loop {
        let view = views.borrow_and_update().clone();
        let changed = changed_slots(&known, &view);
        known = view.slots().to_vec();
        if !changed.is_empty() {
            start(&links, changed).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            result = views.changed() => if result.is_err() { return },
            result = identities.changed() => {
                if result.is_err() { return }
                identities.borrow_and_update();
                known.clear();
            }
        }
    }
}

fn changed_slots(known: &[SlotOwner], view: &View) -> Vec<(Slot, SlotOwner)> {
    Slot::all()
        .filter_map(|slot| {
            let owner = view.owner(slot)?;
            (known.get(slot.index()) != Some(&owner)).then_some((slot, owner))
        })
        .collect()
}

async fn start(links: &Links, slots: Vec<(Slot, SlotOwner)>) {
    links.metrics.refills.inc();
    let set: Arc<SlotSet> = Arc::new(slots.iter().map(|(slot, _)| *slot).collect());
    let refill = links.refills.begin(slots);
    for shard in links.answers.shards() {
        while shard.command(Command::Refill { refill, slots: set.clone() }).is_err() {
            if links.tasks.is_closed() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Tells the registers that this room is done with these slots, until they know or the slots have moved on.
async fn tell(links: Arc<Links>, mut slots: Vec<(Slot, SlotOwner)>) {
    loop {
        let view = links.peers.view();
        slots.retain(|(slot, owner)| view.owner(*slot) == Some(*owner));
        if slots.is_empty() || links.tasks.is_closed() {
            return;
        }
        let mut by_owner: HashMap<u32, Vec<(Slot, SlotOwner)>> = HashMap::new();
        for (slot, owner) in slots.drain(..) {
            by_owner.entry(owner.node).or_default().push((slot, owner));
        }
        for (node, group) in by_owner {
            let requests = group.iter().map(|entry| request(&links, &view, entry)).collect();
            let replies = links.change.call_group(node, requests, CALL_DEADLINE).await;
            slots.extend(
                group.into_iter().zip(replies).filter(|(_, r)| !is_settled(r)).map(|(entry, _)| entry),
            );
        }
        if !slots.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn request(links: &Links, view: &View, (slot, owner): &(Slot, SlotOwner)) -> ChangeRequest {
    let identity = links.member.current();
    let done = SlotDone {
        slot: slot.index() as u32,
        generation: owner.generation,
        node: identity.number,
        incarnation: identity.incarnation,
    };
    ChangeRequest { view: view.number, what: Some(change_request::What::SlotDone(done)) }
}

/// Done, or refused in a way that asking again does not change.
fn is_settled(reply: &Result<ChangeReply, Error>) -> bool {
    match reply {
        Ok(ChangeReply { what: Some(change_reply::What::Error(error)), .. }) => {
            Error::from(error.clone()).code == ErrorCode::InvalidArgument
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(node: u32, generation: u64) -> SlotOwner {
        SlotOwner { node, generation }
    }

    fn done(shard: u8) -> impl FnOnce(&mut Refill) {
        move |refill| {
            refill.shards_done.insert(shard);
        }
    }

    #[test]
    fn a_refill_is_done_when_every_shard_is_and_every_assertion_is_answered_r2() {
        let refills = Refills::new(2);
        let slot = Slot::all().next().unwrap();
        let number = refills.begin(vec![(slot, owner(1, 1))]);
        assert!(refills.step(number, done(0)).is_none(), "the other shard is not");
        assert!(refills.step(number, done(0)).is_none(), "the same shard again");
        refills.asserting(number);
        assert!(refills.step(number, done(1)).is_none(), "an assertion is unanswered");
        let slots = refills.step(number, |r| r.unanswered -= 1);
        assert_eq!(slots, Some(vec![(slot, owner(1, 1))]));
        assert!(refills.step(number, |_| {}).is_none(), "only once");
    }

    #[test]
    fn only_slots_with_a_new_owner_or_generation_are_refilled_r2() {
        let before = View::assign_slots(&[], &[(1, 10)], 1);
        let after = View::assign_slots(&before, &[(1, 10), (2, 20)], 2);
        let view = View::new(2, [], after.clone());
        let changed = changed_slots(&before, &view);
        assert_eq!(changed.len(), after.iter().filter(|s| s.node == 2).count());
        assert_eq!(changed_slots(&[], &view).len(), longline_types::SLOTS);
        assert!(changed_slots(&after, &view).is_empty());
    }
}
