//! How long messages take in the room alone, by the buckets that rooms count them in.

use std::collections::BTreeMap;

use super::curve::Curve;
use super::leg::measured;
use super::values::QUANTILES;
use crate::Leg;

/// Between the role and a bucket's bound, in seconds, in the name of a metric.
const BUCKET: &str = ".delivery_seconds_bucket.";

/// Messages in a bucket and all below it, by the bucket's bound in seconds.
type Bucket = (f64, f64);

/// The quantiles of [`QUANTILES`] over the measured phase, in µs.
pub(super) fn in_room(leg: &Leg) -> Result<[f64; 3], String> {
    let phase = measured(leg)?;
    let bounds: BTreeMap<&str, f64> = leg
        .series
        .last()
        .into_iter()
        .flat_map(|sample| sample.metrics.keys())
        .filter_map(|name| name.split_once(BUCKET))
        .filter_map(|(_, bound)| Some((bound, bound.parse().ok()?)))
        .collect();
    let grew = |bound: &str| {
        Curve::of_metric(&leg.series, &format!("{BUCKET}{bound}")).between(phase.from_s, phase.to_s)
    };
    let mut buckets: Vec<Bucket> =
        bounds.into_iter().filter_map(|(text, bound)| Some((bound, grew(text)?))).collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    match buckets.last() {
        Some((_, all)) if *all >= 1.0 => Ok(QUANTILES.map(|quantile| 1e6 * at(quantile * all, &buckets))),
        _ => Err("rooms counted no delivery in the measured phase".into()),
    }
}

/// The time below which so many are: within a bucket on the line between its bounds, beyond the last bound that bound, as Prometheus
/// has it (`histogram_quantile`).
fn at(rank: f64, buckets: &[Bucket]) -> f64 {
    let place = buckets.partition_point(|(_, below)| *below < rank).min(buckets.len() - 1);
    let (low, before) = if place == 0 { (0.0, 0.0) } else { buckets[place - 1] };
    let (high, below) = buckets[place];
    match below - before {
        _ if high.is_infinite() => low,
        width if width > 0.0 => low + (high - low) * ((rank - before) / width).clamp(0.0, 1.0),
        _ => high,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = [(0.001, 0.0), (0.002, 90.0), (0.004, 100.0), (f64::INFINITY, 101.0)];
        for (rank, time) in [(45.0, 0.0015), (90.0, 0.002), (95.0, 0.003), (100.0, 0.004), (101.0, 0.004)] {
            assert!((at(rank, &buckets) - time).abs() < 1e-9, "{rank}: {}", at(rank, &buckets));
        }
        assert_eq!(at(1.0, &[(f64::INFINITY, 1.0)]), 0.0);
    }
}
