//! What is under load: the system, or the reference server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use longline_load_results::{ProcessSample, Server, TESTER};
use longline_load_scenario::{Route, Scenario, Servers};
use longline_load_target::{Probe, Running, Scrape, StartOptions, Watched};
use longline_testkit::{Process, Scratch};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::agent::{first_line, start_self};
use super::fleet::Fleet;
use crate::link::{Side, Trust};
use crate::reference::LISTENING;

/// Between two looks at the servers' own metrics.
const SCRAPE: Duration = Duration::from_secs(2);

/// The system or the reference, with what watches it.
pub(crate) struct UnderLoad {
    server: UnderLoadServer,
    /// Whom the probe looks at.
    watched: Vec<Watched>,
    probe: Probe,
    metrics: watch::Receiver<Scrape>,
    /// Processes of which it was told that they ended.
    told: BTreeSet<String>,
    _scraping: DropGuard,
}

enum UnderLoadServer {
    System(Box<Running>, Trust),
    Raw { process: Process, devices: String, injection: String, _scratch: Scratch },
}

impl UnderLoad {
    /// Starts or finds the system.
    pub(crate) async fn system(
        servers: &Servers,
        trust: Trust,
        options: StartOptions,
    ) -> anyhow::Result<UnderLoad> {
        let running = Running::start(servers, options).await?;
        let (tell, metrics) = watch::channel(Scrape::default());
        let (stop, mut scraper) = (CancellationToken::new(), running.scraper());
        let scraping = stop.clone().drop_guard();
        tokio::spawn(async move {
            let scrapes = async {
                loop {
                    tell.send_replace(scraper.scrape().await);
                    tokio::time::sleep(SCRAPE).await;
                }
            };
            stop.run_until_cancelled(scrapes).await
        });
        let server = UnderLoadServer::System(Box::new(running), trust);
        Ok(UnderLoad::new(server, metrics, scraping))
    }

    /// Starts the reference server on these cores.
    pub(crate) async fn raw(cores: &[usize]) -> anyhow::Result<UnderLoad> {
        let scratch = Scratch::new()?;
        let words = ["raw", "--listen", "127.0.0.1:0", "--inject", "127.0.0.1:0"].map(str::to_owned);
        let mut process = start_self(&words, cores, &scratch.path().join("raw.log"))?;
        let told =
            first_line(&mut process, LISTENING).await.context("the reference server does not start")?;
        let (devices, injection) =
            told.split_once(' ').context("the reference server did not tell its ports")?;
        let (devices, injection) = (devices.to_owned(), injection.to_owned());
        let metrics = watch::channel(Scrape::default()).1;
        let server = UnderLoadServer::Raw { process, devices, injection, _scratch: scratch };
        let scraping = CancellationToken::new().drop_guard();
        Ok(UnderLoad::new(server, metrics, scraping))
    }

    fn new(server: UnderLoadServer, metrics: watch::Receiver<Scrape>, scraping: DropGuard) -> UnderLoad {
        UnderLoad {
            server,
            watched: Vec::new(),
            probe: Probe::new(&[]),
            metrics,
            told: BTreeSet::new(),
            _scraping: scraping,
        }
    }

    /// Where agents send devices and messages.
    pub(crate) fn side(&self, scenario: &Scenario) -> anyhow::Result<Side> {
        let (running, trust) = match &self.server {
            UnderLoadServer::Raw { devices, injection, .. } => {
                return Ok(Side::Raw { devices: devices.clone(), injection: injection.clone() });
            }
            UnderLoadServer::System(running, trust) => (running, trust),
        };
        let token_key = match (scenario.devices.tokens, running.token_key()) {
            (false, _) => None,
            (true, Some(key)) => Some(key.as_bytes().to_vec()),
            (true, None) => {
                bail!("devices.tokens needs servers.admin_key: the product's token key is not known")
            }
        };
        let dispatchers = match scenario.devices.route {
            // A room alone has none.
            Route::Dispatcher => running.dispatchers().to_vec(),
            Route::Rooms => Vec::new(),
        };
        Ok(Side::System {
            centers: running.api().to_vec(),
            dispatchers,
            rooms: running.rooms().to_vec(),
            product: running.product(),
            key: running.key().to_owned(),
            token_key,
            injection: running.injection().map(str::to_owned),
            trust: trust.clone(),
        })
    }

    /// How many addresses devices connect to, as far as that is known.
    pub(crate) fn rooms(&self) -> usize {
        match &self.server {
            UnderLoadServer::System(running, _) => running.rooms().len(),
            UnderLoadServer::Raw { .. } => 1,
        }
    }

