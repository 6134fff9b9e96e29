//! The shards of a room, started and stopped together.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use longline_types::SessionId;
use mio::{Poll, Waker};
use prometheus::Registry;
use tokio::sync::mpsc;

use crate::Transports;
use crate::admission::{Admission, Gate};
use crate::link::{ClusterReceiver, ShardSender, cluster_channel, shard_queue};
use crate::listeners::Listeners;
use crate::metrics::{Counters, Exporter, Sdks};
use crate::resume::ResumeKey;
use crate::shard::{Core, Crossings, Shard, Totals, WAKER, Wiring, reserve};
use crate::{BadAdmission, EngineConfig};

/// The running shards. Dropped without [`Engine::stop`] they are told to stop, and not waited for.
pub struct Engine {
    addresses: Vec<SocketAddr>,
    shards: Vec<ShardSender>,
    counters: Vec<Arc<Counters>>,
    threads: Vec<JoinHandle<()>>,
    questions: Option<ClusterReceiver>,
    ended: mpsc::Receiver<String>,
    admission: Arc<Admission>,
}

/// The shards did not stop in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} shards did not stop in time")]
pub struct StillRunning(usize);

impl Engine {
    /// Starts the shards on these sockets and registers their metrics.
    ///
    /// # Errors
    /// If the system gives no poll or thread, or the metrics are registered already.
    pub fn start(config: EngineConfig, listeners: Listeners, registry: &Registry) -> anyhow::Result<Engine> {
        Engine::start_with(config, Transports::default(), listeners, registry)
    }

