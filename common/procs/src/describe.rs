//! A cluster in words: for people and, as JSON, for scripts.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::Addresses;

/// A product that may be used.
#[derive(Clone, Debug, Serialize)]
pub struct Product {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
}

/// A cluster as it runs now.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// URLs of the centers.
    pub api: Vec<String>,
    /// URLs of the dispatchers.
    pub dispatchers: Vec<String>,
    /// host:port of the rooms, for devices.
    pub rooms: Vec<String>,
    /// The product that is there.
    pub product: Product,
    /// The key of `/v1/admin`.
    pub admin_key: String,
    /// Every process of the program.
    pub nodes: Vec<NodeDescription>,
    /// URL of Redis.
    pub redis: String,
    /// Process id of Redis.
    pub redis_pid: u32,
    /// URL of the database.
    pub mysql: String,
    /// Process id of the database.
    pub mysql_pid: u32,
    /// The program.
    pub binary: PathBuf,
    /// Where everything that the processes write is.
    pub folder: PathBuf,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct NodeDescription {
    /// `room-1`.
    pub name: String,
    /// Its role's name.
    pub role: &'static str,
    /// Process id.
    pub pid: u32,
    /// Where it listens.
    #[serde(flatten)]
    pub addresses: Addresses,
    /// Its configuration file: `longline <role> --config FILE` starts it again.
    pub config: PathBuf,
    /// What it writes.
    pub log: PathBuf,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<14} {:>8}  {:<22} {:<22} public", "process", "pid", "gRPC", "admin")?;
        for node in &self.nodes {
            let admin = node.addresses.admin.as_deref().unwrap_or("-");
            let public = node.addresses.public.join(" ");
            writeln!(
                f,
                "{:<14} {:>8}  {:<22} {admin:<22} {public}",
                node.name, node.pid, node.addresses.rpc
            )?;
        }
        writeln!(f, "{:<14} {:>8}  {}", "redis-server", self.redis_pid, self.redis)?;
        writeln!(f, "{:<14} {:>8}  {}", "mariadbd", self.mysql_pid, self.mysql)?;
        writeln!(f, "\nfiles and logs  {}", self.folder.display())?;
        writeln!(f, "product         {} (id {})", self.product.name, self.product.id)?;
        writeln!(f, "key             {}", self.product.key)?;
        writeln!(f, "admin key       {}", self.admin_key)?;
        writeln!(f, "\nListen as alice, then push to her from another terminal:\n")?;
        let (binary, first) =
            (self.binary.display(), |urls: &[String]| urls.first().cloned().unwrap_or_default());
        writeln!(f, "  {binary} listen --user alice --dispatcher {}", first(&self.dispatchers))?;
        writeln!(
            f,
            "  {binary} push --user alice --api {} --key {} \"hello\"",
            first(&self.api),
            self.product.key
        )
    }
}
