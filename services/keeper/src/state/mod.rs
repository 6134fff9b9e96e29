//! What the keeper knows and decides, without I/O and without a clock: commands and their time come in, answers and the
//! records to be written come out. The same commands in the same order give the same state, so that a log can replay them.

mod cluster;
mod entries;
mod grants;
#[cfg(test)]
mod properties;
mod records;

pub(crate) use cluster::{About, Cluster, NodeRef};
pub(crate) use entries::Entry;
pub(crate) use grants::Terms;
pub(crate) use records::{Record, Restored};
