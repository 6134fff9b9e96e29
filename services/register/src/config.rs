use std::time::Duration;

use anyhow::ensure;
use longline_config::NodeConfig;
use serde::{Deserialize, Serialize};

/// Configuration of a register.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name, listener, keepers and so on.
    pub node: NodeConfig,
    /// Most displaced sessions whose rooms have not confirmed yet. Beyond it a displaced session is not told at once but when
    /// its room next asserts the route; counted.
    pub displacements: usize,
    /// Milliseconds for which a request waits for a view that its caller knows already. Up to 5,000.
    pub catch_up_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config { node: NodeConfig::default(), displacements: 65_536, catch_up_ms: 500 }
    }
}

impl Config {
    /// Refuses values that cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.displacements > 0, "displacements must be at least 1");
        ensure!(self.catch_up_ms <= 5_000, "catch_up_ms must be at most 5000");
        Ok(())
    }

    pub(crate) fn catch_up(&self) -> Duration {
        Duration::from_millis(self.catch_up_ms)
    }
}
