//! What a run of the load tester found: run.json, figures, comparison, the HTML report.

mod error;
mod figures;
mod latency;
mod leg;
mod run;
mod verdict;

pub use error::ReadError;
pub use figures::{Figures, LatencyFigures, MemoryFit, OwnCost, Ratios, RoleFigures, Spread};
pub use latency::{Distribution, HistogramError, Latencies, Percentiles};
pub use leg::{Leg, PhaseName, PhaseSpan, ProcessSample, Sample, Side, TESTER};
pub use run::{Agent, Death, Machine, Run, SCHEMA, Scenario, Server};
pub use verdict::{Counts, Example, Verdict};
