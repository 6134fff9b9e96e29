//! The database's time, known without asking it each time (S6).

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use longline_types::{Error, TimeMs, now_ms};
use sqlx::Row as _;

use super::sql::{NOW_MS, Sql, query};

/// How far the database's clock is ahead of this machine's, as last measured.
pub(super) struct Clock {
    ahead_ms: AtomicI64,
    bound_ms: u64,
    said: AtomicBool,
}

impl Clock {
    /// A clock that agrees with the database's until it is measured.
    pub(super) fn new(bound_ms: u64) -> Clock {
        Clock { ahead_ms: AtomicI64::new(0), bound_ms, said: AtomicBool::new(false) }
    }

    /// The database's time.
    pub(super) fn now(&self) -> TimeMs {
        now_ms().saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// Whether this machine's clock is near enough to the database's.
    pub(super) fn agrees(&self) -> bool {
        self.ahead_ms.load(Ordering::Relaxed).unsigned_abs() <= self.bound_ms
    }

    /// Asks the database for its time. Says so in the log if the two have come too far apart, or near again.
    pub(super) async fn measure(&self, sql: &Sql) -> Result<(), Error> {
        let before = now_ms();
        let row = sql.run(query(format!("SELECT {NOW_MS}")).fetch_one(&sql.pool)).await?;
        let middle = before.midpoint(now_ms());
        let theirs: u64 = row.try_get(0).map_err(Error::internal)?;
        let ahead = i64::try_from(theirs).unwrap_or(0) - i64::try_from(middle).unwrap_or(0);
        self.ahead_ms.store(ahead, Ordering::Relaxed);
        let agrees = self.agrees();
        if self.said.swap(!agrees, Ordering::Relaxed) == agrees {
            if agrees {
                tracing::info!(
                    ahead_ms = ahead,
                    "the clocks of this machine and of the database agree again"
                );
            } else {
                tracing::error!(
                    ahead_ms = ahead,
                    bound_ms = self.bound_ms,
                    "the database's clock is too far from this machine's: this saver expires nothing"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_beyond_the_bound_does_not_agree_s6() {
        let clock = Clock::new(1_000);
        for (ahead, agrees) in [(0, true), (1_000, true), (1_001, false), (-1_000, true), (-5_000, false)] {
            clock.ahead_ms.store(ahead, Ordering::Relaxed);
            assert_eq!(clock.agrees(), agrees, "{ahead}");
            let difference = i64::try_from(clock.now()).unwrap() - i64::try_from(now_ms()).unwrap();
            assert!((difference - ahead).abs() < 100, "the database's time counts");
        }
    }
}
