//! How a connection breaks, and how another takes its session up.

use longline_types::CloseReason;

use super::ending::Ending;
use super::greeting::Introduction;
use super::open::Session;
use super::turn::{Env, Now};
use super::{Connection, Leaving, Phase};
use crate::metrics::{NoResume, ParkingEnd};
use crate::resume::ResumeToken;

/// A HELLO with a resume token that this process has made: its session is to be found.
#[derive(Debug)]
pub(crate) struct Returning {
    pub(crate) token: ResumeToken,
    pub(super) hello: Introduction,
}

impl Connection {
    /// The connection is broken: its session is parked if it is worth it, or else ends.
    pub(super) fn broken(&mut self, ending: &Ending, now: Now, env: &mut Env) {
        let (mut t, phase) = self.turn(now, env);
        match phase {
            Phase::Open(session) if session.may_park(&t) => {
                if ending.reason == CloseReason::HeartbeatTimeout {
                    session.fell_silent(now.ms, t.env);
                }
                session.interrupt(&mut t);
                t.env.counters.closed(ending.reason);
                t.env.counters.parkings.add(1);
                if ending.reason == CloseReason::ClientGone {
                    self.release(env);
                } else {
                    t.send(&ending.frame());
                }
                self.input.clear();
                self.broken_by = Some(ending.reason);
                self.change(Phase::Parked);
            }
            Phase::Parked(_) => {}
            Phase::Open(_) | Phase::Greeting(_) | Phase::Leaving(_) => self.end(ending, now, env),
        }
    }

    /// What a parked session takes of the memory, in bytes.
    pub(crate) fn parked_memory(&self) -> Option<usize> {
        match &self.phase {
            Phase::Parked(session) => Some(session.memory()),
            _ => None,
        }
    }

    /// The socket of a parked session is closed: what it has not taken will not be written.
    pub(crate) fn detached(&mut self, env: &mut Env) {
        if matches!(self.phase, Phase::Parked(_)) {
            self.release(env);
            self.transport = None;
        }
    }

    /// Ends the session if it is parked.
    pub(crate) fn end_parked(&mut self, end: ParkingEnd, now: Now, env: &mut Env) {
        let reason = self.broken_by.unwrap_or(CloseReason::ClientGone);
        self.finish_parked(end, reason, now, env);
    }

    /// Likewise, for a reason of its own.
    pub(super) fn finish_parked(&mut self, end: ParkingEnd, reason: CloseReason, now: Now, env: &mut Env) {
        let gone = Leaving { reason, until: now.ms, ignored: 0, gone: true };
        match std::mem::replace(&mut self.phase, Phase::Leaving(gone)) {
            Phase::Parked(session) => {
                env.counters.parking_ended(end);
                let (mut t, _) = self.turn(now, env);
                session.finish(reason, &mut t);
            }
            other => self.phase = other,
        }
    }

    /// Begins a session for a HELLO whose token leads nowhere, then reads what came after it.
    pub(crate) fn open_anew(&mut self, returning: Returning, now: Now, env: &mut Env) {
        if let Err(ending) = self.greet(returning.hello, now, env) {
            self.end(&ending, now, env);
        }
        self.opened(&[], now, env);
    }

    /// Begins a session, if the storm allows it. One that is got back as it was need not ask: it costs the cluster nothing.
    pub(super) fn greet(&mut self, hello: Introduction, now: Now, env: &mut Env) -> Result<(), Ending> {
        env.admit(now)?;
        env.counters.hellos.add(1);
        let (mut t, _) = self.turn(now, env);
        self.phase = Phase::Open(Session::open(hello, &mut t)?);
        Ok(())
    }

    /// Whether the session here is the one that the device asks for, and still to be had.
    pub(crate) fn admits(&self, returning: &Returning) -> Result<(), NoResume> {
        match &self.phase {
            Phase::Open(session) | Phase::Parked(session) if self.id == returning.token.session => {
                session.admits(&returning.token, &returning.hello)
            }
            _ => Err(NoResume::Gone),
        }
    }

    /// Whether the device wants binds that the session does not have.
    pub(crate) fn is_asked_for_more(&self, returning: &Returning) -> bool {
        match &self.phase {
            Phase::Open(session) | Phase::Parked(session) => {
                returning.hello.binds.iter().flatten().any(|wanted| !session.has(wanted))
            }
            Phase::Greeting(_) | Phase::Leaving(_) => false,
        }
    }

    /// The session is still thought to be connected, and its device knows better: the socket is given up (D9).
    pub(crate) fn set_aside(&mut self, now: Now, env: &mut Env) {
        let (mut t, phase) = self.turn(now, env);
        if let Phase::Open(session) = phase {
            session.fell_silent(now.ms, t.env);
            session.interrupt(&mut t);
            t.env.counters.closed(CloseReason::ClientGone);
            self.change(Phase::Parked);
        }
    }

    /// A parked session goes on with what is the newcomer's: socket, transport, unread and unwritten bytes.
    pub(crate) fn take_over(&mut self, newcomer: Connection, returning: Returning, now: Now, env: &mut Env) {
        self.release(env);
        self.input = newcomer.input;
        self.output = newcomer.output;
        env.output_bytes += self.output.len();
        self.transport = newcomer.transport;
        self.broken_by = None;
        self.change(Phase::Open);
        env.counters.hellos.add(1);
        env.counters.resumes.add(1);
        let (mut t, phase) = self.turn(now, env);
        let Phase::Open(session) = phase else { return };
        if let Err(ending) = session.resume(returning.hello, &mut t) {
            self.end(&ending, now, env);
        }
        self.opened(&[], now, env);
    }

    /// Moves the session into another phase.
    fn change(&mut self, to: fn(Session) -> Phase) {
        let reason = CloseReason::ClientGone;
        let none = Phase::Leaving(Leaving { reason, until: 0, ignored: 0, gone: true });
        self.phase = match std::mem::replace(&mut self.phase, none) {
            Phase::Open(session) | Phase::Parked(session) => to(session),
            other => other,
        };
    }
}
