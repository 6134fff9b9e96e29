//! The system of a run, from its start to its end.

mod cluster;
mod ended;
mod external;
mod room;
mod standalone;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use longline_load_scenario::{External, Servers};
use reqwest::Client;

use crate::admin::{self, Admin, Product, Wishes};
use crate::metrics::{Scraper, Source};
use crate::{Versions, Watched};
use cluster::LocalCluster;
use external::Found;
use room::LocalRoom;
use standalone::Standalone;

pub use ended::Ended;

/// For everything to stop in order. What still runs then is killed.
const STOP: Duration = Duration::from_secs(60);

/// How the system is started beyond what the scenario says.
#[derive(Clone, Default, Debug)]
pub struct StartOptions {
    /// The program `longline`. Not used for a system that runs already.
    pub binary: PathBuf,
    /// Devices need user tokens, see [`Running::token_key`].
    pub tokens: bool,
    /// Users a second to whom the backend has a room alone send a broadcast; 0: as fast as it can.
    pub broadcast_per_second: u32,
    /// Where uplinks of [`crate::UPLINK_ROUTE`] go.
    pub uplink_url: Option<String>,
    /// The load tester's own program, which is the backend of a room alone.
    pub tester: PathBuf,
    /// The cores of what stands around a room alone, where the scenario names none.
    pub other_cores: Vec<usize>,
}

/// The system under load, with a product of its own for the run. [`Running::stop`] ends in order what was started for it; dropping it
/// kills that.
#[derive(Debug)]
pub struct Running {
    held: Held,
    places: Places,
    product: Product,
    /// Created here, not given.
    owns_product: bool,
    admin: Option<Admin>,
    client: Client,
    versions: Versions,
}

/// What was started for the run.
#[derive(Debug)]
enum Held {
    Standalone(Box<Standalone>),
    Cluster(Box<LocalCluster>),
    Room(Box<LocalRoom>),
    Nothing,
}

/// Where everything is.
#[derive(Debug, Default)]
struct Places {
    /// URLs of the centers.
    api: Vec<String>,
    /// URLs of the dispatchers.
    dispatchers: Vec<String>,
    /// host:port for devices.
    rooms: Vec<String>,
    /// host:port of the injection port that takes messages in place of centers.
    injection: Option<String>,
    /// Names and sources of metrics.
    metrics: Vec<(String, Source)>,
}

impl Running {
    /// Starts what the scenario asks for, or finds what it points at, and creates the run's product there.
    ///
    /// Fails if something is missing, with what to do about it, and if something does not become ready within a minute.
    pub async fn start(servers: &Servers, options: StartOptions) -> anyhow::Result<Running> {
        let StartOptions { binary, tokens, broadcast_per_second, uplink_url, tester, other_cores } = options;
        let (wishes, client) = (Wishes { tokens, uplink_url }, admin::client()?);
        match servers {
            Servers::Standalone(local) => {
                check_program(&binary)?;
                let versions = Versions::standalone(&binary).await?;
                let (standalone, started) = Standalone::start(local, &binary).await?;
                let held = Held::Standalone(Box::new(standalone));
                Running::local(held, started, &wishes, client, versions).await
            }
            Servers::Cluster { counts, local } => {
                check_program(&binary)?;
                let versions = Versions::cluster(&binary).await?;
                let (cluster, started) = LocalCluster::start(counts, local, binary).await?;
                let held = Held::Cluster(Box::new(cluster));
                Running::local(held, started, &wishes, client, versions).await
            }
            Servers::Room(room) => {
                check_program(&binary)?;
                let versions = Versions::standalone(&binary).await?;
                let programs = room::Programs { longline: binary, tester };
                let around = room::Around { cores: other_cores, tokens, broadcast_per_second };
                let (room, places, product) = LocalRoom::start(room, programs, around).await?;
                let (held, owns_product) = (Held::Room(Box::new(room)), true);
                Ok(Running { held, places, product, owns_product, admin: None, client, versions })
            }
            Servers::External(external) => Running::external(external, &wishes, client).await,
        }
    }

    async fn local(
        held: Held,
        Started { places, admin_key }: Started,
        wishes: &Wishes,
        client: Client,
        versions: Versions,
    ) -> anyhow::Result<Running> {
        let center = places.api.first().context("the system has no center")?;
        let admin = Admin::new(client.clone(), center, &admin_key);
        let product = admin.create_product(wishes).await?;
        Ok(Running { held, places, product, owns_product: true, admin: Some(admin), client, versions })
    }

    async fn external(external: &External, wishes: &Wishes, client: Client) -> anyhow::Result<Running> {
        let Found { places, product, owns_product, admin, versions } =
            external::find(external, wishes, &client).await?;
        Ok(Running { held: Held::Nothing, places, product, owns_product, admin, client, versions })
    }

