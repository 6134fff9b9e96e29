//! The one writer: a bounded queue, drained into one transaction per turn, answered after its COMMIT.
//!
//! Isolation (S10): every kind of work runs in a savepoint. Items of a lane share one, since what can be wrong with a single item
//! is found before anything is written; should the database refuse the lane nevertheless, its items run again each in
//! its own savepoint, and the bad one fails alone.

use std::time::Duration;

use futures::future::BoxFuture;
use longline_types::{Error, ErrorCode, TimeMs, now_ms};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{mpsc, oneshot};

use super::addresses::{self, Broadcasts, Sight};
use super::puts::{self, NewMessage};
use super::sql::{Failure, unavailable, unknown};
use super::{acks, uplinks};
use crate::store::{Ack, PutUplink, Stored, fail_all};

/// Requests that wait for the writer; more are refused.
const QUEUE: usize = 256;
/// Requests that go into one transaction.
const TURN: usize = 64;
/// How long a request waits for its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// A request to the writer.
pub(super) enum Job {
    Put(Batch<NewMessage, Stored>),
    Ack(Batch<Ack, bool>),
    Uplink(Batch<PutUplink, bool>),
    Sight(Batch<Sight, Broadcasts>),
    Change(Box<dyn Change>),
}

/// Items that came together, and who waits for their results.
pub(super) struct Batch<I, R> {
    items: Vec<I>,
    reply: Reply<R>,
}

type Reply<R> = oneshot::Sender<Vec<Result<R, Error>>>;

/// The way to the writer. It ends when the last of these is gone.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Connects and starts the writer.
    pub(super) async fn start(options: SqliteConnectOptions) -> sqlx::Result<Writer> {
        let connection = options.connect().await?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(options, connection, queue));
        Ok(Writer { jobs })
    }

    /// Hands in a batch, and waits until it is on disk.
    pub(super) async fn batch<I, R>(
        &self,
        items: Vec<I>,
        job: impl FnOnce(Batch<I, R>) -> Job,
    ) -> Vec<Result<R, Error>> {
        let count = items.len();
        if count == 0 {
            return Vec::new();
        }
        let (reply, answer) = oneshot::channel();
        let answer = self.submit(job(Batch { items, reply }), answer).await;
        answer.unwrap_or_else(|e| fail_all(count, &e))
    }

    /// Hands in a change of any kind, and waits until it is on disk.
    pub(super) async fn change<R, W>(&self, work: W) -> Result<R, Error>
    where
        R: Send + 'static,
        W: for<'c> FnOnce(&'c mut SqliteConnection, TimeMs) -> BoxFuture<'c, Result<R, Failure>>
            + Send
            + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let change = OneChange { work: Some(work), result: None, reply };
        self.submit(Job::Change(Box::new(change)), answer).await?
    }

    async fn submit<A>(&self, job: Job, answer: oneshot::Receiver<A>) -> Result<A, Error> {
        self.jobs.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(ErrorCode::ResourceExhausted, "the database's queue is full")
            }
            mpsc::error::TrySendError::Closed(_) => Error::unavailable("the database is closed"),
        })?;
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(unknown("the writer ended")),
            Err(_) => Err(unknown("the database is too slow")),
        }
    }
}

async fn run(options: SqliteConnectOptions, connection: SqliteConnection, mut queue: mpsc::Receiver<Job>) {
    let mut connection = Some(connection);
    let mut jobs = Vec::with_capacity(TURN);
    while queue.recv_many(&mut jobs, TURN).await > 0 {
        let turn = Turn::of(jobs.drain(..));
        let mut open = match connection.take() {
            Some(open) => open,
            None => match options.connect().await {
                Ok(open) => open,
                Err(e) => {
                    turn.answer(&Err(unavailable(e)));
                    continue;
                }
            },
        };
        let outcome = turn.run(&mut open).await;
        // A connection that failed may be in any state; the next turn takes a new one.
        if outcome.is_ok() {
            connection = Some(open);
        }
    }
    if let Some(open) = connection
        && let Err(e) = open.close().await
    {
        tracing::warn!(error = %e, "the database did not close in order");
    }
}

/// What becomes one transaction. Its parts were submitted at the same time, so nobody can tell their order.
struct Turn {
    puts: Lane<NewMessage, Stored>,
    acks: Lane<Ack, bool>,
    uplinks: Lane<PutUplink, bool>,
    sights: Lane<Sight, Broadcasts>,
    changes: Vec<Box<dyn Change>>,
}

impl Turn {
    fn of(jobs: impl Iterator<Item = Job>) -> Turn {
        let mut turn = Turn {
            puts: Lane::new(|tx, items, now| Box::pin(puts::store(tx, items, now))),
            acks: Lane::new(|tx, items, now| Box::pin(acks::end(tx, items, now))),
            uplinks: Lane::new(|tx, items, now| Box::pin(uplinks::put(tx, items, now))),
            sights: Lane::new(|tx, items, _| Box::pin(addresses::see(tx, items))),
            changes: Vec::new(),
        };
        for job in jobs {
            match job {
                Job::Put(batch) => turn.puts.add(batch),
                Job::Ack(batch) => turn.acks.add(batch),
                Job::Uplink(batch) => turn.uplinks.add(batch),
                Job::Sight(batch) => turn.sights.add(batch),
                Job::Change(change) => turn.changes.push(change),
            }
        }
        turn
    }

