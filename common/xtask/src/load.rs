//! `cargo xtask load`.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// For longline-loadtest: `run loadtest/scenarios/idle.toml --set devices.count=5000`, `compare A.json B.json`, `--help`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<String>,
}

/// Builds both programs in one go, so that what they share is built once, and runs the load tester, which finds the other beside it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let build = ["build", "--release", "--package", "longline", "--package", "longline-loadtest"];
    let program = longline_procs::built_by(&build, "longline-loadtest")?;
    let program = program.context("cargo did not say where the program is")?;
    // In our place: Ctrl-C is for the load tester alone, which ends with a report.
    let error = Command::new(&program).args(&args.words).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
