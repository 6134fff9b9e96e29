//! Medians over legs, and ratios between the sides.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::leg::{LegFigures, delays};
use super::values::{Spread, Values, median};
use super::{Figures, Ratios};
use crate::{Leg, Side};

/// What comes out of the legs of a run.
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    pub(crate) reference: Option<Figures>,
    pub(crate) ratios: Option<Ratios>,
}

/// Works the figures and ratios out of the legs.
pub(crate) fn evaluate(legs: &[Leg]) -> Outcome {
    let of_side = |side| -> Vec<(u32, LegFigures)> {
        let legs = legs.iter().filter(|leg| leg.side == side);
        legs.map(|leg| (leg.round, LegFigures::of(leg))).collect()
    };
    let (system, raw) = (of_side(Side::System), of_side(Side::Raw));
    let reference = (!raw.is_empty()).then(|| figures(&raw));
    let ratios = (!raw.is_empty()).then(|| ratios(&system, &raw));
    Outcome { figures: figures(&system), reference, ratios }
}

fn figures(legs: &[(u32, LegFigures)]) -> Figures {
    let mut gathered = Gathered::default();
    for (_, leg) in legs {
        leg.values.iter().for_each(|(name, value)| gathered.add(name, *value));
        leg.absent.iter().for_each(|(name, reason)| gathered.miss(name, reason.clone()));
    }
    let mut medians = gathered.medians();
    if let Some(merged) = merged(legs) {
        medians.extend(delays(&merged).map(|(name, value)| (name.to_owned(), value)));
    }
    Figures {
        of: legs.iter().map(|(_, leg)| leg.of.clone()).find(|of| !of.is_empty()).unwrap_or_default(),
        legs: legs.len() as u32,
        memory_fit: legs.iter().rev().find_map(|(_, leg)| leg.memory_fit),
        values: gathered.values(&medians),
    }
}

/// The delays of all legs in one histogram.
fn merged(legs: &[(u32, LegFigures)]) -> Option<Histogram<u64>> {
    let mut histograms = legs.iter().filter_map(|(_, leg)| leg.received.as_ref());
    let mut merged = histograms.next()?.clone();
    merged.auto(true);
    histograms.for_each(|histogram| merged.add(histogram).expect("it grows as needed"));
    Some(merged)
}

fn ratios(system: &[(u32, LegFigures)], raw: &[(u32, LegFigures)]) -> Ratios {
    let mut gathered = Gathered::default();
    let mut rounds = 0;
    for (round, leg) in system {
        let Some((_, against)) = raw.iter().find(|(other, _)| other == round) else { continue };
        rounds += 1;
        for (name, value) in &leg.values {
            let base = base(name);
            match against.values.get(base) {
                Some(divisor) if *divisor > 0.0 => gathered.add(name, value / divisor),
                Some(divisor) => gathered.miss(name, format!("raw's figure is {divisor}")),
                None => gathered.miss(
                    name,
                    against.absent.get(base).map(|why| format!("raw: {why}")).unwrap_or_default(),
                ),
            }
        }
        leg.absent.iter().for_each(|(name, reason)| gathered.miss(name, reason.clone()));
    }
    if rounds == 0 {
        let names = system.iter().flat_map(|(_, leg)| leg.values.keys().chain(leg.absent.keys()));
        names.for_each(|name| gathered.miss(name, "no round has both sides".into()));
    }
    let medians = gathered.medians();
    Ratios { rounds, values: gathered.values(&medians) }
}

/// The name of the figure of `raw` against which one is held: a role's without the role.
fn base(name: &str) -> &str {
    name.strip_prefix("roles.").and_then(|rest| rest.split_once('.')).map_or(name, |(_, name)| name)
}

/// Values by name, from several legs or rounds.
#[derive(Default)]
struct Gathered {
    known: BTreeMap<String, Vec<f64>>,
    missed: BTreeMap<String, String>,
}

impl Gathered {
    fn add(&mut self, name: &str, value: f64) {
        self.known.entry(name.to_owned()).or_default().push(value);
    }

    fn miss(&mut self, name: &str, reason: String) {
        self.missed.insert(name.to_owned(), reason);
    }

    fn medians(&self) -> BTreeMap<String, f64> {
        self.known.iter().filter_map(|(name, values)| Some((name.clone(), median(values)?))).collect()
    }

    fn values(self, medians: &BTreeMap<String, f64>) -> Values {
        let spread =
            self.known.iter().filter_map(|(name, values)| Some((name.clone(), Spread::over(values)?)));
        let absent = self.missed.iter().filter(|(name, _)| !self.known.contains_key(*name));
        Values {
            spread: spread.collect(),
            absent: absent.map(|(name, reason)| (name.clone(), reason.clone())).collect(),
            ..Values::from_named(medians)
        }
    }
}
