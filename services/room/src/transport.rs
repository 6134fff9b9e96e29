//! What lies between the socket and the frames of a connection: nothing for plain Longline TCP, else layers that open what comes
//! and seal what goes. Without sockets and clock, and of no shard, so that a connection can move with it.
//!
//! ```text
//! socket ─ PROXY header? ─ TLS? ─ WebSocket? ─ Noise? ─ frames
//! ```
//!
//! The first byte of what a layer carries says what is inside it ([`Transport::begun_by`]); Noise is announced by the preface.

mod certificates;
mod config;
mod kind;
mod shared;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;

pub use certificates::Certificates;
pub use config::{TlsConfig, Transports};
pub(crate) use kind::TransportKind;
pub(crate) use shared::Shared;

use longline_types::CloseReason;

use crate::metrics::Counters;
use crate::session::Ending;
use tls::Tls;

/// The first byte of a TLS record that holds a handshake message.
const TLS_HANDSHAKE: u8 = 0x16;

/// The layers of one connection.
pub(crate) struct Transport {
    tls: Option<Box<Tls>>,
    /// The last words of the layers have been said.
    closed: bool,
}

/// What became of bytes that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opened {
    /// They were opened as far as they are whole.
    Done,
    /// A handshake would begin, which the turn has no time for: to be called again with no bytes.
    Waits,
    /// The other side sends no more.
    Ended,
}

impl Transport {
    /// The transport that this first byte of a connection begins; none for plain Longline TCP, and for what is nothing at all.
    pub(crate) fn begun_by(first: u8, shared: &Shared) -> Option<Box<Transport>> {
        let tls = (first == TLS_HANDSHAKE).then(|| shared.settings.tls.as_ref()?.begin()).flatten()?;
        Some(Box::new(Transport { tls: Some(tls), closed: false }))
    }

    /// Opens what came. What is for the session is in `shared.plain` then, what is to be written at once in `shared.replies`,
    /// also if it failed.
    pub(crate) fn open(
        &mut self,
        wire: &[u8],
        shared: &mut Shared,
        counters: &Counters,
    ) -> Result<Opened, Ending> {
        shared.plain.clear();
        shared.replies.clear();
        match &mut self.tls {
            Some(tls) => tls.open(wire, shared, counters),
            None => {
                shared.plain.extend_from_slice(wire);
                Ok(Opened::Done)
            }
        }
    }

    /// Appends the sealed bytes of `plain` to `wire`. Before the handshake there is no way to say anything: it is dropped.
    pub(crate) fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), Ending> {
        match &mut self.tls {
            Some(tls) => tls.seal(plain, wire),
            None => {
                wire.extend_from_slice(plain);
                Ok(())
            }
        }
    }

    /// The layers have not said yet that nothing more comes.
    pub(crate) fn is_to_be_closed(&self) -> bool {
        !self.closed
    }

    /// Appends what the layers say when nothing more comes.
    pub(crate) fn close(&mut self, wire: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.closed, true)
            && let Some(tls) = &mut self.tls
        {
            tls.close(wire);
        }
    }

    pub(crate) fn kind(&self) -> TransportKind {
        match &self.tls {
            Some(_) => TransportKind::Tls,
            None => TransportKind::Tcp,
        }
    }
}

/// What ends a connection whose layers break their rules.
fn broken(detail: impl Into<String>) -> Ending {
    Ending::new(CloseReason::BadTransport, detail)
}
