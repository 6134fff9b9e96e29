//! `[agents]`: the processes that simulate the devices.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::scenario::Machine;
use crate::section::{Given, Section};

/// The processes that simulate the devices.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Agents {
    /// Those that are started on this machine.
    pub local: LocalAgents,
    /// host:port of agents that wait elsewhere.
    pub remote: Vec<String>,
    /// The cores that local agents are pinned to; empty: not pinned.
    pub cores: Vec<usize>,
    /// Threads of each agent.
    pub threads: usize,
    /// Where devices connect from; every agent's machine has to have these. Empty: the kernel chooses.
    pub sources: Vec<IpNet>,
    /// Shortest time between two looks at sockets and timers, in milliseconds; 0: whenever there is something.
    pub step_ms: u32,
}

/// How many agents are started on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum LocalAgents {
    /// As many as the limit on open files asks; none beside remote ones.
    Auto,
    /// So many; 0 only beside remote ones.
    Count(usize),
}

/// Most addresses that `sources` may name.
const SOURCES: u128 = 65_536;

impl Agents {
    /// Every address that `sources` names, in order, each once. Of networks with more than two addresses the first and the last are
    /// left out (IPv4), which are no hosts' addresses.
    pub fn source_addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.sources.iter().flat_map(IpNet::hosts).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    pub(crate) fn read(section: &Section<'_>, machine: &Machine) -> Result<Agents, Fault> {
        Ok(Agents {
            local: section.or("local", LocalAgents::Auto, local)?,
            remote: section.or("remote", Vec::new(), remote)?,
            cores: section.or("cores", Vec::new(), |given| machine.read_cores(&given))?,
            threads: section.or("threads", 1, |given| given.whole(1..=256))?,
            sources: section.or("sources", Vec::new(), sources)?,
            step_ms: section.or("step_ms", 0, |given| given.whole(0..=1000))?,
        })
    }
}

fn local(given: Given<'_>) -> Result<LocalAgents, Fault> {
    match given.text() {
        Ok("auto") => Ok(LocalAgents::Auto),
        Ok(other) => Err(given.fault(format!("is \"auto\" or a number, not {other:?}"))),
        Err(_) => given.whole(0..=1000).map(LocalAgents::Count),
    }
}

fn remote(given: Given<'_>) -> Result<Vec<String>, Fault> {
    let address = |given: Given<'_>| {
        let text = given.text()?;
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        match port.and_then(|port| port.parse::<u16>().ok()) {
            Some(port) if port > 0 => Ok(text.to_owned()),
            _ => Err(given.fault(format!("is host:port, not {text:?}"))),
        }
    };
    given.list()?.into_iter().map(address).collect()
}

fn sources(given: Given<'_>) -> Result<Vec<IpNet>, Fault> {
    let mut count = 0;
    let source = |given: Given<'_>| {
        let text = given.text()?;
        let network = text.parse().map(|ip: IpAddr| IpNet::from(ip)).or_else(|_| text.parse::<IpNet>());
        let network = network.map_err(|_| {
            given.fault(format!("has {text:?}, which is no address and no network (10.0.0.2, 10.0.0.0/28)"))
        })?;
        count += 1_u128 << (network.max_prefix_len() - network.prefix_len()).min(64);
        if count > SOURCES {
            return Err(given.fault(format!("names more than {SOURCES} addresses")));
        }
        Ok(network)
    };
    given.list()?.into_iter().map(source).collect()
}

/// How it stands in a scenario.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Count(usize),
    Word(String),
}

impl From<LocalAgents> for Written {
    fn from(local: LocalAgents) -> Written {
        match local {
            LocalAgents::Auto => Written::Word("auto".to_owned()),
            LocalAgents::Count(count) => Written::Count(count),
        }
    }
}

impl TryFrom<Written> for LocalAgents {
    type Error = String;

    fn try_from(written: Written) -> Result<LocalAgents, String> {
        match written {
            Written::Count(count) => Ok(LocalAgents::Count(count)),
            Written::Word(word) if word == "auto" => Ok(LocalAgents::Auto),
            Written::Word(word) => Err(format!("{word:?} is neither \"auto\" nor a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_addresses_and_the_hosts_of_networks() {
        let of = |sources: &[&str]| {
            let sources = sources.iter().map(|s| s.parse().unwrap()).collect();
            let local = LocalAgents::Auto;
            let agents = Agents { local, remote: vec![], cores: vec![], threads: 1, sources, step_ms: 0 };
            agents.source_addresses().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(&["127.0.0.9/32", "127.1.0.0/30"]), ["127.0.0.9", "127.1.0.1", "127.1.0.2"]);
        assert_eq!(of(&["10.0.0.1/32", "10.0.0.0/31"]), ["10.0.0.0", "10.0.0.1"], "each once");
        assert_eq!(of(&["127.1.0.0/24"]).len(), 254);
        assert!(of(&[]).is_empty());
    }
}
