//! The part of the configuration that all roles share.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Who this node is, where it listens, and whom it asks: `[node]` in every role's file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// For people and logs; default: role and gRPC address.
    pub name: Option<String>,
    /// The data centre it stands in.
    pub idc: String,
    /// Keepers, host:port each. Not used by the keeper itself.
    pub keepers: Vec<String>,
    /// Where gRPC listens; port 0: a free one, which the keeper tells everybody.
    pub rpc: SocketAddr,
    /// host:port under which others reach `rpc`; default: the address it really listens on. Must be given when that is a wildcard.
    pub advertise: Option<String>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served; none: nowhere.
    pub admin: Option<SocketAddr>,
    /// Seconds that an ordered stop may take.
    pub shutdown_s: u64,
    /// What it writes to stderr.
    pub log: LogConfig,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            name: None,
            idc: "default".to_owned(),
            keepers: vec!["127.0.0.1:7700".to_owned()],
            rpc: any_loopback_port(),
            advertise: None,
            admin: Some(any_loopback_port()),
            shutdown_s: 10,
            log: LogConfig::default(),
        }
    }
}

impl NodeConfig {
    /// What others are told for a socket that really listens on `real`: the configured `advertise`, else `real` itself.
    pub fn advertised(&self, real: SocketAddr) -> Result<String, Unreachable> {
        match &self.advertise {
            Some(address) => Ok(address.clone()),
            None if real.ip().is_unspecified() => Err(Unreachable(real)),
            None => Ok(real.to_string()),
        }
    }
}

/// A wildcard address was about to be told to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "nobody can connect to {0}: set `advertise` in [node] to the host:port under which other nodes reach this one, \
     or `rpc` to one of its addresses"
)]
pub struct Unreachable(pub SocketAddr);

/// What a process writes to stderr: `[node.log]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or filters by module such as `info,longline_room=debug`. `RUST_LOG` wins.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

fn any_loopback_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_address_is_told_unless_it_is_a_wildcard() {
        let mut node = NodeConfig::default();
        assert_eq!(node.advertised("10.0.0.1:7705".parse().unwrap()).unwrap(), "10.0.0.1:7705");
        let refused = node.advertised("0.0.0.0:7705".parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains("`advertise`"), "{refused}");
        node.advertise = Some("room-1.east:7705".to_owned());
        assert_eq!(node.advertised("0.0.0.0:7705".parse().unwrap()).unwrap(), "room-1.east:7705");
    }
}
