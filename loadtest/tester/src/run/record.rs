//! The record of a run: run.json, report.html, the summary.

use std::path::Path;

use anyhow::Context as _;
use longline_load_results::{
    Agent, Death, Figures, Leg, Machine, OwnCost, Run, SCHEMA, Scenario as ScenarioRecord, Server, html,
    summary,
};
use longline_load_scenario::{Scenario, Servers};
use longline_load_truth::Clock;

use super::findings::Findings;
use super::fleet::Fleet;
use super::sides::UnderLoad;
use super::{cores, files, other_cores};
use crate::system;

/// What is known when a run begins.
pub(crate) struct Record {
    started_ms: u64,
    machine: Machine,
    scenario: ScenarioRecord,
}

impl Record {
    pub(crate) fn begin(scenario: &Scenario, sets: &[String]) -> anyhow::Result<Record> {
        let machine = longline_load_target::Machine::read()?;
        Ok(Record {
            started_ms: now_ms(),
            machine: Machine {
                host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                system: format!("Linux {}", machine.kernel),
                cpu: machine.cpu,
                cores: machine.cores.try_into()?,
                memory_bytes: machine.memory_bytes,
                open_files: system::open_files(),
            },
            scenario: ScenarioRecord {
                name: scenario.name.clone(),
                description: scenario.description.clone(),
                mode: mode(&scenario.servers).to_owned(),
                overrides: sets.iter().filter(|set| !set.contains("key")).cloned().collect(),
                text: without_keys(scenario).to_toml(),
            },
        })
    }

    /// The whole record, figures included.
    pub(crate) fn end(
        self,
        scenario: &Scenario,
        servers: Vec<Server>,
        fleet: &Fleet,
        legs: Vec<Leg>,
        findings: &[Findings],
        interrupted: bool,
    ) -> Run {
        let (verdict, examples) = Findings::judge(findings, &scenario.verdict);
        let mut run = Run {
            schema: SCHEMA,
            tester_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            ended_ms: now_ms(),
            interrupted,
            machine: self.machine,
            scenario: self.scenario,
            servers,
            agents: fleet.agents().iter().map(|agent| agent_record(agent, &legs)).collect(),
            verdict,
            examples,
            figures: Figures::default(),
            reference: None,
            ratios: None,
            own: OwnCost::default(),
            legs,
        };
        run.conclude();
        run
    }
}

/// Writes run.json and report.html, and prints the summary.
pub(crate) fn write(run: &Run, out: &Path) -> anyhow::Result<()> {
    let (json, page) = files(out);
    std::fs::write(&json, run.to_json()).with_context(|| format!("cannot write {}", json.display()))?;
    std::fs::write(&page, html(run)).with_context(|| format!("cannot write {}", page.display()))?;
    print!("{}", summary(run));
    println!("report: {}", page.display());
    Ok(())
}

/// What ran, for the record.
pub(crate) fn servers(
    scenario: &Scenario,
    system: &mut UnderLoad,
    raw: Option<&mut UnderLoad>,
) -> Vec<Server> {
    let cores = |role: &str| match &scenario.servers {
        Servers::Room(_) if !["room", "raw"].contains(&role) => other_cores(scenario).to_vec(),
        _ => cores(scenario).to_vec(),
    };
    let mut servers = system.servers(cores);
    servers.extend(raw.into_iter().flat_map(|raw| raw.servers(cores)));
    servers
}

fn agent_record(agent: &super::fleet::Agent, legs: &[Leg]) -> Agent {
    let died = agent.dead.as_ref().map(|dead| {
        let leg = legs.iter().rfind(|leg| leg.started_ms <= dead.at_ms);
        Death {
            side: leg.map(|leg| leg.side).unwrap_or_default(),
            round: leg.map(|leg| leg.round).unwrap_or_default(),
            at_s: leg.map_or(0.0, |leg| (dead.at_ms - leg.started_ms) as f64 / 1000.0),
            reason: dead.why.clone(),
        }
    });
    Agent {
        name: agent.name.clone(),
        remote: agent.pid.is_none().then(|| agent.name.clone()),
        devices: agent.users.len() as u64,
        died,
    }
}

/// The scenario as it may be shown to everybody.
fn without_keys(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    if let Servers::External(external) = &mut scenario.servers {
        external.key = "…".to_owned();
        external.admin_key = external.admin_key.take().map(|_| "…".to_owned());
    }
    scenario
}

fn mode(servers: &Servers) -> &'static str {
    match servers {
        Servers::Standalone(_) => "standalone",
        Servers::Cluster { .. } => "cluster",
        Servers::Room(_) => "room",
        Servers::External(_) => "external",
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    Clock::new().now() / 1000
}
