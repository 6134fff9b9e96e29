//! The system under load: started on this machine or pointed at, and watched.
//!

//! of its own for the run. [`Probe`] reads what its processes use, [`Scraper`] what its services count, and [`Machine`] tells where
//! all of that was.

mod admin;
mod machine;
mod metrics;
mod process;
mod versions;

pub use machine::Machine;
pub use metrics::{Scrape, Scraper};
pub use process::{Probe, ProcessSample, Watched, cpu};
pub use versions::Versions;

/// Number of the route on which devices send uplinks, where the run asked for them.
pub const UPLINK_ROUTE: u32 = 1;
