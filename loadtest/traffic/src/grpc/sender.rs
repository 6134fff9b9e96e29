//! One stream's work: keeps requests under way, matches the replies to them in order, and sends again what a broken stream left.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use longline_pb::center::{SendReply, SendRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Endpoint;

use super::convert::{self, SendRequests};
use super::stream::{Stream, endpoint};
use crate::address::{BadApi, Center};
use crate::backlog::Backlog;
use crate::backoff::Backoff;
use crate::desk::{CONNECTION, Desk, NO_ANSWER, Next, Outcome, REPEAT_PAUSE, Reply};
use crate::job::Job;

/// Messages under way on a stream: half of what a center takes from one before it stops reading it.
const UNDER_WAY: usize = 1024;

/// Sends the jobs of one center over one stream, which it opens again when it breaks.
pub(crate) struct Sender {
    address: String,
    endpoint: Endpoint,
    authorization: AsciiMetadataValue,
    backlog: Arc<Backlog>,
    desk: Arc<Desk>,
    requests: SendRequests,
    backoff: Backoff,
    /// In the order in which they were sent.
    under_way: VecDeque<Job>,
    /// Messages of these.
    messages: usize,
    /// To be sent again, and not before when.
    again: VecDeque<(Instant, Job)>,
    /// Nothing more comes from the backlog.
    exhausted: bool,
}

impl Sender {
    pub(crate) fn new(
        center: &Center,
        backlog: Arc<Backlog>,
        desk: Arc<Desk>,
        requests: SendRequests,
    ) -> Result<Sender, BadApi> {
        let wrong = |_| BadApi::Address(center.address.clone());
        Ok(Sender {
            address: center.address.clone(),
            endpoint: endpoint(&center.address).map_err(wrong)?,
            authorization: AsciiMetadataValue::try_from(center.authorization.as_bytes())
                .map_err(|_| BadApi::Key)?,
            backlog,
            desk,
            requests,
            backoff: Backoff::new(),
            under_way: VecDeque::new(),
            messages: 0,
            again: VecDeque::new(),
            exhausted: false,
        })
    }

    /// Works until there is nothing left to take. New jobs are taken only while there is a stream.
    pub(crate) async fn run(mut self) {
        while !self.has_ended() {
            let backlog = Arc::clone(&self.backlog);
            let overdue = self.again.front().and_then(|(_, job)| job.begun).map(|begun| begun.until);
            let none_waits = self.again.is_empty();
            let stream = tokio::select! {
                stream = self.open() => Some(stream),
                () = at(overdue) => None,
                () = backlog.finished(), if none_waits => return,
            };
            match stream {
                Some(stream) => self.work(stream).await,
                None => self.give_up_overdue(),
            }
        }
    }

    /// Until the stream breaks or everything has ended.
    async fn work(&mut self, mut stream: Stream) {
        let lost = loop {
            if self.has_ended() {
                return;
            }
            let oldest = self.under_way.front().and_then(|job| job.begun).map(|begun| begun.until);
            let may_send = self.messages < UNDER_WAY && !(self.exhausted && self.again.is_empty());
            let Stream { requests, replies } = &mut stream;
            tokio::select! {
                biased;
                reply = replies.message() => match reply {
                    Ok(Some(reply)) if !self.under_way.is_empty() => self.heard(&reply),
                    _ => break CONNECTION,
                },
                () = at(oldest) => break NO_ANSWER,
                next = self.next(requests), if may_send => match next {
                    Some((permit, Some(job))) => self.send(permit, job),
                    Some((_, None)) => self.exhausted = true,
                    None => break CONNECTION,
                },
            }
        };
        self.messages = 0;
        for mut job in std::mem::take(&mut self.under_way) {
            self.desk.progress.landed(false);
            let reply = Reply::Whole(Outcome::Unknown(lost));
            let next = self.desk.settle(&mut job, reply, Duration::ZERO);
            self.keep(next, job);
        }
    }

    /// A place on the stream and the job for it: one that is to be sent again, else a new one; without a job if there will be
    /// none. Nothing if the stream has ended. Giving up the wait loses no job.
    async fn next<'a>(
        &mut self,
        requests: &'a mpsc::Sender<SendRequest>,
    ) -> Option<(mpsc::Permit<'a, SendRequest>, Option<Job>)> {
        let permit = requests.reserve().await.ok()?;
        self.give_up_overdue();
        if self.exhausted && self.again.is_empty() {
            return Some((permit, None));
        }
        let job = tokio::select! {
            biased;
            () = at(self.again.front().map(|(not_before, _)| *not_before)) => {
                self.again.pop_front().map(|(_, job)| job)
            }
            job = self.backlog.next(), if !self.exhausted => job,
        };
        Some((permit, job))
    }

    fn send(&mut self, permit: mpsc::Permit<'_, SendRequest>, mut job: Job) {
        let request = self.requests.of(&job, self.desk.idempotent);
        self.desk.begin(&mut job, request.payload.len());
        permit.send(request);
        self.messages += job.open.len();
        self.under_way.push_back(job);
    }

    fn heard(&mut self, reply: &SendReply) {
        let Some(mut job) = self.under_way.pop_front() else { return };
        self.messages -= job.open.len();
        self.backoff.reset();
        self.desk.progress.landed(true);
        let reply = convert::reply(reply, job.open.len());
        let next = self.desk.settle(&mut job, reply, REPEAT_PAUSE);
        self.keep(next, job);
    }

    fn keep(&mut self, next: Next, job: Job) {
        if let Next::Again(at) = next {
            self.again.push_back((at, job));
        }
    }

    fn give_up_overdue(&mut self) {
        while let Some((_, mut job)) = self.again.pop_front_if(|(_, job)| Desk::is_over(job)) {
            self.desk.give_up(&mut job, NO_ANSWER);
        }
    }

    fn has_ended(&self) -> bool {
        self.exhausted && self.under_way.is_empty() && self.again.is_empty()
    }

    async fn open(&mut self) -> Stream {
        loop {
            self.backoff.wait().await;
            match Stream::open(&self.endpoint, &self.authorization).await {
                Ok(stream) => {
                    self.desk.progress.connected();
                    return stream;
                }
                Err(status) => self.desk.progress.not_connected(&self.address, &status),
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
