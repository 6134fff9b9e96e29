//! What all devices share, and what those of one thread share.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;
use longline_auth::sign_token;
use longline_load_truth::{Header, Kind, Micros, Receipt};
use longline_types::{InvalidUser, ProductId, User};

use crate::acked::AckedUplinks;
use crate::chance::{Chance, fraction};
use crate::counts::Tally;
use crate::hostile::Manner;
use crate::options::{Network, Options};
use crate::time::{Ms, Now, START, Time};
use crate::transport::{Links, Transport};

/// Keeps the choice of networks apart from others that follow from the same seed.
const SALT: u64 = 0x6e65_7477_6f72_6b73;
/// The same for the choice of transports.
const TRANSPORT_SALT: u64 = 0x7472_616e_7370_6f72;
/// The same for the choice of who resumes.
const RESUME_SALT: u64 = 0x7265_7375_6d65_7273;
/// Tokens are good for a day, which no run outlasts by one connection.
const TOKEN_MS: u64 = 24 * 3_600_000;
/// Longest connect latency that is told apart: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// What the devices of a swarm share.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) links: Links,
    pub(crate) time: Time,
    next_uplink: AtomicU64,
    acked: Mutex<AckedUplinks>,
}

impl World {
    /// # Errors
    /// If what the transports need is of no use.
    pub(crate) fn new(options: Options) -> io::Result<World> {
        let time = Time::new(options.clock);
        let links = Links::new(&options.transports)?;
        Ok(World { options, links, time, next_uplink: AtomicU64::new(1), acked: Mutex::default() })
    }

    /// The user's name.
    pub(crate) fn name(&self, user: u32) -> String {
        format!("{}-{user}", self.options.prefix)
    }

    /// The user's token; empty if the product wants none.
    pub(crate) fn token(&self, name: &str, now: Now) -> Result<String, InvalidUser> {
        let Some(key) = &self.options.token_key else { return Ok(String::new()) };
        let product = ProductId(self.options.product);
        Ok(sign_token(key, &User::new(name)?, Some(product), now.at / 1000 + TOKEN_MS))
    }

    /// The user's network: always the same for the same seed; none if there is no choice.
    pub(crate) fn network(&self, user: u32) -> Option<&Network> {
        let place = fraction(self.options.seed ^ SALT, user.into());
        pick(&self.options.networks, |network| network.share, place)
    }

    /// Over what the user's device connects: always the same for the same seed.
    pub(crate) fn transport(&self, user: u32) -> Transport {
        let place = fraction(self.options.seed ^ TRANSPORT_SALT, user.into());
        pick(&self.options.transports.shares, |(_, share)| *share, place)
            .map_or(Transport::Tcp, |(kind, _)| *kind)
    }

    /// Whether the user's device resumes broken sessions: always the same for the same seed.
    pub(crate) fn resumes(&self, user: u32) -> bool {
        fraction(self.options.seed ^ RESUME_SALT, user.into()) < self.options.resume
    }

    /// The sequence of this agent's next uplink.
    pub(crate) fn next_uplink(&self) -> u64 {
        self.next_uplink.fetch_add(1, Ordering::Relaxed)
    }

    /// What an uplink carries first.
    pub(crate) fn uplink_header(&self, user: u32, sequence: u64, due: Micros) -> Header {
        Header { run: self.options.run, agent: self.options.agent, kind: Kind::Uplink, user, sequence, due }
    }

    /// A room said OK to this uplink.
    pub(crate) fn uplink_acked(&self, sequence: u64) {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).insert(sequence);
    }

    /// The uplinks that rooms said OK to.
    pub(crate) fn acked_uplinks(&self) -> AckedUplinks {
        self.acked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The item at this place, 0 to 1, when each takes as much of it as its share.
fn pick<T>(items: &[T], share: impl Fn(&T) -> f64, place: f64) -> Option<&T> {
    let mut place = place * items.iter().map(&share).sum::<f64>();
    let found = items.iter().find(|item| {
        place -= share(item);
        place < 0.0
    });
    found.or(items.last())
}

/// What a thread tells others while it works.
pub(crate) struct Shared {
    pub(crate) tally: Tally,
    latencies: Mutex<Histogram<u64>>,
}

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared { tally: Tally::default(), latencies: Mutex::new(latencies()) }
    }

    /// A device is bound this long after it was due to connect, in microseconds.
    pub(crate) fn connected_after(&self, micros: Micros) {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// The latencies since the last call.
    pub(crate) fn take_latencies(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner), latencies())
    }
}

/// An empty histogram for connect latencies.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order and three digits are supported")
}

/// What the devices of one thread work with, one at a time.
pub(crate) struct Cx {
    pub(crate) world: Arc<World>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) chance: Chance,
    pub(crate) now: Now,
    /// Bytes for the room, from the device at hand.
    pub(crate) out: Vec<u8>,
    /// Ids that are to be acknowledged when all bytes at hand have been read.
    pub(crate) acks: Vec<u64>,
    /// Ids that `out` acknowledges.
    pub(crate) acked: Vec<u64>,
    /// The same for the ledger.
    pub(crate) receipts: Vec<Receipt>,
    /// The device at hand may need its timer earlier than it is set.
    pub(crate) rearm: bool,
    /// Everybody behaves from now on.
    pub(crate) tame: bool,
}

impl Cx {
    pub(crate) fn new(world: Arc<World>, shared: Arc<Shared>, seed: u64) -> Cx {
        let now = world.time.now();
        Cx {
            world,
            shared,
            chance: Chance::new(seed),
            now,
            out: Vec::new(),
            acks: Vec::new(),
            acked: Vec::new(),
            receipts: Vec::new(),
            rearm: false,
            tame: false,
        }
    }

    /// Looks at the clock.
    pub(crate) fn tick(&mut self) {
        self.now = self.world.time.now();
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// The moment after a wait, on the measuring clock.
    pub(crate) fn after(&self, wait: Ms) -> Micros {
        self.now.at + Micros::from(wait) * 1000
    }

    /// A random time before now, at most `most` back.
    pub(crate) fn before(&mut self, most: Ms) -> Ms {
        self.now.ms - self.chance.between(0, most.min(START))
    }

    /// How a device of this manner behaves now.
    pub(crate) fn manner(&self, manner: Manner) -> Manner {
        if self.tame { Manner::Good } else { manner }
    }
}
