//! The register between the table and the cluster: it brings views to the table and displacements to the rooms.

use std::sync::Arc;
use std::time::Duration;

use longline_member::Member;
use longline_types::{NodeState, Role, View};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::displace::Displacer;
use crate::metrics::Metrics;
use crate::table::{Own, Table};

const CENSUS_EVERY: Duration = Duration::from_secs(1);

/// What the tasks of a register share.
pub(crate) struct Register {
    pub(crate) table: Arc<Table>,
    pub(crate) member: Member,
    pub(crate) displacer: Displacer,
    pub(crate) metrics: Metrics,
    /// Number of the view that the table has adopted.
    adopted: watch::Sender<u64>,
    rooms_left: Notify,
    catch_up: Duration,
}

impl Register {
    /// Adopts the view that the member has now.
    pub(crate) fn new(
        member: Member,
        displacer: Displacer,
        metrics: Metrics,
        catch_up: Duration,
    ) -> Register {
        let register = Register {
            table: Arc::new(Table::new()),
            member,
            displacer,
            metrics,
            adopted: watch::Sender::new(0),
            rooms_left: Notify::new(),
            catch_up,
        };
        register.adopt();
        register
    }

    /// Keeps the table on the latest view, under the latest identity (R4), until `stop`.
    pub(crate) async fn follow(&self, stop: &CancellationToken) {
        let (mut views, mut identity) = (self.member.view(), self.member.identity());
        loop {
            views.mark_unchanged();
            identity.mark_unchanged();
            self.adopt();
            let changed = async {
                tokio::select! {
                    changed = views.changed() => changed,
                    changed = identity.changed() => changed,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changed => if changed.is_err() { return },
            }
        }
    }

    /// Drops the routes of rooms that have left, each time some have, until `stop`.
    pub(crate) async fn sweep(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.rooms_left.notified() => {}
            }
            let table = self.table.clone();
            // It walks all routes: too long for a thread that others wait for.
            if tokio::task::spawn_blocking(move || table.sweep()).await.is_err() {
                tracing::error!("sweeping has panicked");
            }
        }
    }

    /// Shows what the table holds, until `stop`.
    pub(crate) async fn count(&self, stop: &CancellationToken) {
        let mut every = tokio::time::interval(CENSUS_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => self.metrics.show(self.table.census()),
            }
        }
    }

    /// Waits for a view that a caller knows, but not for long: the caller's request waits with it. A register that the keeper
    /// does not reach would wait in vain.
    pub(crate) async fn catch_up(&self, view: u64) {
        let mut adopted = self.adopted.subscribe();
        if *adopted.borrow() >= view || !self.member.lease_valid() {
            return;
        }
        // Late or not, the caller is answered by the view there is.
        let _ = tokio::time::timeout(self.catch_up, adopted.wait_for(|number| *number >= view)).await;
    }

    /// Hands the slots to the other registers, if there are any, before this one stops answering.
    pub(crate) async fn drain(&self, deadline: Duration) {
        self.member.set_state(NodeState::Draining);
        let own = self.member.current().number;
        let alone = |view: &View| {
            !view.live(Role::Register).any(|n| n.number != own && n.state != NodeState::Draining)
        };
        let mut view = self.member.view();
        let handed_over = view.wait_for(|view| alone(view) || view.slots().iter().all(|s| s.node != own));
        if tokio::time::timeout(deadline, handed_over).await.is_err() {
            tracing::warn!("stopping before the keeper has given the slots to others");
        }
    }

    fn adopt(&self) {
        // The identity first: a view that is later than it does no harm, one that is earlier would own nothing.
        let identity = self.member.current();
        let own = Own { number: identity.number, incarnation: identity.incarnation };
        let view = self.member.view().borrow().clone();
        if self.table.adopt(&view, own) {
            self.rooms_left.notify_one();
        }
        self.adopted.send_if_modified(|number| {
            let changed = *number != view.number;
            *number = view.number;
            changed
        });
    }
}
