//! The connections of each address.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use longline_types::subscriber;

use super::{AdmissionConfig, Bucket, Refusal};

/// Parts of the table, each with a lock of its own: so many that none is held for long while it grows.
const PARTS: usize = 1024;
/// Allowances that addresses share for which the table has no place.
const STRANGERS: u64 = 4096;
/// Keys from here on are those of strangers. No IPv4 address has such a key, and of IPv6 only `100::/8`, which is reserved (RFC 4291).
const FIRST_STRANGER: u64 = 0x0100_0000_0000_0000;

/// The addresses that have connections or had some a moment ago, each with its number of them and its rate. It has as many places as
/// the room may hold connections and some more, so it is full only while addresses without connections fill it. What is to be done
/// with an unknown address then? Letting it in would help who has many addresses, refusing it would let them lock everybody else out:
/// so it shares an allowance with those whose hash is alike.
///
/// Costs nothing until a limit by address is first set.
pub(crate) struct Callers {
    table: OnceLock<DashMap<u64, Caller>>,
    used: AtomicUsize,
    most: usize,
}

#[derive(Default)]
struct Caller {
    connections: u32,
    bucket: Bucket,
}

impl Caller {
    /// Nothing has to be remembered of it.
    fn is_idle(&self, now_us: u64) -> bool {
        self.connections == 0 && self.bucket.is_full(now_us)
    }
}

/// Under what a connection was counted: to be given back with [`Callers::leave`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counted(u64);

impl Callers {
    /// With places for this many addresses.
    pub(crate) fn new(most: usize) -> Callers {
        Callers { table: OnceLock::new(), used: AtomicUsize::new(0), most }
    }

    /// Counts a new connection, unless its address has too many or makes them too often.
    pub(crate) fn enter(
        &self,
        address: IpAddr,
        limits: &AdmissionConfig,
        now_us: u64,
    ) -> Result<Counted, (Refusal, u64)> {
        self.with(address, |caller| {
            if limits.per_ip_connections > 0 && caller.connections >= limits.per_ip_connections {
                return Err((Refusal::PerIpConnections, 0));
            }
            if limits.per_ip_per_s > 0 {
                let cost_us = 1_000_000 / u64::from(limits.per_ip_per_s);
                let taken = caller.bucket.take(now_us, cost_us, limits.per_ip_burst);
                taken.map_err(|wait_us| (Refusal::PerIpRate, wait_us))?;
            }
            caller.connections += 1;
            Ok(())
        })
    }

    /// Counts a connection that is there already.
    pub(crate) fn count(&self, address: IpAddr) -> Counted {
        let counted = self.with(address, |caller| {
            caller.connections += 1;
            Ok::<(), std::convert::Infallible>(())
        });
        counted.unwrap_or_else(|never| match never {})
    }

