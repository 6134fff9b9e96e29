//! The project's chores: `cargo xtask test`, `cargo xtask lint`, `cargo xtask cluster`, `cargo xtask load`, `cargo xtask fuzz`,
//! `cargo xtask simulate`.

mod cluster;
mod command;
mod fuzz;
mod lint;
mod load;
mod simulate;
mod test;

use clap::Parser;

/// The project's chores.
#[derive(Parser)]
enum Chore {
    /// Runs all tests; installs the servers they need if it may.
    Test(test::Args),
    /// Format, clippy with warnings as errors, unused dependencies.
    Lint,
    /// Builds the load tester and the program it starts, both optimised, and runs it.
    Load(load::Args),
    /// Gives random inputs, made to reach ever more code, to what reads bytes from outside.
    Fuzz(fuzz::Args),
    /// Lets thousands of random schedules happen to the room's session machine.
    Simulate(simulate::Args),
    /// Starts a whole cluster on this machine as separate processes, until Ctrl-C.
    Cluster(cluster::Args),
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Test(args) => test::run(&args),
        Chore::Lint => lint::run(),
        Chore::Load(args) => load::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Simulate(args) => simulate::run(&args),
        Chore::Cluster(args) => cluster::run(args),
    }
}
