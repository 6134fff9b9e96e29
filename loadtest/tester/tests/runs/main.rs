//! The load tester as its user runs it: the real program, real agents, real servers.
#![allow(clippy::unwrap_used)]

mod faults;
mod scenarios;
mod support;
mod trouble;
