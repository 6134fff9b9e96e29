//! The session machine of a simulated device: frames and time in, bytes and endings out; no sockets.
//!
//! It behaves as the SDK does, with one bind on index 0. What it writes goes to [`Cx::out`], and the caller writes that to the
//! socket before it turns to another device.

mod ending;
mod frames;
mod greeting;
mod resuming;
mod timing;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use longline_load_truth::Micros;

use crate::flights::{Flight, Flights};
use crate::hostile::Manner;
use crate::time::{Ms, NEVER};
use crate::world::Cx;

pub(crate) use ending::Ending;
pub(crate) use frames::Received;
use resuming::Resumption;
pub(crate) use timing::{Act, Reading, SLOW_BYTES};

/// A device between and during its connections. There may be a million of them, so every field counts.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) user: u32,
    /// Connections begun.
    pub(crate) connection: u32,
    /// When the connection under way, or the next, was due.
    due: Micros,
    /// What it means follows from the state: when to come back, a deadline, when to ask again, when a slow device reads next.
    until: Ms,
    /// When something came last, when something was sent last, when the last PING was sent.
    heard: Ms,
    spoke: Ms,
    pinged: Ms,
    welcomed: Ms,
    /// When to leave for another room.
    move_at: Ms,
    heartbeat_ms: Ms,
    /// What a room said that sent it away, until another has welcomed it.
    moving: Option<Box<Moving>>,
    /// Its session, if it is one of those that resume.
    resumption: Option<Box<Resumption>>,
    flights: Option<Box<Flights>>,
    /// Tries of no use since the last connection that worked.
    attempt: u16,
    /// Failures in a row, for the backoff.
    step: u8,
    state: State,
    manner: Manner,
    /// Bound at some time on this connection.
    was_bound: bool,
}

/// What a room says that sends a device away.
#[derive(Debug)]
struct Moving {
    /// Named for the next connection only.
    room: Option<SocketAddr>,
    /// To be shown in HELLO.
    ticket: Vec<u8>,
}

/// Where a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Not asked to connect yet.
    Fresh,
    /// To come back later.
    Away,
    /// The TCP connection is being made.
    Opening,
    /// HELLO, or what it sends instead, is on its way.
    Greeting,
    /// Welcome, and asked for its bind.
    Asked,
    /// Welcome, and told to ask for its bind again later.
    Unbound,
    /// Its bind stands.
    Bound,
    /// Its bind was refused for good.
    Refused,
}

impl State {
    fn is_connecting(self) -> bool {
        matches!(self, State::Opening | State::Greeting | State::Asked | State::Unbound)
    }

    fn is_welcome(self) -> bool {
        matches!(self, State::Asked | State::Unbound | State::Bound)
    }
}

impl Device {
    pub(crate) fn new(user: u32, manner: Manner) -> Device {
        Device {
            user,
            connection: 0,
            due: 0,
            until: NEVER,
            heard: 0,
            spoke: 0,
            pinged: 0,
            welcomed: 0,
            move_at: NEVER,
            heartbeat_ms: 0,
            moving: None,
            resumption: None,
            flights: None,
            attempt: 0,
            step: 0,
            state: State::Fresh,
            manner,
            was_bound: false,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Whether it has a connection, or one under way.
    pub(crate) fn is_on_line(&self) -> bool {
        self.state.is_connecting() || self.state == State::Bound
    }

    /// Whether churn and uplinks may choose it.
    pub(crate) fn is_at_work(&self, cx: &Cx) -> bool {
        self.state == State::Bound && cx.manner(self.manner) == Manner::Good
    }

    /// Whether all being back needs a new connection for this device.
    pub(crate) fn spoils_its_connection(&self) -> bool {
        self.is_on_line() && self.manner.spoils_its_connection()
    }

    /// Whether it has left bytes unread that a well-behaved device would have taken.
    pub(crate) fn read_badly(&self) -> bool {
        matches!(self.manner, Manner::Slow | Manner::StopReading)
    }

    /// Bytes were written to its socket.
    pub(crate) fn wrote(&mut self, now: Ms) {
        self.spoke = now;
    }

    /// It did not read, and will from now on: the silence was its own.
    pub(crate) fn listen_again(&mut self, cx: &mut Cx) {
        self.heard = cx.now.ms;
        cx.rearm = true;
    }

    /// Whatever kept it away is forgotten: it comes after this wait, and its failures count anew.
    pub(crate) fn come_back(&mut self, wait: Ms, cx: &mut Cx) {
        self.step = 0;
        self.come(wait, cx.after(wait), cx);
    }

    /// It comes after this wait; the latency of its connect counts from `due`.
    pub(crate) fn come(&mut self, wait: Ms, due: Micros, cx: &mut Cx) {
        self.enter(State::Away, cx);
        self.until = cx.now.ms.saturating_add(wait);
        self.due = due;
        cx.rearm = true;
    }

    /// Takes an uplink, if there is space for one more, and writes it.
    pub(crate) fn uplink(&mut self, flight: impl FnOnce(&Cx) -> Flight, cx: &mut Cx) -> bool {
        let flights = self.flights.get_or_insert_default();
        if !flights.has_space() {
            return false;
        }
        flights.add(flight(cx));
        flights.flush(self.user, cx);
        true
    }

    /// Changes the state, and with it the counts of devices in each.
    fn enter(&mut self, state: State, cx: &Cx) {
        let tally = cx.tally();
        let before = std::mem::replace(&mut self.state, state);
        for (cell, was, is) in [
            (&tally.connecting, before.is_connecting(), state.is_connecting()),
            (&tally.connected, before == State::Bound, state == State::Bound),
        ] {
            match (was, is) {
                (false, true) => cell.add(1),
                (true, false) => cell.sub(1),
                _ => {}
            }
        }
    }
}
