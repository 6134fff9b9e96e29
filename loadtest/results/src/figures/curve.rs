//! Counters and memory over time, mended where a process started anew or a sample is missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::{ProcessSample, Sample, TESTER};

/// A counter over time that never falls.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Curve {
    points: Vec<(f64, f64)>,
}

/// Which processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who<'a> {
    /// Those of one role.
    Role(&'a str),
    /// One by its name.
    Named(&'a str),
    /// Everything but the load tester.
    Servers,
}

impl Curve {
    /// From a counter of the load tester's own: one that falls is taken to stand still.
    pub(crate) fn of(series: &[Sample], counter: impl Fn(&Sample) -> u64) -> Curve {
        let mut highest = 0.0;
        let points = series.iter().map(|sample| {
            highest = f64::max(highest, counter(sample) as f64);
            (sample.at_s, highest)
        });
        Curve { points: points.collect() }
    }

    /// From the servers' own counters whose names end so, all roles together. A sample without them stands as the one before.
    pub(crate) fn of_metric(series: &[Sample], end: &str) -> Curve {
        let mut highest = 0.0;
        let points = series.iter().map(|sample| {
            let counters = sample.metrics.iter().filter(|(name, _)| name.ends_with(end));
            highest = f64::max(highest, counters.map(|(_, value)| value).sum());
            (sample.at_s, highest)
        });
        Curve { points: points.collect() }
    }

    /// From the CPU time of one process: where it has another id, or its time falls, it started anew from 0.
    fn of_process(readings: &[(f64, u32, u64)]) -> Curve {
        let Some(&(_, mut last_pid, mut last)) = readings.first() else { return Curve::default() };
        let mut sum = 0.0;
        let points = readings.iter().map(|&(at_s, pid, cpu_us)| {
            let anew = pid != last_pid || cpu_us < last;
            sum += if anew { cpu_us } else { cpu_us - last } as f64;
            (last_pid, last) = (pid, cpu_us);
            (at_s, sum)
        });
        Curve { points: points.collect() }
    }

    /// Its value at a time: between two points on the line between them, outside as at the nearest point.
    fn at(&self, at_s: f64) -> Option<f64> {
        let after = self.points.partition_point(|(t, _)| *t < at_s);
        let right = self.points.get(after).or(self.points.last())?;
        let left = if after == 0 { right } else { &self.points[after - 1] };
        let width = right.0 - left.0;
        let share = if width > 0.0 { ((at_s - left.0) / width).clamp(0.0, 1.0) } else { 1.0 };
        Some(left.1 + share * (right.1 - left.1))
    }

    /// How much it grew; none where it is known for less than half of that time.
    pub(crate) fn between(&self, from_s: f64, to_s: f64) -> Option<f64> {
        let known = self.points.last()?.0.min(to_s) - self.points.first()?.0.max(from_s);
        if to_s <= from_s || known < (to_s - from_s) / 2.0 {
            return None;
        }
        Some(self.at(to_s)? - self.at(from_s)?)
    }
}

/// The CPU time of these processes together, in µs.
pub(crate) fn cpu(series: &[Sample], who: Who<'_>) -> Curve {
    let mut readings: BTreeMap<&str, Vec<(f64, u32, u64)>> = BTreeMap::new();
    for sample in series {
        for process in sample.processes.iter().filter(|p| who.is(p)) {
            readings.entry(&process.name).or_default().push((sample.at_s, process.pid, process.cpu_us));
        }
    }
    let curves: Vec<Curve> = readings.values().map(|readings| Curve::of_process(readings)).collect();
    let first = curves.iter().map(|curve| curve.points[0].0).fold(f64::INFINITY, f64::min);
    let last =
        curves.iter().map(|curve| curve.points[curve.points.len() - 1].0).fold(f64::NEG_INFINITY, f64::max);
    let times = series.iter().map(|sample| sample.at_s).filter(|at_s| (first..=last).contains(at_s));
    Curve {
        points: times.map(|at_s| (at_s, curves.iter().filter_map(|curve| curve.at(at_s)).sum())).collect(),
    }
}

/// The resident memory of these processes together in each sample, in bytes, and how many they were. None where there are none, and
/// where one could not be read that is there in the samples before and after.
pub(crate) fn rss(series: &[Sample], who: Who<'_>) -> Vec<Option<(f64, usize)>> {
    let names: Vec<BTreeSet<&str>> = series
        .iter()
        .map(|sample| sample.processes.iter().filter(|p| who.is(p)).map(|p| p.name.as_str()).collect())
        .collect();
    let unread = |at: usize| {
        let (Some(before), Some(after)) = (at.checked_sub(1).and_then(|b| names.get(b)), names.get(at + 1))
        else {
            return false;
        };
        before.intersection(after).any(|name| !names[at].contains(name))
    };
    let sum =
        |sample: &Sample| sample.processes.iter().filter(|p| who.is(p)).map(|p| p.rss_bytes as f64).sum();
    series
        .iter()
        .enumerate()
        .map(|(at, sample)| (!names[at].is_empty() && !unread(at)).then(|| (sum(sample), names[at].len())))
        .collect()
}

impl Who<'_> {
    fn is(self, process: &ProcessSample) -> bool {
        match self {
            Who::Role(role) => process.role == role,
            Who::Named(name) => process.name == name,
            Who::Servers => process.role != TESTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: f64, processes: &[(&str, u32, u64, u64)]) -> Sample {
        let processes = processes.iter().map(|&(name, pid, rss_bytes, cpu_us)| {
            let role = name.split('-').next().unwrap().to_owned();
            ProcessSample { role, name: name.to_owned(), pid, rss_bytes, cpu_us }
        });
        Sample { at_s, processes: processes.collect(), ..Sample::default() }
    }

    #[test]
    fn a_value_between_two_samples_lies_on_the_line() {
        let series = [sample(1.0, &[("room-1", 1, 0, 500)]), sample(3.0, &[("room-1", 1, 0, 900)])];
        let curve = cpu(&series, Who::Role("room"));
        assert_eq!(curve.between(1.5, 2.5), Some(200.0));
        assert_eq!(curve.between(0.5, 3.5), Some(400.0), "outside as at the ends");
        assert_eq!(curve.between(2.5, 9.0), None, "known for too little of it");
        assert_eq!(curve.between(3.0, 3.0), None);
    }

    #[test]
    fn a_process_that_started_anew_counts_from_0() {
        let series = [
            sample(0.0, &[("room-1", 1, 0, 1000)]),
            sample(1.0, &[("room-1", 1, 0, 1100)]),
            sample(2.0, &[("room-1", 7, 0, 30)]),
            sample(3.0, &[("room-1", 7, 0, 80)]),
            sample(4.0, &[("room-1", 9, 0, 90)]),
        ];
        assert_eq!(cpu(&series, Who::Role("room")).between(0.0, 4.0), Some(100.0 + 30.0 + 50.0 + 90.0));
    }

    #[test]
    fn a_missing_sample_changes_nothing_in_sum() {
        let series = [
            sample(0.0, &[("room-1", 1, 10, 0), ("room-2", 2, 20, 0), ("tester-1", 3, 1, 0)]),
            sample(1.0, &[("room-1", 1, 11, 100), ("tester-1", 3, 1, 5_000)]),
            sample(2.0, &[("room-1", 1, 12, 200), ("room-2", 2, 22, 800), ("tester-1", 3, 1, 5_000)]),
        ];
        let rooms = cpu(&series, Who::Role("room"));
        assert_eq!(rooms.between(0.0, 2.0), Some(1000.0));
        assert_eq!(rooms.between(0.0, 1.0), Some(500.0), "the one that was not read lies on its line");
        assert_eq!(cpu(&series, Who::Servers), rooms);
        assert_eq!(rss(&series, Who::Role("room")), [Some((30.0, 2)), None, Some((34.0, 2))]);
        assert_eq!(rss(&series, Who::Role("center")), [None, None, None]);
    }

    #[test]
    fn a_process_that_is_gone_takes_its_memory_along() {
        let both = [("room-1", 1, 10, 0), ("room-2", 2, 20, 0)];
        let series = [sample(0.0, &both), sample(1.0, &both[..1]), sample(2.0, &both[..1])];
        assert_eq!(rss(&series, Who::Role("room")), [Some((30.0, 2)), Some((10.0, 1)), Some((10.0, 1))]);
    }

    #[test]
    fn a_counter_that_falls_stands_still() {
        let series =
            [5, 9, 4, 10].map(|planned| Sample { at_s: planned as f64, planned, ..Sample::default() });
        let series: Vec<Sample> =
            series.into_iter().enumerate().map(|(at, s)| Sample { at_s: at as f64, ..s }).collect();
        let curve = Curve::of(&series, |s| s.planned);
        assert_eq!((curve.between(0.0, 2.0), curve.between(0.0, 3.0)), (Some(4.0), Some(5.0)));
    }
}
