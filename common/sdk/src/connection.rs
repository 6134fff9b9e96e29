//! One connection to a room, from HELLO to its end.

use std::time::Duration;

use futures::StreamExt;
use longline_pb::client::{self, directive::What};
use longline_types::CloseReason;
use longline_wire::PREFACE;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::codec::FramedRead;

use crate::backoff::between;
use crate::builder::Timeouts;
use crate::codec::{ReadError, RoomCodec, RoomFrame};
use crate::device::Device;
use crate::heartbeat::Heartbeat;
use crate::inputs::Inputs;
use crate::link::{Link, Stream};
use crate::outbox::Outbox;
use crate::{Closed, Disconnect, Event};

/// A read takes at most this many bytes at once; larger frames grow the buffer while they come.
const READ_BUFFER: usize = 4 * 1024;
/// No room can make a device wait longer than this before it moves.
const LONGEST_MOVE: Duration = Duration::from_secs(600);

type Frames = FramedRead<ReadHalf<Box<dyn Stream>>, RoomCodec>;
type Write = WriteHalf<Box<dyn Stream>>;

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// There is nothing to come back for.
    ForGood(Closed),
    /// The application closed the client, and may wait to hear that it is done.
    ByApplication(Option<oneshot::Sender<()>>),
    /// The application took the last bind away.
    NoBinds,
    /// The room asked to go to these rooms, or to ask the dispatcher.
    Moved(Vec<String>),
    /// Anything else; a room that closed it may have named a wait.
    Lost { reason: Disconnect, retry_after: Option<Duration> },
}

impl Ended {
    /// Whether the room keeps its session parked: it broke, or the room refused to serve it now, before WELCOME, so that the session is
    /// that of an earlier connection. Not if either side has ended it, nor if the room left a bind unanswered: the same session would
    /// wait for that again.
    fn leaves_parked(&self, is_welcomed: bool) -> bool {
        let Ended::Lost { reason, .. } = self else { return false };
        match reason {
            Disconnect::Io(_) | Disconnect::Silence | Disconnect::WriteTimeout => true,
            // Before WELCOME.
            Disconnect::ConnectTimeout => true,
            Disconnect::ByRoom { reason, .. } => {
                !is_welcomed || *reason == u32::from(CloseReason::HeartbeatTimeout.number())
            }
            Disconnect::Moved
            | Disconnect::BindTimeout
            | Disconnect::Protocol(_)
            | Disconnect::UnexpectedFrame
            | Disconnect::NoBinds => false,
        }
    }
}

/// How a connection went.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) ended: Ended,
    /// How long the device was welcome; none if it never was.
    pub(crate) open_for: Option<Duration>,
}

