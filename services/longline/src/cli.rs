//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;
use toml::Table;

use crate::{ctl, listen, push, role, standalone};

/// Keeps very many devices connected, and pushes messages to them.
#[derive(Parser)]
#[command(name = "longline", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything in one process, with SQLite as its store: to try it, to develop against it, or to run it small
    Standalone(standalone::Args),
    /// Node registry with leases, the view, configuration
    Keeper(role::Args),
    /// All access to storage
    Saver(role::Args),
    /// Where each address is connected
    Register(role::Args),
    /// Uplink to the business, presence callbacks, kicks
    Coordinator(role::Args),
    /// Holds the connections of the devices
    Room(role::Args),
    /// The API for businesses and operators
    Center(role::Args),
    /// Tells each device which rooms to connect to
    Dispatcher(role::Args),
    /// A device: prints each message as it comes, and acknowledges it
    Listen(listen::Args),
    /// Pushes a message through the API
    Push(push::Args),
    /// Looks into a running cluster, and changes how it is set
    #[command(subcommand)]
    Ctl(ctl::Command),
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> ExitCode {
        match self.command {
            Command::Standalone(args) => standalone::run(args),
            Command::Keeper(args) => role::run::<longline_keeper::Bound>(args),
            Command::Saver(args) => role::run::<longline_saver::Bound>(args),
            Command::Register(args) => role::run::<longline_register::Bound>(args),
            Command::Coordinator(args) => role::run::<longline_coordinator::Bound>(args),
            Command::Room(args) => role::run::<longline_room::Bound>(args),
            Command::Center(args) => role::run::<longline_center::Bound>(args),
            Command::Dispatcher(args) => role::run::<longline_dispatcher::Bound>(args),
            Command::Listen(args) => tool(listen::run(args)),
            Command::Push(args) => tool(push::run(args)),
            Command::Ctl(command) => tool(ctl::run(command)),
        }
    }
}

/// Runs a tool to its end; its error is one line for people.
fn tool(work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let done = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(work));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Prints the configuration that takes effect.
pub(crate) fn print_config(config: &impl Serialize) -> ExitCode {
    match Table::try_from(config) {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error.into()),
    }
}

/// Says what went wrong before there is a log.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("longline: {error:#}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
