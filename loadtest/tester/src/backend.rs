//! `longline-loadtest backend`: what stands behind a room that is measured alone, as a process.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use longline_boot::BootOptions;
use longline_config::LogConfig;
use longline_load_backend::{Backend, Options};

use crate::cli;

/// For its ordered stop.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Serves until Ctrl-C or SIGTERM. Prints where it listens, for injectors and for metrics, once it has joined the keeper.
pub(crate) fn run(args: cli::Backend) -> ExitCode {
    let cli::Backend { keeper, inject, admin, window, broadcast_per_second, token_key } = args;
    let log = LogConfig { level: "warn".to_owned(), ..LogConfig::default() };
    let boot = BootOptions { log, admin: Some(admin), shutdown: SHUTDOWN, runtime_nice: 0 };
    longline_boot::run(boot, |boot| async move {
        let options = Options { keeper, inject, window, broadcast_per_second, token_key };
        let joining = Backend::join(options, boot.deps("backend"), boot.shutdown.clone());
        let Some(backend) = joining.await? else { return Ok(()) };
        let admin = boot.admin().context("there is no admin port")?;
        println!("backend listens on {} {admin}", backend.injection()?);
        backend.run(boot.shutdown).await
    })
}
