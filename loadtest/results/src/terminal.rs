//! The end of a run in plain text.

use std::fmt::Write as _;

use crate::labels::{label, unit};
use crate::units::{Unit, count, counted, digits, seconds, times};
use crate::{Run, Side, Values};

/// What the run found, as text of several lines for the terminal: verdict, figures with their ratios, counts, own cost.
pub fn summary(run: &Run) -> String {
    let length = seconds(run.ended_ms.saturating_sub(run.started_ms) as f64 / 1_000.0);
    let mut text = format!("{} ({length})\n", run.scenario.name);
    if run.interrupted {
        text.push_str("interrupted: this is about the part that ran\n");
    }
    for agent in &run.agents {
        if let Some(died) = &agent.died {
            let devices = counted(agent.devices, "device", "devices");
            line(&mut text, &format!("{} died: {}; its {devices} are counted out", agent.name, died.reason));
        }
    }
    text.push('\n');
    text.push_str(&columns(&figures(run)));
    text.push('\n');
    text.push_str(&columns(&costs(run)));
    text.push('\n');
    verdict(&mut text, run);
    text
}

fn figures(run: &Run) -> Vec<[String; 4]> {
    let mut rows = vec![["figure", &run.figures.of, "raw", "ratio"].map(String::from)];
    let reference = run.reference.as_ref().map(|figures| &figures.values);
    let ratios = run.ratios.as_ref().map(|ratios| &ratios.values);
    for (name, _) in Values::default().named() {
        let text = |values: Option<&Values>| {
            values.and_then(|values| values.get(&name)).map(|v| unit(&name).text(v))
        };
        let Some(value) = text(Some(&run.figures.values)) else { continue };
        let ratio = ratios.and_then(|ratios| ratios.get(&name)).map(times);
        rows.push([
            label(&name).to_owned(),
            value,
            text(reference).unwrap_or_default(),
            ratio.unwrap_or_default(),
        ]);
    }
    rows
}

/// The roles that cost anything, and the load tester.
fn costs(run: &Run) -> Vec<[String; 5]> {
    let names =
        ["bytes_per_session", "cpu_us_per_connect", "cpu_us_per_unicast", "cpu_us_per_broadcast_delivery"];
    let head =
        ["role", "per session", "per connect", "per unicast", "per broadcast delivery"].map(String::from);
    let mut rows = vec![head];
    for role in run.figures.values.roles.keys() {
        let [a, b, c, d] = names.map(|name| {
            let value = run.figures.values.get(&format!("roles.{role}.{name}"));
            value.map_or("–".to_owned(), |value| unit(name).text(value))
        });
        rows.push([role.clone(), a, b, c, d]);
    }
    let own = |value: Option<f64>, unit: Unit| value.map_or("–".to_owned(), |value| unit.text(value));
    let delivery = own(run.own.cpu_us_per_delivery, Unit::Micros);
    rows.push([
        "load tester".into(),
        own(run.own.bytes_per_device, Unit::Bytes),
        String::new(),
        delivery.clone(),
        delivery,
    ]);
    rows
}

fn verdict(text: &mut String, run: &Run) {
    let system = || run.legs.iter().filter(|leg| leg.side == Side::System);
    let accepted: u64 = system().map(|leg| leg.counts.accepted).sum();
    let owed: u64 = system().map(|leg| leg.counts.broadcast_expected).sum();
    let verdict = &run.verdict;
    let word = if verdict.ok { "ok" } else { "NOT OK" };
    line(
        text,
        &format!(
            "verdict: {word} · {} accepted, {} of broadcasts owed · lost {}, duplicated {}, reordered {}, foreign {}, late {}",
            counted(accepted, "unicast", "unicasts"),
            counted(owed, "delivery", "deliveries"),
            count(verdict.lost),
            count(verdict.duplicated),
            count(verdict.reordered),
            count(verdict.foreign),
            count(verdict.late),
        ),
    );
    verdict.reasons.iter().for_each(|reason| line(text, &format!("  {reason}")));
    if verdict.unjudged > 0 {
        let unjudged = counted(verdict.unjudged, "message was", "messages were");
        line(text, &format!("  {unjudged} still on the way when the wait ended, and not judged"));
    }
    if let Some(cores) = run.own.cores {
        line(text, &format!("the load tester kept {} cores busy against {}", digits(cores), run.own.side));
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes everything");
}

/// A table: the first column to the left, the others to the right, as wide as they must be.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        row.iter().zip(&mut widths).for_each(|(cell, width)| *width = cell.chars().count().max(*width));
    }
    let mut text = String::new();
    for row in rows {
        let first = format!("{:<1$}", row[0], widths[0]);
        let cells = row.iter().zip(&widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}"));
        line(&mut text, (first + &cells.collect::<String>()).trim_end());
    }
    text
}
