//! `cargo xtask measure`: first figures of the whole system, in both ways of running it.
//!
//! Memory per idle session is a slope (so that what the process needs anyway does not count), and the rate of unicasts is end to
//! end: from the HTTP request until the device has the message. Devices, senders and servers share the machine.

mod device;
mod system;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use longline_procs::{Profile, binary};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use device::Counts;
use system::System;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is measured.
    #[arg(long, value_enum, default_value = "both")]
    mode: Mode,
    /// Idle sessions at the upper end of the slope; the lower end is 1,000.
    #[arg(long, default_value_t = 9_000)]
    sessions: usize,
    /// Unicasts of each of the two ways to send them.
    #[arg(long, default_value_t = 50_000)]
    messages: usize,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Mode {
    Standalone,
    Cluster,
    Both,
}

/// Where the slope begins.
const FEW: usize = 1_000;
/// Users who receive unicasts.
const USERS: usize = 500;
/// Requests under way at once.
const SENDERS: usize = 64;
/// Users of one multicast request.
const TOGETHER: usize = 100;
/// For all messages of a run to arrive.
const ARRIVAL: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.sessions >= 2 * FEW, "--sessions must be at least {}", 2 * FEW);
    let program = binary(Profile::Release)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        if args.mode != Mode::Cluster {
            measure(System::standalone(&program).await?, args).await?;
        }
        if args.mode != Mode::Standalone {
            measure(System::cluster(program).await?, args).await?;
        }
        Ok(())
    })
}

async fn measure(system: System, args: &Args) -> anyhow::Result<()> {
    println!("{}", system.name);
    println!("  resident after the start          {:>9.1} MiB", mib(system.resident_bytes()?));
    let idle = idle(&system, args.sessions).await?;
    println!(
        "  bytes per idle session            {:>9.0}  (slope {FEW} to {}, {})",
        idle, args.sessions, system.holder
    );
    let single = unicasts(&system, args.messages / 5, 1).await?;
    println!("  unicasts a second, one a request  {single:>9.0}  ({SENDERS} requests at once)");
    let grouped = unicasts(&system, args.messages, TOGETHER).await?;
    println!("  unicasts a second, {TOGETHER} a request {grouped:>8.0}  ({SENDERS} requests at once)");
    system.stop().await
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes of resident memory that each further session adds to the processes that hold sessions.
async fn idle(system: &System, sessions: usize) -> anyhow::Result<f64> {
    let mut devices = JoinSet::new();
    connect(system, "idle", 0..FEW, &mut devices).await?;
    let few = system.settled_bytes().await?;
    connect(system, "idle", FEW..sessions, &mut devices).await?;
    let many = system.settled_bytes().await?;
    devices.shutdown().await;
    Ok((many as f64 - few as f64) / (sessions - FEW) as f64)
}

/// Connects users `name-N`, 100 at a time, spread over the rooms.
async fn connect(
    system: &System,
    name: &'static str,
    numbers: std::ops::Range<usize>,
    devices: &mut JoinSet<()>,
) -> anyhow::Result<Arc<Counts>> {
    let counts = Arc::new(Counts::default());
    for chunk in numbers.collect::<Vec<_>>().chunks(100) {
        let connecting = chunk.iter().map(|number| {
            let room = &system.rooms[number % system.rooms.len()];
            device::connect(room, system.product, format!("{name}-{number}"), counts.clone())
        });
        for device in futures::future::try_join_all(connecting).await? {
            devices.spawn(device);
        }
    }
    Ok(counts)
}

/// Messages a second, from the first request until the devices have them all.
async fn unicasts(system: &System, messages: usize, together: usize) -> anyhow::Result<f64> {
    let name = if together == 1 { "single" } else { "grouped" };
    let mut devices = JoinSet::new();
    let counts = connect(system, name, 0..USERS, &mut devices).await?;
    let requests = messages / together;
    let begun = Instant::now();
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (http, url, key) =
            (reqwest::Client::new(), system.api[sender % system.api.len()].clone(), system.key.clone());
        senders.spawn(async move {
            for request in (sender..requests).step_by(SENDERS) {
                let users: Vec<String> =
                    (0..together).map(|n| format!("{name}-{}", (request * together + n) % USERS)).collect();
                let body = json!({ "to": { "users": users }, "payload_base64": PAYLOAD });
                let answer =
                    http.post(format!("{url}/v1/messages")).bearer_auth(&key).json(&body).send().await?;
                ensure!(answer.status() == 202, "not accepted: {} {}", answer.status(), answer.text().await?);
                let accepted: Value = answer.json().await?;
                let all =
                    accepted["messages"].as_array().is_some_and(|m| m.iter().all(|m| m["id"].is_string()));
                ensure!(all, "not all accepted: {accepted}");
            }
            Ok(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    let accepted = begun.elapsed();
    let expected = (requests * together) as u64;
    while counts.received.load(Ordering::Relaxed) < expected {
        let received = counts.received.load(Ordering::Relaxed);
        ensure!(begun.elapsed() < accepted + ARRIVAL, "{received} of {expected} messages arrived");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = expected as f64 / begun.elapsed().as_secs_f64();
    devices.shutdown().await;
    Ok(rate)
}

/// 256 bytes.
const PAYLOAD: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==";

/// A number out of the text of a file in /proc.
fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}
