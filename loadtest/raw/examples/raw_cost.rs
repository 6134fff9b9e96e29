//! What the reference server costs: CPU of its thread per connect, per acknowledged unicast and per broadcast delivery.
//!
//! `cargo run --release -p longline-load-raw --example raw_cost [DEVICES] [SERVER_CORE CLIENT_CORE]`; it takes some ten seconds. The
//! server is a process of its own, so that 15,000 devices need no more than 20,000 open files.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use longline_load_raw::{Acks, Delivery, Injector, Options, bind};
use longline_pb::client::{Ack, Bind, Hello};
use longline_wire::{FrameType, Limits, PREFACE, decode, encode};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PAYLOAD: usize = 256;
const MEASURED: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve();
    }
    let number = |place: usize, default| arguments.get(place).map_or(Ok(default), |text| text.parse());
    let (devices, server_core, client_core) = (number(0, 15_000)?, number(1, 0)?, number(2, 1)?);
    pin(client_core as usize)?;
    let server = Server::start(server_core)?;
    measure(&server, devices)
}

/// The server's process: tells its ports and serves until its standard input ends.
fn serve() -> Result<()> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let raw = bind(Options { listen: any, inject: any })?;
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

fn measure(server: &Server, devices: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = server.cpu()?;
    let swarm = Swarm::connect(server.devices, devices)?;
    let per_connect = (server.cpu()? - before).as_secs_f64() * 1e6 / f64::from(devices);
    println!("{devices} devices; {per_connect:.2} µs per connect");
    runtime.block_on(async {
        let (injector, mut acks) = Injector::connect(server.injection).await?;
        for (batch, under_way) in [(1, 1), (8, 8), (64, 64), (1, 4096), (8, 4096), (64, 4096)] {
            let mut load = Load { injector: &injector, acks: &mut acks, devices, next: 0 };
            load.run(batch, under_way, MEASURED / 4).await?;
            let before = server.cpu()?;
            let start = Instant::now();
            let count = load.run(batch, under_way, MEASURED).await?;
            let (cpu, took) = ((server.cpu()? - before).as_secs_f64(), start.elapsed().as_secs_f64());
            println!(
                "batches of {batch:>2}, {under_way:>4} under way: {:>5.2} µs per acked unicast ({:>6.0}/s, {:>3.0} % of a core)",
                cpu * 1e6 / count as f64,
                count as f64 / took,
                cpu / took * 100.0
            );
        }
        broadcasts(server, &injector, &mut acks, devices).await
    })?;
    swarm.stop()
}

async fn broadcasts(server: &Server, injector: &Injector, acks: &mut Acks, devices: u32) -> Result<()> {
    const COUNT: u64 = 10;
    let payload = Bytes::from(vec![0; PAYLOAD]);
    let before = server.cpu()?;
    for id in 0..COUNT {
        injector.broadcast(id, &payload).await?;
    }
    let total = COUNT * u64::from(devices);
    let mut acked = 0;
    while acked < total {
        acked += next(acks).await?;
    }
    let cpu = server.cpu()? - before;
    println!("{COUNT} broadcasts: {:.2} µs per acked delivery", cpu.as_secs_f64() * 1e6 / total as f64);
    Ok(())
}

/// A closed loop: so many messages under way, in batches of so many.
struct Load<'a> {
    injector: &'a Injector,
    acks: &'a mut Acks,
    devices: u32,
    next: u64,
}

impl Load<'_> {
    async fn run(&mut self, batch: u64, under_way: u64, time: Duration) -> Result<u64> {
        let payload = Bytes::from(vec![0; PAYLOAD]);
        let end = Instant::now() + time;
        let (mut sent, mut acked) = (0, 0);
        while Instant::now() < end {
            while sent - acked + batch <= under_way {
                let batch: Vec<Delivery> = (0..batch).map(|_| self.delivery(&payload)).collect();
                self.injector.send(&batch).await?;
                sent += batch.len() as u64;
            }
            acked += next(self.acks).await?;
        }
        while acked < sent {
            acked += next(self.acks).await?;
        }
        Ok(acked)
    }

    /// For users all over the place.
    fn delivery(&mut self, payload: &Bytes) -> Delivery {
        self.next += 1;
        let user = (self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % u64::from(self.devices);
        Delivery { user: user as u32, id: 1 << 32 | self.next, payload: payload.clone() }
    }
}

