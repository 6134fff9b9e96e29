//! The handle of a running swarm.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use hdrhistogram::Histogram;
use mio::Poll;

use crate::acked::AckedUplinks;
use crate::control::{Order, Orders};
use crate::counts::SwarmCounts;
use crate::options::{Churn, Options, Uplinks};
use crate::shard::Shard;
use crate::world::{Shared, World, latencies};

/// Simulated devices at work, one for each user. They stop when the handle is dropped.
pub struct Swarm {
    world: Arc<World>,
    threads: Vec<Worker>,
}

struct Worker {
    orders: Orders,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Swarm {
    /// Starts the threads. No device connects until [`Swarm::connect`] says so.
    ///
    /// # Errors
    /// If the kernel gives no epoll or no thread, or what the transports need is of no use.
    pub fn start(mut options: Options) -> io::Result<Swarm> {
        options.threads = options.threads.clamp(1, options.users.len().max(1));
        let count = options.threads;
        let world = Arc::new(World::new(options)?);
        let threads = (0..count).map(|number| Worker::start(number, &world)).collect::<io::Result<_>>()?;
        Ok(Swarm { world, threads })
    }

    /// Lets the devices connect that have not been asked to yet: so many a second over all, whatever becomes of those before
    /// (open loop); 0: all at once.
    pub fn connect(&self, per_second: f64) {
        self.order(|share, phase| Order::Connect { per_second: per_second * share, phase });
    }

    /// Lets devices drop and return from now on, or no more.
    pub fn churn(&self, churn: Option<Churn>) {
        self.order(|share, phase| Order::Churn {
            churn: churn.clone().map(|churn| Churn { per_second: churn.per_second * share, ..churn }),
            phase,
        });
    }

    /// Lets devices send uplinks from now on, or no new ones. Those under way are repeated until they are answered.
    pub fn uplink(&self, uplinks: Option<Uplinks>) {
        self.order(|share, phase| Order::Uplink {
            uplinks: uplinks.clone().map(|u| Uplinks { per_second: u.per_second * share, ..u }),
            phase,
        });
    }

    /// A storm: all connections are closed at once, and the devices come back as after a first failure.
    pub fn drop_all(&self) {
        self.order(|_, _| Order::DropAll);
    }

    /// Churn ends, every device behaves from now on, and all of them come online: hostile ones to take and acknowledge what they
    /// were owed. Who was refused for good stays away.
    pub fn all_back(&self) {
        self.order(|_, _| Order::AllBack);
    }

    /// What has happened so far.
    pub fn counts(&self) -> SwarmCounts {
        self.threads
            .iter()
            .map(|worker| worker.shared.tally.counts())
            .fold(SwarmCounts::default(), |a, b| a + b)
    }

    /// Devices of this swarm.
    pub fn devices(&self) -> u32 {
        self.world.options.users.len() as u32
    }

    /// The uplinks that rooms said OK to.
    pub fn uplinks(&self) -> AckedUplinks {
        self.world.acked_uplinks()
    }

    /// From when a connect was due to the standing bind, in microseconds, of the connections since the last call. A connect that
    /// failed and was tried again counts from when it was due first.
    pub fn take_connect_latencies(&self) -> Histogram<u64> {
        let mut all = latencies();
        for worker in &self.threads {
            all.add(worker.shared.take_latencies()).expect("all have the same bounds");
        }
        all
    }

    /// Closes everything and waits for the threads.
    pub fn stop(self) {
        drop(self);
    }

    /// Gives every thread its order, made from its share of a rate and its turn among the threads.
    fn order(&self, make: impl Fn(f64, f64) -> Order) {
        let count = self.threads.len() as f64;
        for (number, worker) in self.threads.iter().enumerate() {
            worker.orders.give(make(1.0 / count, number as f64 / count));
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.order(|_, _| Order::Stop);
        for worker in &mut self.threads {
            if worker.thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a thread of the swarm has panicked");
            }
        }
    }
}

impl Worker {
    fn start(number: usize, world: &Arc<World>) -> io::Result<Worker> {
        let poll = Poll::new()?;
        let (orders, queue) = Orders::new(&poll)?;
        let shared = Arc::new(Shared::new());
        let shard = Shard::new(poll, queue, number, Arc::clone(world), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name(format!("swarm-{number}")).spawn(move || {
            if let Err(error) = shard.run() {
                tracing::error!(%error, "a thread of the swarm cannot poll");
            }
        })?;
        Ok(Worker { orders, shared, thread: Some(thread) })
    }
}
