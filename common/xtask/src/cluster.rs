//! `cargo xtask cluster`.

use std::collections::HashSet;
use std::process::ExitStatus;
use std::time::Duration;

use longline_procs::{Cluster, NodeProcess, Options, Profile, binary};
use tokio::signal::unix::{SignalKind, signal};

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Prints addresses, keys and process ids as one line of JSON on stdout.
    #[arg(long)]
    json: bool,
    /// Runs the optimised program.
    #[arg(long)]
    release: bool,
    /// Leaves configuration, logs and data where they are at the end.
    #[arg(long)]
    keep: bool,
    /// Starts a process of the program that has ended again, on the same ports.
    #[arg(long)]
    restart: bool,
}

/// Starts the cluster, says where it is, and watches it until SIGINT or SIGTERM; then stops it in order.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let program = binary(if args.release { Profile::Release } else { Profile::Dev })?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut cluster = tokio::select! {
            cluster = Cluster::start(Options::new(program)) => cluster?,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        if args.keep {
            cluster.keep_folder();
        }
        tell(&mut cluster, args.json)?;
        tokio::select! {
            never = watch(&mut cluster, args.restart) => never?,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("stopping the cluster");
        cluster.stop().await
    })
}

fn tell(cluster: &mut Cluster, json: bool) -> anyhow::Result<()> {
    let description = cluster.describe();
    if json {
        println!("{}", serde_json::to_string(&description)?);
    } else {
        println!("{description}\nCtrl-C takes it down.");
    }
    Ok(())
}

/// Says which process has ended, once each, and starts it again if asked to. Ends only with an error.
async fn watch(cluster: &mut Cluster, restart: bool) -> anyhow::Result<()> {
    let mut told = HashSet::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        for store in cluster.ended_stores()? {
            if told.insert(store.to_owned()) {
                eprintln!("{store} has ended; it is not started again");
            }
        }
        let program = cluster.program().display().to_string();
        for node in cluster.nodes_mut() {
            let Some(status) = node.exited()? else { continue };
            if restart {
                start_again(node, status).await;
            } else if told.insert(node.name().to_owned()) {
                let (name, role, config) = (node.name(), node.role(), node.config());
                eprintln!(
                    "{name} has ended ({status}); start it again: {program} {role} --config {}",
                    config.display()
                );
            }
        }
    }
}

/// A failure is told and tried again at the next look.
async fn start_again(node: &mut NodeProcess, status: ExitStatus) {
    match node.restart().await {
        Ok(()) => eprintln!("{} had ended ({status}); it runs again as process {}", node.name(), node.pid()),
        Err(error) => eprintln!("{error:#}"),
    }
}
