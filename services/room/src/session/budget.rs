//! How many frames a device has reason to send.

/// A rate with a burst, and one frame more for each message that was pushed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameBudget {
    /// When the frames so far would have been used up at the rate, in microseconds.
    used_until_us: u64,
    credit: u32,
}

/// Most credit kept from pushes.
const CREDIT: u32 = 16 * 1024;

impl FrameBudget {
    /// A message was pushed: its acknowledgement is no surprise.
    pub(crate) fn pushed(&mut self) {
        self.credit = (self.credit + 1).min(CREDIT);
    }

    /// Frames that may come at once.
    pub(crate) fn left(&self, now_ms: u64, per_second: u32, burst: u32) -> u32 {
        let interval_us = 1_000_000 / u64::from(per_second.max(1));
        let used = self.used_until_us.saturating_sub(now_ms * 1000).div_ceil(interval_us.max(1));
        self.credit.saturating_add(burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX)))
    }

    /// Takes the cost of a frame; false if there is not that much.
    pub(crate) fn take(&mut self, cost: u32, now_ms: u64, per_second: u32, burst: u32) -> bool {
        let from_credit = cost.min(self.credit);
        self.credit -= from_credit;
        let interval_us = 1_000_000 / u64::from(per_second.max(1));
        let now_us = now_ms * 1000;
        let used = self.used_until_us.max(now_us) + u64::from(cost - from_credit) * interval_us;
        let allowed = used - now_us <= u64::from(burst) * interval_us;
        if allowed {
            self.used_until_us = used;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(budget: &mut FrameBudget, now_ms: u64) -> usize {
        (0..1000).take_while(|_| budget.take(1, now_ms, 10, 20)).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut budget = FrameBudget::default();
        assert_eq!(budget.left(5_000, 10, 20), 20);
        assert_eq!(takes(&mut budget, 5_000), 20);
        assert_eq!((budget.left(5_000, 10, 20), budget.left(5_500, 10, 20)), (0, 5));
        assert_eq!(takes(&mut budget, 6_000), 10);
        assert_eq!(takes(&mut budget, 600_000), 20);
    }

    #[test]
    fn each_push_pays_for_a_frame() {
        let mut budget = FrameBudget::default();
        (0..100).for_each(|_| budget.pushed());
        assert_eq!(takes(&mut budget, 5_000), 120);
        assert!(!budget.take(2, 5_000, 10, 20));
    }
}
