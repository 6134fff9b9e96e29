//! The connection to Redis: one process, known by its run id.
//!
//! A [`Link`] never reconnects by itself. So a command can only run in the process whose run id the link has, and a mark that equals
//! this run id was made by that very process (S4). When a link breaks, [`Redis::link`] makes a new one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use longline_types::{Error, ErrorCode, SLOTS, Slot};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::scripts;

const CONNECT: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// Commands sent at once; a longer list goes in several turns.
const TURN: usize = 512;

/// Why Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// It may come up later.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// It must be configured otherwise first.
    #[error("{0}")]
    Refused(String),
}

/// Redis, whichever process it is at the time.
pub(super) struct Redis {
    client: Client,
    timeout: Duration,
    current: RwLock<Option<Arc<Link>>>,
    connecting: Mutex<Backoff>,
}

struct Backoff {
    pause: Duration,
    not_before: Option<Instant>,
}

impl Redis {
    /// Checks the address; connects at first use.
    pub(super) fn new(url: &str, timeout: Duration) -> Result<Redis, String> {
        let client =
            Client::open(url).map_err(|e| format!("`redis` is no address of a Redis server: {e}"))?;
        let connecting = Mutex::new(Backoff { pause: FIRST_BACKOFF, not_before: None });
        Ok(Redis { client, timeout, current: RwLock::new(None), connecting })
    }

    /// The link to the process that runs now; connects if there is none. `Unavailable` at once while a recent try has failed.
    pub(super) async fn link(&self) -> Result<Arc<Link>, Error> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let mut backoff = self.connecting.lock().await;
        if let Some(link) = self.current() {
            return Ok(link);
        }
        if backoff.not_before.is_some_and(|t| Instant::now() < t) {
            return Err(Error::unavailable("Redis cannot be reached"));
        }
        match self.connect().await {
            Ok(link) => {
                *backoff = Backoff { pause: FIRST_BACKOFF, not_before: None };
                Ok(link)
            }
            Err(e) => {
                tracing::warn!(error = %e, "no link to Redis");
                backoff.not_before = Some(Instant::now() + backoff.pause);
                backoff.pause = (backoff.pause * 2).min(LONGEST_BACKOFF);
                Err(Error::unavailable(e))
            }
        }
    }

    /// Connects now, and says why not if not.
    pub(super) async fn connect(&self) -> Result<Arc<Link>, ConnectError> {
        let link = timeout(CONNECT + self.timeout, Link::open(&self.client, self.timeout))
            .await
            .map_err(|_| ConnectError::Unreachable("no answer".into()))??;
        tracing::info!(run_id = link.run_id, "linked to Redis");
        let link = Arc::new(link);
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(link.clone());
        Ok(link)
    }

    fn current(&self) -> Option<Arc<Link>> {
        let current = self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        current.clone().filter(|l| !l.broken.load(Ordering::Acquire))
    }
}

/// A connection to one Redis process.
pub(super) struct Link {
    connection: MultiplexedConnection,
    /// Of the process; a new one with each start.
    pub(super) run_id: String,
    broken: AtomicBool,
    /// Slots that were seen filled: a hint that saves a question, nothing more.
    filled: Vec<AtomicU64>,
}