    /// URLs of the centers, for HTTP and for gRPC.
    pub fn api(&self) -> &[String] {
        &self.places.api
    }

    /// URLs of the dispatchers.
    pub fn dispatchers(&self) -> &[String] {
        &self.places.dispatchers
    }

    /// host:port of the rooms, for devices; they stay the same over restarts. Of a system that runs already they are known only with
    /// the admin key.
    pub fn rooms(&self) -> &[String] {
        &self.places.rooms
    }

    /// host:port of the injection port (see `longline-load-raw`) that takes messages in place of centers, where a room is alone.
    pub fn injection(&self) -> Option<&str> {
        self.places.injection.as_deref()
    }

    /// Number of the run's product.
    pub fn product(&self) -> u32 {
        self.product.id
    }

    /// Key of the run's product.
    pub fn key(&self) -> &str {
        &self.product.key
    }

    /// Signs user tokens (HS256; the text's bytes are the key). None if the product was not created for the run.
    pub fn token_key(&self) -> Option<&str> {
        self.product.token_key.as_deref()
    }

    /// The operators' key, if it is known.
    pub fn admin_key(&self) -> Option<&str> {
        self.admin.as_ref().map(Admin::key)
    }

    /// Versions of its programs.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Every process that was started for it, the stores too, as of now: a restart gives another number.
    pub fn processes(&mut self) -> Vec<Watched> {
        match &mut self.held {
            Held::Standalone(standalone) => vec![standalone.watched()],
            Held::Cluster(cluster) => cluster.watched(),
            Held::Room(room) => room.watched(),
            Held::Nothing => Vec::new(),
        }
    }

    /// What asks its nodes for their metrics. Of a system that runs already: with the admin key, what they report to the cluster of
    /// sessions, memory and CPU; else nothing.
    pub fn scraper(&self) -> Scraper {
        Scraper::new(self.client.clone(), self.places.metrics.clone())
    }

    /// Ends a room at once, as `kill -9` does: the one of this name, else the first that runs. Its name. An error unless it is a
    /// cluster that was started for the run.
    pub fn kill_room(&mut self, name: Option<&str>) -> anyhow::Result<String> {
        self.cluster()?.kill_room(name)
    }

    /// Tells this room to stop in order, without waiting. An error unless it is a cluster that was started for the run.
    pub fn tell_room_to_stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.cluster()?.tell_room_to_stop(name)
    }

    /// Whether this room's process has ended.
    pub fn room_has_stopped(&mut self, name: &str) -> anyhow::Result<bool> {
        self.cluster()?.room_has_stopped(name)
    }

    /// Starts this room again on its ports, and returns once it is ready.
    pub async fn restart_room(&mut self, name: &str) -> anyhow::Result<()> {
        self.cluster()?.restart_room(name).await
    }

    /// The processes that ended by themselves: not those that [`Running::kill_room`] ended or that
    /// [`Running::tell_room_to_stop`] told to.
    pub fn ended(&mut self) -> anyhow::Result<Vec<Ended>> {
        match &mut self.held {
            Held::Standalone(standalone) => standalone.ended(),
            Held::Cluster(cluster) => cluster.ended(),
            Held::Room(room) => room.ended(),
            Held::Nothing => Ok(Vec::new()),
        }
    }

    /// Stops in order what was started for the run, and kills what has not stopped within a minute, which is an error. At a system
    /// that was there before, only the run's product is disabled.
    pub async fn stop(self) -> anyhow::Result<()> {
        let stopping = async {
            match self.held {
                Held::Standalone(standalone) => standalone.stop().await,
                Held::Cluster(cluster) => cluster.stop().await,
                Held::Room(room) => room.stop().await,
                Held::Nothing => match self.admin.filter(|_| self.owns_product) {
                    Some(admin) => admin.disable_product(self.product.id).await,
                    None => Ok(()),
                },
            }
        };
        let stopped = tokio::time::timeout(STOP, stopping).await;
        stopped.with_context(|| format!("the system did not stop within {STOP:?} and was killed"))?
    }

    fn cluster(&mut self) -> anyhow::Result<&mut LocalCluster> {
        match &mut self.held {
            Held::Cluster(cluster) => Ok(cluster),
            Held::Standalone(_) => {
                bail!("a room cannot be killed alone in standalone mode; use mode = \"cluster\"")
            }
            Held::Room(_) => bail!("a room that is measured alone is not killed; use mode = \"cluster\""),
            Held::Nothing => bail!("a room of a system that was not started for the run is not killed"),
        }
    }
}

/// What a system that was just started tells.
struct Started {
    places: Places,
    admin_key: String,
}

fn check_program(binary: &Path) -> anyhow::Result<()> {
    ensure!(
        binary.is_file(),
        "there is no program {}; build it with `cargo build --release --package longline`",
        binary.display()
    );
    Ok(())
}
