//! The agents of a run: started here or joined by address, given their orders, and their reports gathered.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use longline_load_truth::{Latencies, histogram, histogram_from_bytes};
use longline_testkit::Scratch;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::agent::{self, Handle};
use super::record::now_ms;
use crate::link::{Assignment, Order, Outcome, Report, Sample};

/// For all agents to answer an order that asks for an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// For all agents to tell how it goes; of those that take longer, what they told before counts.
const LOOK: Duration = Duration::from_secs(2);
/// Reports that wait for the controller.
const REPORTS_AHEAD: usize = 4_096;

/// How agents are started on this machine.
pub(crate) struct Local<'a> {
    /// How many processes.
    pub(crate) count: usize,
    /// The cores they share; all if empty.
    pub(crate) cores: &'a [usize],
}

/// All agents.
pub(crate) struct Fleet {
    agents: Vec<Agent>,
    reports: mpsc::Receiver<(usize, Result<Report, String>)>,
    _scratch: Scratch,
}

/// One agent as the controller sees it.
pub(crate) struct Agent {
    /// `agent-1` or its address.
    pub(crate) name: String,
    /// Of a local one.
    pub(crate) pid: Option<u32>,
    /// Its users in this leg.
    pub(crate) users: Range<u32>,
    /// Its last report in this leg.
    pub(crate) latest: Option<Sample>,
    /// Its end, if it is no longer there.
    pub(crate) dead: Option<Dead>,
    ready: bool,
    /// It told how it goes since it was asked last.
    fresh: bool,
    outcome: Option<Outcome>,
    handle: Handle,
}

/// How an agent ended.
pub(crate) struct Dead {
    /// Why.
    pub(crate) why: String,
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    /// The user was told.
    told: bool,
}

/// What the last samples say together.
pub(crate) struct News {
    /// Of the samples that came.
    pub(crate) latencies: Latencies,
    /// How long devices took to connect, in microseconds.
    pub(crate) connects: Histogram<u64>,
}

impl Fleet {
    /// Starts the local agents and joins the remote ones.
    pub(crate) async fn start(local: Local<'_>, remote: &[String]) -> anyhow::Result<Fleet> {
        let scratch = Scratch::new()?;
        let (tell, reports) = mpsc::channel(REPORTS_AHEAD);
        let mut agents = Vec::with_capacity(local.count + remote.len());
        let mut started = Vec::with_capacity(local.count);
        for number in 1..=local.count {
            started.push(agent::start_local(scratch.path(), number, local.cores)?);
        }
        for process in started {
            let (name, pid) = (process.name.clone(), Some(process.process.id()));
            let handle = agent::join_local(process, agents.len(), tell.clone()).await?;
            agents.push(Agent::new(name, pid, handle));
        }
        for address in remote {
            let handle = agent::join(address, None, agents.len(), tell.clone()).await?;
            agents.push(Agent::new(address.clone(), None, handle));
        }
        if agents.is_empty() {
            bail!("there are no agents: give [agents] local or remote ones");
        }
        Ok(Fleet { agents, reports, _scratch: scratch })
    }

    /// All of them, dead ones too.
    pub(crate) fn agents(&self) -> &[Agent] {
        &self.agents
    }

