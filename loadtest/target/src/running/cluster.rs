//! A cluster of processes with its Redis and its MariaDB.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use longline_load_scenario::{Counts, Local};
use longline_procs::{Cluster, Options};
use longline_types::Role;

use super::ended::{Ended, last_words};
use super::{Places, Started};
use crate::metrics::Source;
use crate::{Machine, Watched};

#[derive(Debug)]
pub(super) struct LocalCluster {
    cluster: Cluster,
    /// Rooms that were killed or told to stop here, and not started again.
    killed: BTreeSet<String>,
}

impl LocalCluster {
    /// Starts all, and waits until all are ready.
    pub(super) async fn start(
        counts: &Counts,
        local: &Local,
        binary: PathBuf,
    ) -> anyhow::Result<(LocalCluster, Started)> {
        let mut cluster = Cluster::start(options(counts, local, binary)?).await?;
        let description = cluster.describe();
        let nodes = description.nodes.into_iter();
        let metrics =
            nodes.filter_map(|n| Some((n.name, Source::Node(format!("http://{}", n.addresses.admin?)))));
        let places = Places {
            api: description.api,
            dispatchers: description.dispatchers,
            rooms: description.rooms,
            injection: None,
            metrics: metrics.collect(),
        };
        let started = Started { places, admin_key: description.admin_key };
        Ok((LocalCluster { cluster, killed: BTreeSet::new() }, started))
    }

    pub(super) fn watched(&mut self) -> Vec<Watched> {
        let description = self.cluster.describe();
        let store = |name: &str, pid| Watched { role: name.to_owned(), name: name.to_owned(), pid };
        let stores = [store("redis", description.redis_pid), store("mariadb", description.mysql_pid)];
        let nodes = description.nodes.into_iter();
        nodes.map(|n| Watched { role: n.role.to_owned(), name: n.name, pid: n.pid }).chain(stores).collect()
    }

    pub(super) fn kill_room(&mut self, name: Option<&str>) -> anyhow::Result<String> {
        let mut rooms = self.cluster.nodes_mut().iter_mut().filter(|node| node.role() == Role::Room);
        let killed = &mut self.killed;
        let room = match name {
            Some(name) => {
                rooms.find(|room| room.name() == name).with_context(|| format!("there is no room {name}"))?
            }
            None => rooms.find(|room| !killed.contains(room.name())).context("no room runs")?,
        };
        room.kill()?;
        killed.insert(room.name().to_owned());
        Ok(room.name().to_owned())
    }

    pub(super) fn tell_room_to_stop(&mut self, name: &str) -> anyhow::Result<()> {
        let room = self.cluster.node(name)?;
        ensure!(room.role() == Role::Room, "{name} is no room");
        room.terminate()?;
        self.killed.insert(name.to_owned());
        Ok(())
    }

    pub(super) fn room_has_stopped(&mut self, name: &str) -> anyhow::Result<bool> {
        Ok(self.cluster.node(name)?.exited()?.is_some())
    }

    pub(super) async fn restart_room(&mut self, name: &str) -> anyhow::Result<()> {
        let room = self.cluster.node(name)?;
        ensure!(room.role() == Role::Room, "{name} is no room");
        room.restart().await?;
        room.wait_ready().await?;
        self.killed.remove(name);
        Ok(())
    }

    pub(super) fn ended(&mut self) -> anyhow::Result<Vec<Ended>> {
        let mut ended = Vec::new();
        for node in self.cluster.nodes_mut().iter_mut().filter(|node| !self.killed.contains(node.name())) {
            if let Some(how) = node.exited()? {
                let (name, last_words) = (node.name().to_owned(), last_words(&node.log()));
                ended.push(Ended { name, how: how.to_string(), last_words });
            }
        }
        let redis = self.cluster.redis().process();
        let mut stores = vec![("redis", redis.exited()?, redis.last_words())];
        let mariadb = self.cluster.mariadb().process();
        stores.push(("mariadb", mariadb.exited()?, mariadb.last_words()));
        for (name, how, last_words) in stores {
            if let Some(how) = how {
                ended.push(Ended { name: name.to_owned(), how: how.to_string(), last_words });
            }
        }
        Ok(ended)
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.cluster.stop().await
    }
}

/// What MariaDB gets of a machine that holds everything else of the run too: a sixteenth of its memory.
fn database_mib(memory_bytes: u64) -> u32 {
    (memory_bytes / 16 / (1 << 20)).clamp(64, 8_192) as u32
}

fn options(counts: &Counts, local: &Local, binary: PathBuf) -> anyhow::Result<Options> {
    let mut options = Options::new(binary);
    for role in Role::ALL {
        options = options.count(role, counts.of(role));
    }
    for (name, table) in &local.settings {
        let Some(role) = Role::ALL.into_iter().find(|role| role.name() == name) else {
            bail!("there is no role {name} that could have settings");
        };
        options.settings.insert(role.name(), table.clone());
    }
    options.cores = Some(local.cores.clone());
    options.database_mib = database_mib(Machine::read()?.memory_bytes);
    Ok(options)
}
