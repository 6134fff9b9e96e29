//! What a device does as time passes.

use longline_types::CloseReason;
use longline_wire::{FrameType, encode, encode_empty};

use super::frames::goodbye;
use super::{Device, Ending, State};
use crate::hostile::Manner;
use crate::time::{Ms, NEVER};
use crate::trouble::Trouble;
use crate::world::Cx;

/// A slow device reads this often, and at most [`SLOW_BYTES`] then.
const SLOW_MS: Ms = 1_000;
/// For the answer to a BIND, in HELLO or of its own.
pub(super) const BIND_MS: Ms = 30_000;
/// Bytes that a slow device reads at a time.
pub(crate) const SLOW_BYTES: usize = 64;

/// What the device asks for when its time has come.
#[derive(PartialEq, Debug)]
pub(crate) enum Act {
    Nothing,
    /// Connect.
    Connect,
    /// Read a little.
    Read,
    /// The connection is over.
    End(Ending),
}

/// How a device reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    Freely,
    /// Only when [`Act::Read`] says so.
    Slowly,
    Not,
}

impl Device {
    /// How it reads now.
    pub(crate) fn reading(&self, cx: &Cx) -> Reading {
        if self.state == State::Bound { self.reading_when_bound(cx) } else { Reading::Freely }
    }

    /// How it will read once its bind stands.
    pub(crate) fn reading_when_bound(&self, cx: &Cx) -> Reading {
        match cx.manner(self.manner) {
            Manner::Slow => Reading::Slowly,
            Manner::StopReading => Reading::Not,
            _ => Reading::Freely,
        }
    }

    /// When [`Device::timer`] has something to do.
    pub(crate) fn next(&self, cx: &Cx) -> Ms {
        match self.state {
            State::Fresh | State::Refused => NEVER,
            State::Away | State::Opening | State::Greeting => self.until,
            State::Asked | State::Unbound => self.until.min(self.next_on_connection(cx)),
            State::Bound if self.reading(cx) == Reading::Slowly => {
                self.until.min(self.next_on_connection(cx))
            }
            State::Bound => self.next_on_connection(cx),
        }
    }

    fn next_on_connection(&self, cx: &Cx) -> Ms {
        let uplinks = match (&self.flights, self.state) {
            (Some(flights), State::Bound) => flights.next(),
            _ => NEVER,
        };
        uplinks.min(self.move_at).min(self.ping_at(cx)).min(self.broken_at(cx))
    }

    /// A PING is due after one interval in which nothing was sent, or nothing was heard.
    fn ping_at(&self, cx: &Cx) -> Ms {
        match cx.manner(self.manner) {
            Manner::Silent => NEVER,
            _ => self.spoke.min(self.heard.max(self.pinged)).saturating_add(self.heartbeat_ms),
        }
    }

    /// Without a byte from the room for one and a half intervals the connection is broken; who does not read cannot know, and who
    /// is silent on purpose waits for the room's verdict.
    fn broken_at(&self, cx: &Cx) -> Ms {
        let waits = self.reading(cx) == Reading::Not || cx.manner(self.manner) == Manner::Silent;
        if waits { NEVER } else { self.heard.saturating_add(self.heartbeat_ms / 2 * 3) }
    }

    /// Does what its time has come for.
    pub(crate) fn timer(&mut self, cx: &mut Cx) -> Act {
        let is_due = self.until <= cx.now.ms;
        match self.state {
            State::Fresh | State::Refused => Act::Nothing,
            State::Away if is_due => Act::Connect,
            State::Opening | State::Greeting if is_due => trouble(Trouble::TimedOut),
            State::Away | State::Opening | State::Greeting => Act::Nothing,
            State::Asked if is_due => trouble(Trouble::Unbound),
            State::Unbound if is_due => self.bind_again(cx),
            State::Asked | State::Unbound | State::Bound => self.on_connection(is_due, cx),
        }
    }

    fn on_connection(&mut self, is_due: bool, cx: &mut Cx) -> Act {
        let now = cx.now.ms;
        if self.move_at <= now {
            goodbye(CloseReason::ClientGone, cx);
            return Act::End(Ending::Moved);
        }
        if self.broken_at(cx) <= now {
            return trouble(Trouble::Silence);
        }
        if self.ping_at(cx) <= now {
            encode_empty(FrameType::Ping, &mut cx.out).expect("a vector grows");
            self.pinged = now;
            self.spoke = now;
            cx.tally().heartbeats.add(1);
        }
        if let (State::Bound, Some(flights)) = (self.state, &mut self.flights) {
            flights.flush(self.user, cx);
        }
        if is_due && self.reading(cx) == Reading::Slowly {
            self.until = now + SLOW_MS;
            return Act::Read;
        }
        Act::Nothing
    }

    fn bind_again(&mut self, cx: &mut Cx) -> Act {
        self.enter(State::Asked, cx);
        self.until = cx.now.ms + BIND_MS;
        encode(&self.bind(cx), &mut cx.out).expect("name and token are far below the limit of BIND");
        Act::Nothing
    }
}

fn trouble(trouble: Trouble) -> Act {
    Act::End(Ending::Trouble(trouble))
}
