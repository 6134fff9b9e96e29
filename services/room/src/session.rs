//! The state machine of one connection, without I/O: bytes, answers, hints and time go in; frames and questions come out.
//!
//! A connection is greeted, then a session, then leaving; only a session has binds, so nothing can be pushed to a connection that
//! has not said who it is. A session whose connection breaks is parked, until another connection takes it up. What a session shares
//! with the others of its shard is [`Env`].

#[cfg(any(test, feature = "fuzzing"))]
mod audit;
mod bind;
mod binds;
mod budget;
mod ending;
mod flight;
mod frames;
mod greeting;
mod heartbeat;
mod input;
mod jitter;
mod layers;
mod loading;
mod open;
mod output;
mod parking;
mod profile;
mod pushing;
mod queueing;
mod returning;
mod standing;
mod survival;
mod timing;
mod turn;

pub(crate) use ending::Ending;
pub(crate) use jitter::Jitter;
pub(crate) use open::Session;
pub(crate) use output::Output;
pub(crate) use returning::Returning;
pub(crate) use turn::{Env, Now, Turn};

use longline_types::{CloseReason, SessionId};
use longline_wire::{Limits, decode};

use self::greeting::{Greeting, Introduction};
use self::input::Input;
use crate::admission::Buffers;
use crate::metrics::{Counters, Labels, NoResume, ParkingEnd, Resident, State};
use crate::resume::ResumeToken;
use crate::transport::Transport;

/// Bytes that a leaving connection may still send before it is cut.
const MOST_IGNORED: usize = 256 * 1024;

/// One connection.
pub(crate) struct Connection {
    id: SessionId,
    phase: Phase,
    input: Input,
    output: Output,
    /// None for plain Longline TCP.
    transport: Option<Box<Transport>>,
    labels: Labels,
    /// It is in the shard's list of connections to write to.
    pub(crate) listed: bool,
    /// Why a parked session has no socket.
    broken_by: Option<CloseReason>,
}

enum Phase {
    Greeting(Greeting),
    Open(Session),
    /// Without a socket, until its device comes back or its time is over (D8).
    Parked(Session),
    Leaving(Leaving),
}

/// Told to go; its CLOSE is written and read.
struct Leaving {
    reason: CloseReason,
    until: u64,
    ignored: usize,
    /// Nothing more can be written or read.
    gone: bool,
}

/// What the socket is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SocketState {
    /// Write what there is, read what comes.
    Open,
    /// Write what there is, then say that nothing more comes.
    Leaving,
    /// Write what it takes at once, then close it; the session stays.
    Given,
    /// Close it.
    Finished,
}

impl Connection {
    /// A connection that was accepted just now.
    pub(crate) fn new(id: SessionId, now: Now, env: &Env) -> Connection {
        let deadline = now.ms + u64::from(env.config.handshake_ms);
        Connection::in_phase(id, Phase::Greeting(Greeting::new(deadline)))
    }

    /// A connection that was accepted only to be told why it cannot stay.
    pub(crate) fn refused(id: SessionId, ending: &Ending, now: Now, env: &mut Env) -> Connection {
        let mut connection = Connection::new(id, now, env);
        connection.end(ending, now, env);
        connection
    }

    fn in_phase(id: SessionId, phase: Phase) -> Connection {
        Connection {
            id,
            phase,
            input: Input::default(),
            output: Output::default(),
            transport: None,
            labels: Labels::default(),
            listed: false,
            broken_by: None,
        }
    }

    /// The same connection, in another place.
    pub(crate) fn renamed(self, id: SessionId) -> Connection {
        Connection { id, listed: false, ..self }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// Its socket is about to be offered all its output.
    pub(crate) fn offered(&mut self) {
        self.output.offered();
    }

    /// As it is counted.
    pub(crate) fn resident(&self) -> Resident {
        let state = match &self.phase {
            Phase::Greeting(_) => State::Greeting,
            Phase::Open(session) if session.is_welcomed() => State::Open,
            Phase::Open(_) => State::Opening,
            Phase::Parked(_) => State::Parked,
            Phase::Leaving(_) => State::Leaving,
        };
        Resident { state, transport: self.transport_kind() }
    }

    /// It has said who it is.
    pub(crate) fn is_session(&self) -> bool {
        self.resident().state.is_session()
    }

    /// It is counted otherwise than before.
    pub(crate) fn moved(&mut self, before: Resident, env: &Env) {
        let after = self.resident();
        let Counters { unauthenticated, sessions, population, sdks, .. } = &*env.counters;
        population.moved(before, after);
        if before.state == State::Greeting && after.state != State::Greeting {
            unauthenticated.sub(1);
        }
        sessions.add(u64::from(after.state.is_session()));
        sessions.sub(u64::from(before.state.is_session()));
        match &self.phase {
            Phase::Open(session) if after.state == State::Open && before.state != State::Open => {
                let (network, sdk) = (session.network(), session.sdk());
                population.opened(&mut self.labels, after.transport, network, sdk, sdks);
            }
            _ if before.state == State::Open && after.state != State::Open => {
                population.closed(self.labels, sdks);
            }
            _ => {}
        }
    }

    /// A session of which nothing is under way.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(&self.phase, Phase::Open(session) if session.is_at_rest())
    }