    /// The living ones.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Agent> {
        self.agents.iter().filter(|a| a.dead.is_none())
    }

    /// Devices of the living ones in this leg.
    pub(crate) fn devices(&self) -> u64 {
        self.alive().map(|a| a.users.len() as u64).sum()
    }

    /// Gives each living agent its share of the users and waits until all are ready.
    pub(crate) async fn assign(&mut self, users: u32, leg: &Assignment) -> anyhow::Result<()> {
        let alive: Vec<usize> = (0..self.agents.len()).filter(|i| self.agents[*i].dead.is_none()).collect();
        let count = alive.len();
        if count == 0 {
            bail!("all agents are dead: {}", self.obituary());
        }
        for agent in self.agents.iter_mut().filter(|a| a.dead.is_some()) {
            // What it told was of an earlier leg.
            agent.latest = None;
        }
        let share = |i: usize| (u64::from(users) * i as u64 / count as u64) as u32;
        for (i, index) in alive.into_iter().enumerate() {
            let agent = &mut self.agents[index];
            agent.begin(share(i)..share(i + 1));
            let assignment = Assignment {
                agent: u16::try_from(index).context("too many agents")?,
                agents: u16::try_from(count).context("too many agents")?,
                users: agent.users.clone(),
                ..leg.clone()
            };
            agent.order(Order::Assign(Box::new(assignment))).await;
        }
        self.wait_for("become ready", |a| a.ready).await;
        match self.alive().next() {
            Some(_) => Ok(()),
            None => bail!("no agent could begin: {}", self.obituary()),
        }
    }

    /// The same order to all living agents.
    pub(crate) async fn order(&mut self, order: &Order) {
        for agent in self.agents.iter_mut().filter(|a| a.dead.is_none()) {
            agent.order(order.clone()).await;
        }
    }

    /// Asks for the findings and waits for those of all living agents.
    pub(crate) async fn finish(&mut self) -> (Vec<Outcome>, News) {
        self.order(&Order::Finish).await;
        let news = self.wait_for("hand in its findings", |a| a.outcome.is_some()).await;
        (self.agents.iter_mut().filter_map(|agent| agent.outcome.take()).collect(), news)
    }

    /// Messages that agents who died in this leg were still waiting for, as far as they told.
    pub(crate) fn orphaned(&self) -> u64 {
        let dead = self.agents.iter().filter(|a| a.dead.is_some());
        dead.filter_map(|a| Some(a.latest.as_ref()?.outstanding)).sum()
    }

    /// Asks all living agents how it goes, and waits until they have told, but not for long.
    pub(crate) async fn look(&mut self) -> News {
        for agent in &mut self.agents {
            agent.fresh = false;
        }
        self.order(&Order::Look).await;
        let (deadline, mut news) = (Instant::now() + LOOK, News::default());
        while !self.alive().all(|agent| agent.fresh) {
            if timeout_at(deadline, self.listen(&mut news)).await.is_err() {
                break;
            }
        }
        news
    }

    /// Takes in the next report; never ends if there is none.
    async fn listen(&mut self, news: &mut News) {
        match self.reports.recv().await {
            Some((index, report)) => self.take(index, report, news),
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, index: usize, report: Result<Report, String>, news: &mut News) {
        let agent = &mut self.agents[index];
        let why = match report {
            Ok(Report::Ready) => {
                agent.ready = true;
                return;
            }
            Ok(Report::Sample(sample)) => {
                news.add(&sample);
                agent.latest = Some(*sample);
                agent.fresh = true;
                return;
            }
            Ok(Report::Findings(outcome)) => {
                news.add(&outcome.sample);
                agent.latest = Some(outcome.sample.clone());
                agent.outcome = Some(*outcome);
                return;
            }
            Ok(Report::Failed(why)) | Err(why) => why,
        };
        agent.die(why);
    }

    /// Agents that died since this was asked last, with the reason.
    pub(crate) fn died(&mut self) -> Vec<String> {
        let mut died = Vec::new();
        for agent in &mut self.agents {
            if let Some(dead) = agent.dead.as_mut().filter(|dead| !dead.told) {
                dead.told = true;
                died.push(format!("{}: {}", agent.name, dead.why));
            }
        }
        died
    }

    /// Whoever has not done it by the deadline is counted as dead.
    async fn wait_for(&mut self, what: &str, done: impl Fn(&Agent) -> bool) -> News {
        let deadline = Instant::now() + ANSWER;
        let mut news = News::default();
        while !self.alive().all(&done) {
            if timeout_at(deadline, self.listen(&mut news)).await.is_err() {
                for agent in self.agents.iter_mut().filter(|a| a.dead.is_none() && !done(a)) {
                    agent.die(format!("it did not {what} within {ANSWER:?}"));
                }
            }
        }
        news
    }

    fn obituary(&self) -> String {
        let each = self.agents.iter().filter_map(|a| Some(format!("{}: {}", a.name, a.dead.as_ref()?.why)));
        each.collect::<Vec<_>>().join("; ")
    }
}

impl Default for News {
    fn default() -> News {
        News { latencies: Latencies::default(), connects: histogram() }
    }
}

impl News {
    fn add(&mut self, sample: &Sample) {
        // Agents are of the same version, so what they send can be read; if not, only figures of time are missing.
        if let Ok(latencies) = Latencies::from_bytes(&sample.latencies) {
            self.latencies.add(&latencies);
        }
        if let Ok(connects) = histogram_from_bytes(&sample.connects) {
            self.connects.add(&connects).expect("all histograms have the same bounds");
        }
    }
}

/// For an order to be taken; an agent that takes none for so long is dead.
const TAKEN: Duration = Duration::from_secs(10);

impl Agent {
    fn new(name: String, pid: Option<u32>, handle: Handle) -> Agent {
        Agent {
            name,
            pid,
            users: 0..0,
            latest: None,
            dead: None,
            ready: false,
            fresh: false,
            outcome: None,
            handle,
        }
    }

    fn begin(&mut self, users: Range<u32>) {
        self.users = users;
        self.latest = None;
        self.ready = false;
        self.outcome = None;
    }

    async fn order(&mut self, order: Order) {
        let taken = timeout(TAKEN, self.handle.orders.send(order)).await;
        if !matches!(taken, Ok(Ok(()))) {
            self.die("it takes no more orders".to_owned());
        }
    }

    fn die(&mut self, why: String) {
        let words = self.handle.last_words();
        let said = if words.is_empty() { String::new() } else { format!("; it said: {words}") };
        self.dead.get_or_insert_with(|| Dead { why: why + &said, at_ms: now_ms(), told: false });
    }
}

/// How many local agents `devices` need, if one process may open `open_files` files.
pub(crate) fn needed(devices: u32, open_files: u64) -> usize {
    // Beside its devices: the load's connections, dead half-open sockets, epoll, the controller.
    let each = open_files.saturating_sub(RESERVED).max(1);
    u64::from(devices).div_ceil(each).max(1) as usize
}

const RESERVED: u64 = 600;

/// Whether so many connections can be told apart: each needs a port of its own among those to the same destination from the same
/// address.
pub(crate) fn ports_suffice(devices: u32, sources: usize, destinations: usize) -> bool {
    /// As many as Linux gives by itself (net.ipv4.ip_local_port_range).
    const PORTS: u64 = 28_000;
    u64::from(devices) <= PORTS * sources.max(1) as u64 * destinations.max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_agents_as_open_files_ask() {
        assert_eq!(needed(1, 20_000), 1);
        assert_eq!(needed(19_400, 20_000), 1);
        assert_eq!(needed(19_401, 20_000), 2);
        assert_eq!(needed(1_000_000, 20_000), 52);
        assert_eq!(needed(10, 100), 10);
    }

    #[test]
    fn more_addresses_are_asked_for_when_ports_run_out() {
        assert!(ports_suffice(28_000, 0, 0));
        assert!(!ports_suffice(28_001, 1, 1));
        assert!(ports_suffice(28_001, 2, 1));
        assert!(ports_suffice(1_000_000, 1, 52));
    }
}
