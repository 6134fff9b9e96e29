//! Two runs held against each other, figure by figure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::figures::EFFORTS;
use crate::labels::{label, more_is_better, role, unit};
use crate::units::times;
use crate::{Run, Spread, Values};

/// Two runs held against each other. Its `Display` is a table for the terminal.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What else differs between them, a line each: then the figures may differ for that reason.
    pub differences: Vec<String>,
    /// The figures that at least one of them has, but for those that only tell how hard servers worked; the ratios to `raw` first, which hold on a noisy machine where others do not.
    pub rows: Vec<Row>,
}

/// One figure of both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name as in `run.json`: `figures.…` or `ratios.…`.
    pub name: String,
    /// In the first run.
    pub a: Option<f64>,
    /// In the second run.
    pub b: Option<f64>,
    /// What the second is, seen from the first.
    pub change: Change,
}

/// What the second value is, seen from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Better, and the legs of the two runs do not overlap.
    Better,
    /// Worse, and the legs of the two runs do not overlap.
    Worse,
    /// Their legs overlap: nothing can be said.
    Within,
    /// One of them does not have it.
    Unknown,
}

/// Holds the second run against the first.
pub fn compare(a: &Run, b: &Run) -> Comparison {
    let ratios =
        [a, b].map(|run| run.ratios.as_ref().map(|ratios| ratios.values.clone()).unwrap_or_default());
    let rows = rows("ratios", &ratios[0], &ratios[1]).into_iter();
    Comparison {
        differences: differences(a, b),
        rows: rows.chain(self::rows("figures", &a.figures.values, &b.figures.values)).collect(),
    }
}

impl Comparison {
    /// The figures that are worse beyond the spread, and by more than this share (0.1: ten per cent). Where a figure has a ratio to
    /// `raw` in both runs, only the ratio counts.
    pub fn regressions(&self, threshold: f64) -> Vec<&Row> {
        let has_ratio = |row: &Row| {
            let ratio = row.name.replacen("figures.", "ratios.", 1);
            self.rows.iter().any(|other| other.name == ratio && other.change != Change::Unknown)
        };
        let worse = self.rows.iter().filter(|row| row.change == Change::Worse && row.worsening() > threshold);
        worse.filter(|row| row.name.starts_with("ratios.") || !has_ratio(row)).collect()
    }
}

impl Row {
    /// The second divided by the first; none where it cannot be.
    pub fn ratio(&self) -> Option<f64> {
        let (a, b) = (self.a?, self.b?);
        (a != 0.0).then_some(b / a)
    }

    /// By which share it is worse; below 0 if it is better.
    fn worsening(&self) -> f64 {
        match (self.a, self.b) {
            (Some(a), Some(b)) if more_is_better(self.bare()) => (a - b) / a.abs(),
            (Some(a), Some(b)) => (b - a) / a.abs(),
            _ => 0.0,
        }
    }

    /// Its name without `figures.` or `ratios.`.
    fn bare(&self) -> &str {
        self.name.split_once('.').map_or(&self.name, |(_, name)| name)
    }

    fn cells(&self) -> [String; 5] {
        let is_ratio = self.name.starts_with("ratios.");
        let text = |value: Option<f64>| match value {
            None => "–".to_owned(),
            Some(value) if is_ratio => times(value),
            Some(value) => unit(self.bare()).text(value),
        };
        let of = role(self.bare()).map(|role| format!("{role}: ")).unwrap_or_default();
        let name = format!("{of}{}{}", label(self.bare()), if is_ratio { ", to raw" } else { "" });
        let change = match self.change {
            Change::Better => "better",
            Change::Worse => "WORSE",
            Change::Within => "",
            Change::Unknown => "?",
        };
        [name, text(self.a), text(self.b), self.ratio().map(times).unwrap_or_default(), change.to_owned()]
    }
}

fn rows(group: &str, a: &Values, b: &Values) -> Vec<Row> {
    let mut names: Vec<String> = a.named().into_iter().chain(b.named()).map(|(name, _)| name).collect();
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()) && !EFFORTS.contains(&name.as_str()));
    let rows = names.into_iter().map(|name| Row {
        a: a.get(&name),
        b: b.get(&name),
        change: change(&name, spread(a, &name), spread(b, &name)),
        name: format!("{group}.{name}"),
    });
    rows.filter(|row| row.a.is_some() || row.b.is_some()).collect()
}

/// The spread of a figure over its legs; of one leg, the figure itself.
fn spread(values: &Values, name: &str) -> Option<Spread> {
    let value = values.get(name)?;
    Some(values.spread.get(name).copied().unwrap_or(Spread { min: value, max: value }))
}

fn change(name: &str, a: Option<Spread>, b: Option<Spread>) -> Change {
    let (Some(a), Some(b)) = (a, b) else { return Change::Unknown };
    if b.min > a.max {
        if more_is_better(name) { Change::Better } else { Change::Worse }
    } else if b.max < a.min {
        if more_is_better(name) { Change::Worse } else { Change::Better }
    } else {
        Change::Within
    }
}

/// What differs besides the figures.
fn differences(a: &Run, b: &Run) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            differences.push(format!("{what}: {a} | {b}"));
        }
    };
    differ("scenario", a.scenario.name.clone(), b.scenario.name.clone());
    differ("host", a.machine.host.clone(), b.machine.host.clone());
    differ("system", a.machine.system.clone(), b.machine.system.clone());
    differ("cpu", a.machine.cpu.clone(), b.machine.cpu.clone());
    differ("cores", a.machine.cores.to_string(), b.machine.cores.to_string());
    differ("memory", a.machine.memory_bytes.to_string(), b.machine.memory_bytes.to_string());
    differ("load tester", a.tester_version.clone(), b.tester_version.clone());
    differ("costs of", a.figures.of.clone(), b.figures.of.clone());
    differ("verdict", verdict(a).into(), verdict(b).into());
    differ("interrupted", a.interrupted.to_string(), b.interrupted.to_string());
    let (a, b) = (settings(&a.scenario.text), settings(&b.scenario.text));
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        let value = |settings: &BTreeMap<String, String>| settings.get(key).cloned().unwrap_or("–".into());
        differ(key, value(&a), value(&b));
    }
    differences
}

fn verdict(run: &Run) -> &'static str {
    if run.verdict.ok { "ok" } else { "not ok" }
}

/// The settings of a scenario's text, each under its section. Only for telling what differs: nothing is refused.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut sections = BTreeMap::<&str, u32>::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').filter(|line| line.ends_with(']')) {
            let name = name.trim_matches(['[', ']']);
            let met = sections.entry(name).and_modify(|met| *met += 1).or_insert(1);
            section = if *met == 1 { format!("{name}.") } else { format!("{name} {met}.") };
        } else {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            settings.insert(format!("{section}{}", key.trim()), value.trim().to_owned());
        }
    }
    settings
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "differs: {difference}")?;
        }
        if !self.differences.is_empty() {
            writeln!(f)?;
        }
        let head = ["figure", "A", "B", "B/A", "beyond the spread"].map(String::from);
        let rows = std::iter::once(head).chain(self.rows.iter().map(Row::cells));
        f.write_str(&crate::terminal::columns(&rows.collect::<Vec<_>>()))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, a, b, ratio, _] = self.cells();
        write!(f, "{name}: {a} → {b} ({ratio})")
    }
}
