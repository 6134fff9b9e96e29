//! What every process does: runtime, signals, tracing, panic hook, admin port, ordered shutdown.
//!
//! A process is one call of [`run`] with a closure that binds and runs its services. The closure gets a [`Boot`]: the token
//! that tells when to stop, and [`Boot::deps`] for each service. If one part of the process ends, all of it ends, in order and
//! with a deadline; [`Parts`] does that for services that share a process.

mod admin;
mod health;
mod limits;
mod log;
mod open_files;
mod panics;
mod parts;
mod run;
mod usage;

pub use health::{Health, Readiness};
pub use parts::Parts;
pub use run::{Boot, BootOptions, Deps, run};
