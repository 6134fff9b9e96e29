//! What the sender counts, readable while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Counts since the start of one sender. Those of several can be added.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficCounts {
    /// Requests sent, repeats included.
    pub requests: u64,
    /// Of these, repeats with the same idempotency key.
    pub repeats: u64,
    /// Requests that got an answer, of whatever kind.
    pub answered: u64,
    /// Messages that were refused, by the error's code.
    pub refused: BTreeMap<String, u64>,
    /// Messages whose outcome is not known, by what was seen last: an error's code, `no_answer`, `connection`, `bad_answer`.
    pub unknown: BTreeMap<String, u64>,
    /// Messages that were due and never sent: the backlog was full, or there was no way to send them until the end.
    pub skipped: u64,
    /// Messages that the reference server dropped since their users were not connected.
    pub absent: u64,
    /// Bytes of the bodies sent.
    pub bytes: u64,
    /// Connections made.
    pub connects: u64,
    /// Tries to connect that failed.
    pub connect_failures: u64,
    /// Most requests under way at once.
    pub in_flight_max: u64,
    /// Most messages in the backlog at once: due, and not yet sent.
    pub backlog_max: u64,
}

impl TrafficCounts {
    /// Adds another sender's. The maxima are added too: the senders work at the same time.
    pub fn add(&mut self, other: &TrafficCounts) {
        self.requests += other.requests;
        self.repeats += other.repeats;
        self.answered += other.answered;
        add_all(&mut self.refused, &other.refused);
        add_all(&mut self.unknown, &other.unknown);
        self.skipped += other.skipped;
        self.absent += other.absent;
        self.bytes += other.bytes;
        self.connects += other.connects;
        self.connect_failures += other.connect_failures;
        self.in_flight_max += other.in_flight_max;
        self.backlog_max += other.backlog_max;
    }
}

fn add_all(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (code, n) in from {
        *to.entry(code.clone()).or_default() += n;
    }
}

/// The progress behind [`TrafficCounts`], shared with whoever wants to look while the sender runs.
#[derive(Default, Debug)]
pub struct Progress {
    requests: AtomicU64,
    repeats: AtomicU64,
    answered: AtomicU64,
    refused: Codes,
    unknown: Codes,
    skipped: AtomicU64,
    absent: AtomicU64,
    bytes: AtomicU64,
    connects: AtomicU64,
    connect_failures: AtomicU64,
    in_flight: Gauge,
    backlog: Gauge,
}

impl Progress {
    /// The counts so far.
    pub fn counts(&self) -> TrafficCounts {
        TrafficCounts {
            requests: self.requests.load(Relaxed),
            repeats: self.repeats.load(Relaxed),
            answered: self.answered.load(Relaxed),
            refused: self.refused.read(),
            unknown: self.unknown.read(),
            skipped: self.skipped.load(Relaxed),
            absent: self.absent.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            connects: self.connects.load(Relaxed),
            connect_failures: self.connect_failures.load(Relaxed),
            in_flight_max: self.in_flight.most.load(Relaxed),
            backlog_max: self.backlog.most.load(Relaxed),
        }
    }

    /// A request of so many body bytes goes out.
    pub(crate) fn sent(&self, bytes: usize, repeat: bool) {
        self.requests.fetch_add(1, Relaxed);
        self.repeats.fetch_add(u64::from(repeat), Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.in_flight.rise(1);
    }

    /// A request is under way no more.
    pub(crate) fn landed(&self, answered: bool) {
        self.in_flight.fall(1);
        self.answered.fetch_add(u64::from(answered), Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connects.fetch_add(1, Relaxed);
    }

    /// The first failure is told; the others are only counted.
    pub(crate) fn not_connected(&self, address: &str, error: &dyn std::fmt::Display) {
        if self.connect_failures.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(address, %error, "no connection");
        }
    }

    pub(crate) fn queued(&self, messages: usize) {
        self.backlog.rise(messages as u64);
    }

    pub(crate) fn unqueued(&self, messages: usize) {
        self.backlog.fall(messages as u64);
    }

    pub(crate) fn refused(&self, code: &str) {
        self.refused.count(code);
    }

    /// The reference server dropped so many: their users were not connected.
    pub(crate) fn absent(&self, messages: u64) {
        self.absent.fetch_add(messages, Relaxed);
    }

    pub(crate) fn unknown(&self, code: &str) {
        self.unknown.count(code);
    }

    pub(crate) fn skipped(&self, messages: usize) {
        self.skipped.fetch_add(messages as u64, Relaxed);
    }
}

/// A number that goes up and down, and the most it was.
#[derive(Default, Debug)]
struct Gauge {
    now: AtomicU64,
    most: AtomicU64,
}

impl Gauge {
    fn rise(&self, n: u64) {
        let now = self.now.fetch_add(n, Relaxed) + n;
        self.most.fetch_max(now, Relaxed);
    }

    fn fall(&self, n: u64) {
        self.now.fetch_sub(n, Relaxed);
    }
}

/// Counts by code. Codes come from outside: after so many different ones the rest are `other`.
#[derive(Default, Debug)]
struct Codes(Mutex<BTreeMap<String, u64>>);

const MOST_CODES: usize = 64;
const LONGEST_CODE: usize = 64;

impl Codes {
    fn count(&self, code: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(code) {
            *count += 1;
            return;
        }
        let known = counts.len() < MOST_CODES && code.len() <= LONGEST_CODE;
        *counts.entry(if known { code.to_owned() } else { "other".to_owned() }).or_default() += 1;
    }

    fn read(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maxima_are_kept_and_codes_are_bounded() {
        let progress = Progress::default();
        progress.sent(10, false);
        progress.sent(10, true);
        progress.landed(true);
        progress.sent(10, false);
        for n in 0..100 {
            progress.refused(&format!("code_{n}"));
        }
        progress.refused("code_0");
        progress.unknown(&"x".repeat(100));
        let counts = progress.counts();
        assert_eq!((counts.requests, counts.repeats, counts.answered, counts.bytes), (3, 1, 1, 30));
        assert_eq!(counts.in_flight_max, 2);
        assert_eq!((counts.refused["code_0"], counts.refused["other"]), (2, 36));
        assert_eq!(counts.unknown["other"], 1);
    }

    #[test]
    fn counts_of_several_senders_are_added() {
        let mut sum =
            TrafficCounts { requests: 1, refused: [("a".into(), 1)].into(), ..TrafficCounts::default() };
        let other = TrafficCounts {
            requests: 2,
            skipped: 5,
            refused: [("a".into(), 2), ("b".into(), 1)].into(),
            ..TrafficCounts::default()
        };
        sum.add(&other);
        assert_eq!((sum.requests, sum.skipped), (3, 5));
        assert_eq!(sum.refused, [("a".into(), 3), ("b".into(), 1)].into());
    }
}
