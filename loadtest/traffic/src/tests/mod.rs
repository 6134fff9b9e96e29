//! The sender against servers that answer in all ways.

mod broadcasts;
mod center;
mod grpc;
mod http;
mod pacing;
mod raw;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use longline_load_truth::{Clock, Graces, Ledger, LedgerOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::unicasts::unicasts_within;
use crate::{Api, Pace, Progress, Traffic, TrafficCounts, Unicasts, Via};

pub(crate) const RUN: u32 = 7;
pub(crate) const AGENT: u16 = 2;
/// The agent's users.
pub(crate) const USERS: std::ops::Range<u32> = 10..110;

/// A sender under test.
pub(crate) struct Sender {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
    running: JoinHandle<()>,
}

pub(crate) fn ledger() -> Arc<Ledger> {
    let clock = Clock::new();
    let options = LedgerOptions { run: RUN, agent: AGENT, users: USERS, clock, graces: Graces::default() };
    Arc::new(Ledger::new(options))
}

pub(crate) fn load(pace: Pace, via: Via) -> Unicasts {
    Unicasts { payload: vec![(100, 1.0)], connections: 4, ..Unicasts::new(pace, via) }
}

pub(crate) fn open(per_second: f64) -> Pace {
    Pace::Open { per_second }
}

impl Sender {
    /// Starts it, with this deadline for requests.
    pub(crate) fn start(load: Unicasts, api: Api, ledger: Arc<Ledger>, deadline: Duration) -> Sender {
        let (progress, stop) = (Arc::<Progress>::default(), CancellationToken::new());
        let traffic = Traffic {
            load,
            api,
            users: USERS,
            prefix: "u".to_owned(),
            ledger: Arc::clone(&ledger),
            clock: Clock::new(),
            seed: 1,
        };
        let sending = unicasts_within(deadline, traffic, Arc::clone(&progress), stop.clone());
        let running = tokio::spawn(async move { sending.await.unwrap() });
        Sender { ledger, progress, stop, running }
    }

    /// Lets it run until this holds, then ends it.
    pub(crate) async fn until(self, what: &str, holds: impl Fn(&Sender) -> bool) -> TrafficCounts {
        eventually(what, || holds(&self)).await;
        self.end().await
    }

    /// Ends it and waits for what is under way.
    pub(crate) async fn end(self) -> TrafficCounts {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.running).await.unwrap().unwrap();
        self.progress.counts()
    }
}

pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "never: {what}");
}
