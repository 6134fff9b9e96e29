//! `longline ctl`: what operators ask of a running cluster.

mod config;

/// What is asked.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// The configuration that a running cluster takes over at once; the keeper holds it
    Config(config::Args),
}

/// Asks it, and prints the answer.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Config(args) => config::run(args).await,
    }
}
