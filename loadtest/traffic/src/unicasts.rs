//! A sender from start to end: planner, queues, connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use crate::address::{BadApi, Center};
use crate::alarm::{Alarm, Time};
use crate::audience::Audience;
use crate::backlog::Backlog;
use crate::body::Bodies;
use crate::desk::{DEADLINE, Desk};
use crate::load::{Pace, Traffic, Via};
use crate::planner::Planner;
use crate::progress::Progress;
use crate::schedule::Schedule;
use crate::sizes::Sizes;
use crate::walk::Random;
use crate::window::{Flight, Window};
use crate::{grpc, http, raw};

/// The backlog is what falls due in a second, but at least so many messages.
const SMALLEST_BACKLOG: usize = 1_000;
/// And at most so many.
const LARGEST_BACKLOG: usize = 100_000;

/// Sends until `stop`; then ends what is under way, for at most 10 seconds, and returns. What it does is counted in `progress`,
/// and every message entered in the ledger.
///
/// # Errors
/// At once, if an address or the key cannot be used. A system that does not answer is no error: it is counted.
pub async fn unicasts(
    traffic: Traffic,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<(), BadApi> {
    unicasts_within(DEADLINE, traffic, progress, stop).await
}

/// With another deadline for requests.
pub(crate) async fn unicasts_within(
    deadline: Duration,
    traffic: Traffic,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<(), BadApi> {
    let streams = if traffic.load.via == Via::Raw { 1 } else { traffic.api.centers.len() };
    if streams == 0 {
        return Err(BadApi::Missing);
    }
    let group = traffic.load.via.users();
    let Some(audience) = Audience::new(traffic.users.clone(), streams, group, traffic.seed) else {
        return Ok(());
    };
    Sending::new(deadline, &traffic, progress, streams)?.run(traffic, audience, stop).await;
    Ok(())
}

/// What runs.
struct Sending {
    desk: Arc<Desk>,
    /// One per center.
    backlogs: Vec<Arc<Backlog>>,
    flight: Arc<Flight>,
    /// The connections' work.
    senders: JoinSet<()>,
}

impl Sending {
    fn new(
        deadline: Duration,
        traffic: &Traffic,
        progress: Arc<Progress>,
        streams: usize,
    ) -> Result<Sending, BadApi> {
        let Traffic { load, api, ledger, clock, .. } = traffic;
        // A transient message takes no key: it is stored nowhere.
        let idempotent = load.idempotent && !load.transient && load.via != Via::Raw;
        let limit = (backlog(load.pace) / streams).max(1);
        let queue = |_| Arc::new(Backlog::new(limit, Arc::clone(&progress)));
        let backlogs = (0..streams).map(queue).collect();
        let desk = Arc::new(Desk::new(Arc::clone(ledger), *clock, progress, deadline, idempotent));
        let mut sending = Sending { desk, backlogs, flight: Arc::default(), senders: JoinSet::new() };
        if load.via == Via::Raw {
            sending.inject(traffic, api.injector.as_deref().ok_or(BadApi::Missing)?)?;
        } else {
            for number in 0..load.connections.max(streams) {
                let place = number % streams;
                sending.connect(traffic, Center::new(&api.centers[place], &api.key)?, place)?;
            }
        }
        Ok(sending)
    }

    fn inject(&mut self, traffic: &Traffic, address: &str) -> Result<(), BadApi> {
        let address = address.parse().map_err(|_| BadApi::Address(address.to_owned()))?;
        let (backlog, desk) = (Arc::clone(&self.backlogs[0]), Arc::clone(&self.desk));
        let sender = raw::Sender::new(address, traffic, backlog, desk, Arc::clone(&self.flight));
        self.senders.spawn(sender.run());
        Ok(())
    }

    /// One connection to a center.
    fn connect(&mut self, traffic: &Traffic, center: Center, place: usize) -> Result<(), BadApi> {
        let Traffic { load, prefix, .. } = traffic;
        let (backlog, desk) = (Arc::clone(&self.backlogs[place]), Arc::clone(&self.desk));
        if let Via::Grpc { .. } = load.via {
            let requests = grpc::SendRequests::new(load, prefix);
            let sender = grpc::Sender::new(&center, backlog, desk, requests)?;
            self.senders.spawn(sender.run());
        } else {
            let requests = http::Requests::new(center)?;
            let sender = http::Sender::new(requests, backlog, desk, Bodies::new(load, prefix));
            self.senders.spawn(sender.run());
        }
        Ok(())
    }

    async fn run(mut self, traffic: Traffic, audience: Audience, stop: CancellationToken) {
        let Traffic { load, ledger, clock, seed, .. } = traffic;
        let sizes = Sizes::new(&load.payload, seed ^ 1);
        let desk = Arc::clone(&self.desk);
        let mut planner = Planner::new(&load, desk, audience, sizes, self.backlogs.clone());
        let alarm = Alarm::new(clock);
        match load.pace {
            Pace::Open { per_second } => {
                let wait = Random::new(seed ^ 2).fraction() * 1e6 / per_second.max(1e-3);
                let schedule = Schedule::new(alarm.now() + wait as u64, per_second);
                stop.run_until_cancelled(planner.open_loop(schedule, alarm)).await;
            }
            Pace::Closed { window } => {
                let window = match load.via {
                    Via::Raw => Window::acked(window, Arc::clone(&self.flight)),
                    _ => Window::received(window, ledger),
                };
                stop.run_until_cancelled(planner.closed_loop(window, alarm)).await;
            }
        }
        self.end().await;
    }

    /// Sends what is left of the backlog while there is time, and waits for what is under way.
    async fn end(&mut self) {
        self.backlogs.iter().for_each(|backlog| backlog.close());
        let until = self.desk.close();
        let ending = async { while self.senders.join_next().await.is_some() {} };
        let in_time = timeout_at(until, ending).await.is_ok();
        for mut job in self.backlogs.iter().flat_map(|backlog| backlog.clear()) {
            self.desk.skip(&mut job);
        }
        if !in_time {
            // What each has under way is over now too.
            while self.senders.join_next().await.is_some() {}
        }
    }
}

/// Messages that may wait for a connection.
fn backlog(pace: Pace) -> usize {
    match pace {
        Pace::Open { per_second } => (per_second as usize).clamp(SMALLEST_BACKLOG, LARGEST_BACKLOG),
        Pace::Closed { window } => window.max(1),
    }
}
