//! One process of the cluster.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use longline_testkit::{Process, Surroundings};
use longline_types::Role;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use toml::Table;

use crate::api;
use crate::settings::lay_over;

/// For a process to open its ports, and to become ready after that.
const START: Duration = Duration::from_secs(60);
/// For an ordered stop; its own deadline is shorter.
const STOP: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Where a process really listens: what `longline <role> --addresses FILE` writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// gRPC, host:port.
    pub rpc: String,
    /// For devices (rooms) or HTTP (centers, dispatchers), host:port.
    pub public: Vec<String>,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub admin: Option<String>,
}

/// One process of the cluster.
#[derive(Debug)]
pub struct NodeProcess {
    name: String,
    role: Role,
    folder: PathBuf,
    binary: PathBuf,
    surroundings: Surroundings,
    addresses: Addresses,
    process: Process,
}

impl NodeProcess {
    /// Starts it and waits until its ports are open; ready it is later, see [`NodeProcess::wait_ready`].
    pub(crate) async fn start(
        binary: &Path,
        role: Role,
        name: &str,
        folder: &Path,
        mut settings: Table,
        surroundings: &Surroundings,
    ) -> anyhow::Result<NodeProcess> {
        std::fs::write(config(folder), settings.to_string())?;
        let (process, addresses) = launch(binary, role, folder, surroundings)
            .await
            .with_context(|| format!("cannot start {name}"))?;
        // From now on it keeps its ports.
        lay_over(&mut settings, fixed(role, &addresses));
        std::fs::write(config(folder), settings.to_string())?;
        Ok(NodeProcess {
            name: name.to_owned(),
            role,
            folder: folder.to_owned(),
            binary: binary.to_owned(),
            surroundings: surroundings.clone(),
            addresses,
            process,
        })
    }

    /// Unique in the cluster: `room-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where it listens, also after a restart.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its number in the system; another one after a restart.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        config(&self.folder)
    }

    /// What it wrote to stdout and stderr, over all its restarts.
    pub fn log(&self) -> PathBuf {
        log(&self.folder)
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.process.exited()?)
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().with_context(|| format!("cannot kill {}", self.name))
    }

    /// Lets it stand still until [`NodeProcess::resume`].
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.pause().with_context(|| format!("cannot pause {}", self.name))
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.resume().with_context(|| format!("cannot resume {}", self.name))
    }

    /// Asks it to stop in order (SIGTERM), without waiting; [`NodeProcess::exited`] tells when it has.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.process.terminate().with_context(|| format!("cannot stop {}", self.name))
    }

    /// Asks it to stop in order (SIGTERM), and waits until it has.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.stop(STOP).await.with_context(|| format!("cannot stop {}", self.name))
    }

    /// Ends it if it runs (as [`NodeProcess::kill`] does) and starts it again with the same configuration on the same ports;
    /// returns once they are open.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        let started = launch(&self.binary, self.role, &self.folder, &self.surroundings).await;
        let (process, addresses) = started.with_context(|| format!("cannot start {} again", self.name))?;
        self.process = process;
        self.addresses = addresses;
        Ok(())
    }

    /// Waits until it says that it is ready. An error if it ends instead, or takes longer than a minute.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let Some(admin) = self.addresses.admin.clone() else { bail!("{} has no admin port", self.name) };
        let end = Instant::now() + START;
        loop {
            let answer = api::readyz(&admin).await;
            if matches!(&answer, Ok(None)) {
                return Ok(());
            }
            let ended = self.process.exited()?;
            if ended.is_some() || Instant::now() >= end {
                let said = answer.map_or_else(|e| e.to_string(), Option::unwrap_or_default);
                bail!(
                    "{} did not become ready ({}); its log ends:\n{}",
                    self.name,
                    said.trim(),
                    self.process.last_words()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The text of its `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let admin =
            self.addresses.admin.as_ref().with_context(|| format!("{} has no admin port", self.name))?;
        api::metrics(admin).await
    }
}

/// Starts the program and waits until it has told its addresses.
async fn launch(
    binary: &Path,
    role: Role,
    folder: &Path,
    surroundings: &Surroundings,
) -> anyhow::Result<(Process, Addresses)> {
    let told = folder.join("addresses.json");
    match std::fs::remove_file(&told) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let arguments =
        [role.name().to_owned(), "--config".into(), text(&config(folder)), "--addresses".into(), text(&told)];
    let mut process = Process::start_with(binary, &arguments, surroundings, &log(folder))?;
    let end = Instant::now() + START;
    loop {
        // It appears whole: the process writes it aside and renames it.
        if let Ok(json) = std::fs::read(&told) {
            return Ok((process, serde_json::from_slice(&json)?));
        }
        if process.exited()?.is_some() || Instant::now() >= end {
            bail!("it did not open its ports; its log ends:\n{}", process.last_words());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The part of the configuration that keeps a process on its ports.
fn fixed(role: Role, addresses: &Addresses) -> Table {
    let mut node = Table::from_iter([("rpc".to_owned(), addresses.rpc.clone().into())]);
    if let Some(admin) = &addresses.admin {
        node.insert("admin".into(), admin.clone().into());
    }
    let mut fixed = Table::from_iter([("node".to_owned(), node.into())]);
    if let (Role::Room, Some(devices)) = (role, addresses.public.first()) {
        fixed.insert("listen".into(), devices.clone().into());
    }
    fixed
}

fn config(folder: &Path) -> PathBuf {
    folder.join("config.toml")
}

fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}
