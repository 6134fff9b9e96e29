//! What the load tester itself cost.

use super::OwnCost;
use super::curve::{Curve, Who, cpu};
use super::fit::memory;
use super::leg::measured;
use super::values::median;
use crate::{Agent, Leg, Side, TESTER};

/// Out of the legs. Agents on other machines are not watched: with one of them, what concerns CPU and memory is absent.
pub(crate) fn own_cost(legs: &[Leg], agents: &[Agent]) -> OwnCost {
    let side = if legs.iter().any(|leg| leg.side == Side::Raw) { Side::Raw } else { Side::System };
    let legs: Vec<&Leg> = legs.iter().filter(|leg| leg.side == side).collect();
    let remote = agents.iter().any(|agent| agent.remote.is_some());
    let watched = if remote { Err("agents on other machines are not watched".to_owned()) } else { Ok(()) };

    let mut own = OwnCost { side, ..OwnCost::default() };
    let mut keep = |name: &str, figure: &dyn Fn(&Leg) -> Result<f64, String>| {
        over(&legs, figure).map_err(|reason| own.absent.insert(name.to_owned(), reason)).ok()
    };
    let cpu_us_per_delivery = keep("cpu_us_per_delivery", &|leg| {
        watched.clone()?;
        let deliveries = deliveries(leg)?;
        if deliveries < 1.0 { Err("nothing was delivered".into()) } else { Ok(busy_us(leg)? / deliveries) }
    });
    let bytes_per_device = keep("bytes_per_device", &|leg| {
        watched.clone()?;
        memory(leg, Who::Role(TESTER)).map(|fit| fit.bytes_per_session)
    });
    let deliveries_per_second =
        keep("deliveries_per_second", &|leg| Ok(deliveries(leg)? / measured(leg)?.length_s()));
    let cores = keep("cores", &|leg| {
        watched.clone()?;
        Ok(busy_us(leg)? / 1e6 / measured(leg)?.length_s())
    });
    OwnCost { cpu_us_per_delivery, bytes_per_device, deliveries_per_second, cores, ..own }
}

/// The median over the legs that have it, or why the last has not.
fn over(legs: &[&Leg], figure: &dyn Fn(&Leg) -> Result<f64, String>) -> Result<f64, String> {
    let figures: Vec<Result<f64, String>> = legs.iter().map(|leg| figure(leg)).collect();
    let known: Vec<f64> = figures.iter().flatten().copied().filter(|value| value.is_finite()).collect();
    median(&known).ok_or_else(|| {
        let reason = figures.into_iter().rev().find_map(Result::err);
        reason.unwrap_or_else(|| "there are no legs".into())
    })
}

fn deliveries(leg: &Leg) -> Result<f64, String> {
    let phase = measured(leg)?;
    let curve = Curve::of(&leg.series, |sample| sample.acked + sample.broadcast_deliveries);
    curve
        .between(phase.from_s, phase.to_s)
        .ok_or_else(|| "there are too few samples of the measured phase".into())
}

fn busy_us(leg: &Leg) -> Result<f64, String> {
    let phase = measured(leg)?;
    let busy = cpu(&leg.series, Who::Role(TESTER)).between(phase.from_s, phase.to_s);
    busy.ok_or_else(|| "its processes could not be watched".into())
}
