//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Simulated devices by the million, the truth about every message, and a report.
#[derive(Parser)]
#[command(name = "longline-loadtest", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Runs a scenario and writes run.json and report.html. Exit status 0: the verdict is green; 1: it is not; 2: it could not
    /// be run.
    Run(Box<Run>),
    /// Serves as one agent: a controller gives it devices to simulate.
    Agent(Agent),
    /// The reference server: accepts, answers HELLO, forwards acknowledged messages, nothing else.
    Raw(Raw),
    /// What stands behind a room that is measured alone: joins a keeper as a saver with an inbox in memory, and is fed as the
    /// reference server is.
    Backend(Backend),
    /// Compares two runs figure by figure.
    Compare(Compare),
    /// Writes report.html anew from a run.json, and prints the summary.
    Report(Report),
}

#[derive(clap::Args)]
pub(crate) struct Run {
    /// The scenario file; see loadtest/scenarios.
    pub(crate) scenario: PathBuf,
    /// Changes a key of the scenario: devices.count=5000. May be given many times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) sets: Vec<String>,
    /// Where run.json and report.html go; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "loadtest/out")]
    pub(crate) out: PathBuf,
    /// URL of a running system's API: nothing is started then. May be given once per center.
    #[arg(long, value_name = "URL")]
    pub(crate) api: Vec<String>,
    /// URL of the running system's dispatcher.
    #[arg(long, value_name = "URL")]
    pub(crate) dispatcher: Option<String>,
    /// The running system's product, by number. Without an admin key.
    #[arg(long, value_name = "ID")]
    pub(crate) product: Option<u32>,
    /// The product's key.
    #[arg(long, env = "LONGLINE_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// The admin key: a product of its own is made for the run, and the rooms are asked for.
    #[arg(long, env = "LONGLINE_ADMIN_KEY", hide_env_values = true)]
    pub(crate) admin_key: Option<String>,
    /// The longline program to start; by default the one beside this program.
    #[arg(long, env = "LONGLINE_BIN", value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Only notes and the result.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(clap::Args)]
pub(crate) struct Agent {
    /// Where controllers reach it. Whoever can reach it can use it: keep it inside the test network.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700")]
    pub(crate) listen: SocketAddr,
}

#[derive(clap::Args)]
pub(crate) struct Raw {
    /// For devices.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9100")]
    pub(crate) listen: SocketAddr,
    /// For messages to deliver.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9101")]
    pub(crate) inject: SocketAddr,
}

#[derive(clap::Args)]
pub(crate) struct Backend {
    /// The keeper of the room.
    #[arg(long, value_name = "ADDR")]
    pub(crate) keeper: String,
    /// For messages to deliver.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9101")]
    pub(crate) inject: SocketAddr,
    /// For /metrics and /readyz.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) admin: SocketAddr,
    /// Messages in flight on a bind; 0: as a product that says nothing.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) window: u32,
    /// Sessions a second to which a room sends a broadcast; 0: as fast as it can.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) broadcast_per_second: u32,
    /// Binds need a user token signed with this key (HS256).
    #[arg(long, env = "LONGLINE_BACKEND_TOKEN_KEY", hide_env_values = true)]
    pub(crate) token_key: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Compare {
    /// run.json of the one.
    pub(crate) a: PathBuf,
    /// run.json of the other.
    pub(crate) b: PathBuf,
    /// Exit with status 1 if a figure of the second is worse by more than this many per cent.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) fail_above: Option<f64>,
}

#[derive(clap::Args)]
pub(crate) struct Report {
    /// The run.json.
    pub(crate) run: PathBuf,
    /// Where the page goes; beside run.json by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
