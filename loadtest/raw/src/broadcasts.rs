//! Broadcasts on their way to all sessions.

use std::collections::VecDeque;

use bytes::Bytes;
use longline_pb::client::{Push, PushFlag};
use longline_wire::EncodedPush;

use crate::devices::Devices;
use crate::injectors::Serial;

/// Sessions written to in one turn.
const STEP: u32 = 512;
/// Broadcasts under way at a time.
const UNDER_WAY: usize = 16;
/// Broadcasts whose sender is remembered.
const REMEMBERED: usize = 16;

/// The broadcasts that are under way, one after the other, and who sent the last ones.
pub(crate) struct Broadcasts {
    walks: VecDeque<Walk>,
    senders: VecDeque<(u64, Serial)>,
}

/// A broadcast, encoded once.
struct Walk {
    frame: Vec<u8>,
    /// Where the bind's index is in it.
    bind_at: usize,
    /// The next connection.
    next: u32,
}

impl Broadcasts {
    pub(crate) fn new() -> Broadcasts {
        Broadcasts { walks: VecDeque::with_capacity(UNDER_WAY), senders: VecDeque::with_capacity(REMEMBERED) }
    }

    /// Whether no more can be started now.
    pub(crate) fn are_full(&self) -> bool {
        self.walks.len() >= UNDER_WAY
    }

    pub(crate) fn are_under_way(&self) -> bool {
        !self.walks.is_empty()
    }

    /// Starts one.
    pub(crate) fn start(&mut self, id: u64, payload: Bytes, from: Serial, sent_at_ms: u64) {
        let flags = PushFlag::Broadcast as u32;
        let push = Push { id, payload, flags, sent_at_ms, ..Push::default() };
        let encoded = match EncodedPush::new(&push) {
            Ok(encoded) => encoded,
            Err(error) => return tracing::warn!(%error, "cannot encode a broadcast"),
        };
        let mut frame = encoded.head(0).as_ref().to_vec();
        let bind_at = frame.len() - 1;
        frame.extend_from_slice(encoded.rest());
        self.walks.push_back(Walk { frame, bind_at, next: 0 });
        if self.senders.len() == REMEMBERED {
            self.senders.pop_front();
        }
        self.senders.push_back((id, from));
    }

    /// Who sent the broadcast with this id, if it is one of the last.
    pub(crate) fn sender(&self, id: u64) -> Option<Serial> {
        self.senders.iter().find(|(sent, _)| *sent == id).map(|(_, from)| *from)
    }

    /// Writes the oldest one to the next sessions.
    pub(crate) fn walk(&mut self, devices: &mut Devices) {
        let Some(walk) = self.walks.front_mut() else { return };
        let end = devices.places().min(walk.next + STEP);
        for index in walk.next..end {
            devices.broadcast(index, &mut walk.frame, walk.bind_at);
        }
        walk.next = end;
        if end == devices.places() {
            self.walks.pop_front();
        }
    }
}
