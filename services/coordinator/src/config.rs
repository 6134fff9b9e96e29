use std::time::Duration;

use anyhow::ensure;
use longline_config::NodeConfig;
use serde::{Deserialize, Serialize};

/// Configuration of a coordinator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What every node has.
    pub node: NodeConfig,
    /// How long storing an uplink may take, retries included. Milliseconds.
    pub store_timeout_ms: u64,
    /// How long a kick may take, from lookup to the room's answer. Milliseconds.
    pub kick_timeout_ms: u64,
    /// Calls to the businesses.
    pub webhooks: WebhookConfig,
}

/// Calls to the businesses: uplinks and presence.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// For one try, from connecting to the end of the answer's head. Milliseconds.
    pub timeout_ms: u64,
    /// Calls at once.
    pub at_once: usize,
    /// Of these, how many one product may have.
    pub at_once_per_product: usize,
    /// Uplinks in memory that wait for their turn, up to 64 KiB each; the others wait in the store.
    pub waiting: usize,
    /// Of these, how many may be of one product.
    pub waiting_per_product: usize,
    /// Wait after the first failed try; doubled with each. Milliseconds.
    pub retry_first_ms: u64,
    /// The wait never grows beyond this. Milliseconds.
    pub retry_longest_ms: u64,
    /// An uplink that nobody has taken for this long is given up. Seconds.
    pub give_up_after_s: u64,
    /// How long an uplink is this coordinator's, before another may take it over. At least twice `timeout_ms`, at most
    /// an hour. Milliseconds.
    pub lease_ms: u32,
    /// How often the store is asked for uplinks that are due. Milliseconds.
    pub sweep_every_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node: NodeConfig::default(),
            store_timeout_ms: 5_000,
            kick_timeout_ms: 5_000,
            webhooks: WebhookConfig::default(),
        }
    }
}

impl Default for WebhookConfig {
    fn default() -> WebhookConfig {
        WebhookConfig {
            timeout_ms: 10_000,
            at_once: 256,
            at_once_per_product: 16,
            waiting: 2_048,
            waiting_per_product: 256,
            retry_first_ms: 1_000,
            retry_longest_ms: 300_000,
            give_up_after_s: 24 * 60 * 60,
            lease_ms: 30_000,
            sweep_every_ms: 1_000,
        }
    }
}

impl Config {
    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let webhooks = &self.webhooks;
        ensure!(
            webhooks.timeout_ms > 0 && u64::from(webhooks.lease_ms) / 2 >= webhooks.timeout_ms,
            "webhooks.lease_ms must be at least twice webhooks.timeout_ms, and that more than 0"
        );
        ensure!(webhooks.lease_ms <= 3_600_000, "webhooks.lease_ms must be at most 3600000, an hour");
        ensure!(
            webhooks.at_once > 0 && webhooks.at_once_per_product > 0 && webhooks.waiting_per_product > 0,
            "webhooks.at_once, at_once_per_product and waiting_per_product must be more than 0"
        );
        ensure!(webhooks.retry_first_ms > 0, "webhooks.retry_first_ms must be more than 0");
        Ok(())
    }
}

/// A configured number of milliseconds; 0 is taken as 1.
pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_a_lease_shorter_than_two_tries_does_not() {
        let mut config = Config::default();
        config.check().unwrap();
        config.webhooks.lease_ms = 19_999;
        assert!(config.check().unwrap_err().to_string().contains("webhooks.lease_ms"));
        config.webhooks.lease_ms = 3_600_001;
        assert!(config.check().is_err(), "the saver takes no longer one");
    }
}
