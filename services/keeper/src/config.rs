use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use longline_config::NodeConfig;
use serde::{Deserialize, Serialize};

use crate::state::Terms;

/// Configuration of a keeper.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name, listener and so on. `rpc` is what the others have in `keepers`.
    pub node: NodeConfig,
    /// Folder of the keeper's state. To lose it is to lose node numbers and grants of ids: back it up.
    pub data: PathBuf,
    /// Milliseconds after which a node that was not heard of is gone. Nodes renew at a third of it. 300 to 60,000.
    pub lease_ms: u32,
    /// Seconds for which a node may make message ids without hearing from the keeper. 60 to 86,400.
    pub grant_s: u32,
    /// Seconds of a node's first grant. A number is not given again before its grant has ended, so a process that crashes
    /// again and again takes this much of it each time. 10 to `grant_s`.
    pub first_grant_s: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node: NodeConfig {
                rpc: std::net::SocketAddr::from(([127, 0, 0, 1], 7700)),
                ..NodeConfig::default()
            },
            data: PathBuf::from("longline-keeper"),
            lease_ms: 6_000,
            grant_s: 3_600,
            first_grant_s: 300,
        }
    }
}

impl Config {
    /// Refuses values that cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!((300..=60_000).contains(&self.lease_ms), "lease_ms must be from 300 to 60000");
        ensure!((60..=86_400).contains(&self.grant_s), "grant_s must be from 60 to 86400");
        ensure!(
            (10..=self.grant_s).contains(&self.first_grant_s),
            "first_grant_s must be from 10 to grant_s"
        );
        Ok(())
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.into())
    }

    pub(crate) fn terms(&self) -> Terms {
        let ms = |s: u32| u64::from(s) * 1000;
        Terms { first_grant_ms: ms(self.first_grant_s), grant_ms: ms(self.grant_s) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed_and_bad_values_are_not() {
        Config::default().check().unwrap();
        for bad in [
            Config { lease_ms: 299, ..Config::default() },
            Config { grant_s: 59, ..Config::default() },
            Config { first_grant_s: 3_601, ..Config::default() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
