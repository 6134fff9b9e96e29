//! How long messages took, from when they were due.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;

use crate::Micros;
use crate::lock::lock;

/// The longest latency that is told apart, in microseconds: ten minutes. Longer ones count as this.
pub const LONGEST: Micros = 600_000_000;

/// An empty histogram of microseconds as all of the load tester's are: three significant digits, up to [`LONGEST`].
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants that fit")
}

/// A histogram as bytes, for latencies that are nobody's message.
pub fn histogram_to_bytes(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(histogram, &mut out);
    out
}

/// The histogram that [`histogram_to_bytes`] wrote down.
///
/// # Errors
/// If the bytes are anything else.
pub fn histogram_from_bytes(mut bytes: &[u8]) -> Result<Histogram<u64>, NotLatencies> {
    let mut read = histogram();
    decode(&mut read, &mut bytes).ok_or(NotLatencies)?;
    if bytes.is_empty() { Ok(read) } else { Err(NotLatencies) }
}

/// The latencies of one part of the messages, in microseconds from when they were due.
#[derive(Clone, PartialEq, Debug)]
pub struct Spans {
    /// Until the API's answer, of accepted unicasts.
    pub accepted: Histogram<u64>,
    /// Until the first receipt, of unicasts.
    pub received: Histogram<u64>,
    /// Until the first acknowledgement was written, of unicasts.
    pub acked: Histogram<u64>,
    /// Until the first receipt by each user, of broadcasts.
    pub broadcast: Histogram<u64>,
}

/// The latencies of an interval. Those of several agents or intervals are added up.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Latencies {
    /// All messages.
    pub all: Spans,
    /// Messages that were due while measuring.
    pub measured: Spans,
}

/// Bytes that are not latencies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotLatencies;

/// The first byte of encoded latencies. The encoding is our own since the library's decoder trusts its input.
const VERSION: u8 = 1;

impl Latencies {
    /// Adds others.
    pub fn add(&mut self, other: &Latencies) {
        self.all.add(&other.all);
        self.measured.add(&other.measured);
    }

    /// As bytes, some kilobytes: a version, then each histogram as a count of pairs (value, count), all as varints, values as the
    /// distance from the one before.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for histogram in self.all.each().into_iter().chain(self.measured.each()) {
            encode(histogram, &mut out);
        }
        out
    }

    /// From the bytes that [`Latencies::to_bytes`] made.
    ///
    /// # Errors
    /// If they are anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Latencies, NotLatencies> {
        let Some((&VERSION, mut rest)) = bytes.split_first() else { return Err(NotLatencies) };
        let mut latencies = Latencies::default();
        for histogram in latencies.all.each_mut().into_iter().chain(latencies.measured.each_mut()) {
            decode(histogram, &mut rest).ok_or(NotLatencies)?;
        }
        if rest.is_empty() { Ok(latencies) } else { Err(NotLatencies) }
    }
}

impl Spans {
    fn add(&mut self, other: &Spans) {
        for (sum, part) in self.each_mut().into_iter().zip(other.each()) {
            if !part.is_empty() {
                sum.add(part).expect("all histograms have the same bounds");
            }
        }
    }

    fn each(&self) -> [&Histogram<u64>; 4] {
        [&self.accepted, &self.received, &self.acked, &self.broadcast]
    }

    fn each_mut(&mut self) -> [&mut Histogram<u64>; 4] {
        [&mut self.accepted, &mut self.received, &mut self.acked, &mut self.broadcast]
    }
}

impl Default for Spans {
    fn default() -> Spans {
        Spans { accepted: histogram(), received: histogram(), acked: histogram(), broadcast: histogram() }
    }
}

impl std::fmt::Display for NotLatencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("these bytes are no latencies")
    }
}

impl std::error::Error for NotLatencies {}

/// Which latency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Span {
    Accepted,
    Received,
    Acked,
    Broadcast,
}

/// Takes latencies down, from any thread. One histogram of each kind serves all threads: its lock is held for some nanoseconds, and
/// copies for each thread or shard would take megabytes.
#[derive(Debug)]
pub(crate) struct Recorder {
    spans: [Mutex<Parts>; 4],
    measuring_from: AtomicU64,
    measuring_until: AtomicU64,
}

#[derive(Debug)]
struct Parts {
    measured: Histogram<u64>,
    others: Histogram<u64>,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        let parts = || Mutex::new(Parts { measured: histogram(), others: histogram() });
        Recorder {
            spans: std::array::from_fn(|_| parts()),
            measuring_from: AtomicU64::new(u64::MAX),
            measuring_until: AtomicU64::new(u64::MAX),
        }
    }

    /// The measured phase begins, or ends, now.
    pub(crate) fn set_measuring(&self, on: bool, now: Micros) {
        if on {
            self.measuring_until.store(u64::MAX, Ordering::Relaxed);
            self.measuring_from.store(now, Ordering::Relaxed);
        } else {
            self.measuring_until.store(now, Ordering::Relaxed);
        }
    }

    /// Messages that were due at these times have come this far now.
    pub(crate) fn record(&self, span: Span, due: &[Micros], at: Micros) {
        let from = self.measuring_from.load(Ordering::Relaxed);
        let until = self.measuring_until.load(Ordering::Relaxed);
        let mut parts = lock(&self.spans[span as usize]);
        for &due in due {
            let part = if (from..until).contains(&due) { &mut parts.measured } else { &mut parts.others };
            part.saturating_record(at.saturating_sub(due).min(LONGEST));
        }
    }

    /// What was recorded since the last time.
    pub(crate) fn take(&self) -> Latencies {
        let mut latencies = Latencies::default();
        let each = latencies.all.each_mut().into_iter().zip(latencies.measured.each_mut());
        for ((all, measured), parts) in each.zip(&self.spans) {
            let mut parts = lock(parts);
            for part in [&parts.measured, &parts.others] {
                all.add(part).expect("all histograms have the same bounds");
            }
            measured.add(&parts.measured).expect("all histograms have the same bounds");
            parts.measured.reset();
            parts.others.reset();
        }
        latencies
    }
}

