//! Decides what is sent when: enters messages in the ledger as they fall due and hands them to the centers' queues.

use std::sync::Arc;

use longline_load_truth::{Micros, Plan};
use tokio::task::yield_now;

use crate::alarm::Time;
use crate::audience::{Audience, Group};
use crate::backlog::Backlog;
use crate::desk::Desk;
use crate::job::Job;
use crate::load::Unicasts;
use crate::schedule::Schedule;
use crate::sizes::Sizes;
use crate::window::Window;

/// Makes the messages of one sender.
pub(crate) struct Planner {
    desk: Arc<Desk>,
    audience: Audience,
    sizes: Sizes,
    /// One per center.
    backlogs: Vec<Arc<Backlog>>,
    transient: bool,
    ttl: Option<Micros>,
    shares_payloads: bool,
}

/// Wake-ups are at least so far apart; what falls due in between is planned together. 10,000 a second are 5 % of a core.
const SPACING: Micros = 100;
/// Requests made in a row before others get to work.
const IN_A_ROW: usize = 64;

impl Planner {
    pub(crate) fn new(
        load: &Unicasts,
        desk: Arc<Desk>,
        audience: Audience,
        sizes: Sizes,
        backlogs: Vec<Arc<Backlog>>,
    ) -> Planner {
        Planner {
            desk,
            audience,
            sizes,
            backlogs,
            transient: load.transient,
            ttl: load.ttl_s.map(|s| Micros::from(s) * 1_000_000),
            shares_payloads: load.via.shares_payloads(),
        }
    }

    /// By the schedule, for ever. What finds the backlog full is counted as skipped.
    pub(crate) async fn open_loop(&mut self, mut schedule: Schedule, mut time: impl Time) {
        loop {
            let woken = time.now();
            let mut made = 0;
            while schedule.due() <= time.now() {
                let due = schedule.due();
                let group = self.audience.next();
                schedule.advance(group.users.len());
                self.offer(&group, due);
                made += 1;
                if made % IN_A_ROW == 0 {
                    yield_now().await;
                }
            }
            time.until(schedule.due().max(woken + SPACING)).await;
        }
    }

    /// A request whenever the window has room for it, for ever.
    pub(crate) async fn closed_loop(&mut self, window: Window, mut time: impl Time) {
        loop {
            for _ in 0..IN_A_ROW {
                let group = self.audience.next();
                window.room_for(group.users.len(), &mut time).await;
                window.launch(group.users.len());
                self.offer(&group, time.now());
            }
            yield_now().await;
        }
    }

    fn offer(&mut self, group: &Group, due: Micros) {
        let backlog = &self.backlogs[usize::from(group.center)];
        if !backlog.has_room(group.users.len()) {
            return self.desk.progress.skipped(group.users.len());
        }
        let expires = self.ttl.map(|ttl| due + ttl);
        let Group { center: stream, users } = group;
        let (stream, transient) = (*stream, self.transient);
        let ledger = &self.desk.ledger;
        let plan = |user: u32| Plan { user, due, stream, transient, expires };
        let job = if self.shares_payloads {
            let (header, sequences) = ledger.plan_batch(users, plan(0));
            Job::batch(header, self.sizes.next(), users, sequences)
        } else {
            Job::single(ledger.plan(plan(users[0])), self.sizes.next())
        };
        if let Err(mut job) = backlog.push(job) {
            self.desk.skip(&mut job);
        }
    }
}