/// A connection and what it works on.
pub(crate) struct Connection<'a> {
    endpoint: &'a str,
    device: &'a mut Device,
    inputs: &'a mut Inputs,
    events: &'a mpsc::Sender<Event>,
    timeouts: &'a Timeouts,
    out: Outbox,
    heartbeat: Heartbeat,
    began: Instant,
    welcomed: Option<Instant>,
    /// When to go, and where.
    moving: Option<(Instant, Vec<String>)>,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(
        endpoint: &'a str,
        device: &'a mut Device,
        inputs: &'a mut Inputs,
        events: &'a mpsc::Sender<Event>,
        timeouts: &'a Timeouts,
    ) -> Connection<'a> {
        let began = Instant::now();
        let heartbeat = Heartbeat::new(0, began);
        let out = Outbox::default();
        Connection {
            endpoint,
            device,
            inputs,
            events,
            timeouts,
            out,
            heartbeat,
            began,
            welcomed: None,
            moving: None,
        }
    }

    /// Lives the connection, and leaves the device ready for the next.
    pub(crate) async fn run(mut self, link: Link, counter: u64) -> Finished {
        let (read, mut write) = split(link.stream);
        let mut frames = FramedRead::with_capacity(read, RoomCodec, READ_BUFFER);
        if link.wants_preface {
            self.out.raw(&PREFACE);
        }
        let hello = self.device.hello(self.endpoint, counter, self.began);
        self.out.send(&hello);
        let ended = self.serve(&mut frames, &mut write).await;
        self.part(&ended, frames, write).await;
        if !ended.leaves_parked(self.welcomed.is_some()) {
            self.device.session_ended(self.endpoint);
        }
        let now = Instant::now();
        self.device.disconnected(now);
        Finished { ended, open_for: self.welcomed.map(|since| now - since) }
    }

    async fn serve(&mut self, frames: &mut Frames, write: &mut Write) -> Ended {
        loop {
            let now = Instant::now();
            if let Some(ended) = self.turn(now) {
                return ended;
            }
            let telling = !self.device.events.is_empty();
            let reading = !telling && !self.out.is_full();
            if !reading {
                // The silence is ours.
                self.heartbeat.received(now);
            }
            let wake = self.wake(now);
            let take_uplinks = self.device.takes_uplinks() && !self.out.is_full();
            let ended = tokio::select! {
                frame = frames.next(), if reading => self.on_read(frame),
                result = self.out.write_to(write), if !self.out.is_empty() => result.err().map(lost_io),
                place = self.events.reserve(), if telling => {
                    if let (Ok(place), Some(event)) = (place, self.device.events.pop_front()) {
                        place.send(event);
                    }
                    None
                }
                input = self.inputs.next(take_uplinks) => {
                    self.device.take(input, Instant::now()).map(|done| Ended::ByApplication(Some(done)))
                }
                () = self.events.closed() => Some(Ended::ByApplication(None)),
                () = sleep_until(wake) => None,
            };
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Does what the clock and the device's state ask for.
    fn turn(&mut self, now: Instant) -> Option<Ended> {
        if !self.device.any_wanted() {
            return Some(Ended::NoBinds);
        }
        if self.out.stuck_at(self.timeouts.write).is_some_and(|at| at <= now) {
            return Some(lost(Disconnect::WriteTimeout));
        }
        self.device.expire(now);
        if self.welcomed.is_none() {
            let late = self.began + self.timeouts.handshake <= now;
            return late.then(|| lost(Disconnect::ConnectTimeout));
        }
        if self.moving.as_ref().is_some_and(|(at, _)| *at <= now) {
            return self.moving.take().map(|(_, endpoints)| Ended::Moved(endpoints));
        }
        if self.device.unanswered_at(self.timeouts.bind).is_some_and(|at| at <= now) {
            return Some(lost(Disconnect::BindTimeout));
        }
        self.device.flush(now, &mut self.out);
        if self.out.take_touched() {
            self.heartbeat.sent(now);
        }
        if self.heartbeat.broken_at() <= now {
            return Some(lost(Disconnect::Silence));
        }
        if self.heartbeat.ping_due() <= now {
            self.out.ping();
            self.heartbeat.pinged(now);
        }
        None
    }

    /// When [`Connection::turn`] has something to do next.
    fn wake(&self, now: Instant) -> Instant {
        let first = if self.welcomed.is_none() {
            self.began + self.timeouts.handshake
        } else {
            self.heartbeat.ping_due().min(self.heartbeat.broken_at())
        };
        let others = [
            self.out.stuck_at(self.timeouts.write),
            self.device.due(now),
            self.device.unanswered_at(self.timeouts.bind),
            self.moving.as_ref().map(|(at, _)| *at),
        ];
        others.into_iter().flatten().fold(first, Instant::min)
    }

    fn on_read(&mut self, frame: Option<Result<RoomFrame, ReadError>>) -> Option<Ended> {
        match frame {
            Some(Ok(frame)) => self.on_frame(frame, Instant::now()),
            Some(Err(ReadError::Wire(error))) => Some(lost(Disconnect::Protocol(error))),
            Some(Err(ReadError::Io(error))) => Some(lost_io(error)),
            None => Some(lost(Disconnect::Io("the room hung up".to_owned()))),
        }
    }

    fn on_frame(&mut self, frame: RoomFrame, now: Instant) -> Option<Ended> {
        self.heartbeat.received(now);
        match (frame, self.welcomed) {
            (RoomFrame::Close(close), _) => Some(closed(close)),
            (RoomFrame::Welcome(welcome), None) => self.on_welcome(welcome, now),
            (_, None) | (RoomFrame::Welcome(_), Some(_)) => Some(lost(Disconnect::UnexpectedFrame)),
            (RoomFrame::Bound(bound), _) => self.device.bound(bound, now).map(Ended::ForGood),
            (RoomFrame::Push(index, push), _) => {
                self.device.pushed(index, push, now);
                None
            }
            (RoomFrame::UplinkAck(ack), _) => {
                self.device.uplink_answered(&ack, now);
                None
            }
            (RoomFrame::Pong, _) => None,
            (RoomFrame::Directive(directive), _) => {
                self.on_directive(directive, now);
                None
            }
        }
    }

    fn on_welcome(&mut self, welcome: client::Welcome, now: Instant) -> Option<Ended> {
        self.welcomed = Some(now);
        self.heartbeat = Heartbeat::new(welcome.heartbeat_s, now);
        self.device.welcomed(self.endpoint, &welcome);
        // All of them are taken, so that none is missing among the events.
        let ends: Vec<Closed> =
            welcome.binds.into_iter().filter_map(|bound| self.device.bound(bound, now)).collect();
        ends.into_iter().next_back().map(Ended::ForGood)
    }

    fn on_directive(&mut self, directive: client::Directive, now: Instant) {
        match directive.what {
            Some(What::HeartbeatS(seconds)) => self.heartbeat.set_interval(seconds),
            Some(What::Reconnect(reconnect)) => {
                let within = Duration::from_millis(reconnect.within_ms.into()).min(LONGEST_MOVE);
                self.moving = Some((now + between(Duration::ZERO, within), reconnect.endpoints));
                self.device.sent_away(reconnect.ticket);
            }
            // A newer room may know more.
            None => {}
        }
    }

    /// Says goodbye where somebody listens: what is to be sent, CLOSE, and then the wait for the room to hang up, since closing a
    /// socket with unread bytes would throw away what was sent.
    async fn part(&mut self, ended: &Ended, mut frames: Frames, mut write: Write) {
        let reason = match ended {
            Ended::ByApplication(_) | Ended::NoBinds | Ended::Moved(_) => CloseReason::ClientGone,
            Ended::ForGood(Closed::NoBindLeft { .. }) => CloseReason::ClientGone,
            Ended::Lost { reason: Disconnect::Protocol(error), .. } => error.reason(),
            Ended::Lost { reason: Disconnect::UnexpectedFrame, .. } => CloseReason::UnexpectedFrame,
            Ended::ForGood(Closed::ByRoom { .. }) | Ended::Lost { .. } => return,
        };
        let now = Instant::now();
        for (bind, id) in self.inputs.waiting_acks() {
            self.device.acknowledge(bind, id, now);
        }
        self.device.flush_acks(&mut self.out);
        self.out.send(&client::Close { reason: reason.number().into(), ..client::Close::default() });
        let goodbye = async {
            while !self.out.is_empty() {
                self.out.write_to(&mut write).await?;
            }
            write.shutdown().await?;
            let socket = frames.get_mut();
            let mut rest = [0; 1024];
            while socket.read(&mut rest).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        let _ = timeout(self.timeouts.close, goodbye).await;
    }
}

fn closed(close: client::Close) -> Ended {
    let client::Close { reason, detail, retry_after_ms } = close;
    if reason >= 2000 {
        return Ended::ForGood(Closed::ByRoom { reason, detail });
    }
    let retry_after = Some(Duration::from_millis(retry_after_ms.into())).filter(|wait| !wait.is_zero());
    Ended::Lost { reason: Disconnect::ByRoom { reason, detail }, retry_after }
}

fn lost(reason: Disconnect) -> Ended {
    Ended::Lost { reason, retry_after: None }
}

fn lost_io(error: std::io::Error) -> Ended {
    lost(Disconnect::Io(error.to_string()))
}
