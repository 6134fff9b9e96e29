//! Where all requests come together: one task that owns the state, so that they have one order. It takes what waits, applies
//! it, writes the records in one commit, and only then shows and answers what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use longline_pb::keeper::{Registration, RenewReply};
use longline_types::{Error, ErrorCode, Load, NodeState, Role, View, now_ms};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::leases::Leases;
use crate::metrics::Metrics;
use crate::state::{About, Cluster, Entry, NodeRef, Record};
use crate::store::Store;
use crate::views::with_loads;

/// Requests that may wait; beyond it they are refused with `RESOURCE_EXHAUSTED`.
const WAITING: usize = 1024;
/// Requests of one commit.
const TOGETHER: usize = 256;
/// Changed entries that a slow watch may be behind before it gets everything anew.
const ENTRIES_BEHIND: usize = 256;
/// How long a request waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often leases are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often loads are shown.
const LOADS_EVERY: Duration = Duration::from_secs(1);

/// Where the answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A request to the desk, checked.
pub(crate) enum Ask {
    Register {
        about: About,
        previous_incarnation: u64,
        reply: Reply<Registration>,
    },
    Renew {
        node: NodeRef,
        state: NodeState,
        load: Load,
        want_grant: bool,
        reply: Reply<RenewReply>,
    },
    Leave {
        node: NodeRef,
        reply: Reply<()>,
    },
    Read {
        key: String,
        reply: Reply<Entry>,
    },
    /// All entries under a prefix, and the revision they belong to.
    List {
        prefix: String,
        reply: Reply<(Vec<Entry>, u64)>,
    },
    Write {
        key: String,
        value: Option<Vec<u8>>,
        expected_revision: u64,
        reply: Reply<Entry>,
    },
}

/// Latest loads by node number.
pub(crate) type Loads = HashMap<u32, Load>;

/// What others hold of the desk.
#[derive(Clone)]
pub(crate) struct DeskHandle {
    asks: mpsc::Sender<Ask>,
    /// The current view, without loads.
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// Loads, renewed every second.
    pub(crate) loads: watch::Receiver<Arc<Loads>>,
    entries: broadcast::WeakSender<Entry>,
    metrics: Metrics,
}

impl DeskHandle {
    /// Asks and waits for the answer. [`ErrorCode::ResourceExhausted`] if too many wait.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.asks.try_send(ask(reply)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => {
                self.metrics.refused.inc();
                Error::new(ErrorCode::ResourceExhausted, "too many requests wait for the keeper")
            }
            mpsc::error::TrySendError::Closed(_) => Error::unavailable("the keeper is stopping"),
        })?;
        // Taken, but perhaps not on disk: nobody knows.
        let unknown = |why| Error::new(ErrorCode::DeadlineExceeded, why);
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(unknown("the keeper stopped before it answered")),
            Err(_) => Err(unknown("the keeper's disk is too slow")),
        }
    }

    /// Entries as they change from now on; none once the keeper stops.
    pub(crate) fn changes(&self) -> Option<broadcast::Receiver<Entry>> {
        self.entries.upgrade().map(|entries| entries.subscribe())
    }
}

/// The task's state.
pub(crate) struct Desk {
    cluster: Cluster,
    leases: Leases,
    store: Arc<Store>,
    asks: mpsc::Receiver<Ask>,
    views: watch::Sender<Arc<View>>,
    loads: watch::Sender<Arc<Loads>>,
    entries: broadcast::Sender<Entry>,
    metrics: Metrics,
    /// Applied, and not yet on disk.
    records: Vec<Record>,
    /// To be given once the records are on disk.
    answers: Vec<Box<dyn FnOnce() + Send>>,
}

impl Desk {
    /// A desk for this state. `records` are to be written with the first commit.
    pub(crate) fn new(
        cluster: Cluster,
        records: Vec<Record>,
        store: Store,
        lease: Duration,
        metrics: Metrics,
    ) -> (Desk, DeskHandle) {
        let (asks, incoming) = mpsc::channel(WAITING);
        let views = watch::Sender::new(Arc::new(cluster.view()));
        let loads = watch::Sender::new(Arc::default());
        let entries = broadcast::Sender::new(ENTRIES_BEHIND);
        let handle = DeskHandle {
            asks,
            views: views.subscribe(),
            loads: loads.subscribe(),
            entries: entries.downgrade(),
            metrics: metrics.clone(),
        };
        let desk = Desk {
            cluster,
            leases: Leases::new(lease, [], Instant::now()),
            store: Arc::new(store),
            asks: incoming,
            views,
            loads,
            entries,
            metrics,
            records,
            answers: Vec::new(),
        };
        (desk, handle)
    }

    /// Puts the keeper itself into the view, in place of those that were there before it started, and gives all others a full
    /// term: what they did while no keeper listened is not held against them.
    pub(crate) async fn open(&mut self, own: About) -> anyhow::Result<()> {
        let named = |n: &longline_types::Node| NodeRef { number: n.number, incarnation: n.incarnation };
        let (before, others): (Vec<_>, Vec<_>) = self.cluster.nodes().partition(|n| n.role == Role::Keeper);
        let before: Vec<NodeRef> = before.into_iter().map(named).collect();
        self.leases = Leases::new(self.leases.term(), others.into_iter().map(named), Instant::now());
        self.cluster.end(&before, &mut self.records);
        self.cluster
            .register(own, 0, now_ms(), &mut self.records)
            .context("the keeper cannot be in the view")?;
        self.settle().await
    }

