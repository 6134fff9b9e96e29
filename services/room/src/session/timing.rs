//! What happens because time passes.

use longline_types::CloseReason;

use super::bind::Bind;
use super::ending::Ending;
use super::heartbeat::patience_ms;
use super::open::{Session, bind_id};
use super::turn::Turn;
use crate::link::ToCluster;

impl Session {
    /// Does what is due.
    pub(crate) fn on_time(&mut self, t: &mut Turn<'_>) -> Result<(), Ending> {
        let now = t.now.ms;
        if !t.parked && now >= self.patience_ends(t.env.awake_since) {
            return Err(Ending::new(
                CloseReason::HeartbeatTimeout,
                "nothing came for 1.5 heartbeat intervals",
            ));
        }
        if !t.parked && t.output.stuck_since().is_some_and(|_| now >= self.write_deadline(t)) {
            return Err(Ending::new(CloseReason::SlowReader, "the device does not read"));
        }
        if self.opening.as_ref().is_some_and(|opening| opening.deadline <= now) {
            self.welcome(t)?;
        }
        self.give_up_loads(t);
        self.retry_renewals(t);
        for bind in self.binds.iter_mut() {
            watch_flight(bind, t);
        }
        if self.check_at <= now {
            self.slow_round(t);
        }
        Ok(())
    }

    /// When [`Session::on_time`] should be called, if nothing happens before. It may have moved away by then.
    pub(crate) fn deadline(&self, t: &Turn<'_>) -> u64 {
        let mut deadline = self.check_at;
        if !t.parked {
            deadline = deadline.min(self.patience_ends(t.env.awake_since));
            if t.output.stuck_since().is_some() {
                deadline = deadline.min(self.write_deadline(t));
            }
        }
        if let Some(opening) = &self.opening {
            deadline = deadline.min(opening.deadline);
        }
        let binds = self.binds.iter().filter_map(|b| b.deadline(&t.env.config, t.now.ms, t.parked));
        binds.fold(deadline, u64::min)
    }

    /// The process may have been paused: what came meanwhile was not read, and is not the device's silence.
    fn patience_ends(&self, awake_since: u64) -> u64 {
        self.last_seen.max(awake_since) + patience_ms(self.heartbeat_s)
    }

    fn write_deadline(&self, t: &Turn<'_>) -> u64 {
        let since = t.output.stuck_since().unwrap_or(t.now.ms).max(t.env.awake_since);
        since + u64::from(t.env.config.write_timeout_ms)
    }

    /// Checks the binds and asserts their routes (D2, R6), unless the links are behind; then a little later.
    fn slow_round(&mut self, t: &mut Turn<'_>) {
        if t.env.congested {
            self.check_at = t.now.ms + 1 + t.env.jitter.up_to(t.env.config.check_soon_ms.into());
            return;
        }
        self.check_at = t.now.ms + t.env.jitter.period(u64::from(t.env.config.check_s) * 1000).max(1);
        self.assert_routes(|_| true, None, t);
        self.check(t);
    }
}

/// Ack timeouts, redelivery (D5) and acks that are to be asked again (D6).
fn watch_flight(bind: &mut Bind, t: &mut Turn<'_>) {
    if bind.flight().is_none() {
        return;
    }
    let (now, timeout) = (t.now.ms, bind.ack_timeout_ms);
    let longest = u64::from(t.env.config.stall_max_s) * 1000;
    if bind.with_flight(|f| f.check_timeout(now, timeout, longest)) {
        t.env.counters.stalls.add(1);
        bind.mark_dirty();
    }
    bind.with_flight(|f| f.check_stall(now));
    for entry in bind.with_flight(|f| f.retries(now)) {
        t.ask(ToCluster::Ack {
            bind: bind_id(bind, t),
            address: bind.address.clone(),
            id: entry.id,
            broadcast_seq: entry.broadcast_seq,
            written_at_ms: entry.written_at_ms,
        });
    }
}
