//! How much one client address may ask.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use longline_types::subscriber;

/// Addresses remembered; one is forgotten when it has its whole burst again.
const MOST_CLIENTS: usize = 65_536;
/// When there are more, those that can be forgotten are looked for this often.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// A rate and a burst per address (of IPv6: per /64), bounded in memory: while it remembers as many as it can, all new ones share
/// one allowance.
pub(crate) struct Limiter {
    /// Time that one answer costs; 0: no limit.
    cost: Duration,
    /// Cost that a client may have run up.
    burst: Duration,
    most: usize,
    started: Instant,
    /// When each client will have paid for all it got, in microseconds after `started`.
    paid_at: DashMap<IpAddr, u64>,
    forgot_at: AtomicU64,
}

impl Limiter {
    pub(crate) fn new(per_s: u32, burst: u32, now: Instant) -> Limiter {
        Limiter::with_most(per_s, burst, MOST_CLIENTS, now)
    }

    fn with_most(per_s: u32, burst: u32, most: usize, now: Instant) -> Limiter {
        let cost = if per_s == 0 { Duration::ZERO } else { Duration::from_secs(1) / per_s };
        Limiter {
            cost,
            burst: cost * burst.max(1),
            most,
            started: now,
            paid_at: DashMap::new(),
            forgot_at: AtomicU64::new(0),
        }
    }

    /// Whether this client may have an answer now; if not, how long until it may.
    pub(crate) fn admit(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.cost.is_zero() {
            return Ok(());
        }
        let now = micros(now.saturating_duration_since(self.started));
        let client = self.remembered_as(subscriber(client), now);
        let mut paid_at = self.paid_at.entry(client).or_insert(now);
        let next = (*paid_at).max(now) + micros(self.cost);
        let too_early = next.saturating_sub(now + micros(self.burst));
        if too_early > 0 {
            return Err(Duration::from_micros(too_early));
        }
        *paid_at = next;
        Ok(())
    }

    /// Client addresses remembered now.
    pub(crate) fn clients(&self) -> usize {
        self.paid_at.len()
    }

    fn remembered_as(&self, client: IpAddr, now: u64) -> IpAddr {
        if self.paid_at.contains_key(&client) || self.paid_at.len() < self.most {
            return client;
        }
        let forgot_at = self.forgot_at.load(Ordering::Relaxed);
        let due = now >= forgot_at + micros(FORGET_EVERY);
        let mine = || self.forgot_at.compare_exchange(forgot_at, now, Ordering::Relaxed, Ordering::Relaxed);
        if due && mine().is_ok() {
            self.paid_at.retain(|_, paid_at| *paid_at > now);
        }
        if self.paid_at.len() < self.most { client } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn admitted(limiter: &Limiter, client: IpAddr, now: Instant) -> usize {
        (0..1_000).filter(|_| limiter.admit(client, now).is_ok()).count()
    }

    #[test]
    fn a_client_has_a_burst_and_then_its_rate() {
        let start = Instant::now();
        let limiter = Limiter::new(10, 50, start);
        assert_eq!(admitted(&limiter, ip(1), start), 50);
        assert_eq!(limiter.admit(ip(1), start), Err(Duration::from_millis(100)));
        assert_eq!(admitted(&limiter, ip(2), start), 50, "others are not concerned");
        assert_eq!(admitted(&limiter, ip(1), start + Duration::from_secs(1)), 10);
        assert_eq!(admitted(&limiter, ip(1), start + Duration::from_secs(3600)), 50);
        assert_eq!(admitted(&Limiter::new(0, 0, start), ip(1), start), 1_000, "0: no limit");
    }

    #[test]
    fn an_ipv6_subscriber_is_one_client() {
        let start = Instant::now();
        let limiter = Limiter::new(1, 1, start);
        assert!(limiter.admit("2001:db8::1".parse().unwrap(), start).is_ok());
        assert!(limiter.admit("2001:db8::ffff:1".parse().unwrap(), start).is_err());
        assert!(limiter.admit("2001:db8:0:1::1".parse().unwrap(), start).is_ok());
        assert!(limiter.admit("::ffff:10.0.0.1".parse().unwrap(), start).is_ok());
        assert!(limiter.admit("10.0.0.1".parse().unwrap(), start).is_err(), "the same IPv4 address");
    }

    #[test]
    fn memory_is_bounded_and_a_flood_of_addresses_shares_one_allowance() {
        let start = Instant::now();
        let limiter = Limiter::with_most(1, 5, 100, start);
        let taken = (0..10_000).filter(|n| limiter.admit(ip(*n), start).is_ok()).count();
        assert_eq!((taken, limiter.clients()), (105, 101));
        assert!(limiter.admit(ip(1), start).is_ok(), "who was there before is not concerned");
        let later = start + Duration::from_secs(10);
        assert!(limiter.admit(ip(20_000), later).is_ok());
        assert_eq!(limiter.clients(), 1, "those who paid are forgotten");
    }
}