    /// What the server processes and the tester's own on this machine use now.
    pub(crate) fn processes(&mut self, fleet: &Fleet) -> Vec<ProcessSample> {
        let mut watched = match &mut self.server {
            UnderLoadServer::System(running, _) => running.processes(),
            UnderLoadServer::Raw { process, .. } => vec![raw(process)],
        };
        let own = |name: &str, pid: u32| Watched { role: TESTER.to_owned(), name: name.to_owned(), pid };
        watched.extend(fleet.alive().filter_map(|agent| Some(own(&agent.name, agent.pid?))));
        watched.push(own("controller", std::process::id()));
        if watched != self.watched {
            self.probe = Probe::new(&watched);
            self.watched = watched;
        }
        let samples = self.probe.sample().into_iter().map(|sample| ProcessSample {
            role: sample.role,
            name: sample.name,
            pid: sample.pid,
            rss_bytes: sample.rss_bytes,
            cpu_us: sample.cpu_us,
        });
        samples.collect()
    }

    /// What the servers counted, as of their last answer.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        self.metrics.borrow().values.clone()
    }

    /// Server processes that ended by themselves and of which it was not told yet.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let mut ended = match &mut self.server {
            UnderLoadServer::System(running, _) => match running.ended() {
                Ok(ended) => ended
                    .into_iter()
                    .map(|e| (e.name.clone(), format!("{} {}:\n{}", e.name, e.how, e.last_words)))
                    .collect(),
                Err(error) => vec![("?".to_owned(), format!("cannot tell which processes live: {error:#}"))],
            },
            UnderLoadServer::Raw { process, .. } => match process.exited() {
                Ok(None) => Vec::new(),
                _ => vec![("raw".to_owned(), format!("raw ended:\n{}", process.last_words()))],
            },
        };
        ended.retain(|(name, _)| self.told.insert(name.clone()));
        ended.into_iter().map(|(_, what)| what).collect()
    }

    /// The system's rooms that were started for the run.
    pub(crate) fn room_names(&mut self) -> Vec<String> {
        let UnderLoadServer::System(running, _) = &mut self.server else { return Vec::new() };
        running.processes().into_iter().filter(|w| w.role == "room").map(|w| w.name).collect()
    }

    /// Ends a room as `kill -9` does: its name.
    pub(crate) fn kill_room(&mut self) -> anyhow::Result<String> {
        self.running()?.kill_room(None)
    }

    /// Tells a room to stop in order, without waiting.
    pub(crate) fn tell_room_to_stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.running()?.tell_room_to_stop(name)
    }

    /// Whether its process has ended.
    pub(crate) fn room_has_stopped(&mut self, name: &str) -> anyhow::Result<bool> {
        self.running()?.room_has_stopped(name)
    }

    /// Starts a room again that was killed or has stopped.
    pub(crate) async fn restart_room(&mut self, name: &str) -> anyhow::Result<()> {
        self.running()?.restart_room(name).await
    }

    fn running(&mut self) -> anyhow::Result<&mut Running> {
        match &mut self.server {
            UnderLoadServer::System(running, _) => Ok(running),
            UnderLoadServer::Raw { .. } => bail!("the reference server has no rooms"),
        }
    }

    /// Its processes and versions, for the record; `cores` are those of a role.
    pub(crate) fn servers(&mut self, cores: impl Fn(&str) -> Vec<usize>) -> Vec<Server> {
        let server = |watched: Watched, version: Option<String>| Server {
            cores: cores(&watched.role).into_iter().filter_map(|core| u32::try_from(core).ok()).collect(),
            role: watched.role,
            name: watched.name,
            version: version.unwrap_or_default(),
        };
        match &mut self.server {
            UnderLoadServer::Raw { process, .. } => {
                vec![server(raw(process), Some(env!("CARGO_PKG_VERSION").to_owned()))]
            }
            UnderLoadServer::System(running, _) => {
                let versions = running.versions().clone();
                let version = |role: &str| match role {
                    "redis" => versions.redis.clone(),
                    "mariadb" => versions.mariadb.clone(),
                    "backend" => Some(env!("CARGO_PKG_VERSION").to_owned()),
                    _ => versions.longline.clone(),
                };
                running
                    .processes()
                    .into_iter()
                    .map(|w| (version(&w.role), w))
                    .map(|(v, w)| server(w, v))
                    .collect()
            }
        }
    }

    /// Stops in order what was started.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.server {
            UnderLoadServer::System(running, _) => running.stop().await,
            UnderLoadServer::Raw { mut process, .. } => process.stop(Duration::from_secs(10)).await.map(drop),
        }
    }
}

fn raw(process: &Process) -> Watched {
    Watched { role: "raw".to_owned(), name: "raw".to_owned(), pid: process.id() }
}

/// A program in the folder of this one.
pub(crate) fn beside(name: &str) -> anyhow::Result<std::path::PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let folder = own.parent().unwrap_or(Path::new("."));
    // Test programs are one folder further down.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.join(name))
}
