//! `longline ctl`: what operators ask of a running cluster.

mod config;
mod drain;
mod session;

/// What is asked.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The configuration that a running cluster takes over at once; the keeper holds it
    Config(config::Args),
    /// Empties a room: its sessions are sent to the others at its set rate. It stays up until it is stopped
    Drain(drain::DrainArgs),
    /// Has a room that was drained take sessions again
    Undrain(drain::Args),
    /// Shows one user's session, live
    Session(session::Args),
}

/// Asks it, and prints the answer.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Config(args) => config::run(args).await,
        Command::Drain(args) => drain::drain(args).await,
        Command::Undrain(args) => drain::undrain(args).await,
        Command::Session(args) => session::run(args).await,
    }
}
