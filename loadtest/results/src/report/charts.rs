//! Which plots a leg has, and their lines.

use std::collections::BTreeSet;

use super::plot::{Band, Chart, Line, Plot};
use super::thin::Point;
use crate::figures::{Curve, Who, cpu, roles, rss};
use crate::units::Unit;
use crate::{Leg, Percentiles, Sample, TESTER};

/// How wide a line is.
const WIDTH: f64 = 1.75;
/// The roles whose costs are the run's figures.
const SUBJECTS: [&str; 3] = ["room", "standalone", "raw"];
/// Samples closer to each other than this give no rate of their own.
const MIN_STEP_S: f64 = 0.2;
/// Between samples farther from each other than this many times the usual, lines have a gap.
const GAP_STEPS: f64 = 4.0;

/// Every plot of a leg that has anything to show.
pub(super) fn plots(leg: &Leg) -> Vec<Plot<'_>> {
    let charts = [connections(leg), rates(leg), latency(leg), memory(leg), processors(leg), failures(leg)];
    charts.iter().flatten().filter_map(Chart::draw).collect()
}

fn chart<'a>(leg: &'a Leg, title: &'a str, axis: &'a str, unit: Unit, lines: Vec<Line>) -> Chart<'a> {
    let last_s = leg.series.last().map_or(0.0, |sample| sample.at_s);
    let until_s = leg.phases.last().map_or(last_s, |phase| phase.to_s.max(last_s));
    Chart { title, axis, unit, logarithmic: false, phases: &leg.phases, until_s, bands: vec![], lines }
}

fn connections(leg: &Leg) -> Option<Chart<'_>> {
    let points = gauge(leg, |sample| Some(sample.connected as f64));
    let lines = vec![line("connected", points, |highest| format!("at most {}", Unit::Count.text(highest)))];
    Some(chart(leg, "Connections", "devices connected and bound", Unit::Count, lines))
}

fn rates(leg: &Leg) -> Option<Chart<'_>> {
    let unicasts: [Counter; 4] = [
        ("planned", |sample| sample.planned),
        ("accepted", |sample| sample.accepted),
        ("received", |sample| sample.received),
        ("acknowledged", |sample| sample.acked),
    ];
    let others: [Counter; 2] = [
        ("broadcast deliveries", |sample| sample.broadcast_deliveries),
        ("uplinks", |sample| sample.uplinks),
    ];
    let lines = nested(rate_lines(leg, &unicasts)).into_iter().chain(rate_lines(leg, &others));
    Some(chart(leg, "Messages", "per second", Unit::PerSecond, lines.collect()))
}

fn failures(leg: &Leg) -> Option<Chart<'_>> {
    let counters: [Counter; 2] =
        [("connections that failed", |sample| sample.connect_failures), ("errors", |sample| sample.errors)];
    Some(chart(leg, "Failures", "per second", Unit::PerSecond, nested(rate_lines(leg, &counters))))
}

/// A counter of the samples with its name.
type Counter = (&'static str, fn(&Sample) -> u64);

/// A line for each counter that counted anything.
fn rate_lines(leg: &Leg, counters: &[Counter]) -> Vec<Line> {
    let used = counters.iter().filter(|(_, counter)| leg.series.iter().any(|sample| counter(sample) > 0));
    let lines = used.map(|(name, counter)| {
        let curve = Curve::of(&leg.series, counter);
        line(name, per_second(leg, &curve, 1.0), |highest| format!("up to {}", Unit::PerSecond.text(highest)))
    });
    lines.collect()
}

/// Lines that are likely to lie on each other: the first ones are wider and show behind the others.
fn nested(lines: Vec<Line>) -> Vec<Line> {
    let last = lines.len().saturating_sub(1);
    let wider = |(at, line)| Line { width: WIDTH + 1.6 * (last - at) as f64, ..line };
    lines.into_iter().enumerate().map(wider).collect()
}

/// One of the percentiles with its name.
type Percentile = (&'static str, fn(Percentiles) -> u64);

fn latency(leg: &Leg) -> Option<Chart<'_>> {
    let percentiles: [Percentile; 3] = [("p50", |p| p.p50), ("p99", |p| p.p99), ("p99.9", |p| p.p999)];
    let lines = percentiles.map(|(name, percentile)| {
        let points = gauge(leg, |sample| Some(percentile(sample.received_us?) as f64));
        line(name, points, |highest| format!("up to {}", Unit::Micros.text(highest)))
    });
    let bands = vec![Band { low: 0, high: 1 }, Band { low: 1, high: 2 }];
    let chart =
        chart(leg, "Delay of unicasts", "from due to received, powers of ten", Unit::Micros, lines.into());
    Some(Chart { logarithmic: true, bands, ..chart })
}

fn memory(leg: &Leg) -> Option<Chart<'_>> {
    let lines = everyone(leg).into_iter().map(|role| {
        let values = rss(&leg.series, Who::Role(role));
        let points =
            leg.series.iter().zip(values).map(|(sample, value)| (sample.at_s, value.map(|(bytes, _)| bytes)));
        line(role, with_gaps(points.collect()), |highest| format!("up to {}", Unit::Bytes.text(highest)))
    });
    Some(chart(leg, "Memory", "resident, all processes of a role together", Unit::Bytes, lines.collect()))
}

