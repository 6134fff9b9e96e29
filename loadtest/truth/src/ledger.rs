//! The ledger: what one agent planned, what the API said to it, and what its devices received.

mod batches;
mod broadcasts;
mod entries;
mod entry;
mod expiries;
mod judgement;
mod order;
mod reception;
mod shard;
mod tick;
mod users;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use self::shard::{Names, Shard};
use self::tick::Rules;
use crate::findings::Examples;
use crate::latencies::{Recorder, Span};
use crate::lock::lock;
use crate::{Clock, Counts, Findings, Header, Kind, Latencies, Micros};

/// Shards; a power of two. Few threads use a ledger, and each holds a lock for some tens of nanoseconds.
const SHARDS: u64 = 8;
/// Acknowledgements that are taken down under one lock.
const ACKS: usize = 64;

/// What a ledger needs to know.
#[derive(Clone, Debug)]
pub struct LedgerOptions {
    /// The run and leg; in every header.
    pub run: u32,
    /// The agent; in every header.
    pub agent: u16,
    /// The agent's users, by number.
    pub users: Range<u32>,
    /// The process's clock.
    pub clock: Clock,
    /// What is let pass for time's sake.
    pub graces: Graces,
}

/// Times that the rules let pass, since nobody can see the very moment at the other end. They count in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Graces {
    /// An acknowledgement that was written less than this before its connection ended may not have arrived. Default: 2 s.
    pub ack: Duration,
    /// A receipt up to this after expiry is in time. Default: 1 s.
    pub late: Duration,
    /// A user who came back less than this before the end may not have got yet what waited for it. Default: 5 s.
    pub back: Duration,
    /// A user who first came less than this before a broadcast was sent need not get it. Default: 1 s.
    pub broadcast: Duration,
}

impl Default for Graces {
    fn default() -> Graces {
        Graces {
            ack: Duration::from_secs(2),
            late: Duration::from_secs(1),
            back: Duration::from_secs(5),
            broadcast: Duration::from_secs(1),
        }
    }
}

/// A unicast to be sent. What it makes is sent **once**: who tries again after an unknown end plans another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// For whom.
    pub user: u32,
    /// When it was to be sent.
    pub due: Micros,
    /// The sender's stream through one center: order is promised within one only.
    pub stream: u16,
    /// Stored nowhere: may be dropped, is not acknowledged.
    pub transient: bool,
    /// When it expires: `due` and its time to live. As the server counts from when it took the message, it is given as long more as the
    /// API took to answer before a receipt is late.
    pub expires: Option<Micros>,
}

/// A PUSH, as far as the ledger needs it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The message's id.
    pub id: u64,
    /// Its payload.
    pub payload: &'a [u8],
    /// The flag REDELIVERED.
    pub redelivered: bool,
}

/// What was received, for [`Ledger::acked`]: the device keeps it beside the id until it acknowledges. 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Receipt(u64);

/// The top bit of a receipt tells broadcasts.
const BROADCAST: u64 = 1 << 63;

impl Receipt {
    /// Of something that the ledger does not know. Its acknowledgement changes nothing.
    pub const NONE: Receipt = Receipt(u64::MAX);

    fn unicast(sequence: u64) -> Receipt {
        Receipt(sequence)
    }

    fn broadcast(number: u64) -> Receipt {
        Receipt(number | BROADCAST)
    }

    fn known(self) -> Option<Known> {
        match self.0 {
            u64::MAX => None,
            number if number & BROADCAST != 0 => Some(Known::Broadcast(number & !BROADCAST)),
            number => Some(Known::Unicast(number / SHARDS)),
        }
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// The number in the shard.
    Unicast(u64),
    /// The broadcast's number.
    Broadcast(u64),
}

/// A user's connection.
#[derive(Clone, Copy, Debug)]
struct Device {
    /// The user's place in the shard; beyond its end for those who are not the agent's.
    place: usize,
    connection: u32,
}

/// Everything that one agent knows of its messages. To be shared by all threads: each call takes one short lock of the user's shard.
///
/// Sequences are given by shard (`sequence % SHARDS` is the user's), so that an answer of the API needs no user; within a shard they
/// are dense. Times are passed in, except that what asks for the present state (`outstanding`, `counts`, `findings`) reads the clock.
#[derive(Debug)]
pub struct Ledger {
    options: LedgerOptions,
    shards: Vec<Mutex<Shard>>,
    /// Batches planned so far. Held while one is planned, so that each shard knows them in the same order.
    batches: Mutex<u64>,
    latencies: Recorder,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(options: LedgerOptions) -> Ledger {
        let rules = Rules::new(&options);
        let share = |shard| (options.users.len() as u64 + SHARDS - 1 - shard) / SHARDS;
        let names = |shard| Names { shard, first: options.users.start };
        let shards =
            (0..SHARDS).map(|shard| Mutex::new(Shard::new(names(shard), share(shard), rules))).collect();
        Ledger { options, shards, batches: Mutex::new(0), latencies: Recorder::new() }
    }

