//! What a room says in the clear: when it turns a connection away as it accepts it, it does not know yet what the device speaks, and its
//! CLOSE is the first that comes, whatever the transport.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use longline_pb::client;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::codec::Decoder;

use crate::codec::{RoomCodec, RoomFrame};

/// First bytes that are kept. A CLOSE has about half as many at most.
const KEPT: usize = 512;

/// The first bytes of a connection, as they came from the socket.
#[derive(Clone, Default)]
pub(crate) struct FirstBytes(Arc<Mutex<BytesMut>>);

impl FirstBytes {
    /// The CLOSE that they are, if that is what they are. Nobody vouches for it, so that only a reason to come back later is believed.
    pub(crate) fn refusal(&self) -> Option<client::Close> {
        match RoomCodec.decode(&mut self.lock()) {
            Ok(Some(RoomFrame::Close(close))) if close.reason < 2000 => Some(close),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket whose first bytes are kept.
pub(crate) struct Overheard<S> {
    socket: S,
    first: FirstBytes,
    /// Bytes that are still to be kept.
    left: usize,
}

impl<S> Overheard<S> {
    pub(crate) fn new(socket: S, first: FirstBytes) -> Overheard<S> {
        Overheard { socket, first, left: KEPT }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if self.left > 0 {
            let new = &buf.filled()[before..];
            let kept = &new[..new.len().min(self.left)];
            self.first.lock().extend_from_slice(kept);
            self.left -= kept.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
