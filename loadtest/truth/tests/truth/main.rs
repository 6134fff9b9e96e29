//! The rules of the truth, told as stories; a model of a right server and of faulty ones; what the ledger costs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod batches;
mod broadcasts;
mod model;
mod rules;
mod support;
mod throughput;
