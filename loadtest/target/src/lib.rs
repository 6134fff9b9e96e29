//! The system under load: started on this machine or pointed at, and watched.
//!
//! [`Running`] is the system: a standalone process, a cluster of processes with its stores, or one that runs already. It has a
//! product of its own for the run, so that runs do not meet each other's users. [`Probe`] reads what its processes use,
//! [`Scraper`] what its services count, and [`Machine`] tells where all of that was.

mod admin;
mod machine;
mod metrics;
mod process;
mod running;
mod versions;

pub use machine::Machine;
pub use metrics::{Scrape, Scraper};
pub use process::{Probe, ProcessSample, Watched, cpu};
pub use running::{Ended, Running, StartOptions};
pub use versions::Versions;

/// Number of the route on which devices send uplinks, where the run asked for them.
pub const UPLINK_ROUTE: u32 = 1;
