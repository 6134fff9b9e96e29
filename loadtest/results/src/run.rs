//! `run.json` as a whole: what ran where, and what came out.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::figures::{evaluate, own_cost};
use crate::{Example, Figures, Leg, OwnCost, Ratios, ReadError, Verdict};

/// The form of `run.json` that this version writes and reads.
pub const SCHEMA: u32 = 1;

/// One run of the load tester. `SCHEMA.md` documents every field; times without a date are seconds since the start of their leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The form of this file: [`SCHEMA`].
    pub schema: u32,
    /// Version of the load tester that wrote it.
    pub tester_version: String,
    /// When the run started, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// When it ended, milliseconds since the Unix epoch.
    pub ended_ms: u64,
    /// Whether it was ended early (Ctrl-C): then everything here is about the part that ran.
    pub interrupted: bool,
    /// The machine of the controller.
    pub machine: Machine,
    /// The scenario as it was run.
    pub scenario: Scenario,
    /// The server processes under load and what stands behind them.
    pub servers: Vec<Server>,
    /// Who simulated the devices.
    pub agents: Vec<Agent>,
    /// What became of the messages of the system's legs.
    pub verdict: Verdict,
    /// Some of the messages that went wrong, in the system's legs.
    pub examples: Vec<Example>,
    /// The system's figures: the median over its legs.
    pub figures: Figures,
    /// The same figures of `raw`, where it ran beside the system.
    pub reference: Option<Figures>,
    /// The system's figures divided by those of `raw` in the same round.
    pub ratios: Option<Ratios>,
    /// What the load tester itself cost.
    pub own: OwnCost,
    /// One side in one round each, in the order in which they ran.
    pub legs: Vec<Leg>,
}

/// The machine on which the controller ran; servers and agents that it started itself ran there too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// Operating system and its kernel's version, like `Linux 6.1.0`.
    pub system: String,
    /// The processor's model name.
    pub cpu: String,
    /// Logical cores.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// How many files one process may open.
    pub open_files: u64,
}

/// The scenario as it was run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it shows, in one line.
    pub description: String,
    /// Where the servers came from: `standalone`, `cluster` or `external`.
    pub mode: String,
    /// What `--set` changed, as `key=value`.
    pub overrides: Vec<String>,
    /// The whole of it in TOML, changes included, without keys and other secrets.
    pub text: String,
}

/// A server process, or a server that was pointed at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// What it does: `standalone`, a service's name, `raw`, `redis`, `mariadb`.
    pub role: String,
    /// Its name, like `room-1`.
    pub name: String,
    /// Its version as it told it; empty if it did not.
    pub version: String,
    /// The cores to which it was pinned; empty if it was not.
    pub cores: Vec<u32>,
}

/// One process of simulated devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its name, like `agent-1`.
    pub name: String,
    /// Where it was reached, if it was not started by the controller: `address:port`.
    pub remote: Option<String>,
    /// How many devices were its.
    pub devices: u64,
    /// Its end, if it died: its devices are counted out from then on.
    pub died: Option<Death>,
}

/// The end of an agent during the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Death {
    /// The side that was running.
    pub side: crate::Side,
    /// The round that was running.
    pub round: u32,
    /// When in that leg, in seconds.
    pub at_s: f64,
    /// What is known of why.
    pub reason: String,
}

impl Run {
    /// Works the figures, the ratios and the own cost out of the legs and keeps them. Call it once, when the legs are whole.
    pub fn conclude(&mut self) {
        let outcome = evaluate(&self.legs);
        self.figures = outcome.figures;
        self.reference = outcome.reference;
        self.ratios = outcome.ratios;
        self.own = own_cost(&self.legs, &self.agents);
    }

    /// The text of `run.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("keys are strings and numbers are numbers");
        text.push('\n');
        text
    }

    /// Reads the text of a `run.json`.
    ///
    /// # Errors
    ///
    /// When the text is not a `run.json`, or is one of another form.
    pub fn parse(text: &str) -> Result<Run, ReadError> {
        #[derive(Deserialize)]
        struct Form {
            schema: u32,
        }
        let Form { schema } = serde_json::from_str(text)?;
        if schema != SCHEMA {
            return Err(ReadError::Schema { found: schema });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// Reads a `run.json` from a file.
    ///
    /// # Errors
    ///
    /// As [`Run::parse`], and when the file cannot be read.
    pub fn read(path: &Path) -> Result<Run, ReadError> {
        Run::parse(&std::fs::read_to_string(path)?)
    }
}
