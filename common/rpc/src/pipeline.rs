//! One pipeline: the stream of one method to one node, and the task that drives it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longline_types::{Error, ErrorCode, limits};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::Method;
use crate::metrics::MethodMetrics;

/// What happens to a request that finds the pipeline full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenFull {
    /// It fails at once with `RESOURCE_EXHAUSTED`.
    Refuse,
    /// It waits for room, until its deadline.
    Wait,
}

/// How long a request waits for company: a batch of one costs ten times as much per item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Linger {
    /// Not at all: what is there is sent.
    No,
    /// Always so long.
    Always(Duration),
    /// Until so long after the batch before it: a lone one goes at once, and however many come, there are only so many batches a second
    /// but full ones.
    Paced(Duration),
}

/// Bounds of a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct PipelineOptions {
    /// How long a request waits for company.
    pub linger: Linger,
    /// Most requests accepted and not answered.
    pub in_flight_items: usize,
    /// Most bytes of them.
    pub in_flight_bytes: usize,
    /// What happens beyond that.
    pub when_full: WhenFull,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self {
            linger: Linger::No,
            in_flight_items: 16_384,
            in_flight_bytes: 8 * 1024 * 1024,
            when_full: WhenFull::Refuse,
        }
    }
}

type Replies<M> = Vec<Result<<M as Method>::Reply, Error>>;

/// A handle on the task that drives the stream. The task ends when the last handle is dropped.
pub(crate) struct Pipeline<M: Method> {
    queue: mpsc::UnboundedSender<Group<M>>,
    items: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    options: PipelineOptions,
    metrics: MethodMetrics,
}

/// Requests that were submitted together, and where their replies go.
struct Group<M: Method> {
    requests: Vec<M::Request>,
    replies: oneshot::Sender<Replies<M>>,
    permits: Permits,
}

/// Room taken in the pipeline, given back when the group has ended.
struct Permits {
    _items: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    in_flight: prometheus::IntGauge,
    count: i64,
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.in_flight.sub(self.count);
    }
}

impl<M: Method> Pipeline<M> {
    /// A pipeline over this channel. The stream is opened with the first request.
    pub(crate) fn start(channel: Channel, options: PipelineOptions, metrics: MethodMetrics) -> Pipeline<M> {
        // The queue itself needs no bound: each group in it holds permits of both semaphores.
        let (queue, incoming) = mpsc::unbounded_channel();
        let driver = Driver::<M> {
            channel,
            options,
            incoming,
            metrics: metrics.clone(),
            next_number: 1,
            sent_at: None,
        };
        tokio::spawn(driver.run());
        Pipeline {
            queue,
            items: Arc::new(Semaphore::new(options.in_flight_items)),
            bytes: Arc::new(Semaphore::new(options.in_flight_bytes)),
            options,
            metrics,
        }
    }

    /// Submits a group and waits for all its replies. Items that got none by the deadline have an unknown outcome.
    pub(crate) async fn call_group(&self, requests: Vec<M::Request>, deadline: Instant) -> Replies<M> {
        let count = requests.len();
        if count == 0 {
            return Vec::new();
        }
        let all = |error: Error| (0..count).map(|_| Err(error.clone())).collect();
        let permits = match self.admit(&requests, deadline).await {
            Ok(permits) => permits,
            Err(error) => {
                self.metrics.refused.inc_by(count as u64);
                return all(error);
            }
        };
        let (replies, answer) = oneshot::channel();
        if self.queue.send(Group { requests, replies, permits }).is_err() {
            return all(Error::unavailable("the pipeline has ended"));
        }
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(replies)) => replies,
            Ok(Err(_)) => all(unknown()),
            Err(_) => {
                self.metrics.late.inc_by(count as u64);
                all(Error::new(ErrorCode::DeadlineExceeded, format!("no reply to {} in time", M::NAME)))
            }
        }
    }

    async fn admit(&self, requests: &[M::Request], deadline: Instant) -> Result<Permits, Error> {
        let bytes: usize = requests.iter().map(Message::encoded_len).sum();
        // A group larger than the whole bound goes alone rather than never.
        let items = requests.len().min(self.options.in_flight_items) as u32;
        let bytes = bytes.min(self.options.in_flight_bytes) as u32;
        let full = || Error::new(ErrorCode::ResourceExhausted, format!("the pipeline {} is full", M::NAME));
        let (items, bytes) = match self.options.when_full {
            WhenFull::Refuse => (
                self.items.clone().try_acquire_many_owned(items).map_err(|_| full())?,
                self.bytes.clone().try_acquire_many_owned(bytes).map_err(|_| full())?,
            ),
            WhenFull::Wait => {
                let both = async {
                    let items = self.items.clone().acquire_many_owned(items).await;
                    (items, self.bytes.clone().acquire_many_owned(bytes).await)
                };
                let (items, bytes) = tokio::time::timeout_at(deadline, both).await.map_err(|_| full())?;
                (items.map_err(|_| full())?, bytes.map_err(|_| full())?)
            }
        };
        self.metrics.in_flight.add(requests.len() as i64);
        Ok(Permits {
            _items: items,
            _bytes: bytes,
            in_flight: self.metrics.in_flight.clone(),
            count: requests.len() as i64,
        })
    }
}

