//! What stands between the frames and the socket: WebSocket or Noise, over any stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use longline_noise::Session;
use longline_websocket::{CloseCode, Control, Decoder, Side, encode_close, encode_data, encode_pong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at once.
const READ: usize = 4 * 1024;
/// Payload that is sealed at once.
const PIECE: usize = 16 * 1024;
/// While this much waits to be written, pings are not answered.
const MOST_REPLIES: usize = 64 * 1024;

/// How bytes are wrapped.
pub(crate) enum Layer {
    WebSocket(Decoder),
    Noise(Box<Session>),
}

impl Layer {
    /// For what a room sends after the upgrade.
    pub(crate) fn websocket() -> Layer {
        Layer::WebSocket(Decoder::new(Side::Server))
    }

    pub(crate) fn noise(session: Session) -> Layer {
        Layer::Noise(Box::new(session))
    }
}

/// A stream with a layer over it.
pub(crate) struct Layered<S> {
    stream: S,
    layer: Layer,
    /// What has come of a record that is not whole.
    partial: Vec<u8>,
    /// What has come and was not taken.
    plain: BytesMut,
    /// What is wrapped and not written.
    out: BytesMut,
    /// The other side sends no more.
    ended: bool,
    /// This side has said that it sends no more.
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Layered<S> {
    /// `first` is what has come already.
    pub(crate) fn new(stream: S, layer: Layer, mut first: Vec<u8>) -> io::Result<Layered<S>> {
        let mut layered = Layered {
            stream,
            layer,
            partial: Vec::new(),
            plain: BytesMut::new(),
            out: BytesMut::new(),
            ended: false,
            closed: false,
        };
        layered.unwrap(&mut first)?;
        Ok(layered)
    }

    fn unwrap(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.layer {
            Layer::WebSocket(decoder) => {
                let (out, ended) = (&mut self.out, &mut self.ended);
                let length = decoder.decode(bytes, |control| match control {
                    Control::Ping(ping) if out.len() < MOST_REPLIES => {
                        append(out, |out| encode_pong(ping.as_ref(), Some(rand::random()), out));
                    }
                    Control::Ping(_) | Control::Pong => {}
                    Control::Close(_) => *ended = true,
                });
                self.plain.extend_from_slice(&bytes[..length.map_err(invalid)?]);
            }
            Layer::Noise(session) => {
                self.partial.extend_from_slice(bytes);
                let opened = session.open(&mut self.partial).map_err(invalid)?;
                self.plain.extend_from_slice(&self.partial[..opened.payload]);
                self.partial.drain(..opened.used);
            }
        }
        Ok(())
    }

    fn wrap(&mut self, payload: &[u8]) -> io::Result<()> {
        match &mut self.layer {
            Layer::WebSocket(_) => {
                append(&mut self.out, |out| encode_data(payload, Some(rand::random()), out));
                Ok(())
            }
            Layer::Noise(session) => append(&mut self.out, |out| session.seal(payload, out)).map_err(invalid),
        }
    }

    /// Writes what is wrapped.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Layered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let layered = &mut *self;
        loop {
            if !layered.plain.is_empty() {
                let length = layered.plain.len().min(buf.remaining());
                buf.put_slice(&layered.plain.split_to(length));
                return Poll::Ready(Ok(()));
            }
            if layered.ended {
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; READ];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut layered.stream).poll_read(cx, &mut read))?;
            let bytes = read.filled_mut();
            if bytes.is_empty() {
                layered.ended = true;
            } else {
                layered.unwrap(bytes)?;
            }
            // The answers to pings. What the socket does not take now goes with what is written next.
            if let Poll::Ready(Err(error)) = layered.poll_out(cx) {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Layered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        let piece = &buf[..buf.len().min(PIECE)];
        self.wrap(piece)?;
        // It is taken, whether the socket takes it now or when it is flushed.
        match self.poll_out(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(piece.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.closed, true) && matches!(self.layer, Layer::WebSocket(_)) {
            append(&mut self.out, |out| encode_close(CloseCode::Normal, Some(rand::random()), out));
        }
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The writers append to a `Vec`, without the bytes that are there.
fn append<T>(out: &mut BytesMut, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut bytes = Vec::new();
    let result = write(&mut bytes);
    out.extend_from_slice(&bytes);
    result
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
