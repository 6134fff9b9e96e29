//! The report of a run: one page that needs nothing beside it.

mod charts;
mod plot;
mod scale;
mod table;
mod thin;

use askama::Template;
use longline_types::rfc3339;

use self::plot::Plot;
use self::table::{Table, leg_name, range, shown, tables};
use crate::labels::{label, unit};
use crate::units::{Unit, count, counted, seconds, times};
use crate::{MemoryFit, Run, Values};

/// The run as an HTML page: verdict, key figures, plots over time, tables, the scenario. It is self-contained, without scripts and
/// without requests, and readable in light and dark, on paper and on a phone.
pub fn html(run: &Run) -> String {
    Page::of(run).render().expect("a String takes everything")
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    run: &'a Run,
    started: String,
    length: String,
    machine: String,
    verdict: Vec<Fate>,
    delivered: String,
    dead: Vec<String>,
    fit: Option<String>,
    cards: Vec<Card>,
    legs: Vec<Section<'a>>,
    tables: Vec<Table>,
}

/// A count of the verdict.
struct Fate {
    name: &'static str,
    count: String,
    bad: bool,
}

/// A key figure.
struct Card {
    name: &'static str,
    /// The figure, if there is one.
    value: Option<String>,
    /// Its smallest and largest.
    range: Option<String>,
    /// How it compares with `raw`.
    ratio: Option<(String, Option<String>)>,
    /// Why there is none.
    absent: String,
}

/// The plots of a leg.
struct Section<'a> {
    name: String,
    phases: String,
    shown: bool,
    plots: Vec<Plot<'a>>,
}

impl<'a> Page<'a> {
    fn of(run: &'a Run) -> Page<'a> {
        let names = Values::default().named().into_iter().map(|(name, _)| name);
        Page {
            run,
            started: rfc3339(run.started_ms).replace('T', " ").chars().take(16).collect(),
            length: seconds(run.ended_ms.saturating_sub(run.started_ms) as f64 / 1_000.0),
            machine: machine(run),
            verdict: fates(run),
            delivered: delivered(run),
            dead: dead(run),
            fit: run.figures.memory_fit.map(fit),
            cards: names.map(|name| Card::of(run, &name)).collect(),
            legs: run
                .legs
                .iter()
                .enumerate()
                .map(|(at, leg)| Section {
                    name: leg_name(leg),
                    phases: leg
                        .phases
                        .iter()
                        .map(|p| format!("{} {}", p.name, seconds(p.length_s())))
                        .collect::<Vec<_>>()
                        .join(" · "),
                    shown: shown(run, at),
                    plots: charts::plots(leg),
                })
                .collect(),
            tables: tables(run),
        }
    }
}

impl Card {
    fn of(run: &Run, name: &str) -> Card {
        let values = &run.figures.values;
        let text = |value| unit(name).text(value);
        let ratio = run.ratios.as_ref().and_then(|ratios| {
            let ratio = times(ratios.values.get(name)?);
            Some((ratio, range(ratios.values.spread.get(name), times)))
        });
        Card {
            name: label(name),
            value: values.get(name).map(text),
            range: range(values.spread.get(name), text),
            ratio,
            absent: values.absent.get(name).cloned().unwrap_or_default(),
        }
    }
}

fn machine(run: &Run) -> String {
    let machine = &run.machine;
    let memory = Unit::Bytes.text(machine.memory_bytes as f64);
    format!(
        "{} · {} · {} · {} · {memory}",
        machine.host,
        machine.system,
        machine.cpu,
        counted(machine.cores.into(), "core", "cores")
    )
}

fn fit(fit: MemoryFit) -> String {
    format!(
        "Memory per session is the slope of a line through {} samples. They lie {} from it; without sessions it is at {}.",
        fit.points,
        Unit::Bytes.text(fit.residual_bytes),
        Unit::Bytes.text(fit.base_bytes)
    )
}

fn fates(run: &Run) -> Vec<Fate> {
    let verdict = &run.verdict;
    let fates = [
        ("lost", verdict.lost),
        ("duplicated", verdict.duplicated),
        ("reordered", verdict.reordered),
        ("foreign", verdict.foreign),
        ("late", verdict.late),
        ("uplinks lost", verdict.uplinks_lost),
        ("not to be checked", verdict.unreachable),
        ("not waited for", verdict.unjudged),
    ];
    fates.into_iter().map(|(name, found)| Fate { name, count: count(found), bad: found > 0 }).collect()
}

/// What the verdict is about.
fn delivered(run: &Run) -> String {
    let system = || run.legs.iter().filter(|leg| leg.side == crate::Side::System);
    let sum = |of: fn(&crate::Leg) -> u64| system().map(of).sum::<u64>();
    let parts = [
        (sum(|leg| leg.counts.accepted), "unicast accepted", "unicasts accepted"),
        (sum(|leg| leg.counts.broadcast_expected), "broadcast delivery owed", "broadcast deliveries owed"),
        (sum(|leg| leg.uplinks.acked), "uplink confirmed", "uplinks confirmed"),
    ];
    let parts: Vec<String> =
        parts.into_iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| counted(n, one, many)).collect();
    if parts.is_empty() { "No messages were sent.".into() } else { format!("Of {}.", parts.join(", ")) }
}

fn dead(run: &Run) -> Vec<String> {
    let died = run.agents.iter().filter_map(|agent| Some((agent, agent.died.as_ref()?)));
    died.map(|(agent, died)| {
        let devices = counted(agent.devices, "device", "devices");
        format!(
            "{} died in {} {} at {} ({}): its {devices} are counted out.",
            agent.name,
            died.side,
            died.round,
            seconds(died.at_s),
            died.reason
        )
    })
    .collect()
}
