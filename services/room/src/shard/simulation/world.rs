use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use longline_pb::client;
use longline_types::{Address, Class, CloseReason, MessageId, ProductId, Route, SessionId, Slot, Stamp};
use longline_wire::FrameType;
use tokio::sync::oneshot;

use super::device::{Device, Given, bind, frame};
use super::{Event, Token};
use crate::EngineConfig;
use crate::link::{
    Answer, BindId, ClusterReceiver, ClusterSender, Command, Delivered, Delivery, Drain, Guide, Identity,
    LoadRequest, Message, ShardInbox, ShardSender, ToCluster, Way, cluster_channel, shard_queue,
};
use crate::metrics::{Counters, State};
use crate::resume::ResumeKey;
use crate::session::{Now, SocketState};
use crate::shard::core::{Core, Place, Totals};
use crate::transport::TransportKind;
use crate::walk::Walks;

pub(super) const DEVICES: usize = 3;
pub(super) const USERS: usize = 3;

pub(super) const OUTPUT: u32 = 3_000;
const CHECK_S: u32 = 5;
const PARK_MS: u32 = 3_000;
const PARKED: u32 = 2;
const SHARD_OUTPUT: u64 = 4_000;
const LARGEST: usize = 3_000;
/// Bytes of BOUND, UPLINK_ACK and PONG that a device may have asked for.
const ANSWERS: usize = 1_000;
/// While everybody does what they should.
const ROUND_MS: u64 = 500;

/// The shard, the devices and the cluster.
pub(super) struct World {
    core: Core,
    /// Another shard of the room, at which devices arrive that want a session back.
    other: Core,
    counters: Arc<Counters>,
    /// Connections of the room.
    room: Arc<Totals>,
    now: Now,
    sender: ShardSender,
    inbox: ShardInbox,
    links: ClusterSender,
    receiver: ClusterReceiver,
    devices: [Device; DEVICES],
    /// Connections whose device is gone without the room's notice.
    orphans: Vec<SessionId>,
    /// What somebody has acknowledged, ever: (user, id).
    acknowledged: HashSet<(usize, u64)>,
    pub(super) window: u16,
    walks: Walks,
    // The cluster.
    pub(super) store: BTreeMap<(usize, MessageId), Message>,
    pub(super) routes: HashMap<usize, Route>,
    pub(super) identity: Identity,
    pub(super) stamps: u64,
    ids: u64,
    pub(super) questions: VecDeque<ToCluster>,
    pub(super) answers: Vec<Answer>,
    /// What was stored when a session bound or loaded, or was hinted to it: it may not be clean without it.
    known: HashSet<(SessionId, usize, MessageId)>,
    /// Highest stamp of a route that the session was told is displaced.
    displaced: HashMap<(SessionId, usize), Stamp>,
}

/// Sends every device to the dispatcher.
#[derive(Debug)]
struct Anywhere;

impl Guide for Anywhere {
    fn way(&self, _: longline_types::Device, _: &[&Address]) -> Way {
        Way::default()
    }
}

