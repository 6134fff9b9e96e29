//! One room alone: with a keeper and a register, and the load tester's backend in place of everything else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use longline_load_scenario::Room;
use longline_procs::{NodeProcess, Nodes, Options};
use longline_testkit::{Process, Surroundings};
use longline_types::Role;
use tokio::time::Instant;

use super::Places;
use super::ended::{Ended, last_words};
use crate::Watched;
use crate::admin::Product;
use crate::metrics::Source;

/// For the backend to say where it listens.
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
/// Role and name of the backend.
const BACKEND: &str = "backend";
/// What the backend prints before its two addresses once it serves; `longline-loadtest backend`.
const LISTENING: &str = "backend listens on ";
/// Number of the backend's product.
const PRODUCT: u32 = 1;
/// Where the backend finds the key of user tokens; its environment, since arguments are for all to see.
const TOKEN_KEY: &str = "LONGLINE_BACKEND_TOKEN_KEY";

/// What is run.
pub(super) struct Programs {
    pub(super) longline: PathBuf,
    /// The load tester.
    pub(super) tester: PathBuf,
}

/// What stands around the room.
pub(super) struct Around {
    /// Where it runs, unless the scenario says where.
    pub(super) cores: Vec<usize>,
    /// The product wants user tokens.
    pub(super) tokens: bool,
    /// Users a second to whom a broadcast is sent; 0: as fast as the room can.
    pub(super) broadcast_per_second: u32,
}

#[derive(Debug)]
pub(super) struct LocalRoom {
    // It ends before what it stands on.
    backend: Process,
    nodes: Nodes,
}

impl LocalRoom {
    /// Starts all, and waits until the room is ready.
    pub(super) async fn start(
        room: &Room,
        programs: Programs,
        around: Around,
    ) -> anyhow::Result<(LocalRoom, Places, Product)> {
        let others = if room.other_cores.is_empty() { around.cores } else { room.other_cores.clone() };
        let mut options = Options::new(programs.longline);
        options.cores = Some(others.clone());
        for role in [Role::Keeper, Role::Register, Role::Room] {
            if let Some(table) = room.local.settings.get(role.name()) {
                options.settings.insert(role.name(), table.clone());
            }
        }
        let mut nodes = Nodes::start(options).await?;
        nodes.add(Role::Register, &others).await?.wait_ready().await?;
        let token_key = around.tokens.then(token_key).transpose()?;
        let settings =
            [("--window", room.window.unwrap_or(0)), ("--broadcast-per-second", around.broadcast_per_second)];
        let (backend, told) =
            start_backend(&nodes, &programs.tester, settings, token_key.as_deref(), &others).await?;
        let gateway = nodes.add(Role::Room, &room.local.cores).await?;
        gateway.wait_ready().await?;
        let rooms = gateway.addresses().public.clone();
        let of_node = |node: &NodeProcess| {
            let admin = node.addresses().admin.as_ref()?;
            Some((node.name().to_owned(), Source::Node(format!("http://{admin}"))))
        };
        let mut metrics: Vec<(String, Source)> = nodes.nodes().iter().filter_map(of_node).collect();
        metrics.push((BACKEND.to_owned(), Source::Node(format!("http://{}", told.admin))));
        let (injection, none) = (Some(told.injection), Vec::new);
        let places = Places { api: none(), dispatchers: none(), rooms, injection, metrics };
        let product = Product { id: PRODUCT, key: String::new(), token_key };
        Ok((LocalRoom { backend, nodes }, places, product))
    }

    pub(super) fn watched(&self) -> Vec<Watched> {
        let watched = |node: &NodeProcess| Watched {
            role: node.role().name().to_owned(),
            name: node.name().to_owned(),
            pid: node.pid(),
        };
        let backend = Watched { role: BACKEND.to_owned(), name: BACKEND.to_owned(), pid: self.backend.id() };
        self.nodes.nodes().iter().map(watched).chain([backend]).collect()
    }

    pub(super) fn ended(&mut self) -> anyhow::Result<Vec<Ended>> {
        let mut ended = Vec::new();
        for node in self.nodes.nodes_mut() {
            if let Some(how) = node.exited()? {
                let (name, last_words) = (node.name().to_owned(), last_words(&node.log()));
                ended.push(Ended { name, how: how.to_string(), last_words });
            }
        }
        if let Some(how) = self.backend.exited()? {
            let last_words = self.backend.last_words();
            ended.push(Ended { name: BACKEND.to_owned(), how: how.to_string(), last_words });
        }
        Ok(ended)
    }

    /// The room first, while the backend still takes acknowledgements.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let others = self.nodes.stop_all_but_keeper().await;
        let backend = self.backend.stop(STOP).await.context("cannot stop the backend");
        others.and(backend.map(drop)).and(self.nodes.stop().await)
    }
}

/// Where the backend listens.
struct Told {
    injection: String,
    admin: String,
}

async fn start_backend(
    nodes: &Nodes,
    program: &Path,
    settings: [(&str, u32); 2],
    token_key: Option<&str>,
    cores: &[usize],
) -> anyhow::Result<(Process, Told)> {
    let mut words: Vec<String> =
        [BACKEND, "--keeper", nodes.keeper(), "--inject", "127.0.0.1:0"].map(str::to_owned).into();
    words.extend(settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
    let key = token_key.map(|key| (TOKEN_KEY.to_owned(), key.to_owned()));
    let surroundings = Surroundings { environment: key.into_iter().collect(), cores: cores.to_vec() };
    let log = nodes.folder().join("backend.log");
    let mut process = Process::start_with(program, &words, &surroundings, &log)?;
    let end = Instant::now() + START;
    loop {
        let output = process.output();
        let told = output.lines().find_map(|line| line.strip_prefix(LISTENING)?.split_once(' '));
        if let Some((injection, admin)) = told.filter(|_| output.ends_with('\n')) {
            return Ok((process, Told { injection: injection.to_owned(), admin: admin.to_owned() }));
        }
        if process.exited()?.is_some() || Instant::now() >= end {
            bail!("the backend did not say where it listens:\n{}", process.last_words());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A key that nobody knows before.
fn token_key() -> anyhow::Result<String> {
    let random =
        || std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot read a random number");
    Ok((random()? + &random()?).replace(['-', '\n'], ""))
}
