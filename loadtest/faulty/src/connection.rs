//! One connection of a device: the client protocol.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use longline_pb::client::{
    Ack, Bind, BindResult, Bound, Close, Hello, Unbind, Uplink, UplinkAck, UplinkResult, Welcome,
};
use longline_types::{CloseReason, User, limits, now_ms};
use longline_wire::{
    Body, FrameRef, FrameType, Limits, PREFACE_LEN, WireError, decode, decode_preface, encode, encode_empty,
    encode_push_message,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::account::Gone;
use crate::session::{Pulled, WINDOW};
use crate::{PRODUCT, Shared};

const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a device to take what is written to it.
const WRITE: Duration = Duration::from_secs(15);
/// The longest wait between two looks at the account.
const LOOK: Duration = Duration::from_secs(60);
const HEARTBEAT_S: std::ops::RangeInclusive<u32> = 5..=300;

/// Serves a device until either side ends.
pub(crate) async fn serve(socket: TcpStream, shared: &Arc<Shared>) {
    // Only a matter of delay.
    let _ = socket.set_nodelay(true);
    let mut wire = Wire { socket, input: BytesMut::new(), output: BytesMut::new() };
    let ended = match timeout(HANDSHAKE, greet(&mut wire, shared)).await {
        Ok(Ok(mut link)) => link.run(&mut wire).await,
        Ok(Err(ended)) => ended,
        Err(_) => Ended::Because(CloseReason::HandshakeTimeout),
    };
    if let Ended::Because(reason) = ended {
        let close = Close { reason: reason.number().into(), ..Close::default() };
        if wire.queue(&close).is_ok() {
            // A device that does not take its last frame is closed without it.
            let _ = wire.flush().await;
        }
    }
}

/// Why a connection ends.
enum Ended {
    /// With a word to the device.
    Because(CloseReason),
    /// It is gone, or has said goodbye.
    Gone,
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Ended {
        Ended::Because(error.reason())
    }
}

impl From<Gone> for Ended {
    fn from(gone: Gone) -> Ended {
        match gone {
            Gone::Displaced => Ended::Because(CloseReason::Displaced),
            Gone::Crashed => Ended::Gone,
        }
    }
}

/// A socket and what was read from it and is to be written.
struct Wire {
    socket: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

/// A device that was welcomed. When it is dropped its user is offline.
struct Link<'a> {
    shared: &'a Shared,
    user: User,
    index: u32,
    connection: u64,
    wake: Arc<Notify>,
    patience: Duration,
}

async fn greet<'a>(wire: &mut Wire, shared: &'a Shared) -> Result<Link<'a>, Ended> {
    while decode_preface(&wire.input)?.is_none() {
        wire.read().await?;
    }
    let _ = wire.input.split_to(PREFACE_LEN);
    let hello: Hello = loop {
        if let Some((frame, length)) = decode(&wire.input, &Limits::FROM_DEVICE)? {
            if frame.kind != FrameType::Hello {
                return Err(Ended::Because(CloseReason::UnexpectedFrame));
            }
            let hello = frame.parse()?;
            let _ = wire.input.split_to(length);
            break hello;
        }
        wire.read().await?;
    };
    if hello.device.is_empty() || hello.device.len() > limits::DEVICE || hello.binds.is_empty() {
        return Err(Ended::Because(CloseReason::BadField));
    }
    let (link, result) = bind(&hello, shared);
    let mut binds: Vec<Bound> = hello.binds[1..].iter().map(only_one).collect();
    binds.insert(0, Bound { window: if link.is_some() { WINDOW as u32 } else { 0 }, ..result });
    let longest_s = if hello.heartbeat_max_s > 0 { hello.heartbeat_max_s } else { *HEARTBEAT_S.end() };
    let heartbeat_s = longest_s.clamp(*HEARTBEAT_S.start(), *HEARTBEAT_S.end());
    let session = link.as_ref().map_or(0, |link| link.connection);
    wire.queue(&Welcome { session, heartbeat_s, server_time_ms: now_ms(), binds, ..Welcome::default() })?;
    let mut link = link.ok_or(Ended::Because(CloseReason::NoBind))?;
    link.patience = Duration::from_secs(heartbeat_s.into()) * 3 / 2;
    Ok(link)
}

