//! Running other programs.

use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// The cargo that runs us, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    // Set since we are run by `cargo run`; cargo-machete would take it for a sign that it is.
    cargo.env_remove("CARGO_PKG_NAME");
    cargo
}

/// Shows the command, runs it, and takes a failure of it for ours.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default();
    let words = command.get_args().map(|a| a.to_string_lossy());
    let shown = words.fold(name.to_owned(), |shown, word| shown + " " + &word);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "failed: {shown}");
    Ok(())
}

/// Whether the command can be run and succeeds; what it prints is not shown.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
