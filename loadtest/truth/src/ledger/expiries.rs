//! When owed messages expire, by the second, so that what is owed now is known at any time.

use std::collections::BTreeMap;

use super::tick::{NEVER, SECOND, Tick};

/// How many owed messages expire in which second.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    owed: BTreeMap<u32, u64>,
    /// Seconds before this one are over.
    now: u32,
}

impl Expiries {
    /// A message that expires then is owed from now on. Answers whether it has expired already.
    pub(super) fn owe(&mut self, expires: Tick) -> bool {
        let second = expires / SECOND;
        let over = self.is_over(expires);
        if !over && expires != NEVER {
            *self.owed.entry(second).or_default() += 1;
        }
        over
    }

    /// It is owed no more. Answers whether it had expired.
    pub(super) fn settle(&mut self, expires: Tick) -> bool {
        let second = expires / SECOND;
        if self.is_over(expires) {
            return true;
        }
        if let Some(count) = self.owed.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.owed.remove(&second);
            }
        }
        false
    }

    /// Time passes. Answers how many owed messages have expired.
    pub(super) fn pass(&mut self, now: Tick) -> u64 {
        self.now = self.now.max(now / SECOND);
        let mut expired = 0;
        while let Some(first) = self.owed.first_entry().filter(|first| *first.key() < self.now) {
            expired += first.remove();
        }
        expired
    }

    /// It was counted as expired.
    pub(super) fn is_over(&self, expires: Tick) -> bool {
        expires != NEVER && expires / SECOND < self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_expires_unless_it_was_settled() {
        let mut expiries = Expiries::default();
        for expires in [1_500, 1_900, 2_100, NEVER] {
            assert!(!expiries.owe(expires));
        }
        assert_eq!(expiries.pass(1_999), 0, "the second is not over");
        assert!(!expiries.settle(1_500));
        assert_eq!(expiries.pass(2_000), 1);
        assert!(expiries.settle(1_900), "it came though it had expired");
        assert!(expiries.owe(1_000), "accepted after its expiry");
        assert_eq!(expiries.pass(u32::MAX - 1), 1);
        assert!(!expiries.settle(NEVER));
    }
}
