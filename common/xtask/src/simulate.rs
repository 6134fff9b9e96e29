//! `cargo xtask simulate`.

use crate::command::{self, cargo};

/// The tests that live through random schedules, by the words of their names.
const SIMULATIONS: [(&str, &str); 1] = [("longline-room", "simulation")];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many schedules, each from another seed. What fails is made small and printed, and its seed kept to be tried first.
    #[arg(long, default_value_t = 10_000)]
    seeds: u32,
}

/// Runs the simulations, optimised and with all that must not happen checked, for longer than `cargo xtask test` does.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for (package, name) in SIMULATIONS {
        let mut test = cargo();
        test.args(["test", "--profile", "fuzz", "--package", package, "--lib", name]);
        command::run(test.env("PROPTEST_CASES", args.seeds.to_string()))?;
    }
    Ok(())
}
