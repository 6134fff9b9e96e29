//! A shard without sockets and clock: its sessions, timers and queues. Both are passed in, so all of it can be tested.

mod inbound;
mod leaving;
mod resuming;
mod sweeping;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longline_types::{CloseReason, Route, SessionId};

use super::departure::Departure;
use super::paged::Slab;
use super::parking::Parking;
use super::sweep::{Pace, Sweeps};
use super::wheel::Wheel;
use crate::EngineConfig;
use crate::admission::{AdmissionConfig, Buffers, Refusal};
use crate::link::{CLUSTER_BATCH, ClusterSender};
use crate::metrics::{Counters, State};
use crate::resume::ResumeKey;
use crate::session::{Connection, Ended, Ending, Env, Now, Output, Session, SocketState, Turn};
use crate::transport::Transports;

pub(crate) use resuming::{Emigrant, Place};

/// Leaving connections, beyond one for each that may greet, to which the room still says why.
const TURNED_AWAY: u64 = 1024;

/// What the shards of a room count together.
#[derive(Default, Debug)]
pub(crate) struct Totals {
    /// Connections; what is parked is none.
    pub(crate) connections: AtomicU64,
    /// Bytes that they take.
    pub(crate) memory: AtomicU64,
}

/// The shard's core.
pub(crate) struct Core {
    shard: u8,
    env: Env,
    connections: Slab<Connection>,
    wheel: Wheel,
    sweeps: Sweeps,
    parking: Parking,
    /// Connections that have something to write or to close.
    listed: Vec<u32>,
    fired: Vec<u32>,
    /// Batches of deliveries handled in this turn: when they came, and how many of their messages were pushed.
    pushed: Vec<(Instant, u64)>,
    /// Of the whole room.
    room: Arc<Totals>,
    /// The shard is being emptied, or is empty and takes nobody.
    departure: Option<Departure>,
    stopping: bool,
}

impl Core {
    pub(crate) fn new(
        shard: u8,
        config: EngineConfig,
        counters: Arc<Counters>,
        room: Arc<Totals>,
        resume_key: ResumeKey,
        seed: u64,
    ) -> Core {
        // To ask the system how many cores there are takes it tens of microseconds.
        let config = EngineConfig { shards: config.shard_count(), ..config };
        Core {
            shard,
            parking: Parking::new(&config),
            env: Env::new(config, counters, resume_key, seed),
            connections: Slab::new(),
            wheel: Wheel::new(),
            sweeps: Sweeps::default(),
            listed: Vec::new(),
            fired: Vec::new(),
            pushed: Vec::new(),
            room,
            departure: None,
            stopping: false,
        }
    }

    /// Its number in the room.
    pub(crate) fn number(&self) -> u8 {
        self.shard
    }

    /// Sets what the ports speak.
    pub(crate) fn speak(&mut self, transports: Transports) {
        self.env.transports.settings = Arc::new(transports);
    }

    /// A connection was accepted: its index, or none if it is to be dropped without a word.
    pub(crate) fn accepted(&mut self, now: Now) -> Option<u32> {
        self.take(self.refusal().map(|refusal| (refusal, 0)), now)
    }

    /// A connection was accepted whose address may not connect now, for so many microseconds (0: nobody knows): as
    /// [`Core::accepted`].
    pub(crate) fn refused(&mut self, refusal: Refusal, wait_us: u64, now: Now) -> Option<u32> {
        self.take(Some((refusal, wait_us)), now)
    }

    /// Why no session may begin now.
    fn refusal(&self) -> Option<Refusal> {
        let greeting = self.env.counters.unauthenticated.read();
        let config = &self.env.config;
        if self.room.connections.load(Ordering::Relaxed) >= u64::from(config.max_sessions) {
            return Some(Refusal::Sessions);
        }
        if self.room.memory.load(Ordering::Relaxed) >= self.env.limits.memory() {
            return Some(Refusal::Memory);
        }
        if greeting >= u64::from(config.max_unauthenticated) || self.is_crowded() {
            return Some(Refusal::Unauthenticated);
        }
        self.env.refusal()
    }

