//! `longline-loadtest run`: the controller of a run, from the scenario file to the report.

mod agent;
mod broadcasts;
mod findings;
mod fleet;
mod leg;
mod record;
mod secrets;
mod series;
mod sides;
mod uplinks;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use longline_load_results::{Leg, Side};
use longline_load_scenario::{External, LocalAgents, Scenario, Servers};
use longline_load_target::StartOptions;
use tokio_util::sync::CancellationToken;

use crate::cli;
use crate::display::Display;
use crate::link::Assignment;
use crate::system;
use findings::Findings;
use fleet::{Fleet, Local};
use leg::Course;
use record::Record;
use secrets::Secrets;
use sides::UnderLoad;
use uplinks::Business;

/// Runs a scenario. Green, red, or an error if it could not be run.
pub(crate) async fn run(args: cli::Run, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let scenario = Scenario::load(&args.scenario, &sets(&args)?)?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let mut display = Display::new(args.quiet);
    let record = Record::begin(&scenario, &args.sets)?;

    let mut business = match &scenario.uplink {
        Some(_) => Some(Business::open(false).await?),
        None => None,
    };
    let options = StartOptions {
        binary: args.binary.map_or_else(|| sides::beside("longline"), Ok)?,
        tokens: scenario.devices.tokens,
        broadcast_per_second: scenario.broadcast.map_or(0, |broadcast| broadcast.per_second),
        uplink_url: business.as_ref().map(Business::url),
        tester: std::env::current_exe().context("cannot find this program's own file")?,
        other_cores: other_cores(&scenario).to_vec(),
    };
    display.note(&format!("{}: starting {}", scenario.name, servers(&scenario)));
    let secrets = Secrets::new(&scenario.devices, &scenario.servers)?;
    let mut system =
        UnderLoad::system(&secrets.lay_under(&scenario.servers), secrets.trust.clone(), options).await?;
    let mut raw = match scenario.reference {
        Some(_) => Some(UnderLoad::raw(cores(&scenario)).await?),
        None => None,
    };
    check_ports(&scenario, &system)?;
    let mut fleet = fleet(&scenario).await?;

    let mut legs = Legs {
        scenario: &scenario,
        fleet: &mut fleet,
        display: &mut display,
        business: business.as_mut(),
        stop: &stop,
        done: Vec::new(),
        findings: Vec::new(),
    };
    for round in 1..=scenario.rounds() {
        if let Some(raw) = &mut raw {
            legs.run(Side::Raw, round, raw).await?;
        }
        legs.run(Side::System, round, &mut system).await?;
    }
    let Legs { done, findings, .. } = legs;

    display.end();
    let servers = record::servers(&scenario, &mut system, raw.as_mut());
    let run = record.end(&scenario, servers, &fleet, done, &findings, stop.is_cancelled());
    record::write(&run, &args.out)?;
    drop(fleet);
    for under_load in raw.into_iter().chain([system]) {
        if let Err(error) = under_load.stop().await {
            eprintln!("what was under load did not stop in order: {error:#}");
        }
    }
    Ok(if run.verdict.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The legs of a run, one after the other.
struct Legs<'a> {
    scenario: &'a Scenario,
    fleet: &'a mut Fleet,
    display: &'a mut Display,
    business: Option<&'a mut Business>,
    stop: &'a CancellationToken,
    done: Vec<Leg>,
    /// Of the system's legs.
    findings: Vec<Findings>,
}

impl Legs<'_> {
    /// One more, unless the run was stopped.
    async fn run(&mut self, side: Side, round: u32, under_load: &mut UnderLoad) -> anyhow::Result<()> {
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let number = u32::try_from(self.done.len())? + 1;
        let assignment = Assignment {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: std::process::id().wrapping_mul(1_000).wrapping_add(number),
            agent: 0,
            agents: 0,
            users: 0..0,
            prefix: format!("{}-{}-{number}", self.scenario.name, std::process::id()),
            scenario: self.scenario.clone(),
            side: under_load.side(self.scenario)?,
        };
        let course = Course {
            scenario: self.scenario,
            fleet: self.fleet,
            under_load,
            display: self.display,
            business: self.business.as_deref_mut().filter(|_| side == Side::System),
            stop: self.stop,
            side,
            round,
        };
        let ended = leg::run(course, &assignment).await?;
        self.done.push(ended.leg);
        if side == Side::System {
            self.findings.push(ended.findings);
        }
        Ok(())
    }
}