impl World {
    pub(super) fn new(window: u16) -> World {
        let config = EngineConfig {
            shards: 1,
            output_bytes: OUTPUT,
            shard_output_bytes: SHARD_OUTPUT,
            write_timeout_ms: 60_000,
            check_s: CHECK_S,
            check_soon_ms: 1000,
            load_limit: 3,
            load_bytes: 5000,
            loads_in_flight: 2,
            load_deadline_ms: 3000,
            retry_ms: 100,
            retry_max_ms: 1000,
            stall_max_s: 4,
            uplinks_per_session: 2,
            uplink_bytes: 5000,
            cluster_batches: 2,
            cluster_backlog: 20,
            frame_burst: 10_000,
            park_ms: PARK_MS,
            parked_sessions: PARKED,
            ..EngineConfig::default()
        };
        let counters = Arc::new(Counters::default());
        let (sender, inbox) = shard_queue(1000, 1 << 20, || {});
        let (links, receiver) = cluster_channel(2);
        let room: Arc<Totals> = Arc::default();
        let key = ResumeKey::random();
        let shard = |number, counters: &Arc<_>| {
            Core::new(number, config.clone(), Arc::clone(counters), Arc::clone(&room), key.clone(), 42)
        };
        let (core, other) = (shard(0, &counters), shard(1, &Arc::default()));
        let identity = Identity { node: 3, incarnation: 1 };
        sender.command(Command::Identity(identity)).unwrap();
        World {
            core,
            other,
            counters,
            room,
            now: Now { ms: 1, wall_ms: 1_800_000_000_000 },
            sender,
            inbox,
            links,
            receiver,
            devices: Default::default(),
            orphans: Vec::new(),
            acknowledged: HashSet::new(),
            window,
            walks: Walks::default(),
            store: BTreeMap::new(),
            routes: HashMap::new(),
            identity,
            stamps: 0,
            ids: 0,
            questions: VecDeque::new(),
            answers: Vec::new(),
            known: HashSet::new(),
            displaced: HashMap::new(),
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Connect { device, users } => self.connect(device, users),
            Event::Break { device } => self.lose(device),
            Event::Cut { device, acks } => self.cut(device, acks),
            Event::Notice { pick } => self.notice(pick),
            Event::Return { device, token, users, across } => self.come_back(device, token, users, across),
            Event::Bind { device, index, user } => {
                self.devices[device].changes(index, Some(user));
                self.send(device, &frame(&bind(index, name(user))));
            }
            Event::Unbind { device, index } => {
                self.devices[device].changes(index, None);
                self.send(device, &frame(&client::Unbind { index }));
            }
            Event::Read { device, bytes } => self.read(device, bytes),
            Event::Ack { device, count } => self.acknowledge(device, count),
            Event::AckForeign { device, id } => {
                self.send(device, &frame(&client::Ack { index: 0, ids: vec![id | 1 << 63] }));
            }
            Event::Uplink { device, sequence, bytes } => {
                let payload = vec![0; bytes].into();
                self.send(device, &frame(&client::Uplink { sequence, payload, ..client::Uplink::default() }));
            }
            Event::Garbage { device, bytes } => {
                self.devices[device].confused = true;
                self.send(device, &bytes);
            }
            Event::Message { user, hint, bytes } => self.message(user, hint, bytes),
            Event::Broadcast => self.broadcast(),
            Event::Work { pick, ok } => self.work(pick, ok),
            Event::Answer { pick } => self.answer(pick),
            Event::Displace { user } => self.displace(user),
            Event::Kick { user } => self.kick(user),
            Event::NewIncarnation => self.new_incarnation(),
            Event::Overflow => self.sender.mark_overflowed(),
            Event::Refill => {
                let slots = Arc::new(Slot::all().collect());
                self.sender.command(Command::Refill { refill: 1, slots }).unwrap();
            }
            Event::Drain { ms } => {
                let [spread, leave, grace] = ms.map(Duration::from_millis);
                let (reason, guide) = (CloseReason::GoingAway, Some(Arc::new(Anywhere) as Arc<dyn Guide>));
                let deadline = (spread + leave + grace) / 2 + grace;
                let drain = Drain { reason, guide, spread, leave, grace, deadline };
                self.sender.command(Command::Drain(drain)).unwrap();
            }
            Event::Resume => self.sender.command(Command::Resume).unwrap(),
            Event::Pass { ms } => {
                self.now.ms += ms;
                self.now.wall_ms += ms;
            }
        }
        self.turn();
    }

    /// What the loop around the core does, but for the sockets.
    fn turn(&mut self) {
        self.core.handle(self.inbox.take(), self.now, |_| String::new());
        self.core.turn(self.now);
        self.core.ask(&self.links);
        let mut listed = Vec::new();
        self.core.take_listed(&mut listed);
        for index in listed {
            let state = self.core.socket_state(index);
            match state {
                SocketState::Open | SocketState::Leaving => {
                    // What its device reads at some time.
                    self.core.writable(index, self.now);
                    continue;
                }
                SocketState::Given => self.core.detached(index, self.now),
                SocketState::Finished => self.core.remove(index),
            }
            let devices = self.devices.iter_mut();
            devices.filter(|d| d.connection == Some(index)).for_each(|d| d.connection = None);
        }
        while let Ok(batch) = self.receiver.try_recv() {
            for question in batch {
                self.note(&question);
                self.questions.push_back(question);
            }
        }
    }

    /// What a load that is asked for now must bring, sooner or later; and whether an ack is one.
    fn note(&mut self, question: &ToCluster) {
        match question {
            ToCluster::Load(request) => self.must_know(request.bind.session, number(&request.address)),
            ToCluster::Ack { address, id, .. } => {
                let acknowledged = self.acknowledged.contains(&(number(address), id.0));
                assert!(acknowledged, "nobody has acknowledged {id} of {address}");
            }
            _ => {}
        }
    }

