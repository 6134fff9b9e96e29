//! One agent: its process if it is local, and the stream to it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use longline_testkit::{Process, require};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::agent::LISTENING;
use crate::link::service::agent_client::AgentClient;
use crate::link::{MAX_MESSAGE, Order, Report};

/// For a local agent to listen, or a remote one to answer.
const START: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(5);
/// Orders that wait for an agent.
const ORDERS_AHEAD: usize = 256;
/// A connection that is silent for so long is asked, and given up if it stays silent for so long again.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// What the fleet holds of an agent. Dropping it ends the agent's work, and a local one's process.
pub(crate) struct Handle {
    pub(crate) orders: mpsc::Sender<Order>,
    process: Option<Process>,
}

impl Handle {
    /// The last lines of a local agent.
    pub(crate) fn last_words(&self) -> String {
        self.process.as_ref().map(Process::last_words).unwrap_or_default()
    }
}

/// A local agent that was started.
pub(crate) struct LocalProcess {
    pub(crate) name: String,
    pub(crate) process: Process,
}

type Reports = mpsc::Sender<(usize, Result<Report, String>)>;

/// Starts this same program as an agent.
pub(crate) fn start_local(folder: &Path, number: usize, cores: &[usize]) -> anyhow::Result<LocalProcess> {
    let name = format!("agent-{number}");
    let words = ["agent", "--listen", "127.0.0.1:0"].map(str::to_owned);
    let process = start_self(&words, cores, &folder.join(format!("{name}.log")))?;
    Ok(LocalProcess { name, process })
}

/// Starts this same program with other arguments, on these cores only if any are named.
pub(crate) fn start_self(words: &[String], cores: &[usize], log: &Path) -> anyhow::Result<Process> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    if cores.is_empty() {
        return Process::start(&program, words, log);
    }
    let list: Vec<String> = cores.iter().map(usize::to_string).collect();
    let mut all = vec!["-c".to_owned(), list.join(","), program.to_string_lossy().into_owned()];
    all.extend_from_slice(words);
    Process::start(&require("taskset", "util-linux")?, &all, log)
}

/// Waits until it listens, and joins it.
pub(crate) async fn join_local(local: LocalProcess, index: usize, tell: Reports) -> anyhow::Result<Handle> {
    let LocalProcess { name, mut process } = local;
    let address =
        first_line(&mut process, LISTENING).await.with_context(|| format!("{name} does not start"))?;
    join(&address, Some(process), index, tell).await
}

/// What follows `prefix` on the first line that begins with it.
pub(crate) async fn first_line(process: &mut Process, prefix: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + START;
    loop {
        let output = process.output();
        let line = output.lines().find_map(|line| line.strip_prefix(prefix));
        if let Some(rest) = line.filter(|_| output.ends_with('\n')) {
            return Ok(rest.trim().to_owned());
        }
        if process.exited()?.is_some() || Instant::now() >= deadline {
            bail!("it did not say where it listens:\n{}", process.last_words());
        }
        sleep(PAUSE).await;
    }
}

/// Connects to an agent; its reports go to `tell` under its index, and at last why there are no more.
pub(crate) async fn join(
    address: &str,
    process: Option<Process>,
    index: usize,
    tell: Reports,
) -> anyhow::Result<Handle> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .with_context(|| format!("{address} is no host:port of an agent"))?
        .connect_timeout(START)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.with_context(|| {
        format!(
            "no agent answers at {address}; start one there with: longline-loadtest agent --listen {address}"
        )
    })?;
    let mut client = AgentClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let (orders, queue) = mpsc::channel(ORDERS_AHEAD);
    let reports = timeout(START, client.drive(ReceiverStream::new(queue)));
    let answered = reports.await.with_context(|| format!("the agent at {address} does not answer"))?;
    let mut reports = answered.with_context(|| format!("the agent at {address} refuses"))?.into_inner();
    tokio::spawn(async move {
        loop {
            let (report, last) = match reports.message().await {
                Ok(Some(report)) => (Ok(report), false),
                Ok(None) => (Err("it ended".to_owned()), true),
                Err(status) => (Err(format!("its connection broke: {}", status.message())), true),
            };
            if tell.send((index, report)).await.is_err() || last {
                return;
            }
        }
    });
    Ok(Handle { orders, process })
}
