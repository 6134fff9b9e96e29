//! A table of the page, and the tables there are.

use std::collections::{BTreeMap, BTreeSet};

use crate::figures::{LegFigures, Who, cpu};
use crate::labels::{label, unit};
use crate::units::{Unit, count, digits, seconds, times};
use crate::{Distribution, Leg, PhaseName, Run, Side, Spread, Values};

/// A table: the first column names the row, the others are aligned as numbers if they are.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) note: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// Whether the columns after the first are numbers.
    pub(super) numbers: bool,
    /// Whether it is long and of interest only now and then.
    pub(super) folded: bool,
}

const NONE: &str = "–";

/// All tables that have rows, in their order on the page.
pub(super) fn tables(run: &Run) -> Vec<Table> {
    let tables = [
        legs_compared(run),
        roles(run),
        latencies(run),
        counts(run),
        named_counts(run, "Connections that ended, by reason", |leg| &leg.closes),
        named_counts(run, "Errors by kind", |leg| &leg.errors),
        own(run),
        agents(run),
        processes(run),
        servers(run),
        metrics(run),
        examples(run),
    ];
    tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// How a leg is called where there are several.
pub(super) fn leg_name(leg: &Leg) -> String {
    format!("{} {}", leg.side, leg.round)
}

fn heads(run: &Run, first: &str) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(run.legs.iter().map(leg_name)).collect()
}

/// The figures of every leg beside each other.
fn legs_compared(run: &Run) -> Table {
    let figures: Vec<LegFigures> = run.legs.iter().map(LegFigures::of).collect();
    let names = Values::default().named().into_iter().map(|(name, _)| name);
    let rows = names.filter(|name| figures.iter().any(|leg| leg.values.contains_key(name))).map(|name| {
        let cells = figures
            .iter()
            .map(|leg| optional(leg.values.get(&name).copied(), |value| unit(&name).text(value)));
        std::iter::once(label(&name).to_owned()).chain(cells).collect()
    });
    Table {
        title: "Legs",
        note: format!("Costs are those of {}.", whose(run)),
        head: heads(run, "figure"),
        rows: rows.collect(),
        numbers: true,
        ..Table::default()
    }
}

fn whose(run: &Run) -> String {
    let names: BTreeSet<&str> =
        [Some(&run.figures), run.reference.as_ref()].into_iter().flatten().map(|f| f.of.as_str()).collect();
    names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" and ")
}

/// What each role costs, and how that compares with `raw`.
fn roles(run: &Run) -> Table {
    let costs =
        ["bytes_per_session", "cpu_us_per_connect", "cpu_us_per_unicast", "cpu_us_per_broadcast_delivery"];
    let ratios = run.ratios.as_ref().map(|ratios| &ratios.values);
    let row = |role: &str, prefix: &str| {
        let cells = costs.iter().map(|cost| {
            let name = format!("{prefix}{cost}");
            let value = optional(run.figures.values.get(&name), |value| unit(cost).text(value));
            match ratios.and_then(|ratios| ratios.get(&name)) {
                Some(ratio) if ratio != 0.0 => format!("{value} ({} raw)", times(ratio)),
                _ => value,
            }
        });
        std::iter::once(role.to_owned()).chain(cells).collect::<Vec<String>>()
    };
    let others = run.figures.values.roles.keys().map(|role| row(role, &format!("roles.{role}.")));
    let own = (!run.figures.values.roles.is_empty()).then(|| row(&run.figures.of, ""));
    Table {
        title: "What each role costs",
        note: "All processes of a role together, medians over the legs; “all” is the whole system.".into(),
        head: std::iter::once("role").chain(costs.map(label)).map(String::from).collect(),
        rows: own.into_iter().chain(others).collect(),
        numbers: true,
        ..Table::default()
    }
}

