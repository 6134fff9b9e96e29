//! A coordinator among fake keeper, savers, registers, rooms and businesses, all on loopback.
#![allow(clippy::unwrap_used)]

mod kicks;
mod presence;
mod support;
mod uplinks;