    /// From now on the session may not be clean without what is stored for the user.
    pub(super) fn must_know(&mut self, session: SessionId, user: usize) {
        let ids = self.store.keys().filter(|(u, _)| *u == user).map(|(_, id)| *id);
        self.known.extend(ids.map(|id| (session, user, id)));
    }

    fn connect(&mut self, device: usize, users: u8) {
        self.lose(device);
        self.greet(device, chosen(users), Given::default(), false);
    }

    /// A device wants its session back, while the room still thinks it connected or not.
    fn come_back(&mut self, device: usize, token: Token, users: Option<u8>, across: bool) {
        self.cut(device, 0);
        let users = users.map_or_else(|| self.devices[device].users.clone(), chosen);
        if users.is_empty() {
            return;
        }
        let (own, other) = (&self.devices[device], &self.devices[(device + 1) % DEVICES]);
        let shown = match token {
            Token::Latest => own.latest.clone(),
            Token::Before => own.before.clone(),
            Token::Stolen => Given { session: u64::MAX, ..other.latest.clone() },
            Token::Forged { bit } => {
                let mut forged = Given { session: u64::MAX, ..own.latest.clone() };
                forged.token.get_mut(bit / 8).into_iter().for_each(|byte| *byte ^= 1 << (bit % 8));
                forged
            }
        };
        self.devices[device].wants(&users);
        // Without a token of this room it would stay there, where nothing else happens.
        let across = across && !shown.token.is_empty() && !matches!(token, Token::Forged { .. });
        self.greet(device, users, shown, across);
    }

    fn greet(&mut self, device: usize, users: Vec<(u32, usize)>, shown: Given, across: bool) {
        let shard = if across { &mut self.other } else { &mut self.core };
        let Some(connection) = shard.accepted(self.now) else { return };
        self.devices[device].connected(connection, users);
        let hello = self.devices[device].hello(&format!("device-{device}"), &shown);
        let mut connections = self.core.connections();
        let is_there = connections.any(|c| c.id().0 == shown.session && c.resumes() == Some(shown.resumes));
        drop(connections);
        // A connection that is turned away is not welcomed at all.
        self.devices[device].resumes = (is_there && !shown.token.is_empty()).then_some(shown);
        match across {
            true => self.cross(device, connection, &hello),
            false => self.send(device, &hello),
        }
    }

    /// The device says HELLO to the other shard, which sends it over.
    fn cross(&mut self, device: usize, connection: u32, hello: &[u8]) {
        let (first, second) = hello.split_at(hello.len() / 2);
        assert!(matches!(self.other.received(connection, first, self.now), Place::Same));
        let Place::Across(emigrant) = self.other.received(connection, second, self.now) else {
            panic!("the token names the first shard")
        };
        assert_eq!(self.other.connections().count(), 0);
        let (landed, returning) = self.core.land(*emigrant);
        let place = self.core.give_back(landed, *returning, self.now);
        self.devices[device].connection = Some(if let Place::Moved(to) = place { to } else { landed });
    }

    /// The device is gone, and the room thinks it still there.
    fn cut(&mut self, device: usize, acks: usize) {
        for _ in 0..acks {
            self.acknowledges(device);
        }
        if let Some(connection) = self.devices[device].connection.take() {
            let id = self.core.connections().map(|c| c.id()).find(|id| id.index() == connection);
            self.orphans.extend(id);
        }
    }

    fn notice(&mut self, pick: usize) {
        if self.orphans.is_empty() {
            return;
        }
        let id = self.orphans.swap_remove(pick % self.orphans.len());
        let taken_up = self.devices.iter().any(|d| d.connection == Some(id.index()));
        if !taken_up && self.core.connections().any(|c| c.id() == id) {
            self.core.lost(id.index(), self.now);
        }
        self.turn();
    }

    fn lose(&mut self, device: usize) {
        if let Some(connection) = self.devices[device].connection.take() {
            self.core.lost(connection, self.now);
        }
        self.turn();
    }

    fn send(&mut self, device: usize, bytes: &[u8]) {
        if let Some(connection) = self.devices[device].connection {
            // In two pieces, for no piece is sure to be a whole frame.
            let (first, second) = bytes.split_at(bytes.len() / 2);
            for piece in [first, second] {
                let connection = self.devices[device].connection.unwrap_or(connection);
                match self.core.received(connection, piece, self.now) {
                    Place::Same | Place::Across(_) => {}
                    Place::Moved(to) => self.devices[device].connection = Some(to),
                }
            }
        }
    }