fn unknown() -> Error {
    Error::new(ErrorCode::DeadlineExceeded, "the connection ended before the reply; the outcome is unknown")
}

/// Replies that a group still waits for.
struct Pending<M: Method> {
    replies: Vec<Option<M::Reply>>,
    missing: usize,
    to: oneshot::Sender<Replies<M>>,
    _permits: Permits,
}

impl<M: Method> Pending<M> {
    /// Answers the group; items without a reply get `error`.
    fn end(self, error: &Error) {
        let replies = self.replies.into_iter().map(|r| r.ok_or_else(|| error.clone())).collect();
        // The caller may have gone at its deadline.
        let _ = self.to.send(replies);
    }
}

/// Groups by the number of their first request.
type InFlight<M> = BTreeMap<u64, Pending<M>>;

struct Driver<M: Method> {
    channel: Channel,
    options: PipelineOptions,
    incoming: mpsc::UnboundedReceiver<Group<M>>,
    metrics: MethodMetrics,
    next_number: u64,
    /// When the last batch was sent.
    sent_at: Option<Instant>,
}

/// Requests that wait to be sent as a batch.
struct Batch<M: Method> {
    first: u64,
    items: Vec<M::Request>,
    bytes: usize,
    due: Instant,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Batches handed to the connection and not yet taken by it; more would only add delay.
const BATCHES_AHEAD: usize = 4;

impl<M: Method> Driver<M> {
    /// Opens a stream when there is something to send, uses it until it dies, then again after a pause.
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while let Some(group) = self.incoming.recv().await {
            match self.stream(group).await {
                StreamEnd::HandlesGone => return,
                StreamEnd::Died { replied } => {
                    pause = if replied { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                    self.refuse_for(pause).await;
                }
            }
        }
    }

    /// Fails what comes while the node cannot be reached, so that callers turn to another at once.
    async fn refuse_for(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        while let Ok(Some(group)) = tokio::time::timeout_at(until, self.incoming.recv()).await {
            self.refuse(group);
        }
    }

    fn refuse(&self, group: Group<M>) {
        self.metrics.not_sent.inc_by(group.requests.len() as u64);
        let error = Error::unavailable(format!("{} cannot be reached", M::ROLE));
        let _ = group.replies.send(group.requests.iter().map(|_| Err(error.clone())).collect());
    }

    async fn stream(&mut self, first: Group<M>) -> StreamEnd {
        let (batches, outgoing) = mpsc::channel(BATCHES_AHEAD);
        let opening = M::open(self.channel.clone(), ReceiverStream::new(outgoing));
        let mut replies = match tokio::time::timeout(Duration::from_secs(5), opening).await {
            Ok(Ok(replies)) => replies,
            failed => {
                if let Ok(Err(status)) = failed {
                    tracing::debug!(method = M::NAME, %status, "pipeline not opened");
                }
                self.refuse(first);
                return StreamEnd::Died { replied: false };
            }
        };
        let mut in_flight = InFlight::<M>::new();
        let mut batch = None;
        let mut waiting = std::collections::VecDeque::new();
        let mut replied = false;
        self.take(first, &mut in_flight, &mut waiting);
        let end = loop {
            self.fill(&mut batch, &mut waiting, &mut in_flight);
            let due = batch.as_ref().map(|b: &Batch<M>| b.due);
            let full = batch.as_ref().is_some_and(|b: &Batch<M>| b.items.len() >= limits::BATCH_ITEMS)
                || !waiting.is_empty();
            let now = Instant::now();
            tokio::select! {
                biased;
                reply = replies.next() => match reply {
                    Some(Ok(reply)) => {
                        replied = true;
                        settle::<M>(reply, &mut in_flight);
                    }
                    Some(Err(status)) => {
                        tracing::debug!(method = M::NAME, %status, "pipeline died");
                        break StreamEnd::Died { replied };
                    }
                    None => break StreamEnd::Died { replied },
                },
                permit = batches.reserve(), if full || due.is_some_and(|due| due <= now) => {
                    let (Ok(permit), Some(batch)) = (permit, batch.take()) else {
                        break StreamEnd::Died { replied };
                    };
                    self.metrics.batch_items.observe(batch.items.len() as f64);
                    self.sent_at = Some(now);
                    permit.send(M::requests(batch.first, batch.items));
                }
                () = sleep_until(due), if !full && due.is_some_and(|due| due > now) => {}
                group = self.incoming.recv(), if waiting.is_empty() => match group {
                    Some(group) => self.take(group, &mut in_flight, &mut waiting),
                    None if in_flight.is_empty() => break StreamEnd::HandlesGone,
                    // Nobody can ask any more; only replies are waited for.
                    None => {
                        drain::<M>(&mut replies, &mut in_flight).await;
                        break StreamEnd::HandlesGone;
                    }
                },
            }
        };
        let lost: usize = in_flight.values().map(|p| p.missing).sum();
        self.metrics.unknown.inc_by(lost as u64);
        for (_, pending) in in_flight {
            pending.end(&unknown());
        }
        end
    }

