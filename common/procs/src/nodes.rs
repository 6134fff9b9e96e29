//! Processes of some roles, without the stores.

use std::path::Path;

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use longline_testkit::{Scratch, Surroundings};
use longline_types::Role;

use crate::settings::{Shared, lay_over, settings};
use crate::{NodeProcess, Options};

/// A keeper, and what is added to it one by one: a part of a cluster, for whoever brings the rest. Roles that need Redis or MariaDB
/// (savers and centers) cannot be among them. Dropping it kills everything at once; [`Nodes::stop`] stops it in order.
#[derive(Debug)]
pub struct Nodes {
    // The order of the fields is the order of the end.
    nodes: Vec<NodeProcess>,
    shared: Shared,
    options: Options,
    scratch: Scratch,
}

impl Nodes {
    /// Starts the keeper, on the cores that the options name, and waits until it is ready. The counts of the options say nothing here.
    pub async fn start(options: Options) -> anyhow::Result<Nodes> {
        let (scratch, shared) = (Scratch::new()?, Shared::default());
        let mut nodes = Nodes { nodes: Vec::new(), shared, options, scratch };
        let cores = nodes.options.cores.clone().unwrap_or_default();
        nodes.add(Role::Keeper, &cores).await?;
        Ok(nodes)
    }

    /// Starts one more of a role, on these cores (none: those of this process), and waits until its ports are open; ready it may be
    /// later, see [`NodeProcess::wait_ready`].
    pub async fn add(&mut self, role: Role, cores: &[usize]) -> anyhow::Result<&mut NodeProcess> {
        ensure!(role != Role::Keeper || self.nodes.is_empty(), "there is a keeper already");
        let number = self.nodes.iter().filter(|node| node.role() == role).count() + 1;
        let (options, scratch, shared) = (&self.options, &self.scratch, &self.shared);
        let node = start_node(options, scratch, shared, role, number, Some(cores)).await?;
        if role == Role::Keeper {
            self.shared.keeper = Some(node.addresses().rpc.clone());
        }
        self.nodes.push(node);
        self.nodes.last_mut().context("it was put there above")
    }

    /// Every process, keeper first.
    pub fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    /// The processes, to wait for them.
    pub fn nodes_mut(&mut self) -> &mut [NodeProcess] {
        &mut self.nodes
    }

    /// Where the keeper is, as host:port.
    pub fn keeper(&self) -> &str {
        self.shared.keeper.as_deref().unwrap_or_default()
    }

    /// Where the files of all processes are.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Stops in the reverse order of the start, the processes of a role together: those that are not the keeper. Errors do not keep
    /// the others from being stopped; the first is told. Whoever else stands on the keeper can leave it then.
    pub async fn stop_all_but_keeper(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        let others = self.nodes.split_first_mut().map_or(&mut [][..], |(_, others)| others);
        for role in others.chunk_by_mut(|a, b| a.role() == b.role()).rev() {
            let ended = join_all(role.iter_mut().map(NodeProcess::stop)).await;
            result = ended.into_iter().fold(result, |result, ended| result.and(ended.map(drop)));
        }
        result
    }

    /// Stops what still runs, the keeper last.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let result = self.stop_all_but_keeper().await;
        match self.nodes.first_mut() {
            Some(keeper) => result.and(keeper.stop().await.map(drop)),
            None => result,
        }
    }
}

/// Starts a process with a folder of its own in `scratch`.
pub(crate) async fn start_node(
    options: &Options,
    scratch: &Scratch,
    shared: &Shared,
    role: Role,
    number: usize,
    cores: Option<&[usize]>,
) -> anyhow::Result<NodeProcess> {
    let name = format!("{role}-{number}");
    let folder = scratch.path().join(&name);
    let mut table = settings(role, &name, &folder, shared)?;
    std::fs::create_dir(&folder)?;
    if let Some(over) = options.settings.get(role.name()) {
        lay_over(&mut table, over.clone());
    }
    let environment = options.environment.clone();
    let surroundings = Surroundings { environment, ..on_cores(cores) };
    NodeProcess::start(&options.binary, role, &name, &folder, table, &surroundings).await
}

pub(crate) fn on_cores(cores: Option<&[usize]>) -> Surroundings {
    Surroundings { environment: Vec::new(), cores: cores.unwrap_or_default().to_vec() }
}