    fn read(&mut self, device: usize, most: usize) {
        let Some(connection) = self.devices[device].connection else { return };
        let Some(output) = self.core.output(connection) else { return };
        let mut slices = [IoSlice::new(&[]); 16];
        let used = output.slices(&mut slices);
        let mut bytes: Vec<u8> = slices[..used].iter().flat_map(|s| s.iter().copied()).collect();
        bytes.truncate(most);
        if !bytes.is_empty() {
            self.core.wrote(connection, bytes.len(), self.now);
            self.devices[device].read(&bytes);
        }
    }

    fn acknowledge(&mut self, device: usize, count: usize) {
        for _ in 0..count.min(self.devices[device].owed.len()) {
            if let Some((index, id)) = self.acknowledges(device) {
                self.send(device, &frame(&client::Ack { index: index.into(), ids: vec![id] }));
            }
        }
    }

    /// A device has a message safe, whether the room will hear of it or not.
    fn acknowledges(&mut self, device: usize) -> Option<(u8, u64)> {
        let device = &mut self.devices[device];
        let connection = device.connection?;
        let (index, id) = device.acknowledge()?;
        // The room may have ended the bind meanwhile, of which the device has not heard; it will say so when it returns. And it may have
        // refused what the device thinks is bound now.
        let believed = device.users.iter().find(|(bound, _)| *bound == u32::from(index));
        self.acknowledged.extend(believed.map(|(_, user)| (*user, id)));
        let connections = self.core.connections().filter(|c| c.id().index() == connection);
        let bound = connections.flat_map(|c| c.audit()).find(|bind| bind.index == index);
        self.acknowledged.extend(bound.map(|bind| (number(&bind.address), id)));
        Some((index, id))
    }

    fn new_message(&mut self, bytes: usize, broadcast_seq: u64) -> Message {
        self.ids += 1;
        Message {
            id: MessageId(self.ids),
            payload: vec![7; bytes].into(),
            sent_at_ms: self.now.wall_ms,
            expires_at_ms: u64::MAX,
            class: Class::Durable,
            broadcast_seq,
            redelivered: false,
        }
    }

    fn message(&mut self, user: usize, hint: bool, bytes: usize) {
        let message = self.new_message(bytes, 0);
        self.store.insert((user, message.id), message.clone());
        let Some(route) = self.routes.get(&user).copied().filter(|r| hint && r.node != 99) else { return };
        let id = message.id;
        let results = self
            .sender
            .deliver(vec![Delivery { address: address(user), route, message }], std::time::Instant::now());
        let mut results = results.unwrap();
        self.core.handle(self.inbox.take(), self.now, |_| String::new());
        match results.try_recv().unwrap()[..] {
            [Delivered::Pushed | Delivered::Deferred] => {
                self.known.insert((route.session, user, id));
            }
            [Delivered::NotHere] => {
                let held = self.core.connections().flat_map(|c| c.audit());
                let here = held.filter(|a| a.session == route.session && a.address == address(user)).count();
                assert!(here == 0 || !self.identity.made(&route), "{route:?} is here");
                self.routes.remove(&user);
            }
            ref other => panic!("{other:?}"),
        }
    }

    fn broadcast(&mut self) {
        let seq = self.ids + 1;
        let message = self.new_message(900, seq);
        for user in 0..USERS {
            self.store.insert((user, message.id), message.clone());
        }
        self.walks.start(std::slice::from_ref(&self.sender), ProductId(1), &message, 0).unwrap();
        while !self.walks.progress(ProductId(1), message.id).is_some_and(|p| p.done) {
            self.turn();
        }
        for audit in self.core.connections().flat_map(|c| c.audit()).filter(|a| a.held) {
            self.known.insert((audit.session, number(&audit.address), message.id));
        }
    }

    fn answer(&mut self, pick: usize) {
        if !self.answers.is_empty() {
            let answer = self.answers.remove(pick % self.answers.len());
            self.sender.answer(vec![answer]);
        }
    }

    /// Another room has a newer bind.
    fn displace(&mut self, user: usize) {
        self.stamps += 1;
        let stamp = Stamp { generation: 1, counter: self.stamps };
        let elsewhere = Route { stamp, node: 99, incarnation: 1, session: SessionId(0) };
        if let Some(route) = self.routes.insert(user, elsewhere) {
            self.tell_displaced(&address(user), route);
        }
    }

