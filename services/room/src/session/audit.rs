//! What tests may know of a session.

use longline_types::{Address, MessageId, SessionId, Stamp};

use super::bind::{Inbox, Standing};
use super::{Connection, Env, Phase};

/// One bind, seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    pub(crate) session: SessionId,
    pub(crate) index: u8,
    pub(crate) address: Address,
    pub(crate) parked: bool,
    /// As the register gave it, if the bind is held.
    pub(crate) stamp: Option<Stamp>,
    pub(crate) held: bool,
    pub(crate) clean: bool,
    pub(crate) loading: bool,
    pub(crate) window: u16,
    /// Pushed and not acknowledged.
    pub(crate) written: Vec<MessageId>,
    /// These, and what was acknowledged and not confirmed.
    pub(crate) holds: Vec<MessageId>,
    /// These are to be redelivered: a parked session loads them when it is resumed, unless its device has them.
    pub(crate) due: Vec<MessageId>,
}

impl Connection {
    pub(crate) fn audit(&self) -> Vec<Audit> {
        let (Phase::Open(session) | Phase::Parked(session)) = &self.phase else { return Vec::new() };
        let audit = session.binds.iter().map(|bind| Audit {
            session: self.id,
            index: bind.index,
            parked: matches!(self.phase, Phase::Parked(_)),
            address: bind.address.clone(),
            stamp: match bind.standing {
                Standing::Held { stamp, .. } => Some(stamp),
                _ => None,
            },
            held: bind.is_held(),
            clean: bind.inbox == Inbox::Clean,
            loading: matches!(bind.inbox, Inbox::Loading { .. }),
            window: bind.window,
            written: bind.flight().map_or_else(Vec::new, |f| f.in_flight().map(|(id, _)| id).collect()),
            holds: bind.flight().map_or_else(Vec::new, |f| f.except()),
            due: bind.flight().map_or_else(Vec::new, |f| f.due()),
        });
        audit.collect()
    }

    /// How often the session was resumed; none if there is no session.
    pub(crate) fn resumes(&self) -> Option<u8> {
        match &self.phase {
            Phase::Open(session) | Phase::Parked(session) => Some(session.resumes),
            Phase::Greeting(_) | Phase::Leaving(_) => None,
        }
    }

    /// Bytes kept of frames that have not come whole.
    pub(crate) fn partial_input(&self) -> usize {
        self.input.len()
    }
}

impl Env {
    /// (loads under way, bytes of uplinks, unwritten bytes) as they are counted.
    pub(crate) fn totals(&self) -> (usize, u64, usize) {
        (self.loads.under_way(), self.uplink_bytes, self.output_bytes)
    }
}
