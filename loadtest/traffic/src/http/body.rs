//! Bodies, whole.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use futures::future::poll_fn;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// A body that is there as a whole.
pub(crate) struct Whole(Option<Bytes>);

impl Whole {
    pub(crate) fn new(bytes: Bytes) -> Whole {
        Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// Why a body could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unread {
    /// It did not come to its end.
    Broken,
    /// It is longer than it may be.
    TooLong,
}

/// Reads a body of at most `longest` bytes into `out`, whose content goes.
pub(crate) async fn read(mut body: Incoming, longest: usize, out: &mut Vec<u8>) -> Result<(), Unread> {
    out.clear();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Unread::Broken)?;
        let Some(chunk) = frame.data_ref() else { continue };
        if out.len() + chunk.remaining() > longest {
            return Err(Unread::TooLong);
        }
        out.extend_from_slice(chunk);
    }
    Ok(())
}
