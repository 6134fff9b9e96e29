//! Operations on routes at the registers: binds, unbinds and assertions.
//!
//! Those of one address run one after the other, in the order in which they were asked (R5); those of different addresses share
//! batches. Each goes to the owner of its slot in the newest view, over one ordered stream per register (R2).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use longline_pb::register::{
    self, BindReply, ChangeReply, ChangeRequest, change_reply::What as Reply, change_request::What as Request,
};
use longline_products::Product;
use longline_types::{AddressKey, Error, ErrorCode, Route, View};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::{Links, bind, refill};
use crate::link::{Answer, AssertOutcome, AssertRequest, BindOutcome, BindRequest, Bound, Command, Queueing};

/// One operation on the route of one address.
pub(crate) enum Operation {
    /// Take this session as the address's route. The product allows it.
    Bind {
        /// What the shard asked.
        request: BindRequest,
        /// What its product wants.
        product: Arc<Product>,
    },
    /// Remove exactly this route.
    Unbind {
        /// Of this address.
        key: AddressKey,
        /// As the register gave it.
        route: Route,
    },
    /// This route is held here.
    Assert(AssertRequest),
}

impl Operation {
    fn key(&self) -> AddressKey {
        match self {
            Operation::Bind { request, .. } => request.address.key(),
            Operation::Unbind { key, .. } => *key,
            Operation::Assert(request) => request.address.key(),
        }
    }

    /// How long it is tried: a bind until its device would rather go elsewhere, an unbind until a lost register's slots have
    /// long had another owner, an assertion once; the next round repeats it.
    fn patience(&self) -> Duration {
        match self {
            Operation::Bind { .. } => Duration::from_secs(30),
            Operation::Unbind { .. } => Duration::from_secs(120),
            Operation::Assert(request) if request.refill.is_some() => Duration::from_secs(30),
            Operation::Assert(_) => Duration::from_secs(5),
        }
    }
}

/// Most operations that wait or are under way; unbinds beyond it are given up, binds and assertions refused.
const MOST: usize = 2_000_000;
const CALL_DEADLINE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The operations of each address that has any.
pub(crate) struct Routes {
    /// What waits behind the one under way.
    busy: DashMap<AddressKey, VecDeque<Operation>>,
    count: AtomicUsize,
    gauge: prometheus::IntGauge,
}

impl Routes {
    pub(crate) fn new(metrics: &Metrics) -> Routes {
        Routes { busy: DashMap::new(), count: AtomicUsize::new(0), gauge: metrics.route_operations.clone() }
    }

    /// Takes the operation: given back if it may run now, kept if another of its address is under way.
    fn enter(&self, operation: Operation) -> Entry {
        if self.count.fetch_add(1, Ordering::Relaxed) >= MOST {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Entry::Full(operation);
        }
        self.gauge.inc();
        match self.busy.entry(operation.key()) {
            dashmap::Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(operation);
                Entry::Waits
            }
            dashmap::Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                Entry::Runs(operation)
            }
        }
    }

    /// The operation under way of this address has ended: the next one, if any.
    fn leave(&self, key: AddressKey) -> Option<Operation> {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
        match self.busy.entry(key) {
            dashmap::Entry::Occupied(mut waiting) => {
                let next = waiting.get_mut().pop_front();
                if next.is_none() {
                    waiting.remove();
                }
                next
            }
            dashmap::Entry::Vacant(_) => None,
        }
    }
}

enum Entry {
    Runs(Operation),
    Waits,
    Full(Operation),
}

/// Starts operations, each as soon as its address is free.
pub(crate) fn submit(links: &Arc<Links>, operations: Vec<Operation>) {
    let mut runnable = Vec::with_capacity(operations.len());
    for operation in operations {
        if let Operation::Assert(AssertRequest { refill: Some(refill), .. }) = &operation {
            links.refills.asserting(*refill);
        }
        match links.routes.enter(operation) {
            Entry::Runs(operation) => runnable.push(operation),
            Entry::Waits => {}
            Entry::Full(operation) => give_up(links, operation, "too many operations on routes wait"),
        }
    }
    start(links, runnable);
}

/// Runs operations whose addresses are free, a group per register.
fn start(links: &Arc<Links>, operations: Vec<Operation>) {
    let now = Instant::now();
    let view = links.peers.view();
    let mut groups: HashMap<Option<u32>, Vec<Job>> = HashMap::new();
    for operation in operations {
        let owner = view.owner(operation.key().slot()).map(|o| o.node);
        let until = now + operation.patience();
        groups.entry(owner).or_default().push(Job { operation, until });
    }
    for jobs in groups.into_values() {
        links.tasks.spawn(run(links.clone(), jobs));
    }
}

struct Job {
    operation: Operation,
    until: Instant,
}