    /// Serves requests until `stop`. An error means that the state could not be written: the process must end.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut show_loads = tokio::time::interval(LOADS_EVERY);
        show_loads.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.take(ask),
                    None => return Ok(()),
                },
                _ = look.tick() => self.end_leases(Instant::now()),
                _ = show_loads.tick() => self.show_loads(),
            }
            self.settle().await?;
        }
    }

    /// Applies this request and those that wait behind it.
    fn take(&mut self, first: Ask) {
        self.apply(first);
        for _ in 1..TOGETHER {
            match self.asks.try_recv() {
                Ok(ask) => self.apply(ask),
                Err(_) => return,
            }
        }
    }

    fn apply(&mut self, ask: Ask) {
        match ask {
            Ask::Register { about, previous_incarnation, reply } => {
                // Nobody waits any more: a registration would be nobody's.
                if !reply.is_closed() {
                    let registration = self.register(about, previous_incarnation);
                    self.answer(reply, registration);
                }
            }
            Ask::Renew { node, state, load, want_grant, reply } => {
                let renewed = self.renew(node, state, load, want_grant);
                self.answer(reply, renewed);
            }
            Ask::Leave { node, reply } => {
                self.cluster.end(&[node], &mut self.records);
                self.leases.end(node);
                self.answer(reply, Ok(()));
            }
            Ask::Read { key, reply } => {
                let entry = self.cluster.entries().read(&key);
                self.answer(reply, Ok(entry));
            }
            Ask::List { prefix, reply } => {
                let entries = self.cluster.entries();
                let list = (entries.list(&prefix), entries.revision());
                self.answer(reply, Ok(list));
            }
            Ask::Write { key, value, expected_revision, reply } => {
                let entry = self.cluster.write(&key, value, expected_revision, &mut self.records);
                self.answer(reply, entry);
            }
        }
    }

    fn register(&mut self, about: About, previous_incarnation: u64) -> Result<Registration, Error> {
        let role = about.role;
        let (node, grant) =
            self.cluster.register(about, previous_incarnation, now_ms(), &mut self.records)?;
        self.leases.renew(node, Load::default(), Instant::now());
        self.metrics.registrations.inc();
        tracing::info!(%role, number = node.number, incarnation = node.incarnation, "registered");
        Ok(Registration {
            number: node.number,
            incarnation: node.incarnation,
            lease_ms: self.leases.term().as_millis() as u32,
            grant: Some(grant.into()),
            view: Some(with_loads(&self.cluster.view(), &self.leases.loads())),
            cluster: self.cluster.name().to_owned(),
        })
    }

    fn renew(
        &mut self,
        node: NodeRef,
        state: NodeState,
        load: Load,
        want_grant: bool,
    ) -> Result<RenewReply, Error> {
        self.cluster.set_state(node, state, &mut self.records)?;
        let now_ms = now_ms();
        let grant = match want_grant {
            true => self.cluster.grant(node, now_ms, &mut self.records)?,
            false => None,
        };
        self.leases.renew(node, load, Instant::now());
        Ok(RenewReply { view_number: self.cluster.view_number(), grant: grant.map(Into::into), now_ms })
    }

    fn end_leases(&mut self, now: Instant) {
        let run_out = self.leases.run_out(now);
        for node in &run_out {
            tracing::warn!(number = node.number, incarnation = node.incarnation, "the lease has run out");
            self.leases.end(*node);
            // A registration that another of the same process replaced has ended already.
            if self.cluster.node(*node).is_some() {
                self.metrics.run_out.inc();
            }
        }
        self.cluster.end(&run_out, &mut self.records);
    }

    fn show_loads(&mut self) {
        let loads = self.leases.loads();
        self.loads.send_if_modified(|shown| {
            let changed = **shown != loads;
            if changed {
                *shown = Arc::new(loads);
            }
            changed
        });
    }

    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, answer: Result<T, Error>) {
        // The caller may have gone.
        self.answers.push(Box::new(move || drop(reply.send(answer))));
    }

    /// Makes what was applied last, then known.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let records = std::mem::take(&mut self.records);
        if !records.is_empty() {
            let store = self.store.clone();
            let timer = self.metrics.commit.start_timer();
            let committing = move || store.commit(&records).map(|()| records);
            let committed = tokio::task::spawn_blocking(committing).await.context("the commit panicked")?;
            let records = committed.context("the keeper's state cannot be written")?;
            timer.observe_duration();
            self.show(records);
        }
        self.answers.drain(..).for_each(|answer| answer());
        Ok(())
    }

    fn show(&self, records: Vec<Record>) {
        if self.views.borrow().number != self.cluster.view_number() {
            self.metrics.view.set(self.cluster.view_number() as i64);
            let view = self.cluster.view();
            self.metrics.count(view.nodes().collect::<Vec<_>>().into_iter());
            self.views.send_replace(Arc::new(view));
        }
        for record in records {
            if let Record::Entry(entry) = record {
                // Nobody may be watching.
                let _ = self.entries.send(entry);
            }
        }
    }
}