/// `--set`s, and what points at a running system.
fn sets(args: &cli::Run) -> anyhow::Result<Vec<String>> {
    let mut sets = Vec::new();
    if !args.api.is_empty() {
        // With the admin key the run makes a product of its own.
        let own_product = args.admin_key.is_some();
        let product = args.product.or(own_product.then_some(0));
        let key = args.key.clone().filter(|_| args.product.is_some() || !own_product);
        let external = External {
            api: args.api.clone(),
            dispatcher: args.dispatcher.clone().context("--api needs --dispatcher URL")?,
            product: product.context("--api needs --product ID, or --admin-key")?,
            key: key.or(own_product.then(String::new)).context("--api needs --key, the product's key")?,
            admin_key: args.admin_key.clone(),
        };
        sets.push(external.to_set());
    }
    ensure!(args.dispatcher.is_none() || !args.api.is_empty(), "--dispatcher needs --api URL");
    sets.extend(args.sets.iter().cloned());
    Ok(sets)
}

/// As many local agents as are needed, and the remote ones.
async fn fleet(scenario: &Scenario) -> anyhow::Result<Fleet> {
    let (agents, devices) = (&scenario.agents, scenario.devices.count);
    let open_files = system::open_files();
    let count = match agents.local {
        LocalAgents::Count(count) => count,
        // Remote agents do the whole of it where there are any.
        LocalAgents::Auto if !agents.remote.is_empty() => 0,
        LocalAgents::Auto => fleet::needed(devices, open_files),
    };
    if scenario.reference.is_some() {
        ensure!(
            fleet::needed(devices, open_files) == 1,
            "the reference server is one process, and a process may open {open_files} files here: lower devices.count"
        );
    }
    Fleet::start(Local { count, cores: &agents.cores }, &agents.remote).await
}

fn check_ports(scenario: &Scenario, system: &UnderLoad) -> anyhow::Result<()> {
    let (devices, sources) = (scenario.devices.count, scenario.agents.source_addresses().len());
    let enough = !scenario.agents.remote.is_empty() || fleet::ports_suffice(devices, sources, system.rooms());
    ensure!(
        enough,
        "{devices} devices need more source addresses: give [agents] sources, such as [\"127.1.0.0/28\"] on one machine"
    );
    Ok(())
}

fn cores(scenario: &Scenario) -> &[usize] {
    match &scenario.servers {
        Servers::Standalone(local) | Servers::Cluster { local, .. } => &local.cores,
        Servers::Room(room) => &room.local.cores,
        Servers::External(_) => &[],
    }
}

/// Where what stands around a room alone runs.
fn other_cores(scenario: &Scenario) -> &[usize] {
    match &scenario.servers {
        Servers::Room(room) if !room.other_cores.is_empty() => &room.other_cores,
        _ => &scenario.agents.cores,
    }
}

fn servers(scenario: &Scenario) -> String {
    match &scenario.servers {
        Servers::Standalone(_) => "a standalone process".to_owned(),
        Servers::Cluster { counts, .. } => {
            format!("a cluster with {} rooms, Redis and MariaDB", counts.rooms)
        }
        Servers::Room(_) => "a room alone, before a backend in memory".to_owned(),
        Servers::External(external) => format!("nothing, {} runs already", external.api.join(" ")),
    }
}

/// Where run.json and report.html of a run are.
fn files(out: &std::path::Path) -> (PathBuf, PathBuf) {
    (out.join("run.json"), out.join("report.html"))
}