/// Tries a group until each of its operations has ended.
async fn run(links: Arc<Links>, mut jobs: Vec<Job>) {
    let mut pause = FIRST_PAUSE;
    loop {
        jobs = attempt(&links, jobs).await;
        if jobs.is_empty() {
            return;
        }
        // A new view may bring a new owner at once.
        let mut views = links.peers.views();
        views.mark_unchanged();
        let _ = tokio::time::timeout(pause, views.changed()).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One try of each; returns those to be tried again.
async fn attempt(links: &Arc<Links>, jobs: Vec<Job>) -> Vec<Job> {
    let view = links.peers.view();
    let mut by_owner: HashMap<Option<u32>, Vec<Job>> = HashMap::new();
    for job in jobs {
        by_owner.entry(view.owner(job.operation.key().slot()).map(|o| o.node)).or_default().push(job);
    }
    let mut again = Vec::new();
    let mut next = Vec::new();
    for (owner, group) in by_owner {
        let requests = group.iter().map(|job| request(links, &view, &job.operation)).collect();
        let replies: Vec<Result<ChangeReply, Error>> = match owner {
            Some(node) => links.change.call_group(node, requests, CALL_DEADLINE).await,
            None => group.iter().map(|_| Err(Error::unavailable("no register lives"))).collect(),
        };
        for (job, reply) in group.into_iter().zip(replies) {
            let key = job.operation.key();
            match settle(links, job, reply) {
                Some(job) => again.push(job),
                None => next.extend(links.routes.leave(key)),
            }
        }
    }
    start(links, next);
    again
}

fn request(links: &Links, view: &View, operation: &Operation) -> ChangeRequest {
    let what = match operation {
        Operation::Bind { request, .. } => {
            let identity = links.member.current();
            Request::Bind(register::Bind {
                key: Some(request.address.key().into()),
                node: identity.number,
                incarnation: identity.incarnation,
                session: request.bind.session.0,
                device: Some(request.device.into()),
            })
        }
        Operation::Unbind { key, route } => {
            Request::Unbind(register::Unbind { key: Some((*key).into()), route: Some((*route).into()) })
        }
        Operation::Assert(request) => Request::Assert(register::Assert {
            key: Some(request.address.key().into()),
            route: Some(request.route.into()),
            device: Some(request.device.into()),
        }),
    };
    ChangeRequest { view: view.number, what: Some(what) }
}

/// Ends the operation if its outcome is known or its time is up; else gives it back.
fn settle(links: &Arc<Links>, job: Job, reply: Result<ChangeReply, Error>) -> Option<Job> {
    let error = match reply {
        Ok(ChangeReply { what: Some(Reply::Error(error)), .. }) => Error::from(error),
        Ok(ChangeReply { what: Some(what), .. }) => return conclude(links, job, what),
        Ok(ChangeReply { what: None, .. }) => Error::internal("the register's reply is empty"),
        Err(error) => error,
    };
    let hopeless = matches!(error.code, ErrorCode::InvalidArgument | ErrorCode::PermissionDenied);
    // No register takes it any more, and the bind under the new incarnation waits behind it (R4, R5).
    let incarnation = links.member.current().incarnation;
    let ended =
        matches!(&job.operation, Operation::Assert(request) if request.route.incarnation != incarnation);
    if hopeless || ended || Instant::now() >= job.until {
        tracing::debug!(%error, "an operation on a route is given up");
        give_up(links, job.operation, &error.message);
        return None;
    }
    Some(job)
}

fn conclude(links: &Arc<Links>, job: Job, reply: Reply) -> Option<Job> {
    match (job.operation, reply) {
        (Operation::Bind { request, product }, Reply::Bind(reply)) => {
            let identity = links.member.current();
            let route = Route {
                stamp: reply.stamp.unwrap_or_default().into(),
                node: identity.number,
                incarnation: identity.incarnation,
                session: request.bind.session,
            };
            let slot = request.address.key().slot();
            let moved = links.peers.view().owner(slot).is_some_and(|o| o.generation > route.stamp.generation);
            if !reply.stale && moved {
                // The slot has moved meanwhile, and the refill may have passed this bind by: the new owner is asked too.
                return Some(Job { operation: Operation::Bind { request, product }, until: job.until });
            }
            bound(links, request, &product, route, &reply);
        }
        (Operation::Unbind { .. }, Reply::Unbind(_)) => {}
        (Operation::Assert(request), Reply::Assert(reply)) => {
            let outcome = if reply.displaced { AssertOutcome::Displaced } else { AssertOutcome::Current };
            asserted(links, request, outcome);
        }
        (operation, _) => give_up(links, operation, "the register answered something else"),
    }
    None
}

/// The register has decided on a bind. A session of this same room that it displaced gives up before the new one loads (D9).
fn bound(links: &Arc<Links>, request: BindRequest, product: &Product, route: Route, reply: &BindReply) {
    if reply.stale {
        let refusal = crate::link::Refusal {
            result: longline_pb::client::BindResult::Stale,
            retry_after_ms: 0,
            detail: "a newer connection of this device holds the address".to_owned(),
        };
        links.answers.send([bind::answer(links, request, refusal)]);
        return;
    }
    let bound = Bound {
        route,
        window: product.window.clamp(1, u32::from(u16::MAX)) as u16,
        ack_timeout_ms: product.ack_timeout.as_millis().min(u128::from(u32::MAX)) as u32,
        max_heartbeat_s: product.max_heartbeat.map_or(0, |h| h.as_secs().min(u64::from(u32::MAX)) as u32),
        queueing: Queueing {
            slow_reader: product.slow_reader,
            max_queued_bytes: product.max_queued_bytes.unwrap_or(0),
        },
        presence: product.presence_url.is_some(),
    };
    let displaced = reply.displaced.map(Route::from);
    let here = displaced.filter(|old| old.node == route.node && old.incarnation == route.incarnation);
    match here.filter(|old| old.session != route.session) {
        None => answer_bound(links, request, bound),
        Some(old) => {
            let links = links.clone();
            links.clone().tasks.spawn(async move {
                displace_here(&links, request.address.key(), old).await;
                answer_bound(&links, request, bound);
            });
        }
    }
}

fn answer_bound(links: &Links, request: BindRequest, bound: Bound) {
    links.metrics.binds.with_label_values(&["ok"]).inc();
    let outcome = BindOutcome::Bound(bound);
    links.answers.send([Answer::Bind { bind: request.bind, address: request.address, outcome }]);
}

/// Tells a shard of this room that a route is not current any more; false if it did not hold it.
pub(crate) async fn displace_here(links: &Links, key: AddressKey, route: Route) -> bool {
    let until = Instant::now() + CALL_DEADLINE;
    loop {
        let Some(shard) = links.answers.shard(route.session) else { return false };
        let (reply, found) = oneshot::channel();
        if shard.command(Command::Displace { key, route, reply }).is_ok() {
            return tokio::time::timeout_at(until, found).await.is_ok_and(|found| found.unwrap_or(false));
        }
        if Instant::now() >= until {
            // The slow round finds it: its assertion is answered "displaced" (R6).
            return false;
        }
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}

fn asserted(links: &Arc<Links>, request: AssertRequest, outcome: AssertOutcome) {
    links.answers.send([Answer::Assert { bind: request.bind, stamp: request.route.stamp, outcome }]);
    if let Some(refill) = request.refill {
        refill::asserted(links, refill);
    }
}

fn give_up(links: &Arc<Links>, operation: Operation, why: &str) {
    match operation {
        Operation::Bind { request, .. } => {
            let refusal = bind::unavailable(format!("the route could not be registered: {why}"));
            links.answers.send([bind::answer(links, request, refusal)]);
        }
        Operation::Unbind { .. } => links.metrics.unbinds_given_up.inc(),
        Operation::Assert(request) => asserted(links, request, AssertOutcome::Failed),
    }
}

#[cfg(test)]
mod tests {
    use longline_types::{SessionId, Stamp};

    use super::*;

    fn unbind(low: u64, counter: u64) -> Operation {
        let route = Route {
            stamp: Stamp { generation: 1, counter },
            node: 1,
            incarnation: 1,
            session: SessionId(counter),
        };
        Operation::Unbind { key: AddressKey { high: 0, low }, route }
    }

    fn counter(operation: Option<Operation>) -> Option<u64> {
        match operation {
            Some(Operation::Unbind { route, .. }) => Some(route.stamp.counter),
            _ => None,
        }
    }

    #[test]
    fn operations_of_one_address_run_one_after_the_other_r5() {
        let routes = Routes::new(&Metrics::new(&prometheus::Registry::new()));
        assert!(matches!(routes.enter(unbind(1, 1)), Entry::Runs(_)));
        assert!(matches!(routes.enter(unbind(1, 2)), Entry::Waits));
        assert!(matches!(routes.enter(unbind(2, 9)), Entry::Runs(_)), "another address does not wait");
        assert!(matches!(routes.enter(unbind(1, 3)), Entry::Waits));
        let key = AddressKey { high: 0, low: 1 };
        assert_eq!(counter(routes.leave(key)), Some(2));
        assert_eq!(counter(routes.leave(key)), Some(3));
        assert_eq!(counter(routes.leave(key)), None);
        assert!(matches!(routes.enter(unbind(1, 4)), Entry::Runs(_)), "free again");
        assert_eq!(routes.gauge.get(), 2);
    }
}