    pub(super) fn tell_displaced(&mut self, address: &Address, route: Route) {
        if self.identity.made(&route) {
            let highest = self.displaced.entry((route.session, number(address))).or_default();
            *highest = route.stamp.max(*highest);
        }
        let (reply, _) = oneshot::channel();
        self.sender.command(Command::Displace { key: address.key(), route, reply }).unwrap();
        self.turn();
    }

    fn kick(&mut self, user: usize) {
        if let Some(route) = self.routes.get(&user).copied() {
            let (reply, _) = oneshot::channel();
            let detail = "kicked".to_owned();
            self.sender.command(Command::Kick { address: address(user), route, detail, reply }).unwrap();
        }
    }

    /// The lease was lost: the register has forgotten the room's routes (R4).
    fn new_incarnation(&mut self) {
        self.identity.incarnation += 1;
        self.routes.retain(|_, route| route.node == 99);
        self.sender.command(Command::Identity(self.identity)).unwrap();
    }

    /// What must hold at any moment.
    pub(super) fn check(&mut self) {
        let audits: Vec<_> = self.core.connections().flat_map(|c| c.audit()).collect();
        self.known.retain(|(_, user, id)| self.store.contains_key(&(*user, *id)));
        for audit in &audits {
            let user = number(&audit.address);
            assert!(audit.written.len() <= usize::from(audit.window), "D5: {audit:?}");
            let displaced = self.displaced.get(&(audit.session, user)).copied();
            assert!(audit.stamp.is_none() || displaced < audit.stamp, "R1, R5: displaced: {audit:?}");
            let known = self.known.iter().filter(|(s, u, _)| (*s, *u) == (audit.session, user));
            for (_, _, id) in known {
                let remembered = audit.holds.contains(id) || audit.parked && audit.due.contains(id);
                let forgotten = audit.held && audit.clean && !remembered;
                assert!(!forgotten, "D1, D3, D4: {id} waits, and nobody remembers it: {audit:?}");
            }
        }
        let parked = self.core.connections().filter(|c| c.resident().state == State::Parked).count();
        assert!(parked <= PARKED as usize && parked as u64 == self.counters.parked_sessions.read());
        let loading = audits.iter().filter(|a| a.loading).count();
        let unwritten: Vec<usize> = self.core.connections().map(|c| c.output().len()).collect();
        let (loads, uplink_bytes, output) = self.core.env().totals();
        assert_eq!(loads, loading);
        assert!(loads <= 2 && uplink_bytes <= 5000);
        assert_eq!(output, unwritten.iter().sum::<usize>());
        // Pushes stay below the limits, or one goes on its own; what answers the device is small, and bounded by its frames.
        let most = |limit: usize| limit.max(limit / 8 + LARGEST + 64);
        let connections = unwritten.len().max(DEVICES);
        let (each, all) =
            (most(OUTPUT as usize) + ANSWERS, most(SHARD_OUTPUT as usize) + connections * ANSWERS);
        assert!(unwritten.iter().all(|u| *u <= each) && output <= all, "D5: {unwritten:?}");
        let limit = FrameType::Hello.limit() + 5;
        assert!(self.core.connections().all(|c| c.partial_input() <= limit));
        self.check_one_load_each();
        self.check_binds_waiting();
        self.check_memory();
        assert_eq!(self.counters.binds.read() as usize, audits.len());
        self.check_who_is_counted();
    }

    /// The metrics of connections tell what there is.
    fn check_who_is_counted(&self) {
        let Counters { population, sdks, .. } = &*self.counters;
        for state in State::ALL {
            let there = self.core.connections().filter(|c| c.resident().state == state).count();
            assert_eq!(population.in_state(TransportKind::Tcp, state), there as u64, "{state:?}");
        }
        let open = population.in_state(TransportKind::Tcp, State::Open);
        assert_eq!(
            (0..7).map(|network| population.in_network(TransportKind::Tcp, network)).sum::<u64>(),
            open
        );
        assert_eq!(sdks.sessions().iter().map(|(_, sessions)| sessions).sum::<u64>(), open);
    }

    /// D4: a question for which another load of the same bind waits must be one that was given up.
    fn check_one_load_each(&self) {
        let mut latest: HashMap<BindId, u16> = HashMap::new();
        for question in &self.questions {
            if let ToCluster::Load(LoadRequest { bind, number, .. }) = question {
                let before = latest.insert(*bind, *number);
                assert!(before.is_none_or(|before| before != *number), "asked twice: {question:?}");
            }
        }
        let Counters { failed_loads, parkings, resumes, .. } = &*self.counters;
        if [failed_loads, parkings, resumes].iter().all(|count| count.read() == 0) {
            let loads = self.questions.iter().filter(|q| matches!(q, ToCluster::Load(_))).count();
            assert_eq!(loads, latest.len(), "two loads of one bind");
        }
    }