    /// Whether those who have not said who they are take as much memory as they may.
    fn is_crowded(&self) -> bool {
        let strangers = u64::from(self.len()) - self.env.counters.sessions.read();
        let share = self.env.limits.memory() / 100 * u64::from(self.env.limits.unauthenticated_percent);
        self.env.memory.greeting_bytes(strangers) >= share / u64::from(self.env.config.shard_count())
    }

    /// Counts what the connections take, for the room's sum.
    pub(crate) fn count_memory(&mut self) {
        let connections = self.len();
        let env = &mut self.env;
        let buffered = env.output_bytes as u64 + env.uplink_bytes + self.parking.bytes() as u64;
        let (sessions, binds) = (env.counters.sessions.read(), env.counters.binds.read());
        let bytes = env.memory.bytes(connections.into(), sessions, binds, buffered);
        let before = std::mem::replace(&mut env.memory.counted, bytes);
        if bytes != before {
            // Wraps around where it is less than before, as the sum does.
            self.room.memory.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
            env.counters.memory_counted_bytes.set(bytes);
        }
        env.counters.full_sockets.set(env.memory.writing);
    }

    /// Takes a connection, be it only to tell it why it cannot stay.
    fn take(&mut self, refused: Option<(Refusal, u64)>, now: Now) -> Option<u32> {
        let counters = Arc::clone(&self.env.counters);
        if let Some((refusal, _)) = refused {
            counters.refused(refusal);
        }
        let leaving = u64::from(self.len()) - counters.sessions.read() - counters.unauthenticated.read();
        let most = u64::from(self.env.config.max_unauthenticated) + TURNED_AWAY;
        // Nothing is spent on an address that is denied, nor on those whom there are too many to talk to.
        if leaving >= most || matches!(refused, Some((Refusal::Denied, _))) {
            if refused.is_none() {
                counters.refused(Refusal::Unauthenticated);
            }
            return None;
        }
        counters.accepted.add(1);
        self.room.connections.fetch_add(1, Ordering::Relaxed);
        let refused = refused.map(|(refusal, wait_us)| Ending::refused(refusal, wait_us, now, &mut self.env));
        let (shard, env) = (self.shard, &mut self.env);
        let index = self.connections.insert(|index, generation| {
            let id = SessionId::new(shard, index, generation);
            match &refused {
                None => Connection::new(id, now, env),
                Some(ending) => Connection::refused(id, ending, now, env),
            }
        });
        if refused.is_none() {
            counters.unauthenticated.add(1);
        }
        if let Some(connection) = self.connections.get(index) {
            counters.population.came(connection.resident());
            self.env.memory.changed(Buffers::default(), connection.buffers());
        }
        self.connection_event(index, now, |_, _| {});
        Some(index)
    }

    /// What a connection is told that cannot be taken for want of files.
    pub(crate) fn farewell(&mut self, now: Now) -> Vec<u8> {
        self.env.counters.refused(Refusal::OpenFiles);
        let ending = Ending::refused(Refusal::OpenFiles, 0, now, &mut self.env);
        let mut bytes = Vec::new();
        // What the room itself makes is always within the limits.
        let _ = longline_wire::encode(&ending.frame(), &mut bytes);
        bytes
    }

    /// These limits are in force, be they others than before or not.
    pub(crate) fn limit(&mut self, limits: &Arc<AdmissionConfig>) {
        if Arc::ptr_eq(limits, &self.env.limits) {
            return;
        }
        let share = limits.memory_bytes / u64::from(self.env.config.shard_count());
        self.env.counters.memory_budget_bytes.set(share);
        self.env.limits = Arc::clone(limits);
    }

    /// The connection's address may not connect any more.
    pub(crate) fn deny(&mut self, index: u32, now: Now) {
        let ending = Ending::new(CloseReason::Denied, "this address may not connect here");
        self.connection_event(index, now, |connection, env| connection.end(&ending, now, env));
    }

    /// The connection's address, which was not known before, may not connect now.
    pub(crate) fn turn_away(&mut self, index: u32, refusal: Refusal, wait_us: u64, now: Now) {
        self.env.counters.refused(refusal);
        if refusal == Refusal::Denied {
            return self.deny(index, now);
        }
        let ending = Ending::refused(refusal, wait_us, now, &mut self.env);
        self.connection_event(index, now, |connection, env| connection.end(&ending, now, env));
    }

