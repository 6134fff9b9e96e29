//! What the ledger costs: `cargo test -p longline-load-truth --release -- --ignored --nocapture`.

use std::sync::atomic::{AtomicU64, Ordering};

use longline_load_truth::{Clock, Graces, Header, Ledger, LedgerOptions, Plan, Receipt, Received};

const USERS: u32 = 20_000;
/// Messages between sending and acknowledging: the payloads under way.
const WINDOW: usize = 4_096;

fn ledger(clock: Clock) -> Ledger {
    let options = LedgerOptions { run: 1, agent: 1, users: 0..USERS, clock, graces: Graces::default() };
    let ledger = Ledger::new(options);
    (0..USERS).for_each(|user| ledger.bound(user, 1, clock.now()));
    ledger
}

fn send(ledger: &Ledger, clock: Clock, user: u32, stream: u16, payload: &mut Vec<u8>) {
    let due = clock.now();
    let plan = Plan { user, due, stream, transient: false, expires: Some(due + 3_600_000_000) };
    let header = ledger.plan(plan);
    ledger.sent(&header, due);
    header.payload(64, payload);
}

fn answer(ledger: &Ledger, clock: Clock, payload: &[u8]) {
    let sequence = Header::read(payload).unwrap().sequence;
    ledger.accepted(sequence, sequence + 1, clock.now());
}

fn deliver(ledger: &Ledger, clock: Clock, payload: &[u8]) {
    let header = Header::read(payload).unwrap();
    let push = Received { id: header.sequence + 1, payload, redelivered: false };
    let receipt = ledger.received(header.user, 1, &push, clock.now());
    assert_ne!(receipt, Receipt::NONE);
    ledger.acked(header.user, 1, &[receipt], clock.now());
}

#[test]
#[ignore = "a measurement; in release only"]
fn nanoseconds_a_message() {
    let clock = Clock::new();
    let ledger = ledger(clock);
    ledger.set_measuring(true);
    let mut payloads = vec![Vec::new(); WINDOW];
    let (memory, cpu) = (resident(), cpu_ns());
    let mut count = 0_u64;
    while count < 4_000_000 {
        for (i, payload) in payloads.iter_mut().enumerate() {
            send(&ledger, clock, ((count + i as u64 * 7_919) % u64::from(USERS)) as u32, 0, payload);
        }
        payloads.iter().for_each(|payload| answer(&ledger, clock, payload));
        payloads.iter().for_each(|payload| deliver(&ledger, clock, payload));
        count += WINDOW as u64;
    }
    let nanoseconds = (cpu_ns() - cpu) / count;
    let kib = resident().saturating_sub(memory);
    println!(
        "{nanoseconds} ns of CPU a message, planned, sent, accepted, received and acked; {count} messages, {kib} KiB"
    );
    let counts = ledger.findings(1).counts;
    assert_eq!((counts.received, counts.acked, counts.lost, ledger.outstanding()), (count, count, 0, 0));
    assert_eq!(crate::support::faults(&counts), crate::support::NONE);
}

#[test]
fn threads_share_it() {
    let clock = Clock::new();
    let ledger = ledger(clock);
    let (threads, each) = (4, 5_000);
    let delivered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (ledger, delivered) = (&ledger, &delivered);
            scope.spawn(move || {
                let (to, from) = std::sync::mpsc::sync_channel::<Vec<u8>>(64);
                // Another thread delivers, so that receipts come before and after the answers, and shards are shared by all.
                let device = scope.spawn(move || {
                    for payload in from {
                        deliver(ledger, clock, &payload);
                        delivered.fetch_add(1, Ordering::Relaxed);
                    }
                });
                for i in 0..each {
                    let mut payload = Vec::new();
                    // Order holds within a thread.
                    send(ledger, clock, (i * 13 + thread) % USERS, thread as u16, &mut payload);
                    to.send(payload.clone()).unwrap();
                    answer(ledger, clock, &payload);
                }
                drop(to);
                device.join().unwrap();
            });
        }
        scope.spawn(|| {
            while delivered.load(Ordering::Relaxed) < u64::from(threads * each) {
                let counts = ledger.counts();
                assert!(counts.received <= counts.planned);
                ledger.outstanding();
                ledger.take_latencies();
            }
        });
    });
    let counts = ledger.findings(10).counts;
    let all = u64::from(threads * each);
    assert_eq!((counts.planned, counts.accepted, counts.received, counts.acked), (all, all, all, all));
    assert_eq!((crate::support::faults(&counts), ledger.outstanding()), (crate::support::NONE, 0));
}

/// What this thread has spent. Unlike the clock, it does not count who else is on the machine.
fn cpu_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedstat.split_whitespace().next().unwrap().parse().unwrap()
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