fn processors(leg: &Leg) -> Option<Chart<'_>> {
    let lines = everyone(leg).into_iter().map(|role| {
        let curve = cpu(&leg.series, Who::Role(role));
        line(role, per_second(leg, &curve, 1e-6), |highest| format!("up to {}", Unit::Cores.text(highest)))
    });
    Some(chart(leg, "CPU", "cores busy, all processes of a role together", Unit::Cores, lines.collect()))
}

/// The roles, in the order of what they are of interest for: whose cost it is, the other servers, the load tester.
fn everyone(leg: &Leg) -> Vec<&str> {
    let watched: BTreeSet<&str> = roles(leg);
    let tester = leg.series.iter().flat_map(|sample| &sample.processes).any(|process| process.role == TESTER);
    let (first, others): (Vec<&str>, Vec<&str>) =
        watched.into_iter().partition(|role| SUBJECTS.contains(role));
    first.into_iter().chain(others).chain(tester.then_some(TESTER)).collect()
}

fn line(name: &str, points: Vec<Point>, note: impl Fn(f64) -> String) -> Line {
    let highest = points.iter().filter_map(|(_, value)| *value).reduce(f64::max);
    Line { name: name.to_owned(), note: highest.map(note).unwrap_or_default(), width: WIDTH, points }
}

fn gauge(leg: &Leg, value: impl Fn(&Sample) -> Option<f64>) -> Vec<Point> {
    with_gaps(leg.series.iter().map(|sample| (sample.at_s, value(sample))).collect())
}

/// How fast a counter grew up to each sample.
fn per_second(leg: &Leg, curve: &Curve, factor: f64) -> Vec<Point> {
    let mut points = Vec::with_capacity(leg.series.len());
    let mut from_s = leg.series.first().map_or(0.0, |sample| sample.at_s);
    for sample in &leg.series {
        let step = sample.at_s - from_s;
        if step >= MIN_STEP_S {
            let grown = curve.between(from_s, sample.at_s);
            points.push((sample.at_s, grown.map(|grown| grown / step * factor)));
            from_s = sample.at_s;
        }
    }
    with_gaps(points)
}

/// Breaks the line where samples are missing.
fn with_gaps(points: Vec<Point>) -> Vec<Point> {
    let mut steps: Vec<f64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    steps.sort_by(f64::total_cmp);
    let Some(usual) = steps.get(steps.len() / 2).map(|usual| usual.max(MIN_STEP_S)) else { return points };
    let mut broken = Vec::with_capacity(points.len());
    for (at, point) in points.iter().enumerate() {
        if at > 0 && point.0 - points[at - 1].0 > GAP_STEPS * usual {
            broken.push(((point.0 + points[at - 1].0) / 2.0, None));
        }
        broken.push(*point);
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(times: &[f64]) -> Leg {
        let sample =
            |at_s: &f64| Sample { at_s: *at_s, planned: (*at_s * 100.0) as u64, ..Sample::default() };
        Leg { series: times.iter().map(sample).collect(), ..Leg::default() }
    }

    fn rate(leg: &Leg) -> Vec<Point> {
        per_second(leg, &Curve::of(&leg.series, |sample| sample.planned), 1.0)
    }

    #[test]
    fn rates_are_what_a_counter_grew_by() {
        assert_eq!(rate(&leg(&[0.0, 1.0, 3.0])), [(1.0, Some(100.0)), (3.0, Some(100.0))]);
    }

    #[test]
    fn two_samples_at_nearly_the_same_time_make_no_spike() {
        let points = rate(&leg(&[0.0, 1.0, 1.001, 2.0]));
        assert_eq!(points, [(1.0, Some(100.0)), (2.0, Some(100.0))]);
    }

    #[test]
    fn lines_break_where_samples_are_missing() {
        let points = rate(&leg(&[0.0, 1.0, 2.0, 3.0, 9.0, 10.0]));
        let gaps: Vec<f64> =
            points.iter().filter(|(_, value)| value.is_none()).map(|(at_s, _)| *at_s).collect();
        assert_eq!(gaps, [6.0]);
    }

    #[test]
    fn a_leg_without_samples_has_no_plots() {
        assert!(plots(&Leg::default()).is_empty());
    }
}
