//! The scenario file of the load tester: types, parsing, checks.
//!
//! [`Scenario::load`] reads a file, lays `--set key=value` over it, fills in defaults and checks everything before anything is
//! started; a refusal names the file and the line, or the set. What is read is resolved: shares add up to 1, exclusive choices
//! are enums. Written as TOML ([`Scenario::to_toml`]) it is a scenario file again; as JSON it goes to the agents and into the
//! report. Every key is listed in [`KEYS`], from which the table in `loadtest/README.md` is made.

mod agents;
mod checks;
mod devices;
mod error;
mod keys;
mod phases;
mod scenario;
mod section;
mod servers;
mod sets;
mod shares;
mod traffic;
mod tree;
mod trouble;
mod unknown;
mod verdict;

pub use agents::{Agents, LocalAgents};
pub use devices::{Devices, Network, NetworkKind, Route, Transport};
pub use error::ScenarioError;
pub use keys::{KEYS, Key, key_table};
pub use phases::Phases;
pub use scenario::{Activity, Machine, Scenario};
pub use servers::{Counts, External, Local, Room, Servers};
pub use traffic::{Broadcast, Class, Pace, PayloadSize, Unicast, Uplink, Via};
pub use trouble::{Churn, Hostile, Storm, StormKind};
pub use verdict::{Reference, Verdict};
