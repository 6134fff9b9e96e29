//! Task pools: a fixed number of workers over a bounded queue, for work that is not an RPC (webhooks, token checks, handshakes).
//!
//! A [`Pool`] has one queue, from which its workers take batches; order is not kept. A [`KeyedPool`] has a queue per worker, and
//! jobs of one key are done one after the other in the order in which they came. In a [`FairPool`] keys take turns, and no key
//! has more than its share of workers and places.
//!
//! Invariants: jobs waiting never exceed the capacity; a job that is refused comes back to the caller, with the reason; a job
//! that panics costs its own batch, is counted and logged, and its worker goes on; a stop ends within its deadline.

mod fair;
mod keyed;
mod lane;
mod metrics;
mod pool;

pub use fair::{FairOptions, FairPool};
pub use keyed::KeyedPool;
pub use lane::{Refused, Why};
pub use pool::{Pool, PoolOptions, WhenFull};
