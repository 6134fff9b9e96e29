use std::sync::{Arc, Mutex, PoisonError};

use longline_pb::keeper::RegisterRequest;
use longline_types::{IdMaker, Load, NodeState, View};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::Identity;
use crate::keepers::Keepers;
use crate::pulse::Pulse;

/// What the handles and the tasks of a member share.
pub(crate) struct Shared {
    pub(crate) keepers: Keepers,
    /// What the node says of itself when it registers; the state and the previous incarnation are filled in.
    pub(crate) about: RegisterRequest,
    pub(crate) identity: watch::Sender<Identity>,
    pub(crate) view: watch::Sender<Arc<View>>,
    pub(crate) ids: Arc<IdMaker>,
    pub(crate) first: FirstTerm,
    /// The next renewal is due now.
    pub(crate) report_now: Notify,
    /// Ends the tasks.
    pub(crate) stop: CancellationToken,
    pub(crate) pulse: Pulse,
    report: Mutex<Report>,
}

/// What the first registration brought, for the task that keeps the lease.
pub(crate) struct FirstTerm {
    pub(crate) lease: std::time::Duration,
    pub(crate) grant: longline_types::IdGrant,
    pub(crate) cluster: String,
}

/// What each renewal reports.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    pub(crate) state: NodeState,
    pub(crate) load: Load,
}

impl Shared {
    pub(crate) fn new(
        keepers: Keepers,
        about: RegisterRequest,
        identity: Identity,
        view: View,
        first: FirstTerm,
        stop: CancellationToken,
    ) -> Shared {
        Shared {
            keepers,
            about,
            identity: watch::Sender::new(identity),
            view: watch::Sender::new(Arc::new(view)),
            ids: Arc::new(IdMaker::new(first.grant)),
            first,
            report_now: Notify::new(),
            stop,
            pulse: Pulse::new(),
            report: Mutex::new(Report { state: NodeState::Starting, load: Load::default() }),
        }
    }

    /// Changes what is reported, and returns it.
    pub(crate) fn report(&self, change: impl FnOnce(&mut Report)) -> Report {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut report);
        *report
    }
}
