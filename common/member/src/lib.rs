//! Membership of the cluster: a node's lease, the view, the configuration, and the grants of message ids, all from the keeper.
//!
//! [`join`] waits for a keeper, however long; from then on the [`Member`] renews the lease, follows the view and keeps the
//! [`IdMaker`] extended until [`Member::leave`] or until its last handle is dropped. While no keeper answers, the last view
//! stands and nothing is closed; only [`Member::lease_valid`] turns false.
//!
//! All of this has a thread of its own: a node that has more to do than it can would else lose its lease, and have to bind all its
//! sessions anew on top of that. What stands still altogether for half a minute loses it all the same.

mod backoff;
mod config;
mod keepers;
mod lease;
mod pulse;
mod shared;
mod thread;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longline_config::{NodeConfig, Unreachable};
use longline_pb::keeper::WriteConfigRequest;
use longline_types::{Error, IdMaker, Load, NodeState, Role, View};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::{Entries, Entry};
pub use lease::Identity;
use shared::Shared;

/// How long an ordered stop waits for the keeper to hear of it; after that the lease runs out by itself.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);

/// Who joins.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the node does.
    pub role: Role,
    /// Its name, data centre, keepers and advertised address.
    pub node: NodeConfig,
    /// Where its gRPC really listens.
    pub rpc: SocketAddr,
    /// host:port for devices (rooms) or for HTTP (centers, dispatchers), as others reach it.
    pub public: Vec<String>,
    /// Rooms that speak Noise: their public key in base64; else empty.
    pub noise_key: String,
}

/// Why a node cannot join. A keeper that does not answer is no reason: it is waited for.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The configuration names no keeper.
    #[error("no keeper is configured: set node.keepers to their host:port")]
    NoKeepers,
    /// The configuration names a keeper by something that is no host:port.
    #[error("`{0}` in node.keepers is no host:port")]
    BadKeeper(String),
    /// Nothing says how others reach this node's gRPC.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The keeper does not accept what the node says of itself.
    #[error("the keeper refuses this node: {0}")]
    Refused(Error),
    /// The process was told to stop meanwhile.
    #[error("stopped before a keeper answered")]
    Shutdown,
    /// The system has no thread for the lease.
    #[error("cannot start a thread for the lease: {0}")]
    NoThread(#[from] std::io::Error),
}

/// Joins the cluster in state [`NodeState::Starting`], trying all keepers with backoff until one answers or `shutdown`.
///
/// `shutdown` ends the waiting only: a node that is stopping keeps its lease until it leaves.
pub async fn join(options: Options, shutdown: CancellationToken) -> Result<Member, JoinError> {
    let (tasks, joining) = thread::start(options)?;
    tokio::select! {
        biased;
        () = shutdown.cancelled() => Err(JoinError::Shutdown),
        joined = joining => Ok(Member::start(joined?, tasks)),
    }
}

/// A node's place in the cluster. Clones are handles on the same place.
#[derive(Clone)]
pub struct Member {
    shared: Arc<Shared>,
    /// Ends the lease's thread with the last handle.
    _tasks: Arc<DropGuard>,
}

impl Member {
    fn start(shared: Arc<Shared>, tasks: DropGuard) -> Member {
        tokio::spawn(pulse::beat(shared.clone()));
        Member { shared, _tasks: Arc::new(tasks) }
    }

    /// The view and its changes, loads included. Its number never goes back; a view that contains this node is there from
    /// the start.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.shared.view.subscribe()
    }

    /// The configuration entries whose keys begin with `prefix`, and their changes, for as long as the receiver is there. The first
    /// value is empty and not known; while no keeper answers the last known one stands.
    pub fn config(&self, prefix: &str) -> watch::Receiver<Arc<Entries>> {
        let (to, entries) = watch::channel(Arc::default());
        tokio::spawn(config::follow(self.shared.clone(), prefix.to_owned(), to));
        entries
    }

    /// Sets a configuration entry, or deletes it if `value` is none, provided that it has `revision` (0: it does not exist). Tried once
    /// with each keeper, for at most `deadline` each.
    ///
    /// # Errors
    /// `Conflict` if it has another revision; else as the keeper says, or that none answers.
    pub async fn write_config(
        &self,
        key: &str,
        value: Option<&[u8]>,
        revision: u64,
        deadline: Duration,
    ) -> Result<(), Error> {
        let request = WriteConfigRequest {
            key: key.to_owned(),
            value: value.unwrap_or_default().to_vec(),
            expected_revision: revision,
            delete: value.is_none(),
        };
        let asking = self.shared.keepers.ask(deadline, |mut client| {
            let request = request.clone();
            async move { client.write_config(request).await }
        });
        asking.await.map(drop)
    }

    /// Who this node is. It changes only when a lost lease was replaced by a new registration (R4): then the number and
    /// the incarnation are new, and the view that contains them is there already. A renewed lease wakes nobody.
    pub fn identity(&self) -> watch::Receiver<Identity> {
        self.shared.identity.subscribe()
    }

    /// Who this node is now.
    pub fn current(&self) -> Identity {
        *self.shared.identity.borrow()
    }

    /// Whether the keeper has confirmed this node within the lease, counted from when it was asked. Compared with the clock
    /// at each call, so a process that was paused learns it at once.
    pub fn lease_valid(&self) -> bool {
        Instant::now() < self.shared.identity.borrow().lease_until
    }

    /// Makes message ids within the grants of this node (I1). The same object for the life of the member.
    pub fn ids(&self) -> Arc<IdMaker> {
        self.shared.ids.clone()
    }

    /// Tells the keeper, at once, whether this node may be given work.
    pub fn set_state(&self, state: NodeState) {
        self.shared.report(|report| report.state = state);
        self.shared.report_now.notify_one();
    }

    /// What the next renewal reports as load.
    pub fn set_load(&self, load: Load) {
        self.shared.report(|report| report.load = load);
    }

    /// Leaves the cluster: the lease ends at once if a keeper answers within 2 s, else by itself. Nothing is renewed after
    /// this; [`Member::lease_valid`] is false.
    pub async fn leave(&self) {
        self.shared.stop.cancel();
        lease::leave(&self.shared, LEAVE_DEADLINE).await;
    }
}
