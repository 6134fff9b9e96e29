//! Stand-ins for other services, on loopback, for tests of a single service.

mod keeper;

pub use keeper::{FakeKeeper, node};
