//! Messages on their way to the device.

use longline_pb::client::{self, PushFlag};
use longline_types::{Class, limits};
use longline_wire::encode_push_message;

use super::bind::Bind;
use super::budget::FrameBudget;
use super::ending::Ending;
use super::open::Session;
use super::queueing::not_queued;
use super::turn::Turn;
use crate::link::{Delivered, Delivery, Message};
use crate::walk::Walk;

/// Bytes of a PUSH beside its payload, at most.
const PUSH_OVERHEAD: usize = 64;

impl Session {
    /// A hint with the message along (D3): what became of it, and an error if the session ends by it.
    pub(crate) fn deliver(
        &mut self,
        delivery: &Delivery,
        t: &mut Turn<'_>,
    ) -> (Delivered, Result<(), Ending>) {
        let ready = self.takes_pushes(t);
        let Some(bind) = self.binds.by_address(&delivery.address) else {
            return (Delivered::NotHere, Ok(()));
        };
        let message = &delivery.message;
        // A hint that a load has overtaken may be of a message that is acknowledged and forgotten by now: only a load can tell.
        let newest = message.id > bind.loaded;
        let open = ready && newest && bind.is_open() && !t.env.settling;
        let in_flight = bind.flight().is_some_and(|f| f.holds(message.id));
        let (may_push, flags, instead) = match message.class {
            Class::Durable if in_flight => return (Delivered::Pushed, Ok(())),
            Class::Durable => (open, redelivered(message.redelivered), Delivered::Deferred),
            Class::Transient => (ready && bind.is_held(), PushFlag::Transient as u32, Delivered::Dropped),
        };
        let space = may_push.then(|| t.space_for(wire_bytes(message), bind.address.product));
        let goes_on = match space {
            Some(Ok(())) => {
                let pushed = push(bind, &mut self.budget, message, flags, t);
                let result =
                    if pushed || message.class == Class::Durable { Delivered::Pushed } else { instead };
                return (result, Ok(()));
            }
            Some(Err(full)) => not_queued(bind, full, instead, t),
            None => Ok(()),
        };
        if instead == Delivered::Deferred {
            bind.mark_dirty();
        }
        (instead, goes_on)
    }

    /// Whether messages may be written: the device was welcomed, and is connected.
    pub(super) fn takes_pushes(&self, t: &Turn<'_>) -> bool {
        self.opening.is_none() && !t.parked
    }

    /// Shows a broadcast to the binds of its product: pushed at once where a hint would be, else they load it.
    /// Says whether there was any; an error if the session ends by it.
    pub(crate) fn walk(&mut self, walk: &Walk, t: &mut Turn<'_>) -> Result<bool, Ending> {
        let (mut any, mut goes_on) = (false, Ok(()));
        let ready = self.takes_pushes(t) && !t.env.settling;
        let of_product = |b: &&mut Bind| b.address.product == walk.product && !b.is_new();
        for bind in self.binds.iter_mut().filter(of_product) {
            // An older one than the last may be acknowledged already: only a load can tell.
            let newest = walk.seq > bind.pushed_broadcast;
            let may_push = ready && newest && bind.is_open();
            let space = may_push.then(|| t.space_for(walk.push.wire_len(), walk.product));
            if let Some(Err(full)) = space {
                goes_on = goes_on.and(not_queued(bind, full, Delivered::Deferred, t));
            }
            let pushed = matches!(space, Some(Ok(())));
            if pushed {
                t.append(|out| {
                    out.extend_from_slice(walk.push.head(bind.index).as_ref());
                    true
                });
                t.output.add_shared(walk.push.rest(), &mut t.env.pool, t.now.ms);
                t.env.output_bytes += walk.push.rest().len();
                bind.with_flight(|f| f.push(walk.id, walk.seq, t.now.ms, t.now.wall_ms));
                bind.pushed_broadcast = walk.seq;
                self.budget.pushed();
                t.env.counters.pushes.add(1);
            } else {
                bind.mark_dirty();
            }
            walk.walked(pushed);
            any = true;
        }
        goes_on.map(|()| any)
    }
}

/// Pushes what a load has brought, as far as there is space. Says whether everything found its place.
pub(super) fn push_loaded(
    bind: &mut Bind,
    budget: &mut FrameBudget,
    messages: &[Message],
    t: &mut Turn<'_>,
) -> Pushed {
    let mut pushed = Pushed { any: false, all: true };
    for message in messages.iter().filter(|m| m.class == Class::Durable) {
        if bind.flight().is_some_and(|f| f.holds(message.id)) {
            continue;
        }
        let fits = t.space_for(wire_bytes(message), bind.address.product).is_ok();
        if bind.is_blocked() || bind.free() == 0 || !fits {
            pushed.all = false;
            break;
        }
        if message.broadcast_seq == 0 {
            bind.loaded = bind.loaded.max(message.id);
        }
        // Another session may have had it before.
        pushed.any |= push(bind, budget, message, redelivered(true), t);
    }
    pushed
}

/// What became of a load's messages.
pub(super) struct Pushed {
    pub(super) any: bool,
    pub(super) all: bool,
}

/// Hands a message to the output; false if it cannot be sent at all (a payload beyond the limit, which no center accepts).
fn push(bind: &mut Bind, budget: &mut FrameBudget, message: &Message, flags: u32, t: &mut Turn<'_>) -> bool {
    let broadcast = if message.broadcast_seq > 0 { PushFlag::Broadcast as u32 } else { 0 };
    let body = client::Push {
        id: message.id.0,
        payload: message.payload.clone(),
        flags: flags | broadcast,
        sent_at_ms: message.sent_at_ms,
        expires_at_ms: message.expires_at_ms,
        broadcast_seq: message.broadcast_seq,
    };
    let wrote = message.payload.len() <= limits::PAYLOAD
        && t.append(|out| encode_push_message(bind.index, &body, out).is_ok());
    if !wrote {
        t.env.counters.unsendable.add(1);
        return false;
    }
    if message.class == Class::Durable {
        bind.with_flight(|f| f.push(message.id, message.broadcast_seq, t.now.ms, t.now.wall_ms));
    }
    if message.broadcast_seq > 0 {
        bind.pushed_broadcast = bind.pushed_broadcast.max(message.broadcast_seq);
        t.env.broadcasts.note(bind.address.product, message.broadcast_seq);
    }
    budget.pushed();
    t.env.counters.pushes.add(1);
    true
}

fn redelivered(flag: bool) -> u32 {
    if flag { PushFlag::Redelivered as u32 } else { 0 }
}

fn wire_bytes(message: &Message) -> usize {
    message.payload.len() + PUSH_OVERHEAD
}
