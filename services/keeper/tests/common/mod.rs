//! A keeper for a test: on a free port, in a scratch folder, stopped and started again at will.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use longline_boot::Deps;
use longline_config::NodeConfig;
use longline_keeper::Config;
use longline_member::{Member, Options, join};
use longline_pb::keeper::keeper_client::KeeperClient;
use longline_types::Role;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// A running keeper.
pub(crate) struct Keeper {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Keeper {
    /// Starts one in this folder with a lease of a second; port 0: a free one.
    pub(crate) async fn start(folder: &Path, port: u16) -> Keeper {
        let mut config = Config { data: folder.to_owned(), lease_ms: 1_000, ..Config::default() };
        config.node.rpc = SocketAddr::from(([127, 0, 0, 1], port));
        config.node.shutdown_s = 2;
        let bound = longline_keeper::bind(config, Deps::default()).await.unwrap();
        let address = bound.rpc();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(bound.run(shutdown.clone()));
        Keeper { address, shutdown, task }
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    pub(crate) fn client(&self) -> KeeperClient<Channel> {
        client(self.address)
    }

    pub(crate) async fn join(&self, role: Role) -> Member {
        join(self.options(role), CancellationToken::new()).await.unwrap()
    }

    pub(crate) fn options(&self, role: Role) -> Options {
        let node = NodeConfig { keepers: vec![self.address.to_string()], ..NodeConfig::default() };
        Options {
            role,
            node,
            rpc: SocketAddr::from(([127, 0, 0, 1], 9)),
            public: Vec::new(),
            noise_key: String::new(),
        }
    }
}

pub(crate) fn client(address: SocketAddr) -> KeeperClient<Channel> {
    KeeperClient::new(longline_rpc::endpoint(&address.to_string()).unwrap().connect_lazy())
}

/// Waits for a condition of the view.
pub(crate) async fn view_where(
    member: &Member,
    what: &str,
    condition: impl Fn(&longline_types::View) -> bool,
) -> std::sync::Arc<longline_types::View> {
    let mut view = member.view();
    let waiting = view.wait_for(|view| condition(view));
    match tokio::time::timeout(Duration::from_secs(20), waiting).await {
        Ok(view) => view.unwrap().clone(),
        Err(_) => panic!("not in time: {what}; the view is {:?}", member.view().borrow()),
    }
}
