//! A swarm on loopback against a room that is played by threads.
#![allow(clippy::unwrap_used)]

mod churn;
mod hostile;
mod resuming;
mod rig;
mod room;
mod sessions;
mod uplinks;