async fn next(acks: &mut Acks) -> Result<u64> {
    let report = tokio::time::timeout(DEADLINE, acks.next()).await??.ok_or("the server has ended")?;
    if report.absent > 0 {
        return Err("a device is missing".into());
    }
    Ok(report.acked.len() as u64)
}

/// The server's process.
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

    /// What its serving thread has used.
    fn cpu(&self) -> Result<Duration> {
        let id = self.child.id();
        let text = std::fs::read_to_string(format!("/proc/{id}/task/{id}/schedstat"))?;
        let nanos = text.split(' ').next().ok_or("no figure")?;
        Ok(Duration::from_nanos(nanos.parse()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and so does it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Devices on a thread of their own, which acknowledge at once what they read.
struct Swarm {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Swarm {
    /// Returns once all are welcomed.
    fn connect(server: SocketAddr, devices: u32) -> Result<Swarm> {
        let (stop, welcomed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&welcomed));
        let thread = std::thread::spawn(move || swarm(server, devices, &counter, &stopped));
        let end = Instant::now() + DEADLINE;
        while welcomed.load(Relaxed) < u64::from(devices) {
            if thread.is_finished() || Instant::now() > end {
                return Err("not all devices are connected".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Swarm { stop, thread })
    }

    fn stop(self) -> Result<()> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| "the devices panicked")?
    }
}

fn swarm(server: SocketAddr, devices: u32, welcomed: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut sockets = Vec::new();
    let (mut partial, mut buffer) = (HashMap::new(), vec![0; 64 * 1024]);
    while !stop.load(Relaxed) {
        // Some at a time, so that none waits for long in the server's queue.
        while sockets.len() < devices as usize && sockets.len() as u64 <= welcomed.load(Relaxed) + 500 {
            let mut socket = std::net::TcpStream::connect(server)?;
            socket.write_all(&opening(sockets.len())?)?;
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let mut socket = TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(sockets.len()), Interest::READABLE)?;
            sockets.push(socket);
        }
        poll.poll(&mut events, Some(Duration::from_millis(20)))?;
        for event in &events {
            let index = event.token().0;
            read(&mut sockets[index], index, &mut partial, &mut buffer, welcomed)?;
        }
    }
    Ok(())
}

fn opening(index: usize) -> Result<Vec<u8>> {
    let mut bytes = PREFACE.to_vec();
    let bind = Bind { product: 1, user: format!("bench-{index}"), ..Bind::default() };
    encode(&Hello { device: format!("d{index}"), binds: vec![bind], ..Hello::default() }, &mut bytes)?;
    Ok(bytes)
}

fn read(
    socket: &mut TcpStream,
    index: usize,
    partial: &mut HashMap<usize, Vec<u8>>,
    buffer: &mut [u8],
    welcomed: &AtomicU64,
) -> Result<()> {
    loop {
        let count = match socket.read(buffer) {
            Ok(0) => return Err("the server hung up".into()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = partial.remove(&index).unwrap_or_default();
        bytes.extend_from_slice(&buffer[..count]);
        let mut used = 0;
        let mut ack = Ack::default();
        while let Some((frame, taken)) = decode(&bytes[used..], &Limits::FROM_ROOM)? {
            used += taken;
            match frame.kind {
                FrameType::Push => ack.ids.push(frame.parse_push()?.1.id),
                _ => _ = welcomed.fetch_add(1, Relaxed),
            }
        }
        if used < bytes.len() {
            partial.insert(index, bytes.split_off(used));
        }
        if !ack.ids.is_empty() {
            let mut out = Vec::new();
            encode(&ack, &mut out)?;
            socket.write_all(&out)?;
        }
        if count < buffer.len() {
            return Ok(());
        }
    }
}

fn pin(core: usize) -> Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}
