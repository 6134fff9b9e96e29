//! A whole scenario.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Fault, Place};
use crate::section::{Given, Section};
use crate::sets::Set;
use crate::tree::Table;
use crate::{
    Agents, Broadcast, Churn, Devices, Hostile, Phases, Reference, ScenarioError, Servers, Storm, Unicast,
    Uplink, Verdict, checks, unknown,
};

/// What is run, with everything decided that the file left open.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Scenario {
    /// Short: letters, digits, `-` and `_`.
    pub name: String,
    /// One line for the report; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The system under load.
    pub servers: Servers,
    /// The processes that simulate the devices.
    pub agents: Agents,
    /// Who connects.
    pub devices: Devices,
    /// How long each part takes.
    pub phases: Phases,
    /// Messages to single users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unicast: Option<Unicast>,
    /// Messages to everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<Broadcast>,
    /// Devices that drop and return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
    /// Data from devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// Devices that misbehave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostile: Option<Hostile>,
    /// Everybody comes back at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// The same against the reference server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// What may go wrong.
    pub verdict: Verdict,
}

/// What goes on in a run beside heartbeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// `[unicast]`
    Unicast,
    /// `[broadcast]`
    Broadcast,
    /// `[churn]`
    Churn,
    /// `[uplink]`
    Uplink,
    /// `[hostile]`
    Hostile,
    /// `[storm]`
    Storm,
}

/// What a scenario may ask of the machine that runs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The cores that processes can be pinned to.
    pub cores: Vec<usize>,
}

impl Scenario {
    /// Reads a scenario for this machine, with `sets` (`key=value` each) over it in their order.
    ///
    /// # Errors
    /// The first thing that is wrong, with `file:line` or the set that gave it.
    pub fn load(path: &Path, sets: &[String]) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ScenarioError::Unreadable { path: path.to_owned(), reason })?;
        Scenario::parse(path, &text, sets, &Machine::this())
    }

    /// The same of a text; `path` is for errors.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn parse(
        path: &Path,
        text: &str,
        sets: &[String],
        machine: &Machine,
    ) -> Result<Scenario, ScenarioError> {
        let sets: Vec<Set> = sets.iter().map(|text| Set::new(text)).collect();
        read(text, &sets, machine).map_err(|fault| fault.named(path, &sets))
    }

    /// What goes on beside heartbeats.
    pub fn activities(&self) -> Vec<Activity> {
        let all = [
            (self.unicast.is_some(), Activity::Unicast),
            (self.broadcast.is_some(), Activity::Broadcast),
            (self.churn.is_some(), Activity::Churn),
            (self.uplink.is_some(), Activity::Uplink),
            (self.hostile.is_some(), Activity::Hostile),
            (self.storm.is_some(), Activity::Storm),
        ];
        all.into_iter().filter(|(runs, _)| *runs).map(|(_, activity)| activity).collect()
    }

    /// How often the system runs, and, if there is a reference, the reference too.
    pub fn rounds(&self) -> u32 {
        self.reference.map_or(1, |reference| reference.rounds)
    }

    /// How long the devices take to connect at the rate asked for.
    pub fn ramp(&self) -> Duration {
        match self.devices.connects_per_second {
            rate if rate > 0.0 => Duration::from_secs_f64(f64::from(self.devices.count) / rate),
            _ => Duration::ZERO,
        }
    }

    /// How long one leg takes from the first connect at most, if the system keeps up with the ramp.
    pub fn leg(&self) -> Duration {
        self.ramp() + self.phases.warm_up() + self.phases.measured() + self.phases.settle()
    }

    /// How long all legs take at most, without the start and the end of processes.
    pub fn length(&self) -> Duration {
        self.leg() * self.rounds() * if self.reference.is_some() { 2 } else { 1 }
    }

    /// As a scenario file, without comments and with everything in it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("it was read from TOML")
    }

    /// As JSON, for agents and the report.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("every key is a text and every number is finite")
    }
}

impl Activity {
    /// The name of its section.
    pub fn name(self) -> &'static str {
        match self {
            Activity::Unicast => "unicast",
            Activity::Broadcast => "broadcast",
            Activity::Churn => "churn",
            Activity::Uplink => "uplink",
            Activity::Hostile => "hostile",
            Activity::Storm => "storm",
        }
    }
}

impl Machine {
    /// This machine, as far as this process may use it.
    pub fn this() -> Machine {
        let cores = match rustix::thread::sched_getaffinity(None) {
            Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
            Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
        };
        Machine { cores }
    }

    pub(crate) fn read_cores(&self, given: &Given<'_>) -> Result<Vec<usize>, Fault> {
        let core = |given: Given<'_>| {
            let core = given.whole(0..=usize::MAX)?;
            if self.cores.contains(&core) {
                return Ok(core);
            }
            let there: Vec<String> = self.cores.iter().map(ToString::to_string).collect();
            let there = there.join(", ");
            Err(given.fault(format!("has {core}, but this machine's cores are {there}; [] pins nothing")))
        };
        given.list()?.into_iter().map(core).collect()
    }
}

fn read(text: &str, sets: &[Set], machine: &Machine) -> Result<Scenario, Fault> {
    let mut tree = Table::parse(text)?;
    for (index, set) in sets.iter().enumerate() {
        set.apply(&mut tree, index)?;
    }
    unknown::check(&tree, sets)?;
    let root = Section::root(&tree);
    let scenario = Scenario {
        name: root.must("name", name)?,
        description: root.or("description", String::new(), |given| given.text().map(str::to_owned))?,
        servers: Servers::read(&root.section_or_empty("servers")?, machine)?,
        agents: Agents::read(&root.section_or_empty("agents")?, machine)?,
        devices: Devices::read(&root.must_section("devices")?)?,
        phases: Phases::read(&root.must_section("phases")?)?,
        unicast: root.section("unicast")?.as_ref().map(Unicast::read).transpose()?,
        broadcast: root.section("broadcast")?.as_ref().map(Broadcast::read).transpose()?,
        churn: root.section("churn")?.as_ref().map(Churn::read).transpose()?,
        uplink: root.section("uplink")?.as_ref().map(Uplink::read).transpose()?,
        hostile: root.section("hostile")?.as_ref().map(Hostile::read).transpose()?,
        storm: root.section("storm")?.as_ref().map(Storm::read).transpose()?,
        reference: root.section("reference")?.as_ref().map(Reference::read).transpose()?,
        verdict: Verdict::read(&root.section_or_empty("verdict")?)?,
    };
    checks::check(&scenario, |path: &str| -> Place { root.place_of(path) })?;
    Ok(scenario)
}

fn name(given: Given<'_>) -> Result<String, Fault> {
    let name = given.text()?;
    let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if fits && name.len() <= 64 {
        Ok(name.to_owned())
    } else {
        Err(given.fault(format!("is up to 64 letters, digits, - and _, not {name:?}")))
    }
}
