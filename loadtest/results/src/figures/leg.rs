//! The figures of one leg, by name.

use std::collections::{BTreeMap, BTreeSet};

use hdrhistogram::Histogram;

use super::MemoryFit;
use super::curve::{Curve, Who, cpu};
use super::fit::memory;
use super::in_room::in_room;
use super::values::{COSTS, DELAYS, IN_ROOM, QUANTILES};
use crate::{Leg, PhaseName, PhaseSpan, Side, TESTER};

/// CPU of the measured phase is one activity's if the others' events are at most this share of its own.
const OTHERS_SHARE: f64 = 0.01;
/// The time before the ramp tells what the servers cost without devices if it is at least this long.
const IDLE_S: f64 = 0.5;

/// The figures of one leg.
#[derive(Debug, Clone, Default)]
pub(crate) struct LegFigures {
    /// Whose cost: see [`super::Figures::of`].
    pub(crate) of: String,
    /// Those that could be had, by name.
    pub(crate) values: BTreeMap<String, f64>,
    /// Why not, by name, for the others.
    pub(crate) absent: BTreeMap<String, String>,
    /// The line of memory.
    pub(crate) memory_fit: Option<MemoryFit>,
    /// From due to received, of the measured phase.
    pub(crate) received: Option<Histogram<u64>>,
}

/// A figure or why it cannot be had.
type Figure = Result<f64, String>;

impl LegFigures {
    /// Of a leg.
    pub(crate) fn of(leg: &Leg) -> LegFigures {
        let roles = roles(leg);
        let subject = subject(leg.side, &roles);
        let mut figures = LegFigures { of: subject.unwrap_or_default().to_owned(), ..LegFigures::default() };
        figures.costs(leg, "", subject.map(Who::Role));
        for role in roles.iter().filter(|role| Some(**role) != subject) {
            figures.costs(leg, &format!("roles.{role}."), Some(Who::Role(role)));
        }
        if roles.len() > 1 {
            figures.costs(leg, "roles.all.", Some(Who::Servers));
        }
        figures.keep("unicasts_per_second", unicasts_per_second(leg));
        figures.keep("connects_per_second", connects_per_second(leg));
        figures.keep("cores", cores(leg, subject));
        figures.keep("deliveries_per_batch", per_batch(leg, "room.deliver", "deliveries"));
        figures.keep("acks_per_batch", per_batch(leg, "saver.ack", "acknowledgements"));
        figures.delays(leg);
        let in_room = in_room(leg);
        for (place, name) in IN_ROOM.iter().enumerate() {
            figures.keep(name, in_room.clone().map(|times| times[place]));
        }
        figures
    }

    fn costs(&mut self, leg: &Leg, prefix: &str, who: Option<Who<'_>>) {
        let Some(who) = who else {
            for name in COSTS {
                self.keep(
                    &format!("{prefix}{name}"),
                    Err("no server process on this machine was watched".into()),
                );
            }
            return;
        };
        let fit = memory(leg, who);
        if prefix.is_empty() {
            self.memory_fit = fit.as_ref().ok().copied();
        }
        let cpu = cpu(&leg.series, who);
        self.keep(&format!("{prefix}bytes_per_session"), fit.map(|fit| fit.bytes_per_session));
        self.keep(&format!("{prefix}cpu_us_per_connect"), per_connect(leg, &cpu));
        self.keep(&format!("{prefix}cpu_us_per_unicast"), Activity::Unicast.cost(leg, &cpu));
        self.keep(&format!("{prefix}cpu_us_per_broadcast_delivery"), Activity::Broadcast.cost(leg, &cpu));
    }

    fn delays(&mut self, leg: &Leg) {
        match leg.measured.received.as_ref().map(|distribution| distribution.decode()) {
            Some(Ok(histogram)) => {
                for (name, value) in delays(&histogram) {
                    self.keep(name, Ok(value));
                }
                self.received = Some(histogram);
            }
            Some(Err(error)) => DELAYS.iter().for_each(|name| self.keep(name, Err(error.to_string()))),
            None => DELAYS.iter().for_each(|name| {
                self.keep(name, Err("no unicast of the measured phase was received".into()))
            }),
        }
    }

    fn keep(&mut self, name: &str, figure: Figure) {
        match figure {
            Ok(value) if value.is_finite() => drop(self.values.insert(name.to_owned(), value)),
            Ok(_) => drop(self.absent.insert(name.to_owned(), "it is not a number".into())),
            Err(reason) => drop(self.absent.insert(name.to_owned(), reason)),
        }
    }
}

/// The figures of delay of a histogram, by name.
pub(super) fn delays(histogram: &Histogram<u64>) -> [(&'static str, f64); 3] {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64;
    std::array::from_fn(|place| (DELAYS[place], at(QUANTILES[place])))
}

/// The measured phase, if the leg got there.
pub(super) fn measured(leg: &Leg) -> Result<PhaseSpan, String> {
    leg.phase(PhaseName::Measured).ok_or_else(|| "there was no measured phase".into())
}

/// The roles of the servers that were watched.
pub(crate) fn roles(leg: &Leg) -> BTreeSet<&str> {
    let processes = leg.series.iter().flat_map(|sample| &sample.processes);
    processes.map(|process| process.role.as_str()).filter(|role| *role != TESTER).collect()
}

/// The role whose cost is in the figures without a role.
fn subject(side: Side, roles: &BTreeSet<&str>) -> Option<&'static str> {
    let candidates: &[&str] = match side {
        Side::System => &["room", "standalone"],
        Side::Raw => &["raw"],
    };
    candidates.iter().find(|role| roles.contains(**role)).copied()
}

