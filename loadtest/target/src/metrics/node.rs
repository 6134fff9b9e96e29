//! One node's metrics, over its restarts.

use std::collections::BTreeMap;

use super::Source;

/// Values by key, and whether they only ever rise.
#[derive(Default, Debug)]
pub(super) struct Values(BTreeMap<String, (f64, bool)>);

impl Values {
    /// Sums up what comes under the same key.
    pub(super) fn add(&mut self, key: String, value: f64, is_counter: bool) {
        self.0.entry(key).or_insert((0.0, is_counter)).0 += value;
    }

    /// Each key with its value, and whether it is a counter.
    pub(super) fn each(self) -> impl Iterator<Item = (String, f64, bool)> {
        self.0.into_iter().map(|(key, (value, is_counter))| (key, value, is_counter))
    }
}

/// A node, and what it told last.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) source: Source,
    gauges: BTreeMap<String, f64>,
    counters: BTreeMap<String, Counter>,
}

#[derive(Default, Debug)]
struct Counter {
    /// Of earlier starts of the node.
    carried: f64,
    last: f64,
}

impl Node {
    pub(super) fn new(name: String, source: Source) -> Node {
        Node { name, source, gauges: BTreeMap::new(), counters: BTreeMap::new() }
    }

    /// What it tells now.
    pub(super) fn take(&mut self, values: Values) {
        self.gauges.clear();
        for (key, value, is_counter) in values.each() {
            if is_counter {
                self.counters.entry(key).or_default().take(value);
            } else {
                self.gauges.insert(key, value);
            }
        }
    }

    /// It does not answer: nothing is known of what it has now, and its counts stand.
    pub(super) fn forget_gauges(&mut self) {
        self.gauges.clear();
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&str, f64)> {
        let counters =
            self.counters.iter().map(|(key, counter)| (key.as_str(), counter.carried + counter.last));
        self.gauges.iter().map(|(key, value)| (key.as_str(), *value)).chain(counters)
    }
}

impl Counter {
    fn take(&mut self, value: f64) {
        if value < self.last {
            self.carried += self.last;
        }
        self.last = value;
    }
}
