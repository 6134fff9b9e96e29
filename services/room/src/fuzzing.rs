//! What the fuzzer drives: the shard's simulation.

pub use crate::shard::simulation::session;