    /// Where the device is, if a trusted proxy has said so.
    pub(crate) fn client(&self, index: u32) -> Option<SocketAddr> {
        self.connections.get(index)?.client()
    }

    /// Where the device is of which a proxy has just said so; once.
    pub(crate) fn take_introduced(&mut self) -> Option<SocketAddr> {
        self.env.transports.introduced.take()
    }

    /// The connection comes from a trusted proxy, and may begin with its header.
    pub(crate) fn came_by_proxy(&mut self, index: u32, now: Now) {
        self.connection_event(index, now, |connection, _| connection.came_by_proxy());
    }

    /// Whether a connection from this address may begin with a PROXY header.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.env.transports.settings.trusts(peer)
    }

    /// Bytes came. Says where the socket belongs from now on.
    pub(crate) fn received(&mut self, index: u32, bytes: &[u8], now: Now) -> Place {
        self.env.counters.received_bytes.add(bytes.len() as u64);
        let returning =
            self.connection_event(index, now, |connection, env| connection.received(bytes, now, env));
        if let Some(returning) = returning.flatten() {
            return self.come_back(index, returning, now);
        }
        if self.keeps_strangers_bytes(index) && self.is_crowded() {
            self.env.counters.refused(Refusal::Unauthenticated);
            let ending = Ending::refused(Refusal::Unauthenticated, 0, now, &mut self.env);
            self.connection_event(index, now, |connection, env| connection.end(&ending, now, env));
        }
        Place::Same
    }

    /// Whether a connection that has not said who it is has sent a part of a frame.
    fn keeps_strangers_bytes(&self, index: u32) -> bool {
        self.env.memory.greeting_input > 0
            && self.connections.get(index).is_some_and(|c| c.is_greeting() && c.buffers().input > 0)
    }

    /// The other side has closed.
    pub(crate) fn lost(&mut self, index: u32, now: Now) {
        self.connection_event(index, now, |connection, env| connection.lost(now, env));
    }

    /// The socket has failed.
    pub(crate) fn failed(&mut self, index: u32, now: Now) {
        self.env.counters.failed_connections.add(1);
        self.connection_event(index, now, |connection, env| connection.failed(now, env));
    }

    /// The socket has taken this many bytes. Nothing else follows from it: deadlines only move away by it.
    pub(crate) fn wrote(&mut self, index: u32, bytes: usize, now: Now) {
        self.env.counters.sent_bytes.add(bytes as u64);
        if let Some(connection) = self.connections.get_mut(index) {
            let buffers = connection.buffers();
            connection.wrote(bytes, now, &mut self.env);
            self.env.memory.changed(buffers, connection.buffers());
        }
    }

    /// Connections that have something to write or to close, once each.
    pub(crate) fn take_listed(&mut self, into: &mut Vec<u32>) {
        std::mem::swap(&mut self.listed, into);
        for index in into.iter() {
            if let Some(connection) = self.connections.get_mut(*index) {
                connection.listed = false;
            }
        }
    }

    /// What the socket is to write, ready for the wire.
    pub(crate) fn writable(&mut self, index: u32, now: Now) -> Option<&Output> {
        let connection = self.connections.get_mut(index)?;
        let before = connection.buffers();
        let sealed = connection.seal(now, &mut self.env);
        self.env.memory.changed(before, connection.buffers());
        if let Err(ending) = sealed {
            self.connection_event(index, now, |connection, env| {
                connection.end(&ending, now, env);
                // Nor could its CLOSE be sealed.
                connection.lost(now, env);
            });
            return None;
        }
        let connection = self.connections.get_mut(index)?;
        connection.offered();
        Some(connection.output())
    }

    /// What is not written yet, sealed or not.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn output(&self, index: u32) -> Option<&Output> {
        self.connections.get(index).map(Connection::output)
    }

    /// What the socket is to do; a connection that is not there is finished.
    pub(crate) fn socket_state(&self, index: u32) -> SocketState {
        self.connections.get(index).map_or(SocketState::Finished, Connection::socket_state)
    }

    /// The socket of a session that is parked is closed.
    pub(crate) fn detached(&mut self, index: u32, now: Now) {
        self.connection_event(index, now, Connection::detached);
    }

    /// The socket is closed.
    pub(crate) fn remove(&mut self, index: u32) {
        if let Some(mut connection) = self.connections.remove(index) {
            self.env.counters.population.left(connection.resident());
            self.env.memory.changed(connection.buffers(), Buffers::default());
            connection.release(&mut self.env);
            self.wheel.cancel(index);
            self.room.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Every connection's index is below this.
    pub(crate) fn places(&self) -> u32 {
        self.connections.places()
    }

    /// Connections in the shard; what is parked is none.
    pub(crate) fn len(&self) -> u32 {
        self.connections.len() - self.parking.len()
    }

    /// The shard is to end once its connections are told.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Closes everything.
    fn stop(&mut self, now: Now) {
        self.stopping = true;
        self.env.draining.get_or_insert(CloseReason::GoingAway);
        for index in 0..self.connections.places() {
            self.close(index, false, now);
        }
    }

    /// Does what time and room allow: timers, sweeps, loads. Says for how many milliseconds there is nothing more to do, unless
    /// something comes.
    pub(crate) fn turn(&mut self, now: Now) -> u64 {
        let counters = Arc::clone(&self.env.counters);
        counters.turns.add(1);
        self.run_timers(now);
        self.run_handshakes(now);
        self.end_parkings(now);
        let pace = self.run_sweeps(now);
        // After those who are asked now, so that nothing is begun between the last of them and what follows.
        let leaves = self.run_departure(now);
        self.run_loads(now);
        counters.output_bytes.set(self.env.output_bytes as u64);
        counters.binds_waiting.set(self.env.binds_waiting.into());
        counters.load_line.set(self.env.load_line.len() as u64);
        counters.parked_bytes.set(self.parking.bytes() as u64);
        match pace {
            Pace::Busy => 0,
            Pace::Waiting => 10,
            Pace::Idle if leaves => 10,
            Pace::Idle => self.wheel.quiet_ms(now.ms, 16).min(self.parking.quiet_ms(now.ms)),
        }
    }

    /// The process was paused until now: what came meanwhile has not been read yet.
    pub(crate) fn woke(&mut self, now: Now) {
        self.env.awake_since = now.ms;
    }

    /// Hands questions to the links, as many as they take; says whether some are left.
    pub(crate) fn ask(&mut self, links: &ClusterSender) -> bool {
        let questions = &mut self.env.questions;
        while !questions.is_empty() {
            match links.try_reserve() {
                Ok(place) => {
                    let count = questions.len().min(CLUSTER_BATCH);
                    place.send(questions.drain(..count).collect());
                }
                Err(tokio::sync::mpsc::error::TrySendError::Full(())) => break,
                // The room is being taken down.
                Err(tokio::sync::mpsc::error::TrySendError::Closed(())) => questions.clear(),
            }
        }
        let backlog = questions.len();
        self.env.counters.backlog.set(backlog as u64);
        let most = self.env.config.cluster_backlog as usize;
        self.env.congested =
            backlog > most || self.env.load_line.len() > most.max(2 * self.connections.len() as usize);
        backlog > 0
    }

    /// Whether messages were pushed in this turn.
    pub(crate) fn has_pushed(&self) -> bool {
        !self.pushed.is_empty()
    }

    /// What was pushed in this turn has been handed to the sockets by now.
    pub(crate) fn written(&mut self, by: Instant) {
        for (came_at, messages) in self.pushed.drain(..) {
            self.env.counters.delivery.observe(by.saturating_duration_since(came_at), messages);
        }
    }

    /// Whether something waits that could be done at once.
    pub(crate) fn has_work(&self) -> bool {
        !self.listed.is_empty() || self.may_load() || !self.env.transports.waiting.is_empty()
    }

    fn run_timers(&mut self, now: Now) {
        let mut fired = std::mem::take(&mut self.fired);
        let lag = &self.env.counters.wheel_lag;
        self.wheel
            .advance(now.ms, &mut fired, |late_ms, count| lag.observe(Duration::from_millis(late_ms), count));
        for index in fired.drain(..) {
            self.connection_event(index, now, |connection, env| connection.on_time(now, env));
        }
        self.fired = fired;
    }

    /// Handshakes cost much: those that came are begun a few a turn, so that the sessions do not feel them.
    fn run_handshakes(&mut self, now: Now) {
        self.env.transports.handshakes = self.env.config.handshakes_per_turn.max(1).into();
        while self.env.transports.handshakes > 0
            && let Some(id) = self.env.transports.waiting.pop_front()
        {
            if self.connections.get(id.index()).is_some_and(|connection| connection.id() == id) {
                // No HELLO can come of it yet, and so nobody who returns.
                self.connection_event(id.index(), now, |connection, env| {
                    let returning = connection.received(&[], now, env);
                    returning.into_iter().for_each(|returning| connection.open_anew(*returning, now, env));
                });
            }
        }
    }

    fn may_load(&self) -> bool {
        !self.env.congested
            && !self.env.settling
            && !self.env.load_line.is_empty()
            && self.env.loads.has_space()
    }

    fn run_loads(&mut self, now: Now) {
        while self.may_load() {
            let Some(bind) = self.env.load_line.pop_front() else { break };
            self.session_event(bind.session, now, |session, t| {
                session.begin_load(bind, t);
                Ok(())
            });
        }
    }

    /// Lets something happen to the session that a route names, if the route was made by this room as it is now (R3).
    fn route_event<T>(
        &mut self,
        route: &Route,
        now: Now,
        event: impl FnOnce(&mut Session, &mut Turn<'_>) -> Result<T, Ending>,
    ) -> Option<Result<T, Ended>> {
        self.env.identity.filter(|identity| identity.made(route))?;
        self.session_event(route.session, now, event)
    }

    /// Lets something happen to a session, if it is still the one with this id.
    fn session_event<T>(
        &mut self,
        id: SessionId,
        now: Now,
        event: impl FnOnce(&mut Session, &mut Turn<'_>) -> Result<T, Ending>,
    ) -> Option<Result<T, Ended>> {
        if self.connections.get(id.index())?.id() != id {
            return None;
        }
        self.connection_event(id.index(), now, |connection, env| connection.with_session(now, env, event))?
    }

    /// Lets something happen to a connection; what follows from it is noted: bytes to write, timers, numbers.
    fn connection_event<T>(
        &mut self,
        index: u32,
        now: Now,
        event: impl FnOnce(&mut Connection, &mut Env) -> T,
    ) -> Option<T> {
        let connection = self.connections.get_mut(index)?;
        let env = &mut self.env;
        let before = connection.resident();
        let buffers = connection.buffers();
        let result = event(connection, env);
        env.memory.changed(buffers, connection.buffers());
        let after = connection.resident();
        let socket = match connection.socket_state() {
            SocketState::Open => !connection.output().is_empty(),
            // A socket is closed once; a parked session has none after that.
            SocketState::Given => before.state != State::Parked,
            SocketState::Leaving | SocketState::Finished => true,
        };
        if before != after {
            connection.moved(before, env);
            match (before.state, after.state) {
                (State::Parked, State::Parked) => {}
                (State::Parked, _) => {
                    env.counters.parked_sessions.sub(1);
                    self.parking.remove(index);
                    self.room.connections.fetch_add(1, Ordering::Relaxed);
                }
                (_, State::Parked) => {
                    env.counters.parked_sessions.add(1);
                    self.parking.add(index, connection.parked_memory().unwrap_or(0), now.ms);
                    self.room.connections.fetch_sub(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        if socket && !connection.listed {
            connection.listed = true;
            self.listed.push(index);
        }
        self.wheel.set(index, connection.deadline(now, env));
        Some(result)
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Core {
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connection> {
        let all = (0..self.connections.places()).filter_map(|index| self.connections.get(index));
        // Simulations ask all the time: not to look at the places that are free behind them is most of their speed.
        all.take(self.connections.len() as usize)
    }
}

#[cfg(test)]
mod growth;
#[cfg(test)]
mod slow_readers;
#[cfg(test)]
mod tests;
