//! A swarm, its ledger and its room.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longline_load_swarm::{Options, Routes, Swarm, SwarmCounts};
use longline_load_truth::{Clock, Graces, Ledger, LedgerOptions, Plan};

use crate::room::{Manners, Room};

/// What a test waits for takes at most this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    pub room: Room,
    pub swarm: Swarm,
    pub ledger: Arc<Ledger>,
    pub way: Arc<Way>,
    pub users: u32,
    clock: Clock,
    next_id: std::cell::Cell<u64>,
}

/// Everybody goes to one place, which may change or be unknown.
pub(crate) struct Way {
    pub to: Mutex<Option<SocketAddr>>,
    pub attempts: Mutex<Vec<u32>>,
}

impl Routes for Way {
    fn room(&self, _: u32, attempt: u32) -> Option<SocketAddr> {
        self.attempts.lock().unwrap().push(attempt);
        *self.to.lock().unwrap()
    }
}

impl Rig {
    pub(crate) fn new(users: u32, manners: Manners) -> Rig {
        Rig::with(users, manners, |_| {})
    }

    pub(crate) fn with(users: u32, manners: Manners, change: impl FnOnce(&mut Options)) -> Rig {
        let room = Room::start(manners);
        let clock = Clock::new();
        let options = LedgerOptions { run: 7, agent: 3, users: 0..users, clock, graces: Graces::default() };
        let ledger = Arc::new(Ledger::new(options));
        let way = Arc::new(Way { to: Mutex::new(Some(room.address)), attempts: Mutex::default() });
        let mut options = Options {
            threads: 2,
            users: 0..users,
            prefix: "u".into(),
            product: 1,
            token_key: None,
            sources: vec![],
            step: Duration::ZERO,
            networks: vec![],
            transports: Default::default(),
            resume: 0.0,
            hostile: Default::default(),
            seed: 42,
            ledger: Arc::clone(&ledger),
            clock,
            run: 7,
            agent: 3,
            routes: Arc::clone(&way) as Arc<dyn Routes>,
        };
        change(&mut options);
        let swarm = Swarm::start(options).unwrap();
        Rig { room, swarm, ledger, way, users, clock, next_id: std::cell::Cell::new(1) }
    }

    /// With all devices connected.
    pub(crate) fn connected(users: u32, manners: Manners) -> Rig {
        let rig = Rig::new(users, manners);
        rig.swarm.connect(0.0);
        rig.await_counts("all to be connected", |c| c.connected == u64::from(users));
        rig
    }

    /// Sends a message of this size to the user, as the API would take it.
    pub(crate) fn send(&self, user: u32, bytes: usize) {
        let now = self.clock.now();
        let header = self.ledger.plan(Plan { user, due: now, stream: 0, transient: false, expires: None });
        let mut payload = Vec::new();
        header.payload(bytes, &mut payload);
        self.ledger.sent(&header, now);
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.room.push(&format!("u-{user}"), id, payload);
        self.ledger.accepted(header.sequence, id, self.clock.now());
    }

    /// Waits until every message was received and acknowledged, and looks that nothing was wrong with any.
    pub(crate) fn await_delivery(&self) {
        self.eventually("every message to arrive", || self.ledger.outstanding() == 0);
        self.eventually("every message to be acknowledged", || self.room.waiting() == 0);
        let counts = self.ledger.counts();
        assert_eq!((counts.foreign, counts.lost, counts.reordered), (0, 0, 0), "{counts:?}");
    }

    pub(crate) fn await_counts(&self, what: &str, holds: impl Fn(&SwarmCounts) -> bool) {
        self.eventually(what, || holds(&self.swarm.counts()));
    }

    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < end, "waited in vain for {what}: {:?}", self.swarm.counts());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
