//! What a run of the load tester found: run.json, figures, comparison, the HTML report.
//!
//! The controller fills a [`Run`] with its [`Leg`]s and the [`Verdict`], [`Run::conclude`] works the [`Figures`] and [`Ratios`] out of
//! them, [`Run::to_json`] writes `run.json` (documented in `SCHEMA.md`), [`html`] the report, [`summary`] the text for the
//! terminal. [`compare`] holds two runs against each other.

mod compare;
mod error;
mod figures;
mod labels;
mod latency;
mod leg;
mod report;
mod run;
mod terminal;
mod units;

pub use compare::{Change, Comparison, Row, compare};
pub use error::ReadError;
pub use figures::{Figures, LatencyFigures, MemoryFit, OwnCost, Ratios, RoleFigures, Spread, Values};
pub use latency::{Distribution, HistogramError, Latencies, Percentiles};
pub use leg::{Leg, PhaseName, PhaseSpan, ProcessSample, Sample, Side, TESTER, Uplinks};
pub use longline_load_truth::{Counts, Example, Fault, Verdict};
pub use report::html;
pub use run::{Agent, Death, Machine, Run, SCHEMA, Scenario, Server};
pub use terminal::summary;
