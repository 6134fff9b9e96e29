//! Bytes on their way to the room.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use longline_wire::{Body, FrameType, encode, encode_empty};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Beyond this the client takes neither uplinks nor frames from the room until some is written.
const HIGH_WATER: usize = 256 * 1024;
/// Capacity that is given back once everything is written.
const KEPT: usize = 16 * 1024;

/// Frames that are encoded and not yet written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: BytesMut,
    /// When the oldest byte began to wait, or some were last taken.
    waiting_since: Option<Instant>,
    /// The stream has taken bytes that it may not have written.
    unflushed: bool,
    /// Something was added since [`Outbox::take_touched`].
    touched: bool,
}

impl Outbox {
    /// Appends a frame.
    pub(crate) fn send<M: Body>(&mut self, body: &M) {
        let result = encode(body, &mut self.bytes);
        self.appended(result);
    }

    /// Appends a PING.
    pub(crate) fn ping(&mut self) {
        let result = encode_empty(FrameType::Ping, &mut self.bytes);
        self.appended(result);
    }

    /// Appends bytes that are no frame.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.appended(Ok(()));
    }

    fn appended(&mut self, result: Result<(), longline_wire::EncodeError>) {
        // Sizes are checked where they enter the client; a frame beyond a limit would be a fault in this crate.
        if let Err(error) = result {
            tracing::error!(%error, "a frame was not sent");
            return;
        }
        self.touched = true;
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    /// Whether something was added since the last call.
    pub(crate) fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.unflushed
    }

    /// Whether no more should be added for now.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= HIGH_WATER
    }

    /// When the room will have taken nothing for `patience` while something waits.
    pub(crate) fn stuck_at(&self, patience: Duration) -> Option<Instant> {
        self.waiting_since.map(|since| since + patience)
    }

    /// Writes some of it. Safe to cancel: what was not taken stays, and what was taken is flushed by the next call.
    pub(crate) async fn write_to(&mut self, socket: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        if !self.bytes.is_empty() {
            let written = socket.write(&self.bytes).await?;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.bytes.advance(written);
            self.unflushed = true;
            self.waiting_since = Some(Instant::now());
        }
        socket.flush().await?;
        self.unflushed = false;
        self.waiting_since = (!self.bytes.is_empty()).then(Instant::now);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
            self.bytes = BytesMut::new();
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
