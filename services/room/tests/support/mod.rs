//! A real engine on loopback, with a cluster played by one thread, and devices that speak the protocol by hand.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod cluster;
pub mod device;
pub mod noise;
pub mod tls;
pub mod websocket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use longline_room::link::Message;
use longline_room::link::{Command, Delivered, Delivery, Identity, ShardSender};
use longline_room::{Engine, EngineConfig, Listeners, Transports};
use longline_types::{Address, Class, MessageId, Route, now_ms};
use prometheus::Registry;
use tokio::sync::oneshot;

pub use cluster::Cluster;
pub use device::Device;

/// What a test waits for takes at most this long.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Room {
    pub engine: Engine,
    pub cluster: Arc<Cluster>,
    pub registry: Registry,
    pub address: SocketAddr,
    links: Option<JoinHandle<()>>,
}

/// One shard, so that tests know where a session is.
pub fn config() -> EngineConfig {
    EngineConfig { shards: 1, linger_ms: 200, ..EngineConfig::default() }
}

impl Room {
    pub fn start(config: EngineConfig) -> Room {
        Room::start_with(config, Transports::default(), &["127.0.0.1:0"])
    }

    pub fn start_with(config: EngineConfig, transports: Transports, addresses: &[&str]) -> Room {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let listeners = Listeners::bind(&addresses, &config).unwrap();
        let registry = Registry::new();
        let mut engine = Engine::start_with(config, transports, listeners, &registry).unwrap();
        let cluster = Cluster::new(engine.shards().to_vec());
        let questions = engine.take_questions();
        let links = std::thread::spawn({
            let cluster = Arc::clone(&cluster);
            move || cluster.run(questions)
        });
        let address = engine.addresses()[0];
        let room = Room { engine, cluster, registry, address, links: Some(links) };
        room.command_all(|| Command::Identity(Identity { node: 7, incarnation: 1 }));
        room
    }

    pub fn shard(&self) -> &ShardSender {
        &self.engine.shards()[0]
    }

    pub fn command_all(&self, command: impl Fn() -> Command) {
        for shard in self.engine.shards() {
            shard.command(command()).unwrap();
        }
    }

    pub fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (reply, answer) = oneshot::channel();
        self.shard().command(command(reply)).unwrap();
        answer.blocking_recv().unwrap()
    }

    /// A connected device that is `user` of product 1, and knows it.
    pub fn device(&self, user: &str) -> Device {
        let mut device = Device::connect(self.address);
        device.hello(&[user]);
        device.welcome();
        device
    }

    /// Likewise, from another address of this machine.
    pub fn device_from(&self, source: &str, user: &str) -> Device {
        let mut device = Device::connect_from(source, self.address);
        device.hello(&[user]);
        device.welcome();
        device
    }

    /// Connections refused for this reason.
    pub fn refused(&self, reason: &str) -> u64 {
        self.metric(&format!("longline_room_refused_total{{reason=\"{reason}\"}}"))
    }

    /// Delivers to where the user is bound.
    pub fn deliver(&self, user: &str, messages: Vec<Message>) -> Vec<Delivered> {
        let route = self.cluster.route(user);
        self.deliver_to(user, route, messages)
    }

    pub fn deliver_to(&self, user: &str, route: Route, messages: Vec<Message>) -> Vec<Delivered> {
        let deliveries =
            messages.into_iter().map(|message| Delivery { address: address(user), route, message }).collect();
        let shard = self.engine.shard_of(route.session).unwrap();
        shard.deliver(deliveries, Instant::now()).unwrap().blocking_recv().unwrap()
    }

    /// All metrics, as text.
    pub fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }

    /// The value of a metric: `name` or `name{label="value"}`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.metrics();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    pub fn closes(&self, reason: &str) -> u64 {
        self.metric(&format!("longline_room_closes_total{{reason=\"{reason}\"}}"))
    }

    /// Waits until the user's bind has loaded all there was.
    pub fn await_clean(&self, user: &str) {
        let route = self.cluster.route(user);
        let address = address(user);
        eventually("a clean bind", || {
            let inspection =
                self.ask(|reply| Command::Inspect { address: address.clone(), route, reply }).unwrap();
            let local = self.address.ip().to_canonical();
            assert!(local.is_loopback() == inspection.peer.starts_with("127.0.0.1:"));
            !inspection.dirty && !inspection.loading
        });
    }

    pub fn await_metric(&self, name: &str, value: u64) {
        eventually(&format!("{name} to be {value}"), || self.metric(name) == value);
    }

    pub fn stop(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.engine.stop(DEADLINE)).unwrap();
        self.links.take().unwrap().join().unwrap();
    }
}

pub fn address(user: &str) -> Address {
    Address::new(1, user).unwrap()
}

pub fn message(id: u64) -> Message {
    Message {
        id: MessageId(id),
        payload: format!("message {id}").into_bytes().into(),
        sent_at_ms: now_ms(),
        expires_at_ms: now_ms() + 3_600_000,
        class: Class::Durable,
        broadcast_seq: 0,
        redelivered: false,
    }
}

pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Files that this process may open.
pub fn open_files() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|l| l.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(u64::MAX)
}