    /// It has not sent a whole HELLO.
    pub(crate) fn is_greeting(&self) -> bool {
        matches!(self.phase, Phase::Greeting(_))
    }

    /// What it holds that comes and goes.
    pub(crate) fn buffers(&self) -> Buffers {
        let is_greeting = self.is_greeting();
        let transport = self.transport.as_ref().map_or(0, |transport| transport.held(is_greeting));
        Buffers { input: self.input.held() + transport, is_greeting, writes: !self.output.is_empty() }
    }

    pub(crate) fn socket_state(&self) -> SocketState {
        match &self.phase {
            Phase::Leaving(leaving) if leaving.gone => SocketState::Finished,
            Phase::Leaving(_) => SocketState::Leaving,
            Phase::Parked(_) => SocketState::Given,
            Phase::Greeting(_) | Phase::Open(_) => SocketState::Open,
        }
    }

    /// Bytes came from the socket. A device that wants a session back is to be brought together with it, or to be told that there is
    /// none ([`Connection::take_over`], [`Connection::open_anew`]); until then nothing more is read.
    pub(crate) fn received(&mut self, bytes: &[u8], now: Now, env: &mut Env) -> Option<Box<Returning>> {
        match &mut self.phase {
            Phase::Leaving(leaving) => {
                leaving.ignored += bytes.len();
                leaving.gone |= leaving.ignored > MOST_IGNORED;
                return None;
            }
            // The last of a socket that is given up.
            Phase::Parked(_) => return None,
            Phase::Open(session) => session.seen(now.ms, env),
            Phase::Greeting(_) => self.begin_transport(bytes, env),
        }
        match self.transport {
            None => self.opened(bytes, now, env),
            Some(_) => self.open(bytes, now, env),
        }
    }

    /// Bytes came for the session.
    fn opened(&mut self, bytes: &[u8], now: Now, env: &mut Env) -> Option<Box<Returning>> {
        if matches!(self.phase, Phase::Leaving(_)) {
            return None;
        }
        let joined = self.input.join(bytes);
        let all = joined.as_ref().map_or(bytes, |joined| joined.as_slice());
        let mut returning = None;
        match self.read(all, &mut returning, now, env) {
            Ok(used) => self.input.keep(joined, bytes, used),
            Err(ending) => self.end(&ending, now, env),
        }
        if let Phase::Greeting(greeting) = &mut self.phase
            && greeting.takes_noise()
        {
            return self.begin_noise(now, env);
        }
        self.settle(now, env);
        returning
    }

