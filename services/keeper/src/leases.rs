use std::collections::HashMap;
use std::time::{Duration, Instant};

use longline_types::Load;

use crate::state::NodeRef;

/// A keeper that has not looked for longer than this was paused or starved, and has not heard its nodes meanwhile.
const ABSENCE: Duration = Duration::from_secs(1);

/// What the keeper knows of its nodes in memory only: until when each has a lease, and its load. After a restart everybody has
/// a full term again.
pub(crate) struct Leases {
    term: Duration,
    held: HashMap<NodeRef, Held>,
    looked_at: Instant,
}

struct Held {
    until: Instant,
    load: Load,
}

impl Leases {
    /// A full term for each of these.
    pub(crate) fn new(term: Duration, nodes: impl IntoIterator<Item = NodeRef>, now: Instant) -> Leases {
        let mut leases = Leases { term, held: HashMap::new(), looked_at: now };
        for node in nodes {
            leases.renew(node, Load::default(), now);
        }
        leases
    }

    /// How long a lease lasts.
    pub(crate) fn term(&self) -> Duration {
        self.term
    }

    /// Begins a lease, or a new term of it.
    pub(crate) fn renew(&mut self, node: NodeRef, load: Load, now: Instant) {
        self.held.insert(node, Held { until: now + self.term, load });
    }

    /// The registration has ended.
    pub(crate) fn end(&mut self, node: NodeRef) {
        self.held.remove(&node);
    }

    /// Leases that have run out; they stay until [`Leases::end`]. To be asked often: time in which nobody asked counts for no
    /// lease, since a keeper that was paused would else wake to an empty cluster.
    pub(crate) fn run_out(&mut self, now: Instant) -> Vec<NodeRef> {
        let absent = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        if absent > ABSENCE {
            tracing::warn!(?absent, "the keeper was not running; all leases are extended by as much");
            for held in self.held.values_mut() {
                held.until += absent;
            }
        }
        self.held.iter().filter(|(_, held)| held.until <= now).map(|(node, _)| *node).collect()
    }

    /// The latest loads, by node number.
    pub(crate) fn loads(&self) -> HashMap<u32, Load> {
        self.held.iter().map(|(node, held)| (node.number, held.load)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(6);
    const A: NodeRef = NodeRef { number: 1, incarnation: 1 };
    const B: NodeRef = NodeRef { number: 2, incarnation: 2 };

    /// Looks every 100 ms from `from` on for `duration`, and returns what had run out at the end.
    fn watch(leases: &mut Leases, from: Instant, duration: Duration) -> Vec<NodeRef> {
        let looks = duration.as_millis() / 100;
        (1..=looks as u32).map(|i| leases.run_out(from + Duration::from_millis(100) * i)).last().unwrap()
    }

    #[test]
    fn a_lease_lasts_a_term_from_its_last_renewal() {
        let start = Instant::now();
        let mut leases = Leases::new(TERM, [A, B], start);
        assert!(watch(&mut leases, start, TERM - Duration::from_millis(100)).is_empty());
        leases.renew(A, Load::default(), start + TERM - Duration::from_millis(100));
        assert_eq!(leases.run_out(start + TERM), [B]);
        leases.end(B);
        assert!(leases.run_out(start + TERM).is_empty());
    }

    #[test]
    fn a_paused_keeper_does_not_end_everybody() {
        let start = Instant::now();
        let mut leases = Leases::new(TERM, [A], start);
        let woken = start + Duration::from_secs(60);
        assert!(leases.run_out(woken).is_empty());
        assert_eq!(watch(&mut leases, woken, TERM), [A], "but the lease goes on to run out");
    }
}
