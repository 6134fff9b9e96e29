use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use longline_types::SessionId;

use super::Transports;

/// A buffer that grew beyond this is not kept.
const KEPT_CAPACITY: usize = 256 * 1024;

/// What the transports of a shard share: settings, buffers for one use, and the time for handshakes.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Transports>,
    /// What was opened.
    pub(crate) plain: Vec<u8>,
    /// What the layers answer by themselves, ready for the wire.
    pub(crate) replies: Vec<u8>,
    /// Bytes that came before, and those that came now.
    pub(super) joined: Vec<u8>,
    /// What a layer says by itself, for the layers below it.
    pub(super) answers: Vec<u8>,
    /// What Noise has sealed, for the layers below it.
    pub(super) records: Vec<u8>,
    /// A message of WebSocket, for TLS.
    pub(super) frame: Vec<u8>,
    /// Where the device of the connection that was opened last is, if that became known by it.
    pub(crate) introduced: Option<SocketAddr>,
    /// Handshakes that may still begin in this turn.
    pub(crate) handshakes: u32,
    /// Connections whose handshake waits for its turn, the oldest first.
    pub(crate) waiting: VecDeque<SessionId>,
}

impl Shared {
    /// Takes the time of one handshake, if there is some left.
    pub(super) fn may_begin(&mut self) -> bool {
        let may = self.handshakes > 0;
        self.handshakes -= u32::from(may);
        may
    }

    /// Gives a buffer back that was taken.
    pub(crate) fn keep(buffer: &mut Vec<u8>, mut taken: Vec<u8>) {
        if taken.capacity() <= KEPT_CAPACITY {
            taken.clear();
            *buffer = taken;
        }
    }
}
