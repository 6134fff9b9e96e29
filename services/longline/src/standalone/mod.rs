//! `longline standalone`: every service in this process, over loopback ports, with SQLite as the store.

mod banner;
mod config;
mod data;
mod demo;
mod start;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use longline_boot::{Boot, BootOptions, Parts};

pub(crate) use config::Config;
use data::DataDir;

use crate::cli;

/// From the first port opened to everything ready.
const START: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of everything that is to survive a restart [default: longline-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the API listens, HTTP and gRPC; port 0: any free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Where devices connect; port 0: any free one [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR")]
    room: Option<SocketAddr>,
    /// Configuration (TOML), see deploy/config/standalone.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration that takes effect (TOML), and end
    #[arg(long)]
    print_config: bool,
}

/// Runs until a signal.
pub(crate) fn run(args: Args) -> ExitCode {
    let mut config: Config = match longline_config::load(args.config.as_deref(), "standalone") {
        Ok(config) => config,
        Err(error) => return cli::failed(&error.into()),
    };
    config.data = args.data.unwrap_or(config.data);
    config.listen.http = args.http.unwrap_or(config.listen.http);
    config.listen.room = args.room.unwrap_or(config.listen.room);
    if args.print_config {
        return cli::print_config(&config);
    }
    let options = BootOptions {
        log: config.log.clone(),
        admin: Some(config.listen.admin),
        shutdown: Duration::from_secs(config.shutdown_s.saturating_add(2)),
        runtime_nice: 0,
    };
    longline_boot::run(options, |boot| serve(config, boot))
}

async fn serve(config: Config, boot: Boot) -> anyhow::Result<()> {
    let data = DataDir::open(&config.data)?;
    let admin_key = data.admin_key()?;
    let mut parts = Parts::new(boot.shutdown.clone(), Duration::from_secs(config.shutdown_s));
    let started = start::all(&config, &data, &boot, &mut parts).await?;
    let welcome = async {
        tokio::time::timeout(START, started.ready())
            .await
            .with_context(|| format!("not ready after {START:?}"))?;
        let demo = demo::ensure(started.http, &admin_key, &data)
            .await
            .context("cannot prepare the product `demo`")?;
        banner::print(&started, &demo, &config, boot.admin());
        anyhow::Ok(())
    };
    let welcomed = tokio::select! {
        welcomed = welcome => welcomed,
        () = parts.one_ended() => Ok(()), // `join` says which, and why
        () = boot.shutdown.cancelled() => Ok(()),
    };
    if welcomed.is_err() {
        boot.shutdown.cancel();
    }
    welcomed.and(parts.join().await)
}
