//! What a room says.

use std::net::SocketAddr;

use longline_load_truth::Received as Message;
use longline_pb::client::{self, BindResult, PushFlag, directive::What};
use longline_types::CloseReason;
use longline_wire::{Body, FrameRef, FrameType, Limits, decode, encode};

use super::timing::BIND_MS;
use super::{Device, Ending, Moving, State};
use crate::acks::encode_acks;
use crate::hostile::Rubbish;
use crate::push::PushView;
use crate::time::{Ms, START};
use crate::trouble::Trouble;
use crate::world::Cx;

/// Used if the room names no interval.
const HEARTBEAT_S: u32 = 240;
/// A room's words are obeyed up to these.
const LONGEST_MOVE_MS: Ms = 600_000;
const LONGEST_RETRY_MS: Ms = 3_600_000;

/// What bytes did.
#[derive(PartialEq, Debug)]
pub(crate) struct Received {
    /// Bytes of whole frames; the rest is to be kept until more has come.
    pub(crate) used: usize,
    /// The connection is over.
    pub(crate) ending: Option<Ending>,
}

impl Device {
    /// Takes bytes from the room, and acknowledges the messages among them in one go.
    pub(crate) fn received(&mut self, bytes: &[u8], cx: &mut Cx) -> Received {
        self.heard = cx.now.ms;
        let mut used = 0;
        let ending = loop {
            match decode(&bytes[used..], &Limits::FROM_ROOM) {
                Ok(Some((frame, length))) => {
                    used += length;
                    if let Some(ending) = self.frame(frame, cx) {
                        break Some(ending);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(fault(error.reason(), cx)),
            }
        };
        encode_acks(&cx.acks, &mut cx.out);
        cx.acked.append(&mut cx.acks);
        Received { used, ending }
    }

    fn frame(&mut self, frame: FrameRef<'_>, cx: &mut Cx) -> Option<Ending> {
        match (frame.kind, self.state.is_welcome()) {
            (FrameType::Push, true) => self.push(frame, cx),
            (FrameType::Pong, true) => None,
            (FrameType::Bound, true) => parsed(frame, cx, |bound, cx| self.bound(&bound, cx)),
            (FrameType::UplinkAck, true) => parsed(frame, cx, |ack, cx| self.uplink_ack(&ack, cx)),
            (FrameType::Directive, true) => parsed(frame, cx, |said, cx| self.directive(said, cx)),
            (FrameType::Welcome, false) => parsed(frame, cx, |welcome, cx| self.welcome(&welcome, cx)),
            (FrameType::Close, _) => parsed(frame, cx, |close: client::Close, _| {
                Some(Ending::Closed { reason: close.reason, retry_after_ms: close.retry_after_ms })
            }),
            _ => Some(fault(CloseReason::UnexpectedFrame, cx)),
        }
    }

    fn push(&mut self, frame: FrameRef<'_>, cx: &mut Cx) -> Option<Ending> {
        let Some(push) = frame.split_push().ok().filter(|(index, _)| *index == 0) else {
            return Some(fault(CloseReason::BadField, cx));
        };
        let Some(push) = PushView::read(push.1) else { return Some(fault(CloseReason::BadBody, cx)) };
        let has = |flag: PushFlag| push.flags & flag as u64 != 0;
        let message = Message { id: push.id, payload: push.payload, redelivered: has(PushFlag::Redelivered) };
        let ledger = &cx.world.options.ledger;
        let receipt = ledger.received(self.user, self.connection, &message, cx.now.at);
        cx.tally().pushes.add(1);
        if !has(PushFlag::Transient) && cx.manner(self.manner).acks() {
            cx.acks.push(push.id);
            cx.receipts.push(receipt);
        }
        None
    }

    fn welcome(&mut self, welcome: &client::Welcome, cx: &mut Cx) -> Option<Ending> {
        self.enter(State::Asked, cx);
        self.welcomed = cx.now.ms;
        self.moving = None;
        self.offered(welcome, cx);
        self.until = cx.now.ms + BIND_MS;
        self.set_heartbeat(if welcome.heartbeat_s == 0 { HEARTBEAT_S } else { welcome.heartbeat_s });
        // The first PING at a random phase: devices that came together do not stay in step.
        self.spoke = cx.before(self.heartbeat_ms);
        self.pinged = cx.now.ms;
        cx.rearm = true;
        welcome.binds.iter().find_map(|bound| self.bound(bound, cx))
    }

    fn set_heartbeat(&mut self, seconds: u32) {
        self.heartbeat_ms = seconds.saturating_mul(1000).min(START);
    }

    fn bound(&mut self, bound: &client::Bound, cx: &mut Cx) -> Option<Ending> {
        match bound.result() {
            _ if bound.index != 0 => Some(fault(CloseReason::BadField, cx)),
            BindResult::Ok => {
                self.stands(cx);
                None
            }
            BindResult::Unavailable => {
                let asked = bound.retry_after_ms.clamp(1, LONGEST_RETRY_MS);
                self.enter(State::Unbound, cx);
                self.until = cx.now.ms.saturating_add(cx.chance.between(asked, asked * 2));
                cx.rearm = true;
                None
            }
            BindResult::UnknownProduct | BindResult::BadToken | BindResult::BadRequest => {
                Some(Ending::Refused)
            }
            BindResult::Displaced | BindResult::Stale => Some(Ending::gone(CloseReason::Displaced)),
            BindResult::Kicked => Some(Ending::gone(CloseReason::Kicked)),
            BindResult::Unbound | BindResult::Unspecified => Some(fault(CloseReason::BadField, cx)),
        }
    }

    /// The bind stands, now or still.
    fn stands(&mut self, cx: &mut Cx) {
        if self.state == State::Bound {
            return;
        }
        self.enter(State::Bound, cx);
        self.until = cx.now.ms;
        self.attempt = 0;
        if !self.was_bound {
            self.was_bound = true;
            cx.world.options.ledger.bound(self.user, self.connection, cx.now.at);
            cx.tally().bound.add(1);
            cx.shared.connected_after(cx.now.at.saturating_sub(self.due));
        }
        if let Some(rubbish @ Rubbish::AfterWelcome) =
            cx.manner(self.manner).rubbish(self.user, self.connection)
        {
            rubbish.write(&mut cx.chance, &mut cx.out);
        }
        if let Some(flights) = &mut self.flights {
            flights.resend(cx.now.ms);
            flights.flush(self.user, cx);
        }
        cx.rearm = true;
    }

    fn uplink_ack(&mut self, ack: &client::UplinkAck, cx: &mut Cx) -> Option<Ending> {
        if let Some(flights) = &mut self.flights {
            flights.answered(ack, cx);
            if flights.is_empty() {
                self.flights = None;
            }
        }
        None
    }

    fn directive(&mut self, directive: client::Directive, cx: &mut Cx) -> Option<Ending> {
        match directive.what {
            Some(What::HeartbeatS(seconds)) if seconds > 0 => self.set_heartbeat(seconds),
            Some(What::Reconnect(reconnect)) => {
                let within = cx.chance.between(0, reconnect.within_ms.min(LONGEST_MOVE_MS));
                self.move_at = cx.now.ms + within;
                let room = reconnect.endpoints.iter().find_map(|room| room.parse::<SocketAddr>().ok());
                self.forget_session();
                self.moving = Some(Box::new(Moving { room, ticket: reconnect.ticket }));
            }
            // A newer room may know more.
            _ => {}
        }
        cx.rearm = true;
        None
    }
}

/// The frame's message goes to `take`; a body that is none ends the connection.
fn parsed<M: Body>(
    frame: FrameRef<'_>,
    cx: &mut Cx,
    take: impl FnOnce(M, &mut Cx) -> Option<Ending>,
) -> Option<Ending> {
    match frame.parse() {
        Ok(message) => take(message, cx),
        Err(error) => Some(fault(error.reason(), cx)),
    }
}

/// The room does not speak the protocol: says so and hangs up.
fn fault(reason: CloseReason, cx: &mut Cx) -> Ending {
    goodbye(reason, cx);
    Ending::Trouble(Trouble::Protocol)
}

/// Writes CLOSE.
pub(super) fn goodbye(reason: CloseReason, cx: &mut Cx) {
    let close = client::Close { reason: reason.number().into(), ..client::Close::default() };
    encode(&close, &mut cx.out).expect("a CLOSE without details is short");
}
