//! When messages are sent: by the schedule, by the window, and what a slow system does to it.

use std::sync::Arc;
use std::time::Duration;

use longline_load_truth::{Clock, Ledger, Micros};
use tokio::time::Instant;

use super::center::{Behave, Center};
use super::{Sender, USERS, ledger, load, open};
use crate::alarm::Time;
use crate::audience::Audience;
use crate::backlog::Backlog;
use crate::desk::{DEADLINE, Desk};
use crate::planner::Planner;
use crate::schedule::Schedule;
use crate::sizes::Sizes;
use crate::{Pace, Progress, Unicasts, Via};

const LONG: Duration = Duration::from_secs(10);
/// When virtual time begins.
const START: Micros = 1_000_000_000;

/// The runtime's clock, which stands still while there is something to do.
struct Virtual(Instant);

impl Time for Virtual {
    fn now(&self) -> Micros {
        START + self.0.elapsed().as_micros() as Micros
    }

    async fn until(&mut self, at: Micros) {
        let wait = at.saturating_sub(self.now());
        tokio::time::sleep(Duration::from_micros(wait)).await;
    }
}

/// A planner for one queue of this size, without anything that sends.
struct Bench {
    ledger: Arc<Ledger>,
    progress: Arc<Progress>,
    backlog: Arc<Backlog>,
    planner: Planner,
}

fn bench(limit: usize, via: Via) -> Bench {
    let (ledger, progress) = (ledger(), Arc::<Progress>::default());
    let desk = Desk::new(Arc::clone(&ledger), Clock::new(), Arc::clone(&progress), DEADLINE, true);
    let audience = Audience::new(USERS, 1, via.users(), 3).unwrap();
    let backlog = Arc::new(Backlog::new(limit, Arc::clone(&progress)));
    let load = load(open(1.0), via);
    let sizes = Sizes::new(&load.payload, 0);
    let planner = Planner::new(&load, Arc::new(desk), audience, sizes, vec![Arc::clone(&backlog)]);
    Bench { ledger, progress, backlog, planner }
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_kept_for_a_minute() {
    let Bench { ledger, progress, backlog, mut planner } = bench(1_000, Via::Http);
    let time = Virtual(Instant::now());
    let taking = tokio::spawn(async move {
        let mut due = Vec::new();
        while let Some(job) = backlog.next().await {
            due.push((job.header.due, START + time.0.elapsed().as_micros() as Micros));
            if due.len() == 42_000 {
                return due;
            }
        }
        due
    });
    let time = Virtual(Instant::now());
    let planning = planner.open_loop(Schedule::new(START, 700.0), time);
    assert!(tokio::time::timeout(Duration::from_millis(59_999), planning).await.is_err());
    let due = taking.await.unwrap();
    for (k, (due, taken)) in due.iter().enumerate() {
        assert_eq!(*due, START + (k as f64 * 1e6 / 700.0) as Micros, "message {k}");
        // The virtual clock counts in milliseconds.
        assert!((*due..*due + 2_000).contains(taken), "message {k}, due at {due}, taken at {taken}");
    }
    assert_eq!((ledger.counts().planned, progress.counts().skipped), (42_000, 0));
}

#[tokio::test(start_paused = true)]
async fn the_backlog_is_bounded_and_what_finds_it_full_is_counted() {
    for (via, users) in [(Via::Http, 1), (Via::Batch { users: 20 }, 20)] {
        let Bench { ledger, progress, backlog, mut planner } = bench(500, via);
        let planning = planner.open_loop(Schedule::new(START, 1_000.0), Virtual(Instant::now()));
        assert!(tokio::time::timeout(Duration::from_millis(59_990), planning).await.is_err());
        let counts = progress.counts();
        assert_eq!((counts.backlog_max, ledger.counts().planned), (500, 500));
        assert!((59_480..=59_500).contains(&counts.skipped), "{}", counts.skipped);
        assert_eq!(std::iter::from_fn(|| backlog.try_next()).count(), 500 / users);
    }
}

#[tokio::test]
async fn a_stall_shows_in_the_latencies_of_all_that_were_due_meanwhile() {
    let ledger = ledger();
    let center = Center::start(&ledger, [Behave::After(Duration::from_millis(600))], Behave::Accept).await;
    let load = Unicasts { connections: 1, ..load(open(500.0), Via::Http) };
    let sender = Sender::start(load, center.api(), ledger.clone(), LONG);
    let counts = sender.until("600 ms of messages", |s| s.ledger.counts().accepted >= 300).await;
    let latencies = ledger.take_latencies().all;
    assert!((600_000..5_000_000).contains(&latencies.accepted.max()), "{}", latencies.accepted.max());
    // Evenly due, so half of them waited longer than half of it.
    let slow = latencies.accepted.count_between(300_000, u64::MAX);
    assert!(slow >= 140, "{slow} of {} waited", latencies.accepted.len());
    assert_eq!((counts.in_flight_max, counts.skipped), (1, 0));
    assert_eq!(latencies.received.len(), ledger.counts().received);
}

#[tokio::test]
async fn a_closed_loop_has_no_more_under_way_than_its_window() {
    let ledger = ledger();
    let center = Center::start(&ledger, [], Behave::After(Duration::from_millis(3))).await;
    let load = Unicasts { connections: 16, ..load(Pace::Closed { window: 5 }, Via::Http) };
    let sender = Sender::start(load, center.api(), ledger.clone(), LONG);
    let counts = sender
        .until("100 received", |s| {
            assert!(s.ledger.under_way() <= 5);
            s.ledger.counts().received >= 100
        })
        .await;
    assert!(counts.in_flight_max <= 5 && counts.in_flight_max > 1, "{counts:?}");
    assert_eq!(counts.skipped, 0);
}

#[tokio::test]
async fn what_waits_when_the_load_stops_is_sent() {
    let ledger = ledger();
    let center = Center::start(&ledger, [], Behave::After(Duration::from_millis(10))).await;
    let load = Unicasts { connections: 1, ..load(open(1_000.0), Via::Http) };
    let sender = Sender::start(load, center.api(), ledger.clone(), LONG);
    let waiting = |s: &Sender| s.progress.counts().backlog_max >= 20;
    let counts = sender.until("20 wait", waiting).await;
    let truth = ledger.counts();
    assert_eq!((truth.accepted, truth.skipped, counts.skipped), (truth.planned, 0, 0));
    assert_eq!(center.calls().len() as u64, truth.planned);
}