    /// A counted connection has ended.
    pub(crate) fn leave(&self, counted: Counted, now_us: u64) {
        let Entry::Occupied(mut entry) = self.table().entry(counted.0) else { return };
        let caller = entry.get_mut();
        caller.connections = caller.connections.saturating_sub(1);
        if caller.is_idle(now_us) {
            entry.remove();
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets the addresses of which nothing has to be remembered any more; to be called every now and then.
    pub(crate) fn forget(&self, now_us: u64) {
        let Some(table) = self.table.get() else { return };
        table.retain(|_, caller| {
            let idle = caller.is_idle(now_us);
            self.used.fetch_sub(usize::from(idle), Ordering::Relaxed);
            !idle
        });
    }

    /// Addresses in the table.
    pub(crate) fn len(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Lets something happen to the entry of an address, which is made if it is not there.
    fn with<E>(
        &self,
        address: IpAddr,
        event: impl FnOnce(&mut Caller) -> Result<(), E>,
    ) -> Result<Counted, E> {
        let table = self.table();
        let own = key(address);
        let is_known = self.len() < self.most || table.contains_key(&own);
        let key = if is_known { own } else { FIRST_STRANGER + table.hasher().hash_one(own) % STRANGERS };
        let mut caller = match table.entry(key) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(entry) => {
                self.used.fetch_add(1, Ordering::Relaxed);
                entry.insert(Caller::default())
            }
        };
        event(caller.value_mut()).map(|()| Counted(key))
    }

    fn table(&self) -> &DashMap<u64, Caller> {
        self.table.get_or_init(|| DashMap::with_shard_amount(PARTS))
    }
}

/// An IPv4 address as its 32 bits, IPv6 as the 64 bits of its subscriber: what begins with 32 zeros there is not given out.
fn key(address: IpAddr) -> u64 {
    match subscriber(address) {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn limits(connections: u32, per_s: u32, burst: u32) -> AdmissionConfig {
        AdmissionConfig {
            per_ip_connections: connections,
            per_ip_per_s: per_s,
            per_ip_burst: burst,
            ..AdmissionConfig::default()
        }
    }

    #[test]
    fn an_address_has_so_many_connections_and_others_are_not_concerned() {
        let callers = Callers::new(100);
        let limits = limits(2, 0, 0);
        let first = callers.enter(ip(1), &limits, 0).unwrap();
        let second = callers.count(ip(1));
        assert_eq!(callers.enter(ip(1), &limits, 0), Err((Refusal::PerIpConnections, 0)));
        callers.enter(ip(2), &limits, 0).unwrap();
        callers.leave(first, 0);
        callers.enter(ip(1), &limits, 0).unwrap();
        callers.leave(second, 0);
        assert_eq!(callers.len(), 2);
    }

    #[test]
    fn an_address_connects_so_often_also_if_it_leaves_at_once() {
        let callers = Callers::new(100);
        let limits = limits(0, 10, 3);
        let come_and_go = |now| {
            let entered = callers.enter(ip(1), &limits, now);
            entered.map(|counted| callers.leave(counted, now))
        };
        assert!((0..3).all(|_| come_and_go(0).is_ok()));
        assert_eq!(come_and_go(0), Err((Refusal::PerIpRate, 100_000)));
        callers.forget(0);
        assert_eq!(callers.len(), 1, "it is remembered while it has something to pay");
        callers.forget(300_000);
        assert_eq!(callers.len(), 0);
        assert_eq!(come_and_go(400_000), Ok(()));
    }

    #[test]
    fn an_ipv6_subscriber_is_one_address() {
        let callers = Callers::new(100);
        let limits = limits(1, 0, 0);
        callers.enter("2001:db8::1".parse().unwrap(), &limits, 0).unwrap();
        assert!(callers.enter("2001:db8::ffff:1".parse().unwrap(), &limits, 0).is_err());
        assert!(callers.enter("2001:db8:0:1::1".parse().unwrap(), &limits, 0).is_ok());
        assert!(callers.enter("::ffff:10.0.0.1".parse().unwrap(), &limits, 0).is_ok());
        assert!(callers.enter("10.0.0.1".parse().unwrap(), &limits, 0).is_err(), "the same IPv4 address");
    }

    #[test]
    fn a_full_table_lets_no_flood_of_addresses_through_and_does_not_lock_everybody_out() {
        let callers = Callers::new(10);
        let limits = limits(1, 0, 0);
        assert!((0..10).all(|n| callers.enter(ip(n), &limits, 0).is_ok()));
        let flood = 1_000_000;
        let strangers =
            (1000..1000 + flood).filter(|n| callers.enter(ip(*n), &limits, 0).is_ok()).count() as u64;
        assert!((STRANGERS / 2..=STRANGERS).contains(&strangers), "{strangers} of {flood}");
        assert!(callers.len() as u64 <= 10 + STRANGERS, "its memory is bounded");
        assert!(callers.enter(ip(5), &limits, 0).is_err(), "who is there is known");
    }

    proptest! {
        /// Whatever comes and goes, nothing is left of it, and nobody ever has more than allowed.
        #[test]
        fn what_enters_and_leaves_is_as_if_it_had_never_been(
            steps in proptest::collection::vec((any::<bool>(), 0u32..8), 0..400),
            most in 1usize..8,
        ) {
            let callers = Callers::new(most);
            let limits = limits(3, 0, 0);
            let mut inside: Vec<(u32, Counted)> = Vec::new();
            for (enters, address) in steps {
                if enters {
                    if let Ok(counted) = callers.enter(ip(address), &limits, 0) {
                        inside.push((address, counted));
                    }
                } else if let Some(place) = inside.iter().position(|(a, _)| *a == address) {
                    callers.leave(inside.swap_remove(place).1, 0);
                }
                let mut by_key: HashMap<u64, u32> = HashMap::new();
                inside.iter().for_each(|(_, c)| *by_key.entry(c.0).or_default() += 1);
                prop_assert!(by_key.values().all(|count| *count <= 3));
                prop_assert_eq!(by_key.len(), callers.len());
            }
            inside.into_iter().for_each(|(_, counted)| callers.leave(counted, 0));
            prop_assert_eq!(callers.len(), 0);
        }
    }
}
