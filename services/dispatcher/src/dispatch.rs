//! Answering one question, whichever way it came.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use longline_placement::{Candidate, group, weight_by_load};
use longline_types::{Error, ErrorCode, Node, NodeState, Role, View};
use tokio::sync::watch;

use crate::config::Config;
use crate::failures::Failures;
use crate::limit::Limiter;
use crate::metrics::Metrics;
use crate::query::Query;

/// The rooms to try, best first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    pub(crate) endpoints: Vec<String>,
    pub(crate) ttl_s: u32,
    /// Public keys of those endpoints that speak Noise.
    pub(crate) noise_keys: HashMap<String, String>,
}

/// Answers questions from the view and from what clients reported. Clones share all.
#[derive(Clone)]
pub(crate) struct Dispatch {
    shared: Arc<Shared>,
}

struct Shared {
    view: watch::Receiver<Arc<View>>,
    idc: String,
    ttl_s: u32,
    limiter: Limiter,
    failures: Failures,
    metrics: Metrics,
}

impl Dispatch {
    pub(crate) fn new(config: &Config, view: watch::Receiver<Arc<View>>, metrics: Metrics) -> Dispatch {
        let shared = Shared {
            view,
            idc: config.node.idc.clone(),
            ttl_s: config.ttl_s,
            limiter: Limiter::new(config.per_ip_per_s, config.per_ip_burst, Instant::now()),
            failures: Failures::default(),
            metrics,
        };
        Dispatch { shared: Arc::new(shared) }
    }

    /// The group for this client's question. `ResourceExhausted`: it asks too much; `Unavailable`: there is no room.
    pub(crate) fn answer(&self, client: IpAddr, query: Result<Query, Error>) -> Result<Group, Error> {
        let result = self.admit(client).and(query).and_then(|query| self.choose(client, &query));
        self.shared.metrics.asked(&result);
        result
    }

    /// Drops what has faded, and shows what there is. To be called now and then.
    pub(crate) fn tidy(&self) {
        let Shared { view, limiter, failures, metrics, .. } = &*self.shared;
        let view = view.borrow().clone();
        let rooms: Vec<u64> = view.live(Role::Room).map(|room| room.incarnation).collect();
        failures.forget(|room| rooms.contains(&room), Instant::now());
        metrics.rooms.set(view.ready(Role::Room).count() as i64);
        metrics.clients.set(limiter.clients() as i64);
    }

    fn admit(&self, client: IpAddr) -> Result<(), Error> {
        self.shared.limiter.admit(client, Instant::now()).map_err(|wait| {
            let why = format!("too many questions from {client}: ask again in {:.1} s", wait.as_secs_f64());
            Error::new(ErrorCode::ResourceExhausted, why)
        })
    }

    fn choose(&self, client: IpAddr, query: &Query) -> Result<Group, Error> {
        let (now, view) = (Instant::now(), self.shared.view.borrow().clone());
        self.learn(client, query, &view, now);
        let rooms = rooms(&view);
        let factors = self.shared.failures.factors(rooms.iter().map(|room| room.incarnation), now);
        let candidates = rooms.iter().zip(factors).map(|(room, factor)| Candidate {
            name: &room.public[0],
            // A room may be reached in several ways; a client that fails tries another.
            endpoint: &room.public[query.attempt as usize % room.public.len()],
            local: room.idc == self.shared.idc,
            weight: weight_by_load(room.load) * factor,
            failed: is_named(room, &query.failed),
        });
        let endpoints = group(candidates.collect(), query.address.key().low, query.attempt);
        if endpoints.is_empty() {
            return Err(Error::unavailable("no room takes sessions now: ask again in a moment"));
        }
        let endpoints: Vec<String> = endpoints.into_iter().map(str::to_owned).collect();
        let noise_keys = endpoints.iter().filter_map(|endpoint| noise_key(endpoint, &rooms)).collect();
        Ok(Group { endpoints, ttl_s: self.shared.ttl_s, noise_keys })
    }

    /// Takes in what the client could not use; names that are no rooms of ours say nothing.
    fn learn(&self, client: IpAddr, query: &Query, view: &View, now: Instant) {
        for endpoint in &query.failed {
            let room = view.live(Role::Room).find(|room| room.public.contains(endpoint));
            let report = room.map(|room| self.shared.failures.report(client, room.incarnation, now));
            self.shared.metrics.reported(report);
        }
    }
}

/// The rooms that take sessions. While there are none, those that are being emptied: one that restarts is back under its address in
/// a moment, and until then it tells the client how long to wait, which is more than nobody would tell it.
fn rooms(view: &View) -> Vec<&Node> {
    let in_state = |state| {
        let rooms = view.live(Role::Room).filter(move |room| room.state == state && !room.public.is_empty());
        rooms.collect::<Vec<_>>()
    };
    let ready = in_state(NodeState::Ready);
    if ready.is_empty() { in_state(NodeState::Draining) } else { ready }
}

/// The endpoint with the key of its room, if that has one.
fn noise_key(endpoint: &str, rooms: &[&Node]) -> Option<(String, String)> {
    let room = rooms.iter().find(|room| room.public.iter().any(|public| public == endpoint))?;
    (!room.noise_key.is_empty()).then(|| (endpoint.to_owned(), room.noise_key.clone()))
}

fn is_named(room: &Node, endpoints: &[String]) -> bool {
    room.public.iter().any(|endpoint| endpoints.contains(endpoint))
}
