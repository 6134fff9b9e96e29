//! Unicasts and broadcasts to the reference server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use longline_load_raw::{Options, bind};
use longline_load_truth::{Header, Kind};

use super::{Sender, ledger, load, open};
use crate::{Api, Pace, Via, broadcast};

const LONG: Duration = Duration::from_secs(10);

/// A reference server without devices.
struct Server {
    api: Api,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let raw = bind(Options { listen: any, inject: any }).unwrap();
        let api = Api { injector: Some(raw.injection().to_string()), ..Api::default() };
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || raw.run(&stopped).unwrap());
        Server { api, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

#[tokio::test]
async fn what_is_handed_over_is_accepted_and_the_absent_are_counted() {
    let server = Server::start();
    let ledger = ledger();
    let sender = Sender::start(load(open(20_000.0), Via::Raw), server.api.clone(), ledger.clone(), LONG);
    let counts = sender.until("2,000 reported", |s| s.progress.counts().absent >= 2_000).await;
    let truth = ledger.counts();
    assert_eq!((truth.accepted, truth.unknown, counts.skipped), (truth.planned, 0, 0));
    assert!(counts.absent <= truth.planned && counts.connects == 1, "{counts:?}");
    assert_eq!((counts.requests, counts.bytes), (truth.planned, truth.planned * 100));
}

#[tokio::test]
async fn a_closed_loop_goes_on_as_reports_come() {
    let server = Server::start();
    let ledger = ledger();
    let pace = Pace::Closed { window: 10 };
    let sender = Sender::start(load(pace, Via::Raw), server.api.clone(), ledger.clone(), LONG);
    let counts = sender.until("1,000 reported", |s| s.progress.counts().absent >= 1_000).await;
    assert!(counts.in_flight_max <= 10 && counts.backlog_max <= 10, "{counts:?}");
}

#[tokio::test]
async fn a_broadcast_gets_an_id_of_its_own_in_each_leg() {
    let server = Server::start();
    let mut ids = Vec::new();
    for (run, sequence) in [(1, 1), (1, 2), (2, 1)] {
        let header = Header { run, agent: 0, kind: Kind::Broadcast, user: 0, sequence, due: 0 };
        ids.push(broadcast(&server.api, header, 100, None, 0).await.unwrap());
    }
    assert!(ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
}
