//! What is measured: the standalone process, or a cluster of processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use longline_procs::{Cluster, Options};
use longline_testkit::{Process, Scratch};
use longline_types::Role;

use super::resident_bytes;

/// A running system.
pub(crate) struct System {
    pub(crate) name: &'static str,
    /// Which processes' memory counts as that of sessions.
    pub(crate) holder: &'static str,
    pub(crate) api: Vec<String>,
    pub(crate) rooms: Vec<String>,
    pub(crate) product: u32,
    pub(crate) key: String,
    holders: Vec<u32>,
    running: Running,
}

enum Running {
    Standalone { process: Process, _scratch: Scratch },
    Cluster(Box<Cluster>),
}

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);
/// Memory is read when it has not changed by more than this share for a second.
const STILL: f64 = 0.002;

impl System {
    /// The standalone process in a scratch folder.
    pub(crate) async fn standalone(program: &Path) -> anyhow::Result<System> {
        let scratch = Scratch::new()?;
        let log = scratch.path().join("log");
        let data = scratch.path().join("data").to_string_lossy().into_owned();
        let arguments = ["standalone", "--data", &data, "--http", "127.0.0.1:0", "--room", "127.0.0.1:0"];
        let process = Process::start(program, &arguments.map(str::to_owned), &log)?;
        let banner = banner(&log).await?;
        Ok(System {
            name: "standalone (SQLite)",
            holder: "the whole process",
            api: vec![field(&banner, "API")?],
            rooms: vec![field(&banner, "room")?],
            product: 1,
            key: field(&banner, "key")?,
            holders: vec![process.id()],
            running: Running::Standalone { process, _scratch: scratch },
        })
    }

    /// A cluster as `cargo xtask cluster` starts it.
    pub(crate) async fn cluster(program: PathBuf) -> anyhow::Result<System> {
        let mut cluster = Cluster::start(Options::new(program)).await?;
        let description = cluster.describe();
        Ok(System {
            name: "cluster (Redis and MariaDB)",
            holder: "room processes",
            api: description.api,
            rooms: description.rooms,
            product: description.product.id,
            key: description.product.key,
            holders: cluster.of(Role::Room).map(|n| n.pid()).collect(),
            running: Running::Cluster(Box::new(cluster)),
        })
    }

    /// Resident memory of the processes that hold sessions.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.holders.iter().map(|pid| resident_bytes(*pid)).sum()
    }

    /// Resident memory once it stands still.
    pub(crate) async fn settled_bytes(&self) -> anyhow::Result<u64> {
        let mut before = self.resident_bytes()?;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.resident_bytes()?;
            if now.abs_diff(before) as f64 <= before as f64 * STILL {
                return Ok(now);
            }
            before = now;
        }
        Ok(before)
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.running {
            Running::Standalone { mut process, .. } => process.stop(STOP).await.map(drop),
            Running::Cluster(cluster) => cluster.stop().await,
        }
    }
}

/// What the standalone process prints once it is ready.
async fn banner(log: &Path) -> anyhow::Result<String> {
    let until = tokio::time::Instant::now() + START;
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.contains("Ctrl-C stops it") {
            return Ok(text);
        }
        ensure!(tokio::time::Instant::now() < until, "the standalone process is not ready: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The second word of the line that begins with this name.
fn field(banner: &str, name: &str) -> anyhow::Result<String> {
    let line = banner.lines().find_map(|l| l.trim_start().strip_prefix(name).filter(|r| r.starts_with("  ")));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    Ok(word.with_context(|| format!("no {name} in: {banner}"))?.to_owned())
}
