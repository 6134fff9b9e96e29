use std::sync::Arc;
use std::time::Duration;

use longline_types::{Address, CloseReason, Device};

/// How a shard sends its sessions away.
///
/// Each is asked to leave (DIRECTIVE), spread evenly over `spread`; those that do not go are closed `leave` after the last was
/// asked, but for at most `grace` not while something of theirs is under way; whatever happens, all is over by `deadline`.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Told with the CLOSE of those that did not go: `GoingAway`, or `Isolated` by R4.
    pub reason: CloseReason,
    /// Says where the sessions should go; none: they are not asked, only closed.
    pub guide: Option<Arc<dyn Guide>>,
    /// In this time all sessions that there are now are asked. Those that are closed are told to come back spread over as long.
    pub spread: Duration,
    /// How long those that were asked last may take to go.
    pub leave: Duration,
    /// How long a session is waited for that has messages, acks or uplinks under way.
    pub grace: Duration,
    /// From now on; who is there then is closed.
    pub deadline: Duration,
}

/// Knows where sessions should go. Asked by the shards' threads, once for each session that leaves.
pub trait Guide: Send + Sync + std::fmt::Debug {
    /// What a session of this device is told that holds these addresses; the first is the one it would ask the dispatcher for.
    fn way(&self, device: Device, held: &[&Address]) -> Way;
}

/// Where a session should go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Way {
    /// Rooms to try, best first; empty: ask the dispatcher.
    pub endpoints: Vec<String>,
    /// To be shown to the new room; may be empty.
    pub ticket: Vec<u8>,
}
