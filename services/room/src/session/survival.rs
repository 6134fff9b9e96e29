//! What a device's silence tells of its network: whether it lets a connection live that is idle for a heartbeat interval.

use super::Env;
use super::open::Session;
use crate::metrics::Outcome;

/// Idle for an interval: for nine tenths of it. What the device sends is sometimes slower on its way than what it sent before.
const IDLE_PERCENT: u64 = 90;

impl Session {
    /// Bytes came. If the device was silent for its interval before, the connection has survived that.
    pub(crate) fn seen(&mut self, now_ms: u64, env: &Env) {
        self.note_silence(Outcome::Survived, now_ms, env);
        self.last_seen = now_ms;
    }

    /// Nothing will come any more, and the device has not said so.
    pub(crate) fn fell_silent(&self, now_ms: u64, env: &Env) {
        self.note_silence(Outcome::Broken, now_ms, env);
    }

    fn note_silence(&self, outcome: Outcome, now_ms: u64, env: &Env) {
        let silence_ms = now_ms.saturating_sub(self.last_seen);
        // While the process was paused nothing was read: that is not the device's silence.
        let is_idle = silence_ms >= u64::from(self.heartbeat_s) * (10 * IDLE_PERCENT)
            && self.last_seen >= env.awake_since;
        if is_idle {
            env.counters.survival.note(self.wish.network, self.heartbeat_s, outcome);
        }
    }
}