    /// Handles the whole frames at the start of `bytes`, up to a HELLO of one who is `returning`; says how many bytes they took.
    fn read(
        &mut self,
        bytes: &[u8],
        returning: &mut Option<Box<Returning>>,
        now: Now,
        env: &mut Env,
    ) -> Result<usize, Ending> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let (mut t, phase) = self.turn(now, env);
            match phase {
                Phase::Greeting(greeting) => {
                    let longest = t.env.config.hello_bytes as usize;
                    let (length, hello) = greeting.read(rest, longest)?;
                    used += length;
                    let Some(hello) = hello else { return Ok(used) };
                    if let Some(token) = shown_token(&hello, t.env) {
                        *returning = Some(Box::new(Returning { token, hello }));
                        return Ok(used);
                    }
                    self.greet(hello, now, env)?;
                }
                Phase::Open(session) => {
                    let Some((frame, length)) = decode(rest, &Limits::FROM_DEVICE)? else { return Ok(used) };
                    used += length;
                    session.frame(frame, &mut t)?;
                }
                Phase::Parked(_) | Phase::Leaving(_) => return Ok(bytes.len()),
            }
        }
    }

    /// The other side has closed.
    pub(crate) fn lost(&mut self, now: Now, env: &mut Env) {
        self.broken(&Ending::new(CloseReason::ClientGone, ""), now, env);
        if let Phase::Leaving(leaving) = &mut self.phase {
            leaving.gone = true;
        }
    }

    /// The socket has failed: the network or the device has reset it, or has let nothing through for too long.
    pub(crate) fn failed(&mut self, now: Now, env: &mut Env) {
        if let Phase::Open(session) = &self.phase {
            session.fell_silent(now.ms, env);
        }
        self.lost(now, env);
    }

    /// The socket has taken this many bytes of the output.
    pub(crate) fn wrote(&mut self, bytes: usize, now: Now, env: &mut Env) {
        env.output_bytes = env.output_bytes.saturating_sub(bytes.min(self.output.len()));
        self.output.advance(bytes, &mut env.pool, now.ms);
        self.settle(now, env);
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, now: Now, env: &mut Env) {
        match &mut self.phase {
            Phase::Greeting(greeting) if greeting.deadline <= now.ms => {
                let detail = "no whole HELLO within the handshake's deadline";
                self.end(&Ending::new(CloseReason::HandshakeTimeout, detail), now, env);
            }
            Phase::Leaving(leaving) if leaving.until <= now.ms => leaving.gone = true,
            Phase::Open(_) | Phase::Parked(_) => {
                self.with_session(now, env, |session, t| session.on_time(t));
            }
            Phase::Greeting(_) | Phase::Leaving(_) => {}
        }
    }

    /// When [`Connection::on_time`] should be called, if nothing happens before.
    pub(crate) fn deadline(&mut self, now: Now, env: &mut Env) -> u64 {
        let (t, phase) = self.turn(now, env);
        match phase {
            Phase::Greeting(greeting) => greeting.deadline,
            Phase::Leaving(leaving) => leaving.until,
            Phase::Open(session) | Phase::Parked(session) => session.deadline(&t),
        }
    }

    /// Lets something happen to the session, if it is one, parked or not. None if it is not, or if the session has ended by it.
    pub(crate) fn with_session<T>(
        &mut self,
        now: Now,
        env: &mut Env,
        event: impl FnOnce(&mut Session, &mut Turn<'_>) -> Result<T, Ending>,
    ) -> Option<Result<T, Ended>> {
        let (mut t, phase) = self.turn(now, env);
        let (Phase::Open(session) | Phase::Parked(session)) = phase else { return None };
        match event(session, &mut t) {
            Ok(result) => {
                session.settle(&mut t);
                Some(Ok(result))
            }
            Err(ending) if ending.reason == CloseReason::HeartbeatTimeout => {
                self.broken(&ending, now, env);
                Some(Err(Ended))
            }
            Err(ending) => {
                self.end(&ending, now, env);
                Some(Err(Ended))
            }
        }
    }

    /// Ends the session or the greeting, and tells the device why.
    pub(crate) fn end(&mut self, ending: &Ending, now: Now, env: &mut Env) {
        match &self.phase {
            Phase::Greeting(_) | Phase::Open(_) => {}
            Phase::Parked(_) => {
                let end = ParkingEnd::by(ending.reason);
                return self.finish_parked(end, ending.reason, now, env);
            }
            Phase::Leaving(_) => return,
        }
        // A device that is displaced after a silence has most likely come back since it had found this connection dead.
        if let Phase::Open(session) = &self.phase
            && matches!(ending.reason, CloseReason::HeartbeatTimeout | CloseReason::Displaced)
        {
            session.fell_silent(now.ms, env);
        }
        let says_goodbye = ending.reason == CloseReason::ClientGone;
        let gone = says_goodbye && !self.transport.as_ref().is_some_and(|layers| layers.has_last_words());
        let until = self.linger_ends(ending.reason, now, env);
        let leaving = Phase::Leaving(Leaving { reason: ending.reason, until, ignored: 0, gone });
        let before = std::mem::replace(&mut self.phase, leaving);
        env.counters.closed(ending.reason);
        let (mut t, _) = self.turn(now, env);
        if let Phase::Open(session) = before {
            session.finish(ending.reason, &mut t);
        }
        if !says_goodbye {
            t.send(&ending.frame());
        }
        self.input.clear();
    }

    /// Until when the device may read what is left, its CLOSE at the end. One that reads slowly has longer, as long as its socket might
    /// take nothing before.
    fn linger_ends(&self, reason: CloseReason, now: Now, env: &Env) -> u64 {
        let soon = now.ms + u64::from(env.config.linger_ms);
        let stuck_since = self.output.stuck_since().filter(|_| reason == CloseReason::SlowReader);
        stuck_since.map_or(soon, |since| soon.max(since + u64::from(env.config.write_timeout_ms)))
    }

    /// Gives up what the connection holds of the shard; to be called before it is dropped.
    pub(crate) fn release(&mut self, env: &mut Env) {
        let unwritten = self.output.clear(&mut env.pool);
        env.output_bytes = env.output_bytes.saturating_sub(unwritten);
    }

    fn settle(&mut self, now: Now, env: &mut Env) {
        let (mut t, phase) = self.turn(now, env);
        if let Phase::Open(session) = phase {
            session.settle(&mut t);
        }
    }

    fn turn<'a>(&'a mut self, now: Now, env: &'a mut Env) -> (Turn<'a>, &'a mut Phase) {
        let parked = matches!(self.phase, Phase::Parked(_));
        (Turn { now, id: self.id, env, output: &mut self.output, parked }, &mut self.phase)
    }
}

/// The token that HELLO shows, if there is one and this process has made it.
fn shown_token(hello: &Introduction, env: &Env) -> Option<ResumeToken> {
    if hello.resume_token.is_empty() {
        return None;
    }
    let token = env.resume_key.verify(&hello.resume_token);
    if token.is_none() {
        env.counters.resume_refused(NoResume::Foreign);
    }
    token
}

/// The session has ended by what happened to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ended;
