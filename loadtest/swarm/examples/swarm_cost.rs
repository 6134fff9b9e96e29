//! What the swarm costs: CPU of its one thread per connect and per acknowledged delivery, and memory per device.
//!
//! `cargo run --release -p longline-load-swarm --example swarm_cost [DEVICES] [SERVER_CORE SWARM_CORE]`; it takes some fifteen seconds. The
//! other side is the reference server, in a process of its own, and its injector beside it on the same core. Every message goes
//! through the ledger.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use longline_load_raw::{Acks, Delivery, Injector};
use longline_load_swarm::{Hostile, Options, Routes, Swarm, SwarmCounts, Transports};
use longline_load_truth::{Clock, Graces, Ledger, LedgerOptions, Plan};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const PAYLOAD: usize = 256;
const MEASURED: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve();
    }
    let number = |place: usize, default| arguments.get(place).map_or(Ok(default), |text| text.parse());
    let (devices, server_core, swarm_core) = (number(0, 15_000)?, number(1, 0)?, number(2, 1)?);
    let server = Server::start(server_core)?;
    let bench = Bench::start(&server, devices, swarm_core as usize)?;
    pin(server_core as usize)?;
    bench.connect()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bench.deliver(&server))
}

/// The server's process: tells its ports and serves until its standard input ends.
fn serve() -> Result<()> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let raw = longline_load_raw::bind(longline_load_raw::Options { listen: any, inject: any })?;
    println!("{} {}", raw.devices(), raw.injection());
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ended.store(true, Relaxed);
    });
    raw.run(&stop)?;
    Ok(())
}

struct Bench {
    swarm: Swarm,
    ledger: Arc<Ledger>,
    clock: Clock,
    devices: u32,
    /// Resident bytes before the swarm was made.
    empty: u64,
}

struct To(SocketAddr);

impl Routes for To {
    fn room(&self, _: u32, _: u32) -> Option<SocketAddr> {
        Some(self.0)
    }
}

impl Bench {
    fn start(server: &Server, devices: u32, core: usize) -> Result<Bench> {
        let (clock, users) = (Clock::new(), 0..devices);
        let options =
            LedgerOptions { run: 1, agent: 1, users: users.clone(), clock, graces: Graces::default() };
        let ledger = Arc::new(Ledger::new(options));
        let empty = resident()?;
        // Its thread is born on this core and stays there.
        pin(core)?;
        let swarm = Swarm::start(Options {
            threads: 1,
            users,
            prefix: "cost".to_owned(),
            product: 1,
            token_key: None,
            sources: vec![],
            step: Duration::ZERO,
            networks: vec![],
            transports: Transports::default(),
            resume: 0.0,
            hostile: Hostile::default(),
            seed: 1,
            ledger: Arc::clone(&ledger),
            clock,
            run: 1,
            agent: 1,
            routes: Arc::new(To(server.devices)),
        })?;
        Ok(Bench { swarm, ledger, clock, devices, empty })
    }

    fn connect(&self) -> Result<()> {
        let (before, start) = (cpu()?, Instant::now());
        self.swarm.connect(0.0);
        self.wait(|counts| counts.connected == u64::from(self.devices))?;
        let (used, took) = (cpu()? - before, start.elapsed());
        let memory = (resident()? - self.empty) / u64::from(self.devices);
        let latencies = self.swarm.take_connect_latencies();
        println!(
            "{} devices: {:.2} µs per connect ({:.0}/s, p99 {} ms), {memory} bytes per device",
            self.devices,
            used.as_secs_f64() * 1e6 / f64::from(self.devices),
            f64::from(self.devices) / took.as_secs_f64(),
            latencies.value_at_quantile(0.99) / 1000,
        );
        Ok(())
    }

    async fn deliver(&self, server: &Server) -> Result<()> {
        let (injector, mut acks) = Injector::connect(server.injection).await?;
        for (batch, under_way) in [(1, 1), (8, 8), (64, 64), (64, 4096), (256, 16_384)] {
            self.load(&injector, &mut acks, batch, under_way, MEASURED / 4).await?;
            let (before, start) = (cpu()?, Instant::now());
            let count = self.load(&injector, &mut acks, batch, under_way, MEASURED).await?;
            let (used, took) = ((cpu()? - before).as_secs_f64(), start.elapsed().as_secs_f64());
            println!(
                "batches of {batch:>3}, {under_way:>5} under way: {:>5.2} µs per acked delivery ({:>6.0}/s, {:>3.0} % of a core)",
                used * 1e6 / count as f64,
                count as f64 / took,
                used / took * 100.0
            );
        }
        let counts = self.ledger.counts();
        println!(
            "ledger: {} received, {} acked, {} outstanding",
            counts.received,
            counts.acked,
            self.ledger.outstanding()
        );
        Ok(())
    }

    /// A closed loop: so many messages under way, in batches of so many.
    async fn load(
        &self,
        injector: &Injector,
        acks: &mut Acks,
        batch: u64,
        most: u64,
        time: Duration,
    ) -> Result<u64> {
        let end = Instant::now() + time;
        let (mut sent, mut acked) = (0, 0);
        while Instant::now() < end {
            while sent - acked + batch <= most {
                let deliveries: Vec<Delivery> = (0..batch).map(|n| self.delivery(sent + n)).collect();
                injector.send(&deliveries).await?;
                sent += batch;
            }
            acked += next(acks).await?;
        }
        while acked < sent {
            acked += next(acks).await?;
        }
        Ok(acked)
    }

    /// For users all over the place.
    fn delivery(&self, number: u64) -> Delivery {
        let user = ((number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % u64::from(self.devices)) as u32;
        let now = self.clock.now();
        let header = self.ledger.plan(Plan { user, due: now, stream: 0, transient: false, expires: None });
        let (id, mut payload) = (header.sequence + 1, Vec::new());
        header.payload(PAYLOAD, &mut payload);
        self.ledger.sent(&header, now);
        self.ledger.accepted(header.sequence, id, now);
        Delivery { user, id, payload: payload.into() }
    }

    fn wait(&self, holds: impl Fn(&SwarmCounts) -> bool) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while !holds(&self.swarm.counts()) {
            if Instant::now() > end {
                return Err(format!("not all devices are connected: {:?}", self.swarm.counts()).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

async fn next(acks: &mut Acks) -> Result<u64> {
    let report = tokio::time::timeout(DEADLINE, acks.next()).await??.ok_or("the server has ended")?;
    if report.absent > 0 {
        return Err("a device is missing".into());
    }
    Ok(report.acked.len() as u64)
}

/// The reference server's process.
struct Server {
    child: Child,
    devices: SocketAddr,
    injection: SocketAddr,
}

impl Server {
    fn start(core: u32) -> Result<Server> {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(core.to_string()).arg(std::env::current_exe()?).arg("serve");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let (devices, injection) = line.trim().split_once(' ').ok_or("the server did not start")?;
        Ok(Server { child, devices: devices.parse()?, injection: injection.parse()? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and so does it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What the swarm's thread has used.
fn cpu() -> Result<Duration> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "swarm-0" {
            let text = std::fs::read_to_string(task.join("schedstat"))?;
            let nanos = text.split(' ').next().ok_or("no figure")?;
            return Ok(Duration::from_nanos(nanos.parse()?));
        }
    }
    Err("the swarm has no thread".into())
}

/// Resident bytes of this process.
fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn pin(core: usize) -> Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}
