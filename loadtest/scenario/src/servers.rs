//! `[servers]`: the system under load.

use std::collections::BTreeMap;

use longline_types::Role;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::error::Fault;
use crate::scenario::Machine;
use crate::section::{Given, Section};
use crate::tree::Value;

/// The system under load.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum Servers {
    /// One process with every role in it and SQLite below, started for the run.
    Standalone(Local),
    /// Processes of every role with a Redis and a MariaDB, started for the run.
    Cluster {
        /// How many of each.
        #[serde(flatten)]
        counts: Counts,
        /// Where and with which settings.
        #[serde(flatten)]
        local: Local,
    },
    /// One room process alone on its cores, with a keeper, a register and the tester's own backend on others.
    Room(Room),
    /// A system that runs already and is only pointed at.
    External(External),
}

/// A room that is measured alone.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Room {
    /// The cores of everything else that is started; empty: those of the agents.
    #[serde(default)]
    pub other_cores: Vec<usize>,
    /// The product's window: messages in flight per bind; none: a product's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// The room's cores, and the settings of the room, the register and the keeper.
    #[serde(flatten)]
    pub local: Local,
}

/// How the servers run that are started for the run.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Local {
    /// The cores that all of them are pinned to, numbered as the kernel does; empty: not pinned.
    #[serde(default)]
    pub cores: Vec<usize>,
    /// By role name, what is laid over its configuration: `{"room": {"engine": {"check_s": 2}}}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Table>,
}

/// Processes per role; the keeper is always one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counts {
    /// Gateways.
    pub rooms: usize,
    /// Of routes.
    pub registers: usize,
    /// Of storage.
    pub savers: usize,
    /// Of the API.
    pub centers: usize,
    /// Of uplink and presence.
    pub coordinators: usize,
    /// Of those who choose rooms.
    pub dispatchers: usize,
}

/// Where a system that runs already is, and what it lets the tester do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct External {
    /// URLs of the centers, at least one.
    pub api: Vec<String>,
    /// URL of a dispatcher.
    pub dispatcher: String,
    /// The product whose users the devices are; 0 if the run makes one of its own with the operator's key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub product: u32,
    /// Its key; empty if the run makes a product.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key: String,
    /// The operator's key, with which the run makes a product of its own and finds the rooms and their metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_key: Option<String>,
}

impl Counts {
    /// As many as of this role; one keeper.
    pub fn of(&self, role: Role) -> usize {
        match role {
            Role::Keeper => 1,
            Role::Register => self.registers,
            Role::Saver => self.savers,
            Role::Coordinator => self.coordinators,
            Role::Center => self.centers,
            Role::Dispatcher => self.dispatchers,
            Role::Room => self.rooms,
        }
    }
}

impl External {
    /// The `--set` that points a scenario at this system, whatever servers its file names.
    pub fn to_set(&self) -> String {
        let mut keys = vec![
            "mode = \"external\"".to_owned(),
            format!("api = {}", toml::Value::from(self.api.clone())),
            format!("dispatcher = {}", toml::Value::from(self.dispatcher.clone())),
        ];
        let text = |name: &str, text: &str| format!("{name} = {}", toml::Value::from(text));
        keys.extend((self.product > 0).then(|| format!("product = {}", self.product)));
        keys.extend((!self.key.is_empty()).then(|| text("key", &self.key)));
        keys.extend(self.admin_key.as_ref().map(|key| text("admin_key", key)));
        format!("servers={{ {} }}", keys.join(", "))
    }
}

impl Servers {
    /// How many rooms there are, if that is known.
    pub fn rooms(&self) -> Option<usize> {
        match self {
            Servers::Standalone(_) | Servers::Room(_) => Some(1),
            Servers::Cluster { counts, .. } => Some(counts.rooms),
            Servers::External(_) => None,
        }
    }

