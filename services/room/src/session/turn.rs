//! What a session finds around it while it handles one event.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use longline_types::{CloseReason, MessageId, ProductId, SessionId, TimeMs};
use longline_wire::{Body, FrameType};

use super::Connection;
use super::ending::Ending;
use super::jitter::Jitter;
use super::output::{Output, Pool};
use super::profile::Names;
use super::queueing::Queueings;
use crate::EngineConfig;
use crate::admission::{AdmissionConfig, Memory, Refusal, Storm};
use crate::link::{BindId, Identity, ToCluster};
use crate::metrics::Counters;
use crate::resume::ResumeKey;
use crate::transport::Shared;
use crate::walk::Walk;
use crate::window::Window;

/// Loads under way at once in the beginning, and when the savers are slow.
const FIRST_LOADS: u32 = 16;
const FEWEST_LOADS: u32 = 4;

/// Bytes of a connection's places in the shard's pages: itself, its socket and its timer.
const PLACE: usize = size_of::<Connection>() + 32;

/// The time, passed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Now {
    /// Milliseconds since the shard started; never goes back. For all waits.
    pub(crate) ms: u64,
    /// Unix time. For what is told to others.
    pub(crate) wall_ms: TimeMs,
}

impl Now {
    /// Microseconds since the shard started, no finer than the milliseconds.
    pub(crate) fn us(self) -> u64 {
        self.ms * 1000
    }
}

/// What all sessions of a shard share.
pub(crate) struct Env {
    pub(crate) config: EngineConfig,
    pub(crate) counters: Arc<Counters>,
    pub(crate) jitter: Jitter,
    pub(crate) resume_key: ResumeKey,
    /// The room's place in the cluster; none before it has joined.
    pub(crate) identity: Option<Identity>,
    /// Counts the identities.
    pub(crate) epoch: u32,
    /// Questions to the cluster, not sent yet.
    pub(crate) questions: VecDeque<ToCluster>,
    /// Binds that want to load, in line.
    pub(crate) load_line: VecDeque<BindId>,
    /// The loads that are under way.
    pub(crate) loads: Window,
    /// Unwritten bytes of all sessions.
    pub(crate) output_bytes: usize,
    /// How the products want their messages to be queued.
    pub(crate) queueings: Queueings,
    /// Bytes of the uplinks that wait for their answer.
    pub(crate) uplink_bytes: u64,
    /// The links are behind: nothing is begun that would ask them more.
    pub(crate) congested: bool,
    /// The sessions are being sent away, for this reason.
    pub(crate) draining: Option<CloseReason>,
    /// Nothing more is pushed: what is under way is to come to its end before the sessions are closed.
    pub(crate) settling: bool,
    /// Since when the shard has run without a long pause: silence before is not the devices'.
    pub(crate) awake_since: u64,
    pub(crate) broadcasts: Broadcasts,
    pub(crate) names: Names,
    pub(crate) pool: Pool,
    /// What lies under the sessions.
    pub(crate) transports: Shared,
    /// Who may connect, and how fast.
    pub(crate) limits: Arc<AdmissionConfig>,
    pub(crate) storm: Storm,
    pub(crate) memory: Memory,
    /// Binds that the cluster has not answered.
    pub(crate) binds_waiting: u32,
}

impl Env {
    pub(crate) fn new(
        config: EngineConfig,
        counters: Arc<Counters>,
        resume_key: ResumeKey,
        seed: u64,
    ) -> Env {
        Env {
            limits: Arc::new(config.admission.clone()),
            storm: Storm::new(config.shard_count()),
            memory: Memory::new(PLACE, config.send_buffer_bytes),
            binds_waiting: 0,
            loads: Window::new(FIRST_LOADS, FEWEST_LOADS, config.loads_in_flight),
            config,
            counters,
            jitter: Jitter::new(seed),
            resume_key,
            identity: None,
            epoch: 0,
            questions: VecDeque::new(),
            load_line: VecDeque::new(),
            output_bytes: 0,
            queueings: Queueings::default(),
            uplink_bytes: 0,
            congested: false,
            draining: None,
            settling: false,
            awake_since: 0,
            broadcasts: Broadcasts::default(),
            names: Names::default(),
            pool: Pool::default(),
            transports: Shared::default(),
        }
    }