fn encode(histogram: &Histogram<u64>, out: &mut Vec<u8>) {
    write_varint(histogram.iter_recorded().count() as u64, out);
    let mut last = 0;
    for step in histogram.iter_recorded() {
        write_varint(step.value_iterated_to() - last, out);
        write_varint(step.count_at_value(), out);
        last = step.value_iterated_to();
    }
}

fn decode(histogram: &mut Histogram<u64>, bytes: &mut &[u8]) -> Option<()> {
    let mut value = 0_u64;
    for _ in 0..read_varint(bytes)? {
        value = value.checked_add(read_varint(bytes)?)?;
        histogram.record_n(value, read_varint(bytes)?).ok()?;
    }
    Some(())
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_from_due_and_tells_the_measured_phase_apart() {
        let recorder = Recorder::new();
        recorder.record(Span::Received, &[1_000], 1_500);
        recorder.set_measuring(true, 2_000);
        recorder.record(Span::Received, &[1_999, 2_000, 2_500], 3_000);
        recorder.set_measuring(false, 4_000);
        recorder.record(Span::Received, &[3_999, 4_000], 6_000);
        recorder.record(Span::Acked, &[3_999], 3_000);
        let taken = recorder.take();
        assert_eq!((taken.all.received.len(), taken.measured.received.len()), (6, 3));
        assert_eq!(taken.all.received.min(), 500);
        assert_eq!(taken.measured.received.count_at(500) + taken.measured.received.count_at(1_000), 2);
        assert_eq!(taken.measured.acked.max(), 0, "a clock that is behind gives no negative latency");
        assert!(recorder.take().all.received.is_empty(), "taken once");
    }

    #[test]
    fn what_takes_too_long_counts_as_the_longest() {
        let recorder = Recorder::new();
        recorder.record(Span::Accepted, &[0], u64::MAX / 2);
        let taken = recorder.take();
        assert_eq!(taken.all.accepted.len(), 1);
        assert!(taken.all.accepted.max() >= LONGEST);
        let back = Latencies::from_bytes(&taken.to_bytes()).unwrap();
        assert_eq!(back, taken);
    }

    #[test]
    fn bytes_that_are_no_latencies_are_refused() {
        let good = Latencies::default().to_bytes();
        assert!(Latencies::from_bytes(&good).is_ok());
        assert_eq!(Latencies::from_bytes(&[]), Err(NotLatencies));
        assert_eq!(Latencies::from_bytes(&good[..good.len() - 1]), Err(NotLatencies), "cut");
        assert_eq!(Latencies::from_bytes(&[good.as_slice(), &[0]].concat()), Err(NotLatencies), "too long");
        let mut beyond = vec![VERSION, 1];
        write_varint(LONGEST * 2, &mut beyond);
        beyond.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Latencies::from_bytes(&beyond), Err(NotLatencies), "a value beyond the bounds");
    }

    proptest! {
        #[test]
        fn comes_back_from_bytes_and_adds_up(values in proptest::collection::vec(0..LONGEST * 2, 0..200)) {
            let recorder = Recorder::new();
            recorder.set_measuring(true, 1_000);
            for (i, &value) in values.iter().enumerate() {
                let span = [Span::Accepted, Span::Received, Span::Acked, Span::Broadcast][i % 4];
                let due = 500 + (i as u64 % 3) * 500;
                recorder.record(span, &[due], due + value);
            }
            let taken = recorder.take();
            let mut back = Latencies::from_bytes(&taken.to_bytes()).unwrap();
            prop_assert_eq!(&back, &taken);
            back.add(&taken);
            prop_assert_eq!(back.all.received.len(), 2 * taken.all.received.len());
        }

        #[test]
        fn never_panics_on_any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = Latencies::from_bytes(&bytes);
        }
    }

    #[test]
    fn a_histogram_alone_survives_the_way_and_other_bytes_do_not() {
        let mut connects = histogram();
        for us in [1, 500, 70_000, LONGEST] {
            connects.saturating_record(us);
        }
        let bytes = histogram_to_bytes(&connects);
        assert_eq!(histogram_from_bytes(&bytes).unwrap(), connects);
        assert!(histogram_from_bytes(&bytes[..bytes.len() - 1]).is_err());
        assert!(histogram_from_bytes(&[bytes, vec![0]].concat()).is_err());
    }
}
