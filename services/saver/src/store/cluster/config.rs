//! Configuration of the cluster store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the databases are, and how long to wait for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Redis: `redis://[user:password@]host:port[/database]`. It must not evict (`maxmemory-policy noeviction`).
    pub redis: String,
    /// MySQL or MariaDB: `mysql://user:password@host:port/database`. Exactly one in this version.
    pub mysql: Vec<String>,
    /// Most connections to MySQL.
    pub mysql_connections: u32,
    /// Longest wait for an answer of Redis, milliseconds; the connection is given up then.
    pub redis_timeout_ms: u64,
    /// Longest wait for an answer of MySQL, milliseconds.
    pub mysql_timeout_ms: u64,
    /// If this machine's clock differs from the database's by more than this many milliseconds, this saver says so and expires
    /// nothing (S6).
    pub clock_bound_ms: u64,
    /// Days for which the table of messages has a partition of its own, from today; later ones share one.
    pub partition_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            redis: "redis://127.0.0.1:6379".into(),
            mysql: vec!["mysql://longline@127.0.0.1:3306/longline".into()],
            mysql_connections: 16,
            redis_timeout_ms: 5_000,
            mysql_timeout_ms: 10_000,
            clock_bound_ms: 10_000,
            partition_days: 32,
        }
    }
}

impl Config {
    /// The one database there may be, or a sentence that says so.
    pub(super) fn database(&self) -> Result<&str, String> {
        match self.mysql.as_slice() {
            [url] => Ok(url),
            urls => Err(format!(
                "`mysql` must list exactly one database, it lists {}: users cannot be spread over several in this version",
                urls.len()
            )),
        }
    }

    pub(super) fn redis_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_timeout_ms)
    }

    pub(super) fn mysql_timeout(&self) -> Duration {
        Duration::from_millis(self.mysql_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_database_is_accepted() {
        let with = |mysql: &[&str]| Config {
            mysql: mysql.iter().map(|u| (*u).into()).collect(),
            ..Config::default()
        };
        assert_eq!(with(&["mysql://a/b"]).database(), Ok("mysql://a/b"));
        assert!(with(&[]).database().unwrap_err().contains("it lists 0"));
        assert!(with(&["mysql://a/b", "mysql://c/d"]).database().unwrap_err().contains("exactly one"));
    }
}
