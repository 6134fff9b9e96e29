//! Idempotency keys: a repeated request gets the ids of the first.

use std::collections::{HashMap, VecDeque};

use longline_types::User;

use crate::server::Refusal;

/// Keys that are remembered.
const KEPT: usize = 100_000;

/// What was accepted under keys.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    accepted: HashMap<Name, First>,
    order: VecDeque<Name>,
}

/// A key, and the user it counts for; none: a broadcast's.
type Name = (String, Option<User>);

/// What was accepted first under a key.
#[derive(Clone, Copy, Debug)]
struct First {
    id: u64,
    digest: u64,
}

impl Repeats {
    /// The answer to a repeated request; none if it is a new one. An empty key is no key.
    pub(crate) fn find(&self, key: &str, user: Option<&User>, digest: u64) -> Option<Result<u64, Refusal>> {
        if key.is_empty() {
            return None;
        }
        let first = self.accepted.get(&(key.to_owned(), user.cloned()))?;
        Some(if first.digest == digest { Ok(first.id) } else { Err(Refusal::Conflict) })
    }

    pub(crate) fn note(&mut self, key: &str, user: Option<&User>, digest: u64, id: u64) {
        if key.is_empty() {
            return;
        }
        let name = (key.to_owned(), user.cloned());
        self.order.push_back(name.clone());
        self.accepted.insert(name, First { id, digest });
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.accepted.remove(&oldest);
        }
    }
}
