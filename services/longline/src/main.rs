//! Longline: the one binary. A subcommand per role, `standalone`, and the tools `listen`, `push` and `ctl`.

mod alloc;
mod api;
mod cli;
mod ctl;
mod listen;
mod push;
mod role;
mod service;
mod standalone;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
