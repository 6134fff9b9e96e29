//! A process that may open no more files: alone in its process, since it changes that limit.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use longline_load_swarm::{Hostile, Options, Routes, Swarm, SwarmCounts, Transports};
use longline_load_truth::{Clock, Graces, Ledger, LedgerOptions};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const DEVICES: u32 = 60;

struct To(SocketAddr);

impl Routes for To {
    fn room(&self, _: u32, _: u32) -> Option<SocketAddr> {
        Some(self.0)
    }
}

#[test]
fn devices_without_a_file_are_counted_and_come_later() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let raw = longline_load_raw::bind(longline_load_raw::Options { listen: any, inject: any }).unwrap();
    let swarm = swarm(raw.devices());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let server = std::thread::spawn(move || raw.run(&stopped));

    let before = getrlimit(Resource::Nofile);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 20), ..before }).unwrap();
    swarm.connect(0.0);
    eventually(&swarm, |c| c.failures.get("no_descriptors").is_some_and(|count| *count > 20));
    assert!(swarm.counts().connected < u64::from(DEVICES));

    setrlimit(Resource::Nofile, before).unwrap();
    swarm.all_back();
    eventually(&swarm, |c| c.connected == u64::from(DEVICES));
    drop(swarm);
    stop.store(true, Relaxed);
    server.join().unwrap().unwrap();
}

fn swarm(room: SocketAddr) -> Swarm {
    let (clock, users) = (Clock::new(), 0..DEVICES);
    let graces = Graces::default();
    let ledger = Ledger::new(LedgerOptions { run: 1, agent: 1, users: users.clone(), clock, graces });
    Swarm::start(Options {
        threads: 1,
        users,
        prefix: "u".into(),
        product: 1,
        token_key: None,
        sources: vec!["127.0.0.1".parse().unwrap()],
        step: Duration::ZERO,
        networks: vec![],
        transports: Transports::default(),
        resume: 0.0,
        hostile: Hostile::default(),
        seed: 1,
        ledger: Arc::new(ledger),
        clock,
        run: 1,
        agent: 1,
        routes: Arc::new(To(room)),
    })
    .unwrap()
}

fn eventually(swarm: &Swarm, holds: impl Fn(&SwarmCounts) -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds(&swarm.counts()) {
        assert!(Instant::now() < end, "waited in vain: {:?}", swarm.counts());
        std::thread::sleep(Duration::from_millis(2));
    }
}