    /// The same, with these transports on each port.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_with(
        config: EngineConfig,
        transports: Transports,
        listeners: Listeners,
        registry: &Registry,
    ) -> anyhow::Result<Engine> {
        let addresses = listeners.addresses().to_vec();
        let (links, questions) = cluster_channel(config.cluster_batches.max(1) as usize);
        let (ends, ended) = mpsc::channel(listeners.sockets.len().max(1));
        config.admission.check()?;
        let room = Arc::new(Totals::default());
        let sdks = Arc::new(Sdks::default());
        let admission = Arc::new(Admission::new(config.admission.clone(), config.max_sessions));
        let resume_key = ResumeKey::random();
        let mut engine = Engine {
            addresses,
            shards: Vec::new(),
            counters: Vec::new(),
            threads: Vec::new(),
            questions: Some(questions),
            ended,
            admission: Arc::clone(&admission),
        };
        let mut polls = Vec::new();
        let mut wakers = Vec::new();
        for _ in &listeners.sockets {
            let poll = Poll::new()?;
            wakers.push(Arc::new(Waker::new(poll.registry(), WAKER)?));
            polls.push(poll);
        }
        let crossings = Arc::new(Crossings::new(wakers.iter().cloned()));
        let parts = listeners.sockets.into_iter().zip(polls.into_iter().zip(wakers));
        for (number, (sockets, (poll, waker))) in parts.enumerate() {
            let number = u8::try_from(number)?;
            let wake = move || {
                // It fails only if the shard's poll is gone, and with it the shard.
                let _ = waker.wake();
            };
            let (sender, inbox) = shard_queue(config.queue_items as usize, config.queue_bytes as usize, wake);
            let counters = Arc::new(Counters::new(Arc::clone(&sdks)));
            let seed = 0x9e37_79b9_7f4a_7c15 ^ longline_types::now_ms() << 8 ^ u64::from(number);
            let mut core = Core::new(
                number,
                config.clone(),
                Arc::clone(&counters),
                Arc::clone(&room),
                resume_key.clone(),
                seed,
            );
            core.speak(transports.clone());
            core.limit(&admission.limits());
            let wiring = Wiring {
                poll,
                listeners: sockets.into_iter().map(mio::net::TcpListener::from_std).collect(),
                inbox,
                reserve: Some(reserve()?),
                links: links.clone(),
                gate: Gate::new(Arc::clone(&admission)),
                crossings: Arc::clone(&crossings),
                started: admission.started(),
                counters: Arc::clone(&counters),
                read_bytes: config.read_bytes as usize,
            };
            let shard = Shard::new(core, wiring);
            engine.threads.push(spawn(number, ends.clone(), move || shard.run())?);
            engine.shards.push(sender);
            engine.counters.push(counters);
        }
        registry.register(Box::new(Exporter::new(engine.counters.clone(), engine.shards.clone())?))?;
        Ok(engine)
    }

    /// Where devices really connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The way to each shard, by its number.
    pub fn shards(&self) -> &[ShardSender] {
        &self.shards
    }

    /// The way to the shard of a session, if there is one with that number.
    pub fn shard_of(&self, session: SessionId) -> Option<&ShardSender> {
        self.shards.get(usize::from(session.shard()))
    }

    /// What the shards ask of the cluster. To be taken once; later it is a channel that has ended.
    pub fn take_questions(&mut self) -> ClusterReceiver {
        self.questions.take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    /// Who may connect, and how fast, from now on: the configuration's limits with what a TOML document says in place of them; none:
    /// the configuration's alone. Connections of addresses that may not are closed soon.
    ///
    /// # Errors
    /// If the document cannot be taken over; then nothing changes.
    pub fn admit(&self, document: Option<&str>) -> Result<(), BadAdmission> {
        self.admission.merged(document).map(|limits| self.admission.change(limits))
    }

    /// The limits in force, for who follows the keeper's.
    pub(crate) fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission)
    }

    /// A function that counts the sessions there are now: connections that have said who they are.
    pub fn session_count(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let counters = self.counters.clone();
        Arc::new(move || counters.iter().map(|shard| shard.sessions.read()).sum())
    }

    /// Waits until a shard has ended, which it does only when it is told to, or by a fault; says why.
    pub async fn failed(&mut self) -> String {
        self.ended.recv().await.unwrap_or_else(|| "all shards have ended".to_owned())
    }

    /// Closes all sessions and ends the threads.
    ///
    /// # Errors
    /// If some have not ended within the deadline.
    pub async fn stop(&mut self, deadline: Duration) -> Result<(), StillRunning> {
        self.tell_to_stop();
        // Ends when the last thread has let go of its end.
        let all = async { while self.ended.recv().await.is_some() {} };
        let in_time = tokio::time::timeout(deadline, all).await.is_ok();
        let running = self.threads.iter().filter(|thread| !thread.is_finished()).count();
        if !in_time && running > 0 {
            return Err(StillRunning(running));
        }
        for thread in self.threads.drain(..) {
            // A panic was told by `failed` and logged by the panic hook.
            let _ = thread.join();
        }
        Ok(())
    }

    fn tell_to_stop(&self) {
        for shard in &self.shards {
            shard.stop();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

/// Starts a shard's thread; however it ends, `ends` is told.
fn spawn(
    number: u8,
    ends: mpsc::Sender<String>,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
        let mut end = End { ends, reason: format!("shard {number} has panicked") };
        end.reason = match work() {
            Ok(()) => format!("shard {number} was stopped"),
            Err(error) => format!("shard {number}: the poll has failed: {error}"),
        };
    })
}

/// Tells that a thread has ended, however it does.
struct End {
    ends: mpsc::Sender<String>,
    reason: String,
}

impl Drop for End {
    fn drop(&mut self) {
        // There is a place for each shard; if nobody listens any more, nobody wants to know.
        let _ = self.ends.try_send(std::mem::take(&mut self.reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> String {
        let (ends, mut ended) = mpsc::channel(1);
        let thread = spawn(3, ends, work).unwrap();
        assert_eq!(thread.thread().name(), Some("shard-3"));
        let _ = thread.join();
        ended.blocking_recv().unwrap()
    }

    #[test]
    fn however_a_thread_ends_somebody_is_told() {
        assert_eq!(told(|| Ok(())), "shard 3 was stopped");
        assert_eq!(told(|| Err(io::Error::other("gone"))), "shard 3: the poll has failed: gone");
        assert_eq!(told(|| panic!("as this test wants")), "shard 3 has panicked");
    }
}
