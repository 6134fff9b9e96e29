//! All processes of a cluster, and the stores they stand on.

use std::path::Path;

use anyhow::Context as _;
use futures::future::{join_all, try_join_all};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use longline_testkit::{MariaDb, MariaDbOptions, RedisOptions, RedisServer, Scratch};
use longline_types::Role;

use crate::nodes::{on_cores, start_node};
use crate::settings::{Shared, Stores};
use crate::{Description, NodeDescription, NodeProcess, Options, Product, api};

/// Processes that open their ports at the same time: each has a deadline for that, however many there are and however few cores.
const AT_ONCE: usize = 16;

/// A cluster that runs. Dropping it kills everything at once; [`Cluster::stop`] stops it in order.
#[derive(Debug)]
pub struct Cluster {
    // The order of the fields is the order of the end.
    nodes: Vec<NodeProcess>,
    redis: RedisServer,
    mariadb: MariaDb,
    mysql: String,
    admin_key: String,
    product: Product,
    options: Options,
    scratch: Scratch,
}

impl Cluster {
    /// Starts Redis, MariaDB and every process, waits until all are ready, and creates the product `demo`.
    pub async fn start(options: Options) -> anyhow::Result<Cluster> {
        let scratch = Scratch::new()?;
        let surroundings = on_cores(options.cores.as_deref());
        let redis = RedisOptions { surroundings: surroundings.clone(), ..RedisOptions::default() };
        let (buffer_pool_mib, log_mib) = (options.database_mib, (options.database_mib / 4).max(16));
        let mariadb = MariaDbOptions { surroundings, buffer_pool_mib, log_mib };
        let (redis, mariadb) = tokio::try_join!(
            RedisServer::start_with(&scratch, redis),
            MariaDb::start_with(&scratch, mariadb)
        )?;
        let mysql = mariadb.create_database().await?;
        let (admin_key, admin_key_file) = write_admin_key(scratch.path())?;
        let stores = Stores { mysql: mysql.clone(), redis: redis.url(), admin_key: admin_key_file };
        let mut shared = Shared { stores: Some(stores), keeper: None };

        let cores = options.cores.as_deref();
        let keeper = start_node(&options, &scratch, &shared, Role::Keeper, 1, cores).await?;
        shared.keeper = Some(keeper.addresses().rpc.clone());
        let others = Role::ALL.into_iter().filter(|role| *role != Role::Keeper);
        let others =
            others.flat_map(|role| (1..=options.count[role.name()]).map(move |number| (role, number)));
        let start = |(role, number)| start_node(&options, &scratch, &shared, role, number, cores);
        let others = others.map(start);
        let mut nodes = vec![keeper];
        nodes.extend(stream::iter(others).buffered(AT_ONCE).try_collect::<Vec<_>>().await?);
        try_join_all(nodes.iter_mut().map(NodeProcess::wait_ready)).await?;

        let center = nodes.iter().find(|n| n.role() == Role::Center).context("a cluster needs a center")?;
        let product = api::create_product(http(center), &admin_key, "demo").await?;
        Ok(Cluster { nodes, redis, mariadb, mysql, admin_key, product, options, scratch })
    }

    /// Every process, keeper first.
    pub fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    /// The processes, to kill and restart them.
    pub fn nodes_mut(&mut self) -> &mut [NodeProcess] {
        &mut self.nodes
    }

    /// The processes of a role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &NodeProcess> {
        self.nodes.iter().filter(move |n| n.role() == role)
    }

    /// The process with this name (`room-1`). An error if there is none.
    pub fn node(&mut self, name: &str) -> anyhow::Result<&mut NodeProcess> {
        self.nodes
            .iter_mut()
            .find(|n| n.name() == name)
            .with_context(|| format!("there is no process {name}"))
    }

    /// Its Redis, to stop and restart it with or without data.
    pub fn redis(&mut self) -> &mut RedisServer {
        &mut self.redis
    }

    /// Its database, to stop and restart it.
    pub fn mariadb(&mut self) -> &mut MariaDb {
        &mut self.mariadb
    }

    /// The stores that have ended though nobody asked them to.
    pub fn ended_stores(&mut self) -> anyhow::Result<Vec<&'static str>> {
        let redis = self.redis.process().exited()?.map(|_| "redis-server");
        let mariadb = self.mariadb.process().exited()?.map(|_| "mariadbd");
        Ok(redis.into_iter().chain(mariadb).collect())
    }

    /// The product `demo`.
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// The key of `/v1/admin`.
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// URLs of the API, one per center.
    pub fn api(&self) -> Vec<String> {
        self.of(Role::Center).map(url).collect()
    }

    /// The program that its processes run.
    pub fn program(&self) -> &Path {
        &self.options.binary
    }

    /// Where the files of all processes are.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Leaves the files of all processes where they are when it ends.
    pub fn keep_folder(&mut self) {
        self.scratch.keep();
    }

    /// What runs, and where.
    pub fn describe(&mut self) -> Description {
        Description {
            api: self.api(),
            dispatchers: self.of(Role::Dispatcher).map(url).collect(),
            rooms: self.of(Role::Room).flat_map(|n| n.addresses().public.clone()).collect(),
            product: self.product.clone(),
            admin_key: self.admin_key.clone(),
            nodes: self.nodes.iter().map(describe).collect(),
            redis: self.redis.url(),
            redis_pid: self.redis.process().id(),
            mysql: self.mysql.clone(),
            mysql_pid: self.mariadb.process().id(),
            binary: self.options.binary.clone(),
            folder: self.folder().to_owned(),
        }
    }

    /// Stops everything in the reverse order of the start, the processes of a role together. Errors do not keep the others from
    /// being stopped; the first is told.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        for role in self.nodes.chunk_by_mut(|a, b| a.role() == b.role()).rev() {
            let ended = join_all(role.iter_mut().map(NodeProcess::stop)).await;
            result = ended.into_iter().fold(result, |result, ended| result.and(ended.map(drop)));
        }
        result = result.and(self.redis.stop().await);
        result.and(self.mariadb.stop().await)
    }
}

/// A key that nobody knows before, in a file for the centers.
fn write_admin_key(folder: &Path) -> anyhow::Result<(String, String)> {
    let seed =
        std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot read a random number")?;
    let key = format!("lla_{}", seed.trim().replace('-', ""));
    let path = folder.join("admin.key");
    std::fs::write(&path, &key)?;
    Ok((key, path.to_string_lossy().into_owned()))
}

fn url(node: &NodeProcess) -> String {
    format!("http://{}", http(node))
}

fn http(node: &NodeProcess) -> &str {
    let addresses = node.addresses();
    addresses.public.first().unwrap_or(&addresses.rpc)
}

fn describe(node: &NodeProcess) -> NodeDescription {
    NodeDescription {
        name: node.name().to_owned(),
        role: node.role().name(),
        pid: node.pid(),
        addresses: node.addresses().clone(),
        config: node.config(),
        log: node.log(),
    }
}
