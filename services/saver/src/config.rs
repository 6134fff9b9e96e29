//! The saver's configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use longline_config::NodeConfig;
use serde::{Deserialize, Serialize};

use crate::store::{cluster, sqlite};

/// A saver's configuration.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What all roles have.
    pub node: NodeConfig,
    /// Where everything is stored.
    pub store: StoreConfig,
    /// Background work on what is stored.
    pub sweeps: SweepConfig,
}

/// `[store]`: one of two kinds. Set `kind` first: the other keys depend on it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum StoreConfig {
    /// One file on this machine, for a single saver.
    Sqlite(sqlite::Config),
    /// Redis and MySQL, for any number of savers.
    Cluster(cluster::Config),
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig::Sqlite(sqlite::Config::default())
    }
}

impl StoreConfig {
    /// SQLite in this file.
    pub fn sqlite(path: impl Into<PathBuf>) -> StoreConfig {
        StoreConfig::Sqlite(sqlite::Config { path: path.into() })
    }
}

/// `[sweeps]`: what is done every now and then, by every saver.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SweepConfig {
    /// Milliseconds between two looks for messages and broadcasts whose time is over. They are hidden at once; this is how late
    /// their state may show it.
    pub expiry_every_ms: u64,
    /// Milliseconds between two looks for records whose retention is over.
    pub purge_every_ms: u64,
    /// Seconds for which ended messages, broadcasts and uplinks stay known, with their idempotency keys. Longer than any retry
    /// may come (S5).
    pub retention_s: u64,
    /// Most records that one step ends or removes; then others get their turn.
    pub step: u32,
    /// Milliseconds between two looks for changed products; at most 500, so that a change appears within a second everywhere.
    pub products_every_ms: u64,
}

impl Default for SweepConfig {
    fn default() -> SweepConfig {
        SweepConfig {
            expiry_every_ms: 1_000,
            purge_every_ms: 60_000,
            retention_s: 7 * 24 * 60 * 60,
            step: 500,
            products_every_ms: 500,
        }
    }
}

impl Config {
    /// Refuses values that would stop the work or break a promise.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let sweeps = &self.sweeps;
        ensure!(sweeps.expiry_every_ms >= 10, "sweeps.expiry_every_ms must be at least 10");
        ensure!(sweeps.purge_every_ms >= 10, "sweeps.purge_every_ms must be at least 10");
        ensure!((1..=10_000).contains(&sweeps.step), "sweeps.step must be 1 to 10000");
        ensure!(
            sweeps.retention_s >= 3600,
            "sweeps.retention_s must be at least 3600: retries may come that late"
        );
        ensure!(
            (10..=500).contains(&sweeps.products_every_ms),
            "sweeps.products_every_ms must be 10 to 500: a change must appear within a second"
        );
        Ok(())
    }
}

pub(crate) fn millis(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config = longline_config::load_with::<Config>(Some(file.path()), "saver", std::iter::empty())
            .map_err(|e| e.to_string())?;
        config.check().map(|()| config).map_err(|e| e.to_string())
    }

    #[test]
    fn either_kind_of_store_is_read() {
        assert_eq!(with("").unwrap(), Config::default());
        let config = with("[store]\nkind = 'sqlite'\npath = '/x/y.db'\n").unwrap();
        assert_eq!(config.store, StoreConfig::sqlite("/x/y.db"));
        let config =
            with("[store]\nkind = 'cluster'\nredis = 'redis://r'\nmysql = ['mysql://m/l']\n").unwrap();
        assert!(matches!(config.store, StoreConfig::Cluster(c) if c.redis == "redis://r"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(with("[store]\nkind = 'sqlite'\npth = 'x'\n").unwrap_err().contains("`path`"));
        assert!(with("[store]\nkind = 'oracle'\n").unwrap_err().contains("oracle"));
        assert!(with("[sweeps]\nproducts_every_ms = 5000\n").unwrap_err().contains("within a second"));
        assert!(with("[sweeps]\nretention_s = 5\n").unwrap_err().contains("3600"));
        assert!(with("[sweeps]\nstep = 0\n").unwrap_err().contains("sweeps.step"));
    }

    #[test]
    fn the_environment_may_choose_the_store() {
        let variables = [("LONGLINE_STORE__KIND", "sqlite"), ("LONGLINE_STORE__PATH", "/x/y.db")];
        let variables = variables.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        let config = longline_config::load_with::<Config>(None, "saver", variables).unwrap();
        assert_eq!(config.store, StoreConfig::sqlite("/x/y.db"));
    }
}