    /// The measured phase begins or ends now: messages that are due within it count as `measured`. A ledger has one such phase; a
    /// second one takes the first one's place.
    pub fn set_measuring(&self, on: bool) {
        self.latencies.set_measuring(on, self.options.clock.now());
    }

    /// Takes a message down that is to be sent now. Its payload begins with the header.
    pub fn plan(&self, plan: Plan) -> Header {
        let shard = self.shard_of(plan.user);
        let now = || self.options.clock.now();
        let local = self.shard(shard).plan(&plan, self.place(plan.user), now);
        Header {
            run: self.options.run,
            agent: self.options.agent,
            kind: Kind::Unicast,
            user: plan.user,
            sequence: local * SHARDS + shard,
            due: plan.due,
        }
    }

    /// Takes messages down that are to be sent now with one payload: `plan` for each of these users (its own user does not count),
    /// who are different from each other. Answers the header of the payload, and the messages' sequences in the users' order.
    pub fn plan_batch(&self, users: &[u32], plan: Plan) -> (Header, Vec<u64>) {
        let mut batches = lock(&self.batches);
        let mut sequences = vec![0; users.len()];
        for (number, shard) in (0..).zip(&self.shards) {
            let here = || users.iter().enumerate().filter(|(_, user)| self.shard_of(**user) == number);
            let plans = here().map(|(_, &user)| (Plan { user, ..plan }, self.place(user)));
            let messages = lock(shard).plan_batch(plans, || self.options.clock.now());
            for ((place, _), message) in here().zip(messages) {
                sequences[place] = message * SHARDS + number;
            }
        }
        let header = Header {
            run: self.options.run,
            agent: self.options.agent,
            kind: Kind::Batch,
            user: u32::MAX,
            sequence: *batches,
            due: plan.due,
        };
        *batches += 1;
        (header, sequences)
    }

    /// The request leaves now. To be told **before** it is written, or order would be judged wrong.
    pub fn sent(&self, header: &Header, at: Micros) {
        self.shard_with(header.sequence).sent(header.sequence / SHARDS, at);
    }

    /// The API accepted it under this id; `at`: the answer was read. The first answer counts, here and below.
    pub fn accepted(&self, sequence: u64, id: u64, at: Micros) {
        let due = self.shard_with(sequence).accepted(sequence / SHARDS, id, at);
        if let Some(due) = due {
            self.latencies.record(Span::Accepted, &[due], at);
        }
    }

    /// The API refused it: it must not arrive.
    pub fn refused(&self, sequence: u64) {
        self.shard_with(sequence).refused(sequence / SHARDS);
    }

    /// There was no answer: it may arrive or not.
    pub fn unknown(&self, sequence: u64) {
        self.shard_with(sequence).unknown(sequence / SHARDS);
    }

    /// It will not be sent after all.
    pub fn skipped(&self, sequence: u64) {
        self.shard_with(sequence).skipped(sequence / SHARDS);
    }

    /// The broadcast with this number (the header's `sequence`) was sent then and got this id. Receipts may have come before.
    /// `expires`: the answer's time and the time to live, the latest that it can be. Expected by the users who had first come before
    /// `sent` (S8). Told once; a second time changes nothing.
    pub fn broadcast(&self, number: u64, sent: Micros, id: u64, expires: Option<Micros>) {
        for shard in &self.shards {
            lock(shard).broadcast(number, sent, id, expires);
        }
    }

    /// The user's bind stands, on this connection. Connections of a user are numbered upwards.
    pub fn bound(&self, user: u32, connection: u32, at: Micros) {
        self.shard(self.shard_of(user)).bound(self.device(user, connection), at);
    }

