//! The cluster store while its databases fail: whatever was accepted is found again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod databases;
mod fast;
mod refills;
mod savers;
mod support;
