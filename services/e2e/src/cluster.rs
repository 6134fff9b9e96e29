//! The whole cluster in one process: every service on ports of its own, SQLite for storage.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use longline_boot::{Deps, Health};
use longline_config::NodeConfig;
use longline_testkit::{Scratch, eventually};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Api, SOON};

/// How many of each, and how they are set.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Rooms.
    pub rooms: usize,
    /// Registers.
    pub registers: usize,
    /// Each room's configuration; listeners, names and keepers are filled in.
    pub room: longline_room::Config,
    /// Likewise the center's.
    pub center: longline_center::Config,
    /// Likewise the coordinator's.
    pub coordinator: longline_coordinator::Config,
}

impl Default for Shape {
    fn default() -> Shape {
        let mut room = longline_room::Config::default();
        room.drain.within_ms = 200;
        room.engine.shards = 2;
        Shape {
            rooms: 1,
            registers: 1,
            room,
            center: longline_center::Config::default(),
            coordinator: longline_coordinator::Config::default(),
        }
    }
}

/// A running cluster. Dropping it stops it.
pub struct Cluster {
    nodes: BTreeMap<String, Node>,
    keeper: String,
    admin: Api,
    /// The product `demo`.
    pub product: u32,
    /// Its API.
    pub api: Api,
    scratch: Scratch,
}

struct Node {
    stop: CancellationToken,
    task: Option<JoinHandle<anyhow::Result<()>>>,
    health: Health,
    rpc: SocketAddr,
    public: Vec<SocketAddr>,
    registry: prometheus::Registry,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Binds a service and runs it on a task.
macro_rules! launch {
    ($service:ident, $config:expr) => {
        async {
            let deps = Deps::default();
            let (health, registry) = (deps.health.clone(), deps.registry.clone());
            let bound = $service::bind($config, deps).await?;
            let (rpc, public) = (bound.rpc(), bound.public());
            let stop = CancellationToken::new();
            let task = Some(tokio::spawn(bound.run(stop.clone())));
            anyhow::Ok(Node { stop, task, health, rpc, public, registry })
        }
    };
}

impl Cluster {
    /// One of each.
    pub async fn start() -> anyhow::Result<Cluster> {
        Cluster::shaped(Shape::default()).await
    }

    /// A cluster of this shape, ready, with the product `demo`.
    pub async fn shaped(shape: Shape) -> anyhow::Result<Cluster> {
        let scratch = Scratch::new()?;
        let mut keeper = longline_keeper::Config { node: node("keeper", ""), ..Default::default() };
        keeper.data = scratch.path().join("keeper");
        let keeper = launch!(longline_keeper, keeper).await?;
        let at = keeper.rpc.to_string();
        let mut nodes = BTreeMap::from([("keeper".to_owned(), keeper)]);
        nodes.insert("saver".to_owned(), saver(&scratch, &at).await?);
        for number in 1..=shape.registers {
            let name = format!("register-{number}");
            nodes.insert(name.clone(), register(&name, &at).await?);
        }
        let coordinator =
            longline_coordinator::Config { node: node("coordinator", &at), ..shape.coordinator };
        nodes.insert("coordinator".to_owned(), launch!(longline_coordinator, coordinator).await?);
        let dispatcher = longline_dispatcher::Config { node: node("dispatcher", &at), ..Default::default() };
        nodes.insert("dispatcher".to_owned(), launch!(longline_dispatcher, dispatcher).await?);
        for number in 1..=shape.rooms {
            let name = format!("room-{number}");
            nodes.insert(name.clone(), room(&name, &at, shape.room.clone()).await?);
        }
        let admin_key = "lla_the-admin-key-of-the-end-to-end-tests";
        let key_file = scratch.path().join("admin.key");
        std::fs::write(&key_file, admin_key)?;
        let center = longline_center::Config {
            node: node("center", &at),
            admin_key_file: Some(key_file),
            ..shape.center
        };
        let center = launch!(longline_center, center).await?;
        let admin = Api::new(format!("http://{}", center.public[0]), admin_key);
        nodes.insert("center".to_owned(), center);
        for (name, node) in &nodes {
            let ready = tokio::time::timeout(SOON, node.health.wait_ready());
            ready.await.with_context(|| format!("{name} is not ready: {:?}", node.health.now()))?;
        }
        let mut cluster = Cluster { nodes, keeper: at, api: admin.clone(), admin, product: 0, scratch };
        (cluster.product, cluster.api) = cluster.create_product(json!({ "name": "demo" })).await?;
        Ok(cluster)
    }

    /// Creates a product; its id, and the API with its key. The record has the other keys too.
    pub async fn create_product(&self, record: serde_json::Value) -> anyhow::Result<(u32, Api)> {
        let record = self.admin_post("/v1/admin/products", record).await?;
        let id = record["product"]["id"].as_u64().context("no id")? as u32;
        let key = record["key"].as_str().context("no key")?.to_owned();
        Ok((id, self.admin.with_key(key)))
    }

