//! The configuration of the standalone process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use longline_config::LogConfig;
use serde::{Deserialize, Serialize};

/// Configuration of `longline standalone`. The sections of the services are those of their own files, but where they listen,
/// whom they ask and where they store is decided here: their `[…node]` addresses, paths and stores have no effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of everything that is to survive a restart.
    pub(crate) data: PathBuf,
    /// Seconds that an ordered stop may take.
    pub(crate) shutdown_s: u64,
    /// Where it listens.
    pub(crate) listen: Listen,
    /// What it writes to stderr.
    pub(crate) log: LogConfig,
    /// As in keeper.toml.
    pub(crate) keeper: longline_keeper::Config,
    /// As in saver.toml.
    pub(crate) saver: longline_saver::Config,
    /// As in register.toml.
    pub(crate) register: longline_register::Config,
    /// As in coordinator.toml.
    pub(crate) coordinator: longline_coordinator::Config,
    /// As in room.toml.
    pub(crate) room: longline_room::Config,
    /// As in center.toml.
    pub(crate) center: longline_center::Config,
    /// As in dispatcher.toml.
    pub(crate) dispatcher: longline_dispatcher::Config,
}

/// Where the standalone process listens; port 0: any free one, which is printed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    /// The API, HTTP and gRPC.
    pub(crate) http: SocketAddr,
    /// Devices.
    pub(crate) room: SocketAddr,
    /// Devices that ask for a room.
    pub(crate) dispatcher: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub(crate) admin: SocketAddr,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("longline-data"),
            shutdown_s: 10,
            listen: Listen::default(),
            // What it prints for people is not to drown in what it logs.
            log: LogConfig { level: "warn".to_owned(), ..LogConfig::default() },
            keeper: longline_keeper::Config::default(),
            saver: longline_saver::Config::default(),
            register: longline_register::Config::default(),
            coordinator: longline_coordinator::Config::default(),
            room: longline_room::Config::default(),
            center: longline_center::Config::default(),
            dispatcher: longline_dispatcher::Config::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Listen {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Listen { http: loopback(8080), room: loopback(9000), dispatcher: loopback(0), admin: loopback(0) }
    }
}