    async fn run(mut self, connection: &mut SqliteConnection) -> Result<(), Error> {
        let outcome = self.commit(connection).await;
        self.answer(&outcome);
        outcome
    }

    async fn commit(&mut self, connection: &mut SqliteConnection) -> Result<(), Error> {
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let now = now_ms();
        self.puts.work(&mut tx, now).await;
        self.acks.work(&mut tx, now).await;
        self.uplinks.work(&mut tx, now).await;
        self.sights.work(&mut tx, now).await;
        for change in &mut self.changes {
            change.work(&mut tx, now).await;
        }
        tx.commit().await.map_err(unknown)
    }

    fn answer(self, outcome: &Result<(), Error>) {
        self.puts.answer(outcome);
        self.acks.answer(outcome);
        self.uplinks.answer(outcome);
        self.sights.answer(outcome);
        for change in self.changes {
            change.answer(outcome);
        }
    }
}

/// Does the work of all items; a result for each, in order. An error undoes all of it.
type Work<I, R> = for<'c> fn(
    &'c mut SqliteConnection,
    &'c [I],
    TimeMs,
) -> BoxFuture<'c, sqlx::Result<Vec<Result<R, Error>>>>;

/// The batches of one kind in a turn, worked on as one.
struct Lane<I, R> {
    work: Work<I, R>,
    items: Vec<I>,
    results: Vec<Result<R, Error>>,
    replies: Vec<(usize, Reply<R>)>,
}

impl<I, R> Lane<I, R> {
    fn new(work: Work<I, R>) -> Self {
        Lane { work, items: Vec::new(), results: Vec::new(), replies: Vec::new() }
    }

    fn add(&mut self, batch: Batch<I, R>) {
        self.replies.push((batch.items.len(), batch.reply));
        self.items.extend(batch.items);
    }

    async fn work(&mut self, tx: &mut SqliteConnection, now: TimeMs) {
        if self.items.is_empty() {
            return;
        }
        match in_savepoint(tx, self.work, &self.items, now).await {
            Ok(results) => self.results = results,
            Err(e) if self.items.len() == 1 => self.results.push(Err(unavailable(e))),
            Err(e) => {
                tracing::warn!(error = %e, items = self.items.len(), "a group failed; its items run alone");
                for item in &self.items {
                    match in_savepoint(tx, self.work, std::slice::from_ref(item), now).await {
                        Ok(results) => self.results.extend(results),
                        Err(e) => self.results.push(Err(unavailable(e))),
                    }
                }
            }
        }
        debug_assert_eq!(self.results.len(), self.items.len());
    }

    fn answer(self, outcome: &Result<(), Error>) {
        let mut results = self.results.into_iter();
        for (count, reply) in self.replies {
            let answer = match outcome {
                Ok(()) => results.by_ref().take(count).collect(),
                Err(e) => fail_all(count, e),
            };
            // Whoever asked may have given up waiting.
            let _ = reply.send(answer);
        }
    }
}

async fn in_savepoint<I, R>(
    tx: &mut SqliteConnection,
    work: Work<I, R>,
    items: &[I],
    now: TimeMs,
) -> sqlx::Result<Vec<Result<R, Error>>> {
    let mut savepoint = tx.begin().await?;
    let results = work(&mut savepoint, items, now).await?;
    savepoint.commit().await?;
    Ok(results)
}

/// A change of any kind, in a savepoint of its own.
pub(super) trait Change: Send {
    fn work<'c>(&'c mut self, tx: &'c mut SqliteConnection, now: TimeMs) -> BoxFuture<'c, ()>;
    fn answer(self: Box<Self>, outcome: &Result<(), Error>);
}

struct OneChange<R, W> {
    work: Option<W>,
    result: Option<Result<R, Error>>,
    reply: oneshot::Sender<Result<R, Error>>,
}

impl<R, W> Change for OneChange<R, W>
where
    R: Send,
    W: for<'c> FnOnce(&'c mut SqliteConnection, TimeMs) -> BoxFuture<'c, Result<R, Failure>> + Send,
{
    fn work<'c>(&'c mut self, tx: &'c mut SqliteConnection, now: TimeMs) -> BoxFuture<'c, ()> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return };
            let result: Result<R, Failure> = async {
                let mut savepoint = tx.begin().await?;
                let result = work(&mut savepoint, now).await?;
                savepoint.commit().await?;
                Ok(result)
            }
            .await;
            self.result = Some(result.map_err(Error::from));
        })
    }

    fn answer(self: Box<Self>, outcome: &Result<(), Error>) {
        let answer = match (outcome, self.result) {
            (Err(e), _) => Err(e.clone()),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(Error::internal("the change was not tried")),
        };
        // Whoever asked may have given up waiting.
        let _ = self.reply.send(answer);
    }
}
