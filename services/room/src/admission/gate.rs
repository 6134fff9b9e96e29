use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::callers::Counted;
use super::{Admission, AdmissionConfig, Refusal};
use crate::shard::Paged;

/// Connections that are looked at again in one turn after a change of the limits.
const SLICE: u32 = 256;

/// A shard's side of admission: the limits as it knows them, and under what each of its connections was counted.
pub(crate) struct Gate {
    admission: Arc<Admission>,
    limits: Arc<AdmissionConfig>,
    seen: u64,
    /// By the connection's index. Has no page while nothing is counted.
    counted: Paged<Option<Counted>>,
    /// Connections from here on have not been looked at since the last change.
    again: Option<u32>,
}

/// Who has passed: to be given back to [`Gate::enter`] with the connection's index.
#[must_use]
pub(crate) struct Passed(Option<Counted>);

impl Gate {
    pub(crate) fn new(admission: Arc<Admission>) -> Gate {
        Gate {
            limits: admission.limits(),
            seen: admission.changes.load(Ordering::Acquire),
            admission,
            counted: Paged::new(),
            again: None,
        }
    }

    /// A connection from this address: it passes, or is refused for so many microseconds (0: nobody knows).
    pub(crate) fn knock(&self, address: IpAddr, now_us: u64) -> Result<Passed, (Refusal, u64)> {
        if !self.limits.allow(address) {
            return Err((Refusal::Denied, 0));
        }
        if !self.limits.counts_callers() {
            return Ok(Passed(None));
        }
        self.admission.callers.enter(address, &self.limits, now_us).map(|counted| Passed(Some(counted)))
    }

    /// Who has passed has become this connection; none: it was dropped.
    pub(crate) fn enter(&mut self, passed: Passed, index: Option<u32>, now_us: u64) {
        let Some(counted) = passed.0 else { return };
        match index {
            Some(index) => *self.counted.at(index) = Some(counted),
            None => self.admission.callers.leave(counted, now_us),
        }
    }

    /// The connection goes to another shard, which is to let it enter there.
    pub(crate) fn let_go(&mut self, index: u32) -> Passed {
        Passed(self.counted.get_mut(index).and_then(Option::take))
    }

    /// The connection has another index, in place of one that has ended.
    pub(crate) fn relocate(&mut self, from: u32, to: u32, now_us: u64) {
        self.leave(to, now_us);
        let moved = self.counted.get_mut(from).and_then(Option::take);
        *self.counted.at(to) = moved;
    }

    /// The connection has ended.
    pub(crate) fn leave(&mut self, index: u32, now_us: u64) {
        if let Some(counted) = self.counted.get_mut(index).and_then(Option::take) {
            self.admission.callers.leave(counted, now_us);
        }
    }

    /// Takes over a change of the limits, if there was one, and says which connections are to be judged anew in this turn, of those
    /// below `end`.
    pub(crate) fn refresh(&mut self, end: u32) -> Range<u32> {
        let changes = self.admission.changes.load(Ordering::Acquire);
        if changes != self.seen {
            self.seen = changes;
            self.limits = self.admission.limits();
            self.again = Some(0);
        }
        let Some(from) = self.again else { return 0..0 };
        let to = end.min(from.saturating_add(SLICE));
        self.again = (to < end).then_some(to);
        from..to
    }

    /// The limits as of the last [`Gate::refresh`].
    pub(crate) fn limits(&self) -> &Arc<AdmissionConfig> {
        &self.limits
    }

    /// Whether connections are still to be judged anew.
    pub(crate) fn has_work(&self) -> bool {
        self.again.is_some()
    }

    /// Whether a connection that is there may stay. It is counted if it was not; that there are too many of an address is no reason
    /// to end some of them.
    pub(crate) fn judge(&mut self, index: u32, address: IpAddr) -> bool {
        if self.limits.counts_callers() {
            let counted = self.counted.at(index);
            *counted = counted.or_else(|| Some(self.admission.callers.count(address)));
        }
        self.limits.allow(address)
    }
}

impl Drop for Gate {
    /// The shard ends, and with it all its connections.
    fn drop(&mut self) {
        let now_us = self.admission.now_us();
        (0..self.counted.places()).for_each(|index| self.leave(index, now_us));
    }
}