fn latencies(run: &Run) -> Table {
    let mut rows = Vec::new();
    for leg in &run.legs {
        let kinds = [
            ("accepted, measured", &leg.measured.accepted),
            ("received, measured", &leg.measured.received),
            ("acknowledged, measured", &leg.measured.acked),
            ("broadcast received", &leg.latency.broadcast),
            ("connected and bound", &leg.latency.connect),
        ];
        rows.extend(
            kinds.into_iter().filter_map(|(kind, found)| Some(latency_row(leg, kind, found.as_ref()?))),
        );
    }
    let head = ["until", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    Table {
        title: "Delays",
        note: "From when a message was due to be sent; of connections, from the attempt.".into(),
        head: head.map(String::from).to_vec(),
        rows,
        numbers: true,
        ..Table::default()
    }
}

fn latency_row(leg: &Leg, kind: &str, found: &Distribution) -> Vec<String> {
    let values = [found.min as f64, found.mean].into_iter().chain(
        [found.p50, found.p90, found.p99, found.p999, found.p9999, found.max].map(|value| value as f64),
    );
    let mut row = vec![format!("{}: {kind}", leg_name(leg)), count(found.count)];
    row.extend(values.map(|value| Unit::Micros.text(value)));
    row
}

fn counts(run: &Run) -> Table {
    let rows = [
        row_of(run, "unicasts planned", |leg| leg.counts.planned),
        row_of(run, "accepted", |leg| leg.counts.accepted),
        row_of(run, "refused", |leg| leg.counts.refused),
        row_of(run, "without an answer", |leg| leg.counts.unknown),
        row_of(run, "never sent", |leg| leg.counts.skipped),
        row_of(run, "received", |leg| leg.counts.received),
        row_of(run, "acknowledged", |leg| leg.counts.acked),
        row_of(run, "received again, as allowed", |leg| leg.counts.redelivered),
        row_of(run, "expired", |leg| leg.counts.expired),
        row_of(run, "transient, dropped", |leg| leg.counts.transient_dropped),
        row_of(run, "broadcasts", |leg| leg.broadcasts),
        row_of(run, "broadcast deliveries owed", |leg| leg.counts.broadcast_expected),
        row_of(run, "broadcast deliveries", |leg| leg.counts.broadcast_received),
        row_of(run, "broadcast deliveries acknowledged", |leg| leg.counts.broadcast_acked),
        row_of(run, "connects resumed", |leg| leg.series.last().map_or(0, |last| last.resumed)),
        row_of(run, "uplinks confirmed", |leg| leg.uplinks.acked),
        row_of(run, "uplinks at the business", |leg| leg.uplinks.received),
        row_of(run, "lost", |leg| leg.counts.lost),
        row_of(run, "of those, broadcast deliveries", |leg| leg.counts.broadcast_missing),
        row_of(run, "uplinks lost", |leg| leg.uplinks.lost),
        row_of(run, "duplicated", |leg| leg.counts.duplicated),
        row_of(run, "reordered", |leg| leg.counts.reordered),
        row_of(run, "foreign", |leg| leg.counts.foreign),
        row_of(run, "late", |leg| leg.counts.late),
        row_of(run, "not to be checked", |leg| leg.counts.unreachable),
    ];
    let rows = rows.into_iter().flatten().collect();
    Table {
        title: "Counts",
        note: "Whole legs; rows of zeros left out.".into(),
        head: heads(run, "messages"),
        rows,
        numbers: true,
        ..Table::default()
    }
}

/// A row of counts, unless all are 0.
fn row_of(run: &Run, name: &str, value: impl Fn(&Leg) -> u64) -> Option<Vec<String>> {
    let values: Vec<u64> = run.legs.iter().map(value).collect();
    let cells = values.iter().map(|value| count(*value));
    values.iter().any(|value| *value > 0).then(|| std::iter::once(name.to_owned()).chain(cells).collect())
}

fn named_counts(run: &Run, title: &'static str, of: impl Fn(&Leg) -> &BTreeMap<String, u64>) -> Table {
    let names: BTreeSet<&String> = run.legs.iter().flat_map(|leg| of(leg).keys()).collect();
    let rows =
        names.into_iter().filter_map(|name| row_of(run, name, |leg| of(leg).get(name).copied().unwrap_or(0)));
    Table { title, head: heads(run, "what"), rows: rows.collect(), numbers: true, ..Table::default() }
}

fn own(run: &Run) -> Table {
    let own = &run.own;
    let figures = [
        ("cpu_us_per_delivery", "CPU per delivery", own.cpu_us_per_delivery, Unit::Micros),
        ("bytes_per_device", "memory per device", own.bytes_per_device, Unit::Bytes),
        ("deliveries_per_second", "deliveries", own.deliveries_per_second, Unit::PerSecond),
        ("cores", "busy", own.cores, Unit::Cores),
    ];
    let rows = figures.map(|(name, label, value, unit)| {
        let why = || own.absent.get(name).map_or(NONE.to_owned(), |why| format!("{NONE} ({why})"));
        vec![label.to_owned(), value.map_or_else(why, |value| unit.text(value))]
    });
    Table {
        title: "What the load tester itself cost",
        note: format!("In the measured phase, against {}.", own.side),
        head: vec!["figure".into(), "value".into()],
        rows: rows.into(),
        numbers: true,
        ..Table::default()
    }
}

fn agents(run: &Run) -> Table {
    let rows = run.agents.iter().map(|agent| {
        let ended = agent.died.as_ref().map_or("to the end".to_owned(), |died| {
            format!("died in {} {} at {}: {}", died.side, died.round, seconds(died.at_s), died.reason)
        });
        let place = agent.remote.clone().unwrap_or_else(|| "this machine".into());
        vec![agent.name.clone(), place, count(agent.devices), ended]
    });
    Table {
        title: "Agents",
        head: ["agent", "where", "devices", "ran"].map(String::from).to_vec(),
        rows: rows.collect(),
        ..Table::default()
    }
}

/// Every process of every leg, with what it used.
fn processes(run: &Run) -> Table {
    let mut rows = Vec::new();
    for leg in &run.legs {
        let samples = || leg.series.iter().flat_map(|sample| &sample.processes);
        let names: BTreeSet<(&str, &str)> = samples().map(|p| (p.role.as_str(), p.name.as_str())).collect();
        for (role, name) in names {
            let own = || samples().filter(|process| process.name == name);
            let highest = own().map(|process| process.rss_bytes).max().unwrap_or(0);
            let last = own().next_back().map_or(0, |process| process.rss_bytes);
            let curve = cpu(&leg.series, Who::Named(name));
            let whole = leg.series.first().zip(leg.series.last());
            let whole = whole.and_then(|(first, last)| curve.between(first.at_s, last.at_s));
            let busy = leg
                .phase(PhaseName::Measured)
                .and_then(|m| Some(curve.between(m.from_s, m.to_s)? / m.length_s() / 1e6));
            rows.push(vec![
                format!("{}: {name}", leg_name(leg)),
                role.to_owned(),
                Unit::Bytes.text(highest as f64),
                Unit::Bytes.text(last as f64),
                optional(whole, |cpu_us| Unit::Micros.text(cpu_us)),
                optional(busy, digits),
            ]);
        }
    }
    let head = ["process", "role", "memory, most", "memory, last", "CPU time", "cores, measured"];
    Table {
        title: "Processes",
        head: head.map(String::from).to_vec(),
        rows,
        numbers: true,
        folded: true,
        ..Table::default()
    }
}

fn servers(run: &Run) -> Table {
    let rows = run.servers.iter().map(|server| {
        let cores = server.cores.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let or_none = |text: String| if text.is_empty() { NONE.to_owned() } else { text };
        vec![server.name.clone(), server.role.clone(), or_none(server.version.clone()), or_none(cores)]
    });
    let head = ["server", "role", "version", "pinned to cores"].map(String::from).to_vec();
    Table { title: "Servers", head, rows: rows.collect(), folded: true, ..Table::default() }
}

/// What the servers counted themselves, at the end of each leg.
fn metrics(run: &Run) -> Table {
    let last = |leg: &'_ Leg| {
        leg.series.iter().rev().find(|sample| !sample.metrics.is_empty()).map(|s| s.metrics.clone())
    };
    let ends: Vec<BTreeMap<String, f64>> = run.legs.iter().map(|leg| last(leg).unwrap_or_default()).collect();
    let names: BTreeSet<&String> = ends.iter().flat_map(BTreeMap::keys).collect();
    let rows = names.into_iter().map(|name| {
        let cells = ends.iter().map(|end| optional(end.get(name).copied(), digits));
        std::iter::once(name.clone()).chain(cells).collect()
    });
    Table {
        title: "The servers' own metrics at the end",
        head: heads(run, "metric"),
        rows: rows.collect(),
        numbers: true,
        folded: true,
        ..Table::default()
    }
}