/// Binds the first address of HELLO.
fn bind<'a>(hello: &Hello, shared: &'a Shared) -> (Option<Link<'a>>, Bound) {
    let Bind { index, product, user, .. } = &hello.binds[0];
    let bound = |result: BindResult| Bound { index: *index, result: result.into(), ..Bound::default() };
    if *product != PRODUCT {
        return (None, bound(BindResult::UnknownProduct));
    }
    let Ok(user) = User::new(user) else { return (None, bound(BindResult::BadRequest)) };
    let wake = Arc::new(Notify::new());
    match shared.server().bind(&user, &hello.device, hello.connection_counter, wake.clone()) {
        Ok(connection) => {
            let link = Link { shared, user, index: *index, connection, wake, patience: HANDSHAKE };
            (Some(link), bound(BindResult::Ok))
        }
        Err(_) => (None, bound(BindResult::Stale)),
    }
}

/// What is said to further binds.
fn only_one(bind: &Bind) -> Bound {
    refused(bind.index)
}

fn refused(index: u32) -> Bound {
    let detail = "this server takes one bind, in HELLO".to_owned();
    Bound { index, result: BindResult::BadRequest.into(), detail, ..Bound::default() }
}

impl Link<'_> {
    async fn run(&mut self, wire: &mut Wire) -> Ended {
        match self.turns(wire).await {
            Ok(never) => never,
            Err(ended) => ended,
        }
    }

    /// Reads, pulls and writes in turn, for as long as it goes.
    async fn turns(&mut self, wire: &mut Wire) -> Result<Ended, Ended> {
        let mut broken_at = Instant::now() + self.patience;
        loop {
            self.take_frames(wire)?;
            let pulled = self.shared.server().pull(&self.user, self.connection);
            let Pulled { pushes, again_at_ms } = pulled?;
            for push in &pushes {
                encode_push_message(self.index as u8, push, &mut wire.output)
                    .map_err(|_| Ended::Because(CloseReason::Internal))?;
            }
            wire.flush().await?;
            let wait = again_at_ms.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms()) + 1));
            let again_at = Instant::now() + wait.map_or(LOOK, |wait| wait.min(LOOK));
            tokio::select! {
                read = wire.read() => {
                    read?;
                    broken_at = Instant::now() + self.patience;
                }
                () = self.wake.notified() => {}
                () = sleep_until(again_at) => {}
                () = sleep_until(broken_at) => return Ok(Ended::Because(CloseReason::HeartbeatTimeout)),
            }
        }
    }

    /// Answers every whole frame that has come.
    fn take_frames(&self, wire: &mut Wire) -> Result<(), Ended> {
        let input = wire.input.split();
        let mut rest = &input[..];
        while let Some((frame, length)) = decode(rest, &Limits::FROM_DEVICE)? {
            self.take_frame(&frame, wire)?;
            rest = &rest[length..];
        }
        wire.input.extend_from_slice(rest);
        Ok(())
    }

    fn take_frame(&self, frame: &FrameRef<'_>, wire: &mut Wire) -> Result<(), Ended> {
        match frame.kind {
            FrameType::Ack => {
                let Ack { index, ids } = frame.parse()?;
                if ids.len() > limits::ACK_IDS {
                    return Err(Ended::Because(CloseReason::BadField));
                }
                if index == self.index {
                    self.shared.server().ack(&self.user, self.connection, &ids);
                }
                Ok(())
            }
            FrameType::Ping => encode_empty(FrameType::Pong, &mut wire.output)
                .map_err(|_| Ended::Because(CloseReason::Internal)),
            FrameType::Uplink => {
                let Uplink { sequence, .. } = frame.parse()?;
                let result = UplinkResult::NoRoute.into();
                wire.queue(&UplinkAck { sequence, result, ..UplinkAck::default() })
            }
            FrameType::Bind => wire.queue(&refused(frame.parse::<Bind>()?.index)),
            FrameType::Unbind => wire.queue(&refused(frame.parse::<Unbind>()?.index)),
            FrameType::Close => Err(Ended::Gone),
            _ => Err(Ended::Because(CloseReason::UnexpectedFrame)),
        }
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        self.shared.server().unbind(&self.user, self.connection);
    }
}

impl Wire {
    async fn read(&mut self) -> Result<(), Ended> {
        match self.socket.read_buf(&mut self.input).await {
            Ok(read) if read > 0 => Ok(()),
            _ => Err(Ended::Gone),
        }
    }

    fn queue(&mut self, body: &impl Body) -> Result<(), Ended> {
        encode(body, &mut self.output).map_err(|_| Ended::Because(CloseReason::Internal))
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.output.is_empty() {
            return Ok(());
        }
        let bytes = self.output.split();
        match timeout(WRITE, self.socket.write_all(&bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Gone),
            Err(_) => Err(Ended::Because(CloseReason::SlowReader)),
        }
    }
}