    /// The user received a message on this connection.
    pub fn received(&self, user: u32, connection: u32, push: &Received<'_>, at: Micros) -> Receipt {
        let number = self.shard_of(user);
        let device = self.device(user, connection);
        let header = Header::read(push.payload);
        let mut shard = self.shard(number);
        let Some(mut header) = header else {
            shard.unreadable(device.place, push.id);
            return Receipt::NONE;
        };
        if header.kind == Kind::Batch
            && (header.run, header.agent) == (self.options.run, self.options.agent)
            && let Some(message) = shard.in_batch(header.sequence, device.place)
        {
            header = Header { kind: Kind::Unicast, user, sequence: message * SHARDS + number, ..header };
        }
        let own = header.run == self.options.run && header.sequence < BROADCAST - 1;
        let mine =
            header.agent == self.options.agent && header.user == user && header.sequence % SHARDS == number;
        let (span, receipt, came) = match header.kind {
            Kind::Unicast if own && mine => {
                let came = shard.received(device, &header, push, at);
                (Span::Received, Receipt::unicast(header.sequence), came)
            }
            Kind::Broadcast if own => {
                let came = shard.received_broadcast(device, &header, push, at);
                (Span::Broadcast, Receipt::broadcast(header.sequence), came)
            }
            _ => {
                shard.foreign(device, &header, push);
                return Receipt::NONE;
            }
        };
        drop(shard);
        if came == Some(true) {
            self.latencies.record(span, &[header.due], at);
        }
        came.map_or(Receipt::NONE, |_| receipt)
    }

    /// The acknowledgement of what these receipts stand for is in the kernel's hands, all on the connection that they came on. A
    /// repeated one is told too; those of transient messages are not, since there are none.
    pub fn acked(&self, user: u32, connection: u32, receipts: &[Receipt], at: Micros) {
        let number = self.shard_of(user);
        let device = self.device(user, connection);
        for receipts in receipts.chunks(ACKS) {
            let mut due = [0; ACKS];
            let mut count = 0;
            let mut shard = self.shard(number);
            for known in receipts.iter().filter_map(|receipt| receipt.known()) {
                if let Some(first) = shard.acked(device, known, at) {
                    due[count] = first;
                    count += 1;
                }
            }
            drop(shard);
            self.latencies.record(Span::Acked, &due[..count], at);
        }
    }

    /// The connection ended, or was given up.
    pub fn disconnected(&self, user: u32, connection: u32, at: Micros) {
        self.shard(self.shard_of(user)).disconnected(self.device(user, connection), at);
    }

    /// What is still owed: accepted durable unicasts and deliveries of broadcasts, not received and not expired. Expiry is seen up to a
    /// second later.
    pub fn outstanding(&self) -> u64 {
        let now = self.options.clock.now();
        self.shards.iter().map(|shard| lock(shard).outstanding(now)).sum()
    }

    /// Unicasts that wait for their answer, or are owed: what a closed loop keeps constant. Cheap enough to be asked often.
    pub fn under_way(&self) -> u64 {
        let now = self.options.clock.now();
        self.shards.iter().map(|shard| lock(shard).under_way(now)).sum()
    }

    /// The counts so far. Those of the end (lost, unreachable, missing) are 0, and expired broadcasts are not counted yet.
    pub fn counts(&self) -> Counts {
        let now = self.options.clock.now();
        self.shards.iter().map(|shard| lock(shard).counts(now)).sum()
    }

    /// The latencies since the last call.
    pub fn take_latencies(&self) -> Latencies {
        self.latencies.take()
    }

    /// The end: the final counts, and up to `limit` examples of each fault. Of faults that are seen as they happen, the first 32 of
    /// each shard are kept.
    pub fn findings(&self, limit: usize) -> Findings {
        let now = self.options.clock.now();
        let mut examples = Examples::new(limit);
        let counts = self.shards.iter().map(|shard| lock(shard).findings(now, &mut examples)).sum();
        Findings { counts, examples: examples.into_kept() }
    }

    /// The number of a user's shard.
    fn shard_of(&self, user: u32) -> u64 {
        u64::from(user.wrapping_sub(self.options.users.start)) % SHARDS
    }

    /// A user's place in the shard; beyond its end for those who are not the agent's.
    fn place(&self, user: u32) -> usize {
        (u64::from(user.wrapping_sub(self.options.users.start)) / SHARDS) as usize
    }

    fn device(&self, user: u32, connection: u32) -> Device {
        Device { place: self.place(user), connection }
    }

    fn shard(&self, number: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[number as usize])
    }

    fn shard_with(&self, sequence: u64) -> MutexGuard<'_, Shard> {
        self.shard(sequence % SHARDS)
    }
}
