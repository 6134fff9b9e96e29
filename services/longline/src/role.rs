//! `longline <role>`: one service in a process of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use longline_boot::{Boot, BootOptions};
use serde_json::json;

use crate::cli;
use crate::service::Service;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configuration (TOML); deploy/config has a commented sample per role. Without it: defaults and environment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the addresses it really listens on to this file, as JSON, once the ports are open
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// Print the configuration that takes effect (TOML), and end
    #[arg(long)]
    print_config: bool,
}

/// Runs the service until a signal.
pub(crate) fn run<S: Service>(args: Args) -> ExitCode {
    match longline_config::load::<S::Config>(args.config.as_deref(), S::ROLE.name()) {
        Err(error) => cli::failed(&error.into()),
        Ok(config) if args.print_config => cli::print_config(&config),
        Ok(config) => {
            let mut options = BootOptions::of(S::node(&config));
            options.shutdown += S::departure(&config);
            options.runtime_nice = S::runtime_nice(&config);
            longline_boot::run(options, |boot| serve::<S>(config, boot, args.addresses))
        }
    }
}

async fn serve<S: Service>(config: S::Config, boot: Boot, addresses: Option<PathBuf>) -> anyhow::Result<()> {
    let role = S::ROLE;
    let bound =
        S::bind(config, boot.deps(role.name())).await.with_context(|| format!("cannot start the {role}"))?;
    if let Some(file) = addresses {
        tell_addresses(&bound, &boot, &file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    bound.run(boot.shutdown.clone()).await?;
    ensure!(boot.shutdown.is_cancelled(), "the {role} ended though nobody asked it to");
    Ok(())
}

/// Written aside and renamed, so that who waits for the file finds it whole.
fn tell_addresses<S: Service>(bound: &S, boot: &Boot, file: &Path) -> anyhow::Result<()> {
    let addresses = json!({ "rpc": bound.rpc(), "public": bound.public(), "admin": boot.admin() });
    let aside = file.with_extension("new");
    std::fs::write(&aside, addresses.to_string())?;
    Ok(std::fs::rename(aside, file)?)
}
