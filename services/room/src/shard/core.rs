//! A shard without sockets and clock: its sessions, timers and queues. Both are passed in, so all of it can be tested.

mod inbound;
mod leaving;
mod sweeping;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longline_types::{CloseReason, Route, SessionId};

use super::departure::Departure;
use super::paged::Slab;
use super::sweep::{Pace, Sweeps};
use super::wheel::Wheel;
use crate::EngineConfig;
use crate::link::{CLUSTER_BATCH, ClusterSender};
use crate::metrics::Counters;
use crate::session::{Connection, Ended, Ending, Env, Now, Output, Session, SocketState, Turn, turned_away};
use crate::transport::Transports;

/// Leaving connections, beyond one for each that may greet, to which the room still says why.
const TURNED_AWAY: u64 = 1024;

/// The shard's core.
pub(crate) struct Core {
    shard: u8,
    env: Env,
    connections: Slab<Connection>,
    wheel: Wheel,
    sweeps: Sweeps,
    /// Connections that have something to write or to close.
    listed: Vec<u32>,
    fired: Vec<u32>,
    /// Batches of deliveries handled in this turn: when they came, and how many of their messages were pushed.
    pushed: Vec<(Instant, u64)>,
    /// Connections of the whole room.
    room: Arc<AtomicU64>,
    /// The shard is being emptied, or is empty and takes nobody.
    departure: Option<Departure>,
    stopping: bool,
}

impl Core {
    pub(crate) fn new(
        shard: u8,
        config: EngineConfig,
        counters: Arc<Counters>,
        room: Arc<AtomicU64>,
        seed: u64,
    ) -> Core {
        Core {
            shard,
            env: Env::new(config, counters, seed),
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

    /// Sets what the ports speak.
    pub(crate) fn speak(&mut self, transports: Transports) {
        self.env.transports.settings = Arc::new(transports);
    }

    /// A connection was accepted: its index, or none if it is to be dropped without a word.
    pub(crate) fn accepted(&mut self, now: Now) -> Option<u32> {
        let counters = Arc::clone(&self.env.counters);
        let greeting = counters.unauthenticated.read();
        let leaving = u64::from(self.connections.len()) - counters.sessions.read() - greeting;
        let most = u64::from(self.env.config.max_unauthenticated);
        if leaving >= most + TURNED_AWAY {
            counters.refused.add(1);
            return None;
        }
        let sessions = self.room.load(Ordering::Relaxed);
        let full = greeting >= most || sessions >= u64::from(self.env.config.max_sessions);
        counters.accepted.add(1);
        self.room.fetch_add(1, Ordering::Relaxed);
        let refused =
            (full || self.env.congested || self.env.draining.is_some()).then(|| turned_away(&self.env));
        let (shard, env) = (self.shard, &mut self.env);
        let index = self.connections.insert(|index, generation| {
            let id = SessionId::new(shard, index, generation);
            match &refused {
                None => Connection::new(id, now, env),
                Some(ending) => Connection::refused(id, ending, now, env),
            }
        });
        if refused.is_some() {
            counters.refused.add(1);
        } else {
            counters.unauthenticated.add(1);
        }
        if let Some(connection) = self.connections.get(index) {
            counters.population.came(connection.resident());
        }
        self.connection_event(index, now, |_, _| {});
        Some(index)
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, index: u32, bytes: &[u8], now: Now) {
        self.env.counters.received_bytes.add(bytes.len() as u64);
        self.connection_event(index, now, |connection, env| connection.received(bytes, now, env));
    }

    /// The other side has closed, or the socket has failed.
    pub(crate) fn lost(&mut self, index: u32, now: Now) {
        self.connection_event(index, now, |connection, env| connection.lost(now, env));
    }

    /// The socket has taken this many bytes. Nothing else follows from it: deadlines only move away by it.
    pub(crate) fn wrote(&mut self, index: u32, bytes: usize, now: Now) {
        self.env.counters.sent_bytes.add(bytes as u64);
        if let Some(connection) = self.connections.get_mut(index) {
            connection.wrote(bytes, now, &mut self.env);
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
        connection.seal(now, &mut self.env);
        Some(connection.output())
    }

    /// What is not written yet, sealed or not.
    #[cfg(test)]
    pub(crate) fn output(&self, index: u32) -> Option<&Output> {
        self.connections.get(index).map(Connection::output)
    }

    /// What the socket is to do; a connection that is not there is finished.
    pub(crate) fn socket_state(&self, index: u32) -> SocketState {
        self.connections.get(index).map_or(SocketState::Finished, Connection::socket_state)
    }

    /// The socket is closed.
    pub(crate) fn remove(&mut self, index: u32) {
        if let Some(mut connection) = self.connections.remove(index) {
            self.env.counters.population.left(connection.resident());
            connection.release(&mut self.env);
            self.wheel.cancel(index);
            self.room.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Connections in the shard.
    pub(crate) fn len(&self) -> u32 {
        self.connections.len()
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
        let pace = self.run_sweeps(now);
        // After those who are asked now, so that nothing is begun between the last of them and what follows.
        let leaves = self.run_departure(now);
        self.run_loads(now);
        counters.output_bytes.set(self.env.output_bytes as u64);
        counters.load_line.set(self.env.load_line.len() as u64);
        match pace {
            Pace::Busy => 0,
            Pace::Waiting => 10,
            Pace::Idle if leaves => 10,
            Pace::Idle => self.wheel.quiet_ms(now.ms, 16),
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
                self.connection_event(id.index(), now, |connection, env| connection.received(&[], now, env));
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
        let result = event(connection, env);
        if before != connection.resident() {
            connection.moved(before, env);
        }
        let due = !connection.output().is_empty() || connection.socket_state() != SocketState::Open;
        if due && !connection.listed {
            connection.listed = true;
            self.listed.push(index);
        }
        self.wheel.set(index, connection.deadline(now, env));
        Some(result)
    }
}

#[cfg(test)]
impl Core {
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connection> {
        (0..self.connections.places()).filter_map(|index| self.connections.get(index))
    }
}

#[cfg(test)]
mod growth;
#[cfg(test)]
mod tests;
