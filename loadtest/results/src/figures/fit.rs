//! What one more session takes in memory: a line through resident memory over connected sessions.

use super::MemoryFit;
use super::curve::{Who, rss};
use crate::{Leg, PhaseName, Sample};

/// Below this share of the sessions the memory is still that of a process that warms up.
const FROM_SHARE: f64 = 0.05;
/// So much of the sessions must lie between the first point and the last.
const SPREAD_SHARE: f64 = 0.2;
/// Sessions may fall by this much before the points end: then memory no longer tells of sessions.
const FALL_SHARE: f64 = 0.01;

/// The line of these processes' resident memory over connected sessions: least squares over the samples of the ramp from 5 % of
/// the sessions on, and those of the rest after it, up to the first traffic, to the first fall of sessions, or to the end of the
/// measured phase. A sample counts only if all processes could be read.
pub(super) fn memory(leg: &Leg, who: Who<'_>) -> Result<MemoryFit, String> {
    let ramp = leg.phase(PhaseName::Ramp).ok_or("there was no ramp")?;
    let end_s = leg.phase(PhaseName::Measured).unwrap_or(ramp).to_s;
    let memory = rss(&leg.series, who);
    let processes = memory.iter().flatten().map(|(_, processes)| *processes).max();
    let processes = processes.ok_or("its processes could not be watched")?;

    let mut highest = 0;
    let quiet = |sample: &Sample| sample.planned + sample.broadcast_deliveries + sample.uplinks == 0;
    let points = leg.series.iter().zip(&memory).filter(|(sample, _)| sample.at_s >= ramp.from_s);
    let points: Vec<_> = points
        .take_while(|(sample, _)| {
            highest = highest.max(sample.connected);
            let fell = (sample.connected as f64) < (1.0 - FALL_SHARE) * highest as f64;
            sample.at_s <= end_s && quiet(sample) && !fell
        })
        .collect();
    let most = points.iter().map(|(sample, _)| sample.connected).max().unwrap_or(0) as f64;
    let points: Vec<(f64, f64)> = points
        .into_iter()
        .filter_map(|(sample, memory)| {
            let (bytes, read) = (*memory)?;
            (read == processes).then_some((sample.connected as f64, bytes))
        })
        .filter(|(sessions, _)| *sessions > 0.0 && *sessions >= FROM_SHARE * most)
        .collect();

    let least = points.iter().map(|(sessions, _)| *sessions).fold(most, f64::min);
    if points.len() < 3 || most - least < SPREAD_SHARE * most {
        return Err("the ramp was too short: too few samples while sessions grew".into());
    }
    Ok(line(&points))
}

/// The line with the least squares; points must differ in their first value.
fn line(points: &[(f64, f64)]) -> MemoryFit {
    let count = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|p| p.0).sum::<f64>() / count, points.iter().map(|p| p.1).sum::<f64>() / count);
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = covariance / variance;
    let base = mean_y - slope * mean_x;
    let squares: f64 = points.iter().map(|(x, y)| (y - base - slope * x).powi(2)).sum();
    MemoryFit {
        bytes_per_session: slope,
        base_bytes: base,
        residual_bytes: (squares / count).sqrt(),
        points: points.len() as u32,
    }
}