impl Link {
    async fn open(client: &Client, timeout: Duration) -> Result<Link, ConnectError> {
        let unreachable = |e: redis::RedisError| ConnectError::Unreachable(e.to_string());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(timeout));
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(unreachable)?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await.map_err(unreachable)?;
        let field = |name: &str| {
            info.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().trim()
        };
        if field("loading") == "1" {
            return Err(ConnectError::Unreachable("it is still reading its data".into()));
        }
        if field("role") != "master" {
            return Err(ConnectError::Unreachable("it is a replica".into()));
        }
        let policy = field("maxmemory_policy");
        if policy != "noeviction" {
            return Err(ConnectError::Refused(format!(
                "Redis may throw messages away: its maxmemory-policy is `{policy}`; set it to `noeviction`"
            )));
        }
        let run_id = field("run_id").to_owned();
        if run_id.is_empty() {
            return Err(ConnectError::Refused("Redis does not tell its run id (INFO server)".into()));
        }
        let filled = (0..SLOTS / 64).map(|_| AtomicU64::new(0)).collect();
        let link = Link { connection, run_id, broken: AtomicBool::new(false), filled };
        link.load_scripts().await.map_err(|e| ConnectError::Unreachable(e.message))?;
        Ok(link)
    }

    /// Runs commands in order, and returns the answer to each. One that Redis refuses fails alone; `Err`: the link broke, and
    /// what was done of them is not known.
    pub(super) async fn run(&self, mut commands: Vec<Cmd>) -> Result<Vec<Result<Value, Error>>, Error> {
        let mut answers = Vec::with_capacity(commands.len());
        while !commands.is_empty() {
            let rest = commands.split_off(commands.len().min(TURN));
            answers.extend(self.turn(commands).await?);
            commands = rest;
        }
        Ok(answers)
    }

    /// Runs one command.
    pub(super) async fn one(&self, command: Cmd) -> Result<Value, Error> {
        let answer = self.run(vec![command]).await?.pop();
        answer.unwrap_or_else(|| Err(Error::internal("Redis gave no answer")))
    }

    /// Whether the slot was seen filled on this link. Only a hint: scripts look again.
    pub(super) fn seen_filled(&self, slot: Slot) -> bool {
        let (word, bit) = (slot.index() / 64, slot.index() % 64);
        self.filled[word].load(Ordering::Relaxed) >> bit & 1 == 1
    }

    /// Notes what was seen of the slot.
    pub(super) fn note_filled(&self, slot: Slot, filled: bool) {
        let (word, bit) = (slot.index() / 64, 1 << (slot.index() % 64));
        if filled {
            self.filled[word].fetch_or(bit, Ordering::Relaxed);
        } else {
            self.filled[word].fetch_and(!bit, Ordering::Relaxed);
        }
    }

    async fn turn(&self, commands: Vec<Cmd>) -> Result<Vec<Result<Value, Error>>, Error> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command);
        }
        let mut answers = self.send(&pipeline).await?;
        if answers.iter().any(is_unknown_script) {
            // Somebody has emptied the script cache. Those commands did nothing.
            self.load_scripts().await?;
            for (command, answer) in pipeline.cmd_iter().zip(&mut answers) {
                if is_unknown_script(answer) {
                    let mut again = Pipeline::new();
                    again.add_command(command.clone());
                    *answer = self.send(&again).await?.pop().unwrap_or(Value::Nil);
                }
            }
        }
        Ok(answers.into_iter().map(|a| self.judge(a)).collect())
    }

    async fn load_scripts(&self) -> Result<(), Error> {
        let mut pipeline = Pipeline::new();
        for script in scripts::all() {
            pipeline.add_command(script.load());
        }
        self.send(&pipeline).await?.into_iter().try_for_each(|a| self.judge(a).map(drop))
    }

    async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        if self.broken.load(Ordering::Acquire) {
            return Err(Error::unavailable("the link to Redis is broken"));
        }
        let count = pipeline.len();
        match self.connection.clone().send_packed_commands(pipeline, 0, count).await {
            Ok(answers) if answers.len() == count => Ok(answers),
            Ok(_) => Err(self.break_off("an incomplete answer")),
            Err(e) => Err(self.break_off(e)),
        }
    }

    /// No further command uses this link: after a timeout an answer may still be on its way.
    fn break_off(&self, why: impl std::fmt::Display) -> Error {
        if !self.broken.swap(true, Ordering::AcqRel) {
            tracing::warn!(error = %why, run_id = self.run_id, "the link to Redis broke");
        }
        Error::unavailable(format!("no answer from Redis: {why}"))
    }

    fn judge(&self, answer: Value) -> Result<Value, Error> {
        let Value::ServerError(error) = answer else { return Ok(answer) };
        match error.code() {
            "OOM" => Err(Error::new(ErrorCode::Unavailable, "Redis is full (maxmemory)")),
            "READONLY" | "LOADING" | "MASTERDOWN" => Err(self.break_off(&error)),
            _ => Err(Error::unavailable(format!("Redis: {error}"))),
        }
    }
}

fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(e) if e.code() == "NOSCRIPT")
}

/// The bytes of an answer; empty for nil and for anything that has none.
pub(super) fn bytes(answer: Value) -> Vec<u8> {
    match answer {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        _ => Vec::new(),
    }
}

/// The number of an answer; 0 for anything that is none.
pub(super) fn number(answer: &Value) -> u64 {
    match answer {
        Value::Int(number) => u64::try_from(*number).unwrap_or(0),
        Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(0),
        _ => 0,
    }
}

/// The elements of an answer; none if it is no list.
pub(super) fn list(answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
}

/// Whether a script answered only `unfilled`.
pub(super) fn is_unfilled(answer: &Value) -> bool {
    matches!(answer, Value::BulkString(text) if text == b"unfilled")
}