    /// Numbers a group's requests and queues them for batches.
    fn take(
        &mut self,
        group: Group<M>,
        in_flight: &mut InFlight<M>,
        waiting: &mut std::collections::VecDeque<(u64, M::Request)>,
    ) {
        let count = group.requests.len();
        let first = self.next_number;
        self.next_number += count as u64;
        waiting.extend((first..).zip(group.requests));
        in_flight.insert(
            first,
            Pending {
                replies: (0..count).map(|_| None).collect(),
                missing: count,
                to: group.replies,
                _permits: group.permits,
            },
        );
    }

    /// Moves requests into the batch, from what waits and from what has been submitted meanwhile, up to the bounds of a batch.
    fn fill(
        &mut self,
        batch: &mut Option<Batch<M>>,
        waiting: &mut std::collections::VecDeque<(u64, M::Request)>,
        in_flight: &mut InFlight<M>,
    ) {
        loop {
            while let Some((number, request)) = waiting.pop_front() {
                let bytes = request.encoded_len();
                let current = batch.get_or_insert_with(|| Batch {
                    first: number,
                    items: Vec::new(),
                    bytes: 0,
                    due: self.due(),
                });
                let fits = current.items.is_empty()
                    || (current.items.len() < limits::BATCH_ITEMS
                        && current.bytes + bytes <= limits::BATCH_BYTES);
                if !fits {
                    waiting.push_front((number, request));
                    return;
                }
                current.items.push(request);
                current.bytes += bytes;
            }
            match self.incoming.try_recv() {
                Ok(group) => self.take(group, in_flight, waiting),
                Err(_) => return,
            }
        }
    }
}

impl<M: Method> Driver<M> {
    /// When a batch that is begun now is to be sent.
    fn due(&self) -> Instant {
        let now = Instant::now();
        match (self.options.linger, self.sent_at) {
            (Linger::Always(linger), _) => now + linger,
            (Linger::Paced(pause), Some(sent_at)) => now.max(sent_at + pause),
            (Linger::Paced(_), None) | (Linger::No, _) => now,
        }
    }
}

enum StreamEnd {
    HandlesGone,
    Died { replied: bool },
}

/// Gives replies to the groups that wait for them. Replies nobody waits for are ignored: the peer is ours,
/// and a repeated number can do no harm.
fn settle<M: Method>(batch: M::Replies, in_flight: &mut InFlight<M>) {
    let (numbers, replies) = M::split_replies(batch);
    for (number, reply) in numbers.into_iter().zip(replies) {
        let Some((&first, pending)) = in_flight.range_mut(..=number).next_back() else { continue };
        let Some(place) = pending.replies.get_mut((number - first) as usize) else { continue };
        if place.replace(reply).is_none() {
            pending.missing -= 1;
        }
        if pending.missing == 0
            && let Some(pending) = in_flight.remove(&first)
        {
            pending.end(&unknown());
        }
    }
}

/// Waits for the replies of callers that are still there, for a while.
async fn drain<M: Method>(replies: &mut tonic::Streaming<M::Replies>, in_flight: &mut InFlight<M>) {
    let until = Instant::now() + Duration::from_secs(10);
    while !in_flight.is_empty() {
        match tokio::time::timeout_at(until, replies.next()).await {
            Ok(Some(Ok(reply))) => {
                settle::<M>(reply, in_flight);
            }
            _ => return,
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
