//! The project's chores: `cargo xtask test`, `cargo xtask lint`, `cargo xtask cluster`, `cargo xtask measure`.

mod cluster;
mod command;
mod lint;
mod measure;
mod test;

use clap::Parser;

/// The project's chores.
#[derive(Parser)]
enum Chore {
    /// Runs all tests; installs the servers they need if it may.
    Test(test::Args),
    /// Format, clippy with warnings as errors, unused dependencies.
    Lint,
    /// Measures memory per session and unicasts a second, standalone and as a cluster.
    Measure(measure::Args),
    /// Starts a whole cluster on this machine as separate processes, until Ctrl-C.
    Cluster(cluster::Args),
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Test(args) => test::run(&args),
        Chore::Lint => lint::run(),
        Chore::Measure(args) => measure::run(&args),
        Chore::Cluster(args) => cluster::run(args),
    }
}