    /// The depth of the bind queue, by which devices are turned away, is that of what was asked and not answered.
    fn check_binds_waiting(&self) {
        let env = self.core.env();
        let asked = env.questions.iter().chain(&self.questions);
        let asked = asked.filter(|q| matches!(q, ToCluster::Bind(_))).count();
        let answered = self.answers.iter().filter(|a| matches!(a, Answer::Bind { .. })).count();
        assert_eq!(env.binds_waiting as usize, asked + answered);
    }

    /// What the connections hold is counted.
    fn check_memory(&self) {
        let memory = &self.core.env().memory;
        let held: Vec<_> = self.core.connections().map(|c| c.buffers()).collect();
        assert_eq!(memory.input, held.iter().map(|b| b.input).sum::<usize>());
        let greeting = held.iter().filter(|b| b.is_greeting);
        assert_eq!(memory.greeting_input, greeting.map(|b| b.input).sum::<usize>());
        assert_eq!(memory.writing as usize, held.iter().filter(|b| b.writes).count());
    }

    /// Everybody does what they should, and time passes.
    pub(super) fn calm_down(&mut self) {
        // What follows garbage may be taken for the rest of it.
        for device in 0..DEVICES {
            if self.devices[device].confused {
                self.lose(device);
            }
        }
        while !self.orphans.is_empty() {
            self.notice(0);
        }
        self.happen(Event::Resume);
        // In a round each device gets two messages at least, however large they are.
        let rounds = 4 * u64::from(CHECK_S) * 1000 / ROUND_MS + self.store.len() as u64;
        for _ in 0..rounds {
            for _ in 0..2 {
                while !self.questions.is_empty() || !self.answers.is_empty() {
                    self.work(0, true);
                    self.answer(0);
                    self.turn();
                }
                for device in 0..DEVICES {
                    self.read(device, usize::MAX);
                    self.acknowledge(device, usize::MAX);
                    self.send(device, &[FrameType::Ping.number(), 0]);
                    self.turn();
                }
            }
            self.happen(Event::Pass { ms: ROUND_MS });
            self.check();
        }
    }

    /// Whoever is bound has got everything.
    pub(super) fn check_that_nothing_is_left(&self) {
        for audit in self.core.connections().flat_map(|c| c.audit()) {
            let user = number(&audit.address);
            let left: Vec<_> = self.store.keys().filter(|(u, _)| *u == user).collect();
            assert!(audit.held && audit.clean && audit.holds.is_empty(), "{audit:?}");
            assert!(left.is_empty(), "{left:?} wait for {audit:?}");
            assert_eq!(self.routes.get(&user).map(|r| r.session), Some(audit.session));
        }
    }

    pub(super) fn everybody_leaves(&mut self) {
        for device in 0..DEVICES {
            self.lose(device);
        }
        self.calm_down();
    }

    /// Nothing is held for sessions that have gone: no memory, and no routes in the register.
    pub(super) fn check_that_nothing_is_held(&self) {
        assert_eq!((self.core.len(), self.core.connections().count()), (0, 0));
        assert_eq!(self.core.env().totals(), (0, 0, 0));
        assert_eq!((self.other.len(), self.other.env().totals()), (0, (0, 0, 0)));
        assert_eq!(self.core.env().binds_waiting, 0);
        let Counters { sessions, unauthenticated, binds, parked_sessions, parked_bytes, .. } =
            &*self.counters;
        for number in [sessions, unauthenticated, binds, parked_sessions, parked_bytes] {
            assert_eq!(number.read(), 0);
        }
        assert_eq!(self.room.connections.load(Ordering::Relaxed), 0);
        assert!(self.routes.values().all(|r| r.node == 99), "R1: {:?}", self.routes);
    }
}

/// The users of these bits, each with an index.
fn chosen(users: u8) -> Vec<(u32, usize)> {
    let chosen = (0..USERS).filter(|user| users >> user & 1 == 1);
    chosen.enumerate().map(|(index, user)| (index as u32, user)).collect()
}

fn name(user: usize) -> String {
    format!("user-{user}")
}

fn address(user: usize) -> Address {
    Address::new(1, &name(user)).unwrap()
}

pub(super) fn number(address: &Address) -> usize {
    address.user.as_str().trim_start_matches("user-").parse().unwrap()
}