    pub(crate) fn read(section: &Section<'_>, machine: &Machine) -> Result<Servers, Fault> {
        const MODES: [(&str, Mode); 4] = [
            ("standalone", Mode::Standalone),
            ("cluster", Mode::Cluster),
            ("room", Mode::Room),
            ("external", Mode::External),
        ];
        let mode = section.or("mode", Mode::Standalone, |given| given.choice(&MODES))?;
        if mode != Mode::Cluster {
            section.refuse(&COUNTS, "is for mode = \"cluster\" only")?;
        }
        if mode != Mode::Room {
            section.refuse(&ROOM, "is for mode = \"room\" only")?;
        }
        if mode == Mode::External {
            section.refuse(&LOCAL, "is for servers that are started for the run, not for external ones")?;
            return Ok(Servers::External(external(section)?));
        }
        section.refuse(&EXTERNAL, "is for mode = \"external\" only")?;
        let cores = section.or("cores", Vec::new(), |given| machine.read_cores(&given))?;
        let given = section.section_or_empty("settings")?;
        if mode == Mode::Room {
            given.refuse(
                &NOT_STARTED,
                "is of no use: mode = \"room\" starts a keeper, a register and a room only",
            )?;
        }
        let local = Local { cores, settings: settings(&given)? };
        match mode {
            Mode::Room => Ok(Servers::Room(room(section, local, machine)?)),
            Mode::Cluster => Ok(Servers::Cluster { counts: counts(section)?, local }),
            _ => Ok(Servers::Standalone(local)),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Standalone,
    Cluster,
    Room,
    External,
}

const COUNTS: [&str; 6] = ["rooms", "registers", "savers", "centers", "coordinators", "dispatchers"];
const LOCAL: [&str; 2] = ["cores", "settings"];
const EXTERNAL: [&str; 5] = ["api", "dispatcher", "product", "key", "admin_key"];
const ROOM: [&str; 2] = ["other_cores", "window"];
const NOT_STARTED: [&str; 4] = ["saver", "center", "coordinator", "dispatcher"];
/// Processes of one role.
const MOST: usize = 1000;

fn counts(section: &Section<'_>) -> Result<Counts, Fault> {
    let count = |key| section.or(key, 1, |given| given.whole(1..=MOST));
    Ok(Counts {
        rooms: count("rooms")?,
        registers: count("registers")?,
        savers: count("savers")?,
        centers: count("centers")?,
        coordinators: count("coordinators")?,
        dispatchers: count("dispatchers")?,
    })
}

fn room(section: &Section<'_>, local: Local, machine: &Machine) -> Result<Room, Fault> {
    let other_cores = section.or("other_cores", Vec::new(), |given| machine.read_cores(&given))?;
    let window = section.maybe("window", |given| given.whole(1..=u32::from(u16::MAX)))?;
    Ok(Room { local, other_cores, window })
}

fn external(section: &Section<'_>) -> Result<External, Fault> {
    let url = |given: Given<'_>| {
        let text = given.text()?.trim_end_matches('/');
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        if host.is_none_or(str::is_empty) {
            return Err(given.fault(format!("is a URL as http://host:port, not {text:?}")));
        }
        Ok(text.to_owned())
    };
    let urls = |given: Given<'_>| match given.list()? {
        list if list.is_empty() => Err(given.fault("needs at least one URL")),
        list => list.into_iter().map(url).collect(),
    };
    let text = |given: Given<'_>| given.text().map(str::to_owned);
    let number = |given: Given<'_>| given.whole(1..=u32::MAX);
    let (api, dispatcher) = (section.must("api", urls)?, section.must("dispatcher", url)?);
    let admin_key = section.maybe("admin_key", text)?;
    let (product, key) = match admin_key {
        Some(_) => (section.or("product", 0, number)?, section.or("key", String::new(), text)?),
        None => (section.must("product", number)?, section.must("key", text)?),
    };
    Ok(External { api, dispatcher, product, key, admin_key })
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn settings(section: &Section<'_>) -> Result<BTreeMap<String, Table>, Fault> {
    let roles = Role::ALL.map(|role| (role.name(), role));
    let of_role = |(key, given): (&str, Given<'_>)| {
        if !roles.iter().any(|(name, _)| *name == key) {
            let known = roles.map(|(name, _)| name).join(", ");
            return Err(Fault::new(section.place_of(key), format!("{key} is no role; roles are {known}")));
        }
        match &given.node().value {
            Value::Table(table) => Ok((key.to_owned(), table.to_toml())),
            other => Err(given.fault(format!("is a section, not {}", other.describe()))),
        }
    };
    section.entries().map(of_role).collect()
}
