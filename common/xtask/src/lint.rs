//! `cargo xtask lint`.

use crate::command::{self, cargo, works};

/// Format, clippy with warnings as errors, unused dependencies.
pub(crate) fn run() -> anyhow::Result<()> {
    command::run(cargo().args(["fmt", "--all", "--check"]))?;
    command::run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    if !works(cargo().args(["machete", "--version"])) {
        command::run(cargo().args(["install", "cargo-machete", "--locked"]))?;
    }
    command::run(cargo().args(["machete", "--with-metadata"]))
}