    /// Why no session may begin now, as far as it is not a matter of the connection.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self.draining {
            Some(_) => Some(Refusal::Draining),
            None => {
                let behind = self.congested || self.storm.is_behind(&self.limits, self.binds_waiting);
                behind.then_some(Refusal::Overloaded)
            }
        }
    }

    /// A whole HELLO has come: whether its session may begin.
    pub(crate) fn admit(&mut self, now: Now) -> Result<(), Ending> {
        let may_begin = |env: &mut Env| env.storm.may_begin(&env.limits, now.us());
        let refusal = match self.refusal() {
            None if may_begin(self) => return Ok(()),
            None => Refusal::HelloRate,
            Some(refusal) => refusal,
        };
        self.counters.refused(refusal);
        Err(Ending::refused(refusal, 0, now, self))
    }
}

/// What the shard has heard of broadcasts.
#[derive(Default)]
pub(crate) struct Broadcasts {
    highest: HashMap<ProductId, u64>,
    walks: HashMap<MessageId, Arc<Walk>>,
    order: VecDeque<MessageId>,
}

impl Broadcasts {
    /// Products whose highest sequence is kept; a load of another says 0, which is always right, only less helpful.
    const PRODUCTS: usize = 4096;
    /// Walks whose acknowledgements are counted.
    const WALKS: usize = 256;

    /// Highest sequence of the product that was heard of; 0 for none (S8).
    pub(crate) fn known(&self, product: ProductId) -> u64 {
        self.highest.get(&product).copied().unwrap_or(0)
    }

    pub(crate) fn note(&mut self, product: ProductId, seq: u64) {
        if self.highest.len() >= Self::PRODUCTS && !self.highest.contains_key(&product) {
            self.highest.clear();
        }
        let highest = self.highest.entry(product).or_default();
        *highest = (*highest).max(seq);
    }

    pub(crate) fn begin(&mut self, walk: &Arc<Walk>) {
        self.note(walk.product, walk.seq);
        if self.walks.insert(walk.id, Arc::clone(walk)).is_none() {
            self.order.push_back(walk.id);
        }
        if self.order.len() > Self::WALKS {
            self.order.pop_front().and_then(|oldest| self.walks.remove(&oldest));
        }
    }

    pub(crate) fn acked(&self, id: MessageId, connected_at_ms: TimeMs) {
        if let Some(walk) = self.walks.get(&id) {
            walk.acked(connected_at_ms);
        }
    }
}

/// One event of one session: the time, the shard, and where its frames go.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) id: SessionId,
    pub(crate) env: &'a mut Env,
    pub(crate) output: &'a mut Output,
    /// The session has no socket: nothing is sent.
    pub(crate) parked: bool,
}

impl Turn<'_> {
    /// Sends a frame. What the room itself makes is always within the limits.
    pub(crate) fn send<M: Body>(&mut self, body: &M) {
        self.append(|out| longline_wire::encode(body, out).is_ok());
    }

    /// Sends a PONG.
    pub(crate) fn pong(&mut self) {
        self.append(|out| longline_wire::encode_empty(FrameType::Pong, out).is_ok());
    }

    /// Appends bytes to the output; `write` says whether it wrote a frame. A parked session writes nothing.
    pub(crate) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        if self.parked {
            return false;
        }
        let buffer = self.output.buffer(&mut self.env.pool, self.now.ms);
        let before = buffer.len();
        let wrote = write(buffer);
        if !wrote {
            buffer.truncate(before);
        }
        let added = buffer.len() - before;
        self.output.added(added);
        self.env.output_bytes += added;
        wrote
    }

    pub(crate) fn ask(&mut self, question: ToCluster) {
        self.env.binds_waiting += u32::from(matches!(question, ToCluster::Bind(_)));
        self.env.questions.push_back(question);
    }

    /// Once, at some moment up to this far away.
    pub(crate) fn soon(&mut self, within_ms: u32) -> u64 {
        self.now.ms + self.env.jitter.up_to(u64::from(within_ms))
    }
}