fn per_connect(leg: &Leg, cpu: &Curve) -> Figure {
    let ramp = leg.phase(PhaseName::Ramp).ok_or("there was no ramp")?;
    let connects = connects(leg, ramp)?;
    let busy = cpu.between(ramp.from_s, ramp.to_s).ok_or("its CPU is not known over the ramp")?;
    let idle = idle_share(leg, cpu, ramp.from_s) * ramp.length_s();
    Ok((busy - idle).max(0.0) / connects)
}

/// What the processes use without devices, in µs of CPU per second.
fn idle_share(leg: &Leg, cpu: &Curve, ramp_s: f64) -> f64 {
    let from_s = leg.series.first().map_or(ramp_s, |sample| sample.at_s);
    let length_s = ramp_s - from_s;
    if length_s < IDLE_S { 0.0 } else { cpu.between(from_s, ramp_s).map_or(0.0, |busy| busy / length_s) }
}

fn connects_per_second(leg: &Leg) -> Figure {
    let ramp = leg.phase(PhaseName::Ramp).ok_or("there was no ramp")?;
    Ok(connects(leg, ramp)? / ramp.length_s())
}

fn connects(leg: &Leg, ramp: PhaseSpan) -> Figure {
    match Curve::of(&leg.series, |sample| sample.connects).between(ramp.from_s, ramp.to_s) {
        Some(connects) if connects >= 1.0 => Ok(connects),
        Some(_) => Err("nobody connected in the ramp".into()),
        None => Err("there are too few samples of the ramp".into()),
    }
}

fn unicasts_per_second(leg: &Leg) -> Figure {
    let phase = measured(leg)?;
    let count = |counter: fn(&crate::Sample) -> u64| {
        Curve::of(&leg.series, counter).between(phase.from_s, phase.to_s)
    };
    let (Some(planned), Some(received)) = (count(|s| s.planned), count(|s| s.received)) else {
        return Err("there are too few samples of the measured phase".into());
    };
    if planned + received < 1.0 {
        return Err("no unicasts were sent".into());
    }
    Ok(received / phase.length_s())
}

fn cores(leg: &Leg, subject: Option<&str>) -> Figure {
    let role = subject.ok_or("no server process on this machine was watched")?;
    let phase = measured(leg)?;
    let busy = cpu(&leg.series, Who::Role(role)).between(phase.from_s, phase.to_s);
    Ok(busy.ok_or("its CPU is not known over the measured phase")? / 1e6 / phase.length_s())
}

/// The mean of the batches of a method, by the counters of those who sent them.
fn per_batch(leg: &Leg, method: &str, what: &str) -> Figure {
    let phase = measured(leg)?;
    let grew = |counter: &str| {
        let counter = format!(".rpc_batch_items_{counter}.{method}");
        Curve::of_metric(&leg.series, &counter).between(phase.from_s, phase.to_s)
    };
    match (grew("sum"), grew("count")) {
        (Some(items), Some(batches)) if batches >= 1.0 => Ok(items / batches),
        _ => Err(format!("no batches of {what} were counted in the measured phase")),
    }
}

/// What costs CPU in the measured phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Unicast,
    Broadcast,
    Uplink,
    Connect,
}

impl Activity {
    const ALL: [Activity; 4] = [Activity::Unicast, Activity::Broadcast, Activity::Uplink, Activity::Connect];

    fn events(self, leg: &Leg, phase: PhaseSpan) -> Option<f64> {
        // Nobody acknowledges transient messages, and a run has one class.
        let acks = leg.series.last().is_some_and(|sample| sample.acked > 0);
        let curve = Curve::of(&leg.series, |sample| match self {
            Activity::Unicast if acks => sample.acked,
            Activity::Unicast => sample.received,
            Activity::Broadcast => sample.broadcast_deliveries,
            Activity::Uplink => sample.uplinks,
            Activity::Connect => sample.connects,
        });
        curve.between(phase.from_s, phase.to_s)
    }

    fn plural(self) -> &'static str {
        match self {
            Activity::Unicast => "unicasts",
            Activity::Broadcast => "broadcast deliveries",
            Activity::Uplink => "uplinks",
            Activity::Connect => "connections",
        }
    }

    /// CPU of the measured phase per event, if next to nothing else went on.
    fn cost(self, leg: &Leg, cpu: &Curve) -> Figure {
        let phase = measured(leg)?;
        let own = self.events(leg, phase).ok_or("there are too few samples of the measured phase")?;
        if own < 1.0 {
            return Err(format!("there were no {} in the measured phase", self.plural()));
        }
        let others = Activity::ALL.iter().filter(|activity| **activity != self);
        let others: Vec<(f64, &str)> = others
            .filter_map(|activity| Some((activity.events(leg, phase)?, activity.plural())))
            .filter(|(events, _)| *events >= 1.0)
            .collect();
        if others.iter().map(|(events, _)| events).sum::<f64>() > OTHERS_SHARE * own {
            let others: Vec<String> =
                others.iter().map(|(events, name)| format!("{events:.0} {name}")).collect();
            return Err(format!(
                "the measured phase also had {}: CPU cannot be told apart",
                others.join(", ")
            ));
        }
        let busy =
            cpu.between(phase.from_s, phase.to_s).ok_or("its CPU is not known over the measured phase")?;
        Ok(busy / own)
    }
}
