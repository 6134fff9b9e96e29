//! A shard without sockets and clock: its sessions, timers and queues. Both are passed in, so all of it can be tested.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use longline_types::{CloseReason, Route, SessionId};

use super::paged::Slab;
use super::sweep::{Job, Pace, Sweeps};
use super::wheel::Wheel;
use crate::EngineConfig;
use crate::link::{
    Answer, BindOutcome, CLUSTER_BATCH, ClusterSender, Command, Delivered, Delivery, Inspection, Taken,
    ToCluster, ToShard,
};
use crate::metrics::Counters;
use crate::session::{Connection, Ended, Ending, Env, Now, Output, Session, SocketState, Turn, turned_away};

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
    /// Connections of the whole room.
    room: Arc<AtomicU64>,
    /// Who is left then is closed.
    drained_at: Option<(u64, CloseReason)>,
    stopping: bool,
}

/// What the shard wants to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Next {
    /// Wait at most this long for sockets or commands.
    pub(crate) within_ms: u64,
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
            room,
            drained_at: None,
            stopping: false,
        }
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

    /// The socket has taken this many bytes.
    pub(crate) fn wrote(&mut self, index: u32, bytes: usize, now: Now) {
        self.env.counters.sent_bytes.add(bytes as u64);
        self.connection_event(index, now, |connection, env| connection.wrote(bytes, now, env));
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

    /// What the socket is to write.
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

    /// Something came through the queue.
    pub(crate) fn handle(&mut self, taken: Taken, now: Now, peer: impl Fn(u32) -> String) {
        if taken.overflowed {
            self.env.counters.overflows.add(1);
            self.begin(Job::Check, now);
        }
        self.env.counters.queue_items.add(taken.items.len() as u64);
        for item in taken.items {
            match item {
                ToShard::Answers(answers) => answers.into_iter().for_each(|answer| self.answer(answer, now)),
                ToShard::Deliver(deliveries, reply) => {
                    let results = deliveries.iter().map(|delivery| self.deliver(delivery, now)).collect();
                    // Nobody waits for it any more: the hints were heard all the same.
                    let _ = reply.send(results);
                }
                ToShard::Command(command) => self.command(command, now, &peer),
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery, now: Now) -> Delivered {
        let result = self
            .route_event(&delivery.route, now, |session, t| Ok(session.deliver(delivery, t)))
            .and_then(Result::ok)
            .unwrap_or(Delivered::NotHere);
        match result {
            Delivered::Pushed => {}
            Delivered::Deferred => self.env.counters.deferred.add(1),
            Delivered::NotHere => self.env.counters.not_here.add(1),
            Delivered::Dropped => self.env.counters.dropped.add(1),
        }
        result
    }

    fn answer(&mut self, answer: Answer, now: Now) {
        match answer {
            Answer::Bind { bind, address, outcome } => {
                let route = match &outcome {
                    BindOutcome::Bound(bound) => Some(bound.route),
                    BindOutcome::Refused(_) => None,
                };
                let known = self.session_event(bind.session, now, |session, t| {
                    let known = session.has_bind(bind);
                    session.bind_answered(bind, outcome, t).map(|()| known)
                });
                // The session or the bind has ended meanwhile: the route is taken back.
                if matches!(known, None | Some(Ok(false)))
                    && let Some(route) = route
                {
                    self.env.questions.push_back(ToCluster::Unbind { address, route });
                }
            }
            Answer::Load { bind, number, result } => {
                self.session_event(bind.session, now, |session, t| {
                    session.loaded(bind, number, result, t);
                    Ok(())
                });
            }
            Answer::Check { bind, result } => {
                self.session_event(bind.session, now, |session, t| {
                    session.checked(bind, result, t);
                    Ok(())
                });
            }
            Answer::Ack { bind, id, result } => {
                self.session_event(bind.session, now, |session, t| {
                    session.ack_answered(bind, id, result, t);
                    Ok(())
                });
            }
            Answer::Uplink { session: id, sequence, result, retry_after_ms } => {
                self.session_event(id, now, |session, t| {
                    session.uplink_answered(sequence, result, retry_after_ms, t);
                    Ok(())
                });
            }
            Answer::Assert { bind, stamp, outcome } => {
                self.session_event(bind.session, now, |session, t| {
                    session.assert_answered(bind, stamp, outcome, t)
                });
            }
        }
    }

    fn command(&mut self, command: Command, now: Now, peer: &impl Fn(u32) -> String) {
        match command {
            Command::Identity(identity) => {
                if self.env.identity.replace(identity) != Some(identity) {
                    self.env.epoch += 1;
                    self.begin(Job::Renew, now);
                }
            }
            Command::Displace { key, route, reply } => {
                let found = self.route_event(&route, now, |session, t| session.displace(key, &route, t));
                let _ = reply.send(was_found(found));
            }
            Command::Kick { address, route, detail, reply } => {
                let found = self.route_event(&route, now, |session, t| session.kick(&address, &detail, t));
                let _ = reply.send(was_found(found));
            }
            Command::Inspect { address, route, reply } => {
                let found = self.route_event(&route, now, |session, t| Ok(session.inspect(&address, t)));
                let found = found.and_then(Result::ok).flatten();
                let peer = peer(route.session.index());
                let _ = reply.send(found.map(|inspection| Inspection { peer, ..inspection }));
            }
            Command::Walk(walk) => {
                self.env.broadcasts.begin(&walk);
                self.begin(Job::Walk(walk), now);
            }
            Command::Refill { refill, slots } => self.begin(Job::Refill { refill, slots }, now),
            Command::CheckAll => self.begin(Job::Check, now),
            Command::Drain { within, reason } => {
                let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
                self.env.draining = Some(reason);
                self.drained_at = Some((now.ms + u64::from(within_ms), reason));
                self.begin(Job::SendAway { within_ms }, now);
            }
            Command::Resume => {
                self.env.draining = None;
                self.drained_at = None;
                self.sweeps.call_off_leaving();
            }
            Command::Stop => self.stop(now),
        }
    }

    fn begin(&mut self, job: Job, now: Now) {
        self.sweeps.begin(job, self.connections.places(), now.ms);
    }

    /// Closes everything.
    fn stop(&mut self, now: Now) {
        self.stopping = true;
        self.env.draining.get_or_insert(CloseReason::GoingAway);
        let ending = turned_away(&self.env);
        for index in 0..self.connections.places() {
            self.connection_event(index, now, |connection, env| connection.end(&ending, now, env));
        }
    }

    /// Does what time and room allow: timers, sweeps, loads. Says how long there is nothing more to do.
    pub(crate) fn turn(&mut self, now: Now) -> Next {
        let counters = Arc::clone(&self.env.counters);
        counters.turns.add(1);
        self.run_timers(now);
        if let Some((_, reason)) = self.drained_at.take_if(|(at, _)| *at <= now.ms) {
            self.begin(Job::Close { reason }, now);
        }
        let pace = self.run_sweeps(now);
        self.run_loads(now);
        counters.output_bytes.set(self.env.output_bytes as u64);
        counters.load_line.set(self.env.load_line.len() as u64);
        let within_ms = match pace {
            Pace::Busy => 0,
            Pace::Waiting => 10,
            Pace::Idle => self.wheel.quiet_ms(now.ms, 16),
        };
        Next { within_ms }
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

    /// Whether something waits that could be done at once.
    pub(crate) fn has_work(&self) -> bool {
        !self.listed.is_empty() || self.may_load()
    }

    fn run_timers(&mut self, now: Now) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(now.ms, &mut fired);
        for index in fired.drain(..) {
            self.connection_event(index, now, |connection, env| connection.on_time(now, env));
        }
        self.fired = fired;
    }

    fn run_sweeps(&mut self, now: Now) -> Pace {
        let mut sweeps = std::mem::take(&mut self.sweeps);
        let shard = self.shard;
        let mut finished = Vec::new();
        let congested = self.env.congested;
        let visit = |job: &Job, place| self.visit(job, place, now);
        let pace = sweeps.run(now.ms, congested, visit, |job| finished.push(job));
        for job in finished {
            match job {
                Job::Walk(walk) => walk.shard_done(),
                Job::Refill { refill, .. } => {
                    self.env.questions.push_back(ToCluster::Refilled { shard, refill });
                }
                Job::Check | Job::Renew | Job::SendAway { .. } | Job::Close { .. } => {}
            }
        }
        self.sweeps = sweeps;
        pace
    }

    /// One session's part of a sweep; whether it counts for the sweep's rate.
    fn visit(&mut self, job: &Job, index: u32, now: Now) -> bool {
        let soon_ms = self.env.config.check_soon_ms;
        if let Job::Close { reason } = job {
            let ending = Ending::new(*reason, "this room is being emptied");
            self.connection_event(index, now, |connection, env| connection.end(&ending, now, env));
            return true;
        }
        let counts = self.connection_event(index, now, |connection, env| {
            connection.with_session(now, env, |session, t| {
                match job {
                    Job::Check => session.check_soon(soon_ms, t),
                    Job::Renew => session.renew(t),
                    Job::Refill { refill, slots } => {
                        let held =
                            session.assert_routes(|b| slots.contains(b.address.slot()), Some(*refill), t);
                        if held {
                            session.check_soon(soon_ms, t);
                        }
                    }
                    Job::Walk(walk) => return Ok(session.walk(walk, t)),
                    Job::SendAway { within_ms } => session.send_away(*within_ms, t),
                    Job::Close { .. } => {}
                }
                Ok(true)
            })
        });
        matches!(counts.flatten(), Some(Ok(true)))
    }

    fn may_load(&self) -> bool {
        !self.env.congested
            && !self.env.load_line.is_empty()
            && self.env.loads_in_flight < self.env.config.loads_in_flight
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
        let before = (connection.is_greeting(), connection.is_session());
        let result = event(connection, env);
        let after = (connection.is_greeting(), connection.is_session());
        if before != after {
            env.counters.unauthenticated.sub(u64::from(before.0 && !after.0));
            env.counters.sessions.add(u64::from(after.1));
            env.counters.sessions.sub(u64::from(before.1));
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

/// A session that has ended by it was there.
fn was_found(found: Option<Result<bool, Ended>>) -> bool {
    found.is_some_and(|found| found.unwrap_or(true))
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
mod tests {
    use longline_pb::client;
    use longline_types::{Device, Stamp};
    use longline_wire::{PREFACE, encode};

    use super::*;
    use crate::link::{Bound, Identity, Loaded};

    /// As in the real process: what a session costs depends on it.
    #[global_allocator]
    static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

    const NOW: Now = Now { ms: 1000, wall_ms: 1_800_000_000_000 };
    const IDENTITY: Identity = Identity { node: 1, incarnation: 1 };

    fn core() -> Core {
        let config = EngineConfig { max_unauthenticated: 1_000_000, ..EngineConfig::default() };
        let mut core = Core::new(0, config, Arc::new(Counters::default()), Arc::new(AtomicU64::new(0)), 1);
        core.command(Command::Identity(IDENTITY), NOW, &|_| String::new());
        core
    }

    /// A session with one bind that has nothing to do.
    fn idle_session(core: &mut Core, number: u64) -> u32 {
        let index = core.accepted(NOW).unwrap();
        let user = format!("user-{number:08}");
        let bind = client::Bind { product: 1, user, ..client::Bind::default() };
        let hello = client::Hello {
            device: format!("device-{number:08}-of-36-bytes-as-uuids-"),
            connection_counter: 1,
            sdk: "rust/0.1.0".into(),
            platform: "android 16".into(),
            binds: vec![bind],
            ..client::Hello::default()
        };
        let mut bytes = PREFACE.to_vec();
        encode(&hello, &mut bytes).unwrap();
        core.received(index, &bytes, NOW);
        while let Some(question) = core.env.questions.pop_front() {
            let answer = match question {
                ToCluster::Bind(request) => {
                    let stamp = Stamp { generation: 1, counter: number + 1 };
                    let (node, incarnation) = (IDENTITY.node, IDENTITY.incarnation);
                    let route = Route { stamp, node, incarnation, session: request.bind.session };
                    let (window, ack_timeout_ms, max_heartbeat_s, presence) = (16, 30_000, 0, false);
                    let bound = Bound { route, window, ack_timeout_ms, max_heartbeat_s, presence };
                    assert_eq!(request.device, Device::new(&hello.device, 1));
                    Answer::Bind {
                        bind: request.bind,
                        address: request.address,
                        outcome: BindOutcome::Bound(bound),
                    }
                }
                ToCluster::Load(request) => {
                    Answer::Load { bind: request.bind, number: request.number, result: Ok(Loaded::default()) }
                }
                other => panic!("{other:?}"),
            };
            core.answer(answer, NOW);
            core.run_loads(NOW);
        }
        let unwritten = core.output(index).map_or(0, Output::len);
        assert!(unwritten > 0, "WELCOME");
        core.wrote(index, unwritten, NOW);
        index
    }

    #[test]
    fn an_idle_session_owns_no_buffers_and_little_memory() {
        let mut core = core();
        let index = idle_session(&mut core, 0);
        let connection = core.connections.get(index).unwrap();
        assert!(connection.is_session() && connection.output().is_empty());
        assert_eq!(connection.partial_input(), 0);
        let inline = size_of::<Connection>();
        assert!(inline <= 320, "a connection takes {inline} bytes in its page");
    }

    /// Resident bytes of this process.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    #[ignore = "measures the whole process, so it must run alone"]
    fn an_idle_session_takes_at_most_512_bytes_of_resident_memory() {
        const SESSIONS: u64 = 200_000;
        let mut core = core();
        let mut fill = |numbers: std::ops::Range<u64>| {
            for number in numbers {
                idle_session(&mut core, number);
            }
        };
        fill(0..10_000);
        let before = resident();
        fill(10_000..10_000 + SESSIONS);
        let each = (resident() - before) / SESSIONS as usize;
        println!("{each} bytes resident per idle session, {} in its page", size_of::<Connection>());
        assert!(each <= 512, "{each} bytes");
    }

    #[test]
    fn numbers_of_connections_follow_what_becomes_of_them() {
        let mut core = core();
        let numbers = |core: &Core| {
            let counters = &core.env.counters;
            let room = core.room.load(Ordering::Relaxed);
            (counters.unauthenticated.read(), counters.sessions.read(), counters.binds.read(), room)
        };
        let greeting = core.accepted(NOW).unwrap();
        assert_eq!(numbers(&core), (1, 0, 0, 1));
        let session = idle_session(&mut core, 1);
        assert_eq!(numbers(&core), (1, 1, 1, 2));
        for index in [greeting, session] {
            core.lost(index, NOW);
            core.remove(index);
        }
        assert_eq!(numbers(&core), (0, 0, 0, 0));
        assert!(matches!(core.env.questions.pop_front(), Some(ToCluster::Unbind { .. })));
    }

    #[test]
    fn a_backlog_of_questions_stops_what_would_ask_more() {
        let mut core = core();
        core.env.config.cluster_backlog = 10;
        let (links, mut receiver) = crate::link::cluster_channel(1);
        for number in 0..30 {
            let address = longline_types::Address::new(1, &format!("u{number}")).unwrap();
            let route = Route { stamp: Stamp::default(), node: 1, incarnation: 1, session: SessionId(0) };
            core.env.questions.push_back(ToCluster::Unbind { address, route });
        }
        links.try_send(Vec::new()).unwrap();
        assert!(core.ask(&links), "the links take nothing");
        let refused = core.accepted(NOW).unwrap();
        assert_eq!(core.socket_state(refused), SocketState::Leaving);
        receiver.try_recv().unwrap();
        assert!(!core.ask(&links));
        assert_eq!(receiver.try_recv().unwrap().len(), 30);
        let welcome = core.accepted(NOW).unwrap();
        assert_eq!(core.socket_state(welcome), SocketState::Open);
    }
}
