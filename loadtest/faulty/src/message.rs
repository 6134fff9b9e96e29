//! Messages and how they are pushed.

use bytes::Bytes;
use longline_pb::client::{Push, PushFlag};

use crate::faults::Mark;

/// A message as it waits.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) payload: Bytes,
    pub(crate) sent_at_ms: u64,
    pub(crate) expires_at_ms: u64,
    pub(crate) kind: Kind,
    /// What is still to be done wrong with it.
    pub(crate) mark: Option<Mark>,
    /// It was written to a device before.
    pub(crate) written: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Durable,
    Transient,
    /// With its sequence.
    Broadcast(u64),
}

impl Message {
    /// The PUSH of it, as of now.
    pub(crate) fn push(&self) -> Push {
        let kind = match self.kind {
            Kind::Durable => PushFlag::None,
            Kind::Transient => PushFlag::Transient,
            Kind::Broadcast(_) => PushFlag::Broadcast,
        };
        let redelivered = if self.written { PushFlag::Redelivered } else { PushFlag::None };
        Push {
            id: self.id,
            payload: self.payload.clone(),
            flags: kind as u32 | redelivered as u32,
            sent_at_ms: self.sent_at_ms,
            expires_at_ms: self.expires_at_ms,
            broadcast_seq: if let Kind::Broadcast(sequence) = self.kind { sequence } else { 0 },
        }
    }
}