fn examples(run: &Run) -> Table {
    let rows = run.examples.iter().map(|example| {
        vec![
            fault(example.what).to_owned(),
            example.user.to_string(),
            example.id.to_string(),
            example.sequence.to_string(),
            longline_types::rfc3339(example.due / 1_000),
            example.detail.clone(),
        ]
    });
    let head = ["what", "user number", "message", "sequence", "due", "detail"];
    Table {
        title: "Some of what went wrong",
        head: head.map(String::from).to_vec(),
        rows: rows.collect(),
        ..Table::default()
    }
}

fn fault(what: crate::Fault) -> &'static str {
    use crate::Fault;
    match what {
        Fault::Lost => "lost",
        Fault::BroadcastMissing => "broadcast missing",
        Fault::Unreachable => "not to be checked",
        Fault::Duplicated => "duplicated",
        Fault::Reordered => "reordered",
        Fault::Foreign => "foreign",
        Fault::Late => "late",
    }
}

fn optional(value: Option<f64>, text: impl Fn(f64) -> String) -> String {
    value.map_or(NONE.to_owned(), text)
}

/// From the smallest to the largest, if they differ to the eye.
pub(super) fn range(spread: Option<&Spread>, text: impl Fn(f64) -> String) -> Option<String> {
    let spread = spread?;
    let (min, max) = (text(spread.min), text(spread.max));
    (min != max).then(|| format!("{min} – {max}"))
}

/// Whether a leg's plots are shown without a click.
pub(super) fn shown(run: &Run, at: usize) -> bool {
    let first = run.legs.iter().position(|leg| leg.side == Side::System).unwrap_or(0);
    at == first
}