    /// POST with the admin key; the body of a successful answer.
    pub async fn admin_post(&self, path: &str, body: serde_json::Value) -> anyhow::Result<serde_json::Value> {
        let answer = self.admin.post(path, body).await?;
        anyhow::ensure!((200..300).contains(&answer.status), "refused: {answer:?}");
        Ok(answer.body)
    }

    /// The API with the admin key.
    pub fn admin(&self) -> &Api {
        &self.admin
    }

    /// Where devices connect, a room each.
    pub fn rooms(&self) -> Vec<String> {
        let rooms = self.nodes.iter().filter(|(name, _)| name.starts_with("room-"));
        rooms.map(|(_, node)| node.public[0].to_string()).collect()
    }

    /// URL of the dispatcher.
    pub fn dispatcher(&self) -> String {
        format!("http://{}", self.nodes["dispatcher"].public[0])
    }

    /// host:port of a service's gRPC.
    pub fn rpc(&self, name: &str) -> String {
        self.nodes[name].rpc.to_string()
    }

    /// host:port of the keeper, for nodes that join later.
    pub fn keeper(&self) -> &str {
        &self.keeper
    }

    /// The sum of a metric over all its labels, on one service; 0 if it is not there.
    pub fn metric(&self, service: &str, name: &str) -> f64 {
        let families = self.nodes[service].registry.gather();
        let family = families.iter().find(|f| f.name() == name);
        family.map_or(0.0, |f| {
            f.get_metric().iter().map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum()
        })
    }

    /// The same over those with a label of this value.
    pub fn metric_with(&self, service: &str, name: &str, label: &str) -> f64 {
        let families = self.nodes[service].registry.gather();
        let family = families.iter().find(|f| f.name() == name);
        let labelled = |m: &&prometheus::proto::Metric| m.get_label().iter().any(|l| l.value() == label);
        family.map_or(0.0, |f| {
            let chosen = f.get_metric().iter().filter(labelled);
            chosen.map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum()
        })
    }

    /// Stops one service in order, and waits until it has.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        let mut node = self.nodes.remove(name).with_context(|| format!("there is no {name}"))?;
        node.stop.cancel();
        let task = node.task.take().context("it runs")?;
        tokio::time::timeout(SOON, task).await.with_context(|| format!("{name} does not stop"))??
    }

    /// Adds a room.
    pub async fn add_room(&mut self, name: &str, config: longline_room::Config) -> anyhow::Result<()> {
        let room = room(name, &self.keeper, config).await?;
        tokio::time::timeout(SOON, room.health.wait_ready()).await?;
        self.nodes.insert(name.to_owned(), room);
        Ok(())
    }

    /// Adds a register.
    pub async fn add_register(&mut self, name: &str) -> anyhow::Result<()> {
        let register = register(name, &self.keeper).await?;
        tokio::time::timeout(SOON, register.health.wait_ready()).await?;
        self.nodes.insert(name.to_owned(), register);
        Ok(())
    }

    /// Starts the saver again, after it was stopped, on the same database.
    pub async fn restart_saver(&mut self) -> anyhow::Result<()> {
        let saver = saver(&self.scratch, &self.keeper).await?;
        tokio::time::timeout(SOON, saver.health.wait_ready()).await?;
        self.nodes.insert("saver".to_owned(), saver);
        Ok(())
    }

    /// Waits until the API says that a user is online (or not).
    pub async fn until_presence(&self, user: &str, presence: &str) -> anyhow::Result<()> {
        let what = format!("{user} is {presence}");
        eventually(SOON, &what, async || self.api.presence(user).await.is_ok_and(|p| p == presence)).await;
        Ok(())
    }
}

async fn saver(scratch: &Scratch, keeper: &str) -> anyhow::Result<Node> {
    let mut config = longline_saver::Config { node: node("saver", keeper), ..Default::default() };
    config.store = longline_saver::StoreConfig::sqlite(scratch.path().join("longline.db"));
    launch!(longline_saver, config).await
}

async fn register(name: &str, keeper: &str) -> anyhow::Result<Node> {
    let config = longline_register::Config { node: node(name, keeper), ..Default::default() };
    launch!(longline_register, config).await
}

async fn room(name: &str, keeper: &str, mut config: longline_room::Config) -> anyhow::Result<Node> {
    config.node = node(name, keeper);
    config.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    launch!(longline_room, config).await
}

fn node(name: &str, keeper: &str) -> NodeConfig {
    NodeConfig {
        name: Some(name.to_owned()),
        keepers: vec![keeper.to_owned()],
        rpc: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin: None,
        shutdown_s: 10,
        ..NodeConfig::default()
    }
}
