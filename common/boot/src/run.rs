//! The one start of every process, and its one end.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use longline_config::{LogConfig, NodeConfig};
use prometheus::{IntCounter, IntGauge, Registry};
use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::usage::Usage;
use crate::{Health, limits, log, panics};

/// How a process starts.
#[derive(Clone, Debug)]
pub struct BootOptions {
    /// What it writes to stderr.
    pub log: LogConfig,
    /// Where the admin port listens; none: nowhere.
    pub admin: Option<SocketAddr>,
    /// How long its ordered stop may take before it is cut short.
    pub shutdown: Duration,
    /// How far the runtime's threads stand behind the process's others where processors are short: what is added to their nice
    /// value. 0 to 19.
    pub runtime_nice: u8,
}

impl BootOptions {
    /// As a role's `[node]` says. The process waits a little longer for a service than the service for its own parts.
    pub fn of(node: &NodeConfig) -> BootOptions {
        let shutdown = Duration::from_secs(node.shutdown_s.saturating_add(2));
        BootOptions { log: node.log.clone(), admin: node.admin, shutdown, runtime_nice: 0 }
    }
}

/// What a service instance is given: one each, several may live in one process.
#[derive(Clone, Debug, Default)]
pub struct Deps {
    /// Its metrics.
    pub registry: Registry,
    /// Its readiness.
    pub health: Health,
}

impl Deps {
    /// With a registry that puts the label `service` on every metric, so that several services of one process can be told apart.
    pub fn named(service: &str) -> Deps {
        let labels = HashMap::from([("service".to_owned(), service.to_owned())]);
        let registry = Registry::new_custom(None, Some(labels)).unwrap_or_default();
        Deps { registry, health: Health::default() }
    }
}

/// What the process offers to its services.
#[derive(Clone)]
pub struct Boot {
    /// Cancelled when the process is to stop: by a signal or after a panic.
    pub shutdown: CancellationToken,
    admin: Admin,
    admin_address: Option<SocketAddr>,
}

impl Boot {
    /// The means of one service; the admin port shows them under this name.
    pub fn deps(&self, service: &str) -> Deps {
        let deps = Deps::named(service);
        self.admin.add(service, deps.clone());
        deps
    }

    /// Where the admin port really listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin_address
    }
}

/// Runs a process: open-files limit, tracing, panic hook, admin port, then `services`, which ends some time after
/// [`Boot::shutdown`] is cancelled. SIGTERM and SIGINT cancel it; a second one, or the deadline, ends the process at once.
/// The exit code is 0 only if `services` ended well and nothing panicked.
pub fn run<F, Fut>(options: BootOptions, services: F) -> ExitCode
where
    F: FnOnce(Boot) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    if let Err(error) = log::start(&options.log) {
        return refuse(&error);
    }
    let runtime = match runtime(options.runtime_nice) {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&anyhow::Error::new(error).context("cannot start the runtime")),
    };
    let ended = runtime.block_on(async {
        let boot = start(&options)?;
        let stopping = boot.shutdown.clone();
        tokio::select! {
            ended = services(boot) => ended,
            cut = cut_short(stopping, options.shutdown) => cut,
        }
    });
    // What still runs in a blocking thread is not waited for: it has had its deadline.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match ended {
        Err(error) => refuse(&error),
        Ok(()) if panics::happened() => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// The runtime. What is spawned from within `services`, not from one of its tasks, is not one of its threads: on Linux a thread has
/// the nice value of the one that started it, until it is given another.
fn runtime(nice: u8) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all();
    if nice > 0 {
        let of_process = getpriority_process(None)?;
        builder.on_thread_start(move || {
            // Of the calling thread. It can fail only for who wants to be less nice.
            if let Err(error) = setpriority_process(None, of_process + i32::from(nice)) {
                tracing::warn!(%error, nice, "a thread of the runtime keeps its priority");
            }
        });
    }
    builder.build()
}

fn start(options: &BootOptions) -> anyhow::Result<Boot> {
    let open_files = limits::raise_open_files();
    let shutdown = CancellationToken::new();
    let process = Registry::new();
    panics::install(process_metrics(&process, open_files)?, shutdown.clone());
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    tokio::spawn(on_signals(signals, shutdown.clone()));
    let admin = Admin::new(process, shutdown.clone());
    let admin_address = options.admin.map(|address| serve_admin(&admin, address)).transpose()?;
    Ok(Boot { shutdown, admin, admin_address })
}

fn serve_admin(admin: &Admin, address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let bound = admin::bind(address).and_then(tokio::net::TcpListener::from_std);
    let listener = bound.with_context(|| format!("cannot listen on {address}, the admin port"))?;
    let real = listener.local_addr()?;
    tracing::info!(address = %real, "admin port listens");
    tokio::spawn(admin.clone().serve(listener));
    Ok(real)
}

/// What belongs to the process as a whole. Returns the counter of panics.
fn process_metrics(registry: &Registry, open_files: Option<u64>) -> anyhow::Result<IntCounter> {
    let panics = IntCounter::new("longline_panics_total", "Panics; each one stops the process")?;
    let limit = IntGauge::new(
        "longline_open_files_limit",
        "How many files, and so connections, may be open; -1 without limit",
    )?;
    limit.set(open_files.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)));
    registry.register(Box::new(Usage::new()?))?;
    registry.register(Box::new(limit))?;
    registry.register(Box::new(panics.clone()))?;
    Ok(panics)
}

/// The first signal starts the ordered stop, the second ends the process on the spot.
async fn on_signals([mut terminate, mut interrupt]: [Signal; 2], shutdown: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    tracing::info!("{name}: stopping");
    shutdown.cancel();
    let name = next().await;
    tracing::warn!("{name} again: ending at once");
    std::process::exit(1);
}

/// Ends with an error once an ordered stop has taken too long.
async fn cut_short(shutdown: CancellationToken, deadline: Duration) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    tokio::time::sleep(deadline).await;
    bail!("the ordered stop took longer than {} s and was cut short", deadline.as_secs())
}

/// Says why the process ends, in the log's format if tracing runs, else as plain text.
fn refuse(error: &anyhow::Error) -> ExitCode {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{error:#}");
    } else {
        eprintln!("longline: {error:#}");
    }
    ExitCode::FAILURE
}
