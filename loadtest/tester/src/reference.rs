//! `longline-loadtest raw`: the reference server as a process.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use longline_load_raw::{Options, bind};

use crate::cli::Raw;
use crate::system;

/// The line that it prints once it listens, before its two addresses.
pub(crate) const LISTENING: &str = "raw listens on ";

/// Serves until Ctrl-C or SIGTERM.
pub(crate) fn run(args: &Raw) -> anyhow::Result<ExitCode> {
    system::raise_open_files()?;
    let raw = bind(Options { listen: args.listen, inject: args.inject })
        .with_context(|| format!("cannot listen on {} and {}", args.listen, args.inject))?;
    println!("{LISTENING}{} {}", raw.devices(), raw.injection());
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    // Its own thread is to cost nothing but what it serves, so the signals are waited for on another.
    let runtime = system::runtime()?;
    let interrupted = runtime.block_on(async { system::interrupted() })?;
    runtime.spawn(async move {
        interrupted.cancelled().await;
        told.store(true, Ordering::Release);
    });
    raw.run(&stop).context("the reference server failed")?;
    Ok(ExitCode::SUCCESS)
}
