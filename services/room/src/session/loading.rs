//! From dirty to clean: loads and checks.

use longline_types::MessageId;

use super::bind::Inbox;
use super::open::{Session, bind_id};
use super::pushing::push_loaded;
use super::turn::Turn;
use crate::link::{BindId, Failed, LoadRequest, Loaded, ToCluster};

impl Session {
    /// Puts every bind that should load into the shard's line.
    pub(crate) fn settle(&mut self, t: &mut Turn<'_>) {
        if !self.takes_pushes(t) {
            return;
        }
        for bind in self.binds.iter_mut() {
            let wants = !bind.in_line && bind.wants_load(t.now.ms);
            if wants && t.space_for_load(bind.address.product).is_some() {
                bind.in_line = true;
                let id = bind_id(bind, t);
                t.env.load_line.push_back(id);
            }
        }
    }

    /// The bind's turn in the line has come: sends its load, if it still wants one. Dirty is cleared now (D4).
    pub(crate) fn begin_load(&mut self, id: BindId, t: &mut Turn<'_>) {
        let Some(bind) = self.binds.by_serial(id.index, id.serial) else { return };
        bind.in_line = false;
        if t.parked || !bind.wants_load(t.now.ms) {
            return;
        }
        let Some(space) = t.space_for_load(bind.address.product) else { return };
        bind.load_number = bind.load_number.wrapping_add(1);
        bind.inbox = Inbox::Loading { since: t.now.ms, again: false };
        t.env.loads.sent(1);
        t.env.counters.loads.add(1);
        let request = LoadRequest {
            bind: id,
            number: bind.load_number,
            address: bind.address.clone(),
            limit: bind.free().min(t.env.config.load_limit).clamp(1, 256).into(),
            max_bytes: t.env.config.load_bytes.min(space as u32),
            except: bind.flight().map_or_else(Vec::new, |f| f.except()),
            known_broadcast: t.env.broadcasts.known(bind.address.product),
            seen_broadcast: bind.seen_broadcast,
        };
        t.ask(ToCluster::Load(request));
    }

    /// The answer to a load has come. One that was given up changes nothing.
    pub(crate) fn loaded(
        &mut self,
        id: BindId,
        number: u16,
        result: Result<Loaded, Failed>,
        t: &mut Turn<'_>,
    ) {
        let Some(bind) = self.binds.by_serial(id.index, id.serial) else { return };
        let Inbox::Loading { since, again } = bind.inbox else { return };
        if bind.load_number != number {
            return;
        }
        t.env.loads.answered(1, since, t.now.ms, result.is_ok());
        let Ok(loaded) = result else { return self.load_failed(id, t) };
        let pushed = push_loaded(bind, &mut self.budget, &loaded.messages, t);
        if !loaded.more && pushed.all {
            bind.with_flight(|f| f.forget_due());
        }
        let left = loaded.more || !pushed.all;
        bind.failures = if left && !pushed.any { bind.failures.saturating_add(1) } else { 0 };
        bind.inbox = match (left, pushed.any || !left) {
            (false, _) if !again => Inbox::Clean,
            (_, true) => Inbox::Dirty { not_before: 0 },
            // Nothing of it could be pushed: no reason to ask for the same at once.
            (_, false) => {
                let (first, longest) = (t.env.config.retry_ms, t.env.config.retry_max_ms);
                let wait = t.env.jitter.backoff(bind.failures, first, longest);
                Inbox::Dirty { not_before: t.now.ms + wait }
            }
        };
    }

    /// A load has failed: dirty again, with a wait that grows (D4).
    fn load_failed(&mut self, id: BindId, t: &mut Turn<'_>) {
        let Some(bind) = self.binds.by_serial(id.index, id.serial) else { return };
        bind.failures = bind.failures.saturating_add(1);
        let (first, longest) = (t.env.config.retry_ms, t.env.config.retry_max_ms);
        let wait = t.env.jitter.backoff(bind.failures, first, longest);
        bind.inbox = Inbox::Dirty { not_before: t.now.ms + wait };
        t.env.counters.failed_loads.add(1);
    }

    /// Gives up loads that nobody has answered.
    pub(super) fn give_up_loads(&mut self, t: &mut Turn<'_>) {
        let deadline = u64::from(t.env.config.load_deadline_ms);
        let overdue = |inbox| match inbox {
            Inbox::Loading { since, .. } if since + deadline <= t.now.ms => Some(since),
            _ => None,
        };
        let overdue: Vec<(BindId, u64)> =
            self.binds.iter().filter_map(|b| Some((bind_id(b, t), overdue(b.inbox)?))).collect();
        for (id, since) in overdue {
            t.env.loads.answered(1, since, t.now.ms, false);
            self.load_failed(id, t);
        }
    }

    /// Asks whether anything waits for the binds that are thought to be clean (D2). Where something is in flight the number of
    /// waiting messages says nothing, and the bind loads instead.
    pub(crate) fn check(&mut self, t: &mut Turn<'_>) {
        for bind in self.binds.iter_mut().filter(|b| b.is_held() && b.inbox == Inbox::Clean) {
            if bind.flight().is_some() {
                bind.mark_dirty();
            } else {
                t.env.counters.checks.add(1);
                let bind_id = bind_id(bind, t);
                t.ask(ToCluster::Check { bind: bind_id, address: bind.address.clone() });
            }
        }
    }

    /// The answer to a check has come.
    pub(crate) fn checked(&mut self, id: BindId, result: Result<bool, Failed>, t: &mut Turn<'_>) {
        let Some(bind) = self.binds.by_serial(id.index, id.serial) else { return };
        match result {
            Ok(false) => {}
            Ok(true) => {
                t.env.counters.found_waiting.add(1);
                bind.mark_dirty();
            }
            Err(Failed) => {
                let within = t.env.config.retry_max_ms;
                self.check_soon(within, t);
            }
        }
    }

    /// Has the binds checked within this time.
    pub(crate) fn check_soon(&mut self, within_ms: u32, t: &mut Turn<'_>) {
        self.check_at = self.check_at.min(t.soon(within_ms));
    }

    /// The saver has confirmed an ack, or could not be reached; then it is asked again (D6).
    pub(crate) fn ack_answered(
        &mut self,
        id: BindId,
        message: MessageId,
        result: Result<bool, Failed>,
        t: &mut Turn<'_>,
    ) {
        let Some(bind) = self.binds.by_serial(id.index, id.serial) else { return };
        if bind.flight().is_none() {
            return;
        }
        match result {
            Ok(ended) => {
                let entry = bind.with_flight(|f| f.confirm(message));
                if entry.is_some_and(|e| e.broadcast_seq > 0 && ended) {
                    t.env.broadcasts.acked(message, self.connected_at_ms);
                }
            }
            Err(Failed) => {
                let (first, longest) = (t.env.config.retry_ms, t.env.config.retry_max_ms);
                let jitter = &mut t.env.jitter;
                t.env.counters.failed_acks.add(1);
                bind.with_flight(|f| {
                    f.refuse(message, t.now.ms, |failures| jitter.backoff(failures, first, longest));
                });
            }
        }
    }
}
