//! `longline-loadtest`: simulated devices by the million, the truth about every message, and a report.

mod agent;
mod backend;
mod cli;
mod display;
mod link;
mod reference;
mod reports;
mod run;
mod system;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};

/// It could not be run, or was called wrongly; also what clap exits with.
const COULD_NOT: u8 = 2;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // The backend starts as a service does, which sets up its own.
    if !matches!(command, Command::Backend(_)) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    match self::command(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("longline-loadtest: {error:#}");
            ExitCode::from(COULD_NOT)
        }
    }
}

fn command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(args) => {
            system::runtime()?.block_on(async { run::run(*args, system::interrupted()?).await })
        }
        Command::Agent(args) => {
            system::raise_open_files()?;
            system::runtime()?.block_on(async { agent::run(args.listen, system::interrupted()?).await })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Raw(args) => reference::run(&args),
        Command::Backend(args) => Ok(backend::run(args)),
        Command::Compare(args) => reports::compare(&args),
        Command::Report(args) => reports::report(&args),
    }
}
