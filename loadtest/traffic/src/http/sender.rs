//! One connection's work: takes a job, sends it, hears the answer, takes the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, sleep_until, timeout_at};

use super::Requests;
use super::connection::{Broken, Connection};
use super::reply::{self, Head};
use crate::backlog::Backlog;
use crate::backoff::Backoff;
use crate::body::Bodies;
use crate::desk::{BAD_ANSWER, CONNECTION, Desk, NO_ANSWER, Next, Outcome, REPEAT_PAUSE, Reply};
use crate::job::Job;

/// Sends the jobs of one center over one connection, which it opens again when it breaks.
pub(crate) struct Sender {
    requests: Requests,
    backlog: Arc<Backlog>,
    desk: Arc<Desk>,
    bodies: Bodies,
    connection: Option<Connection>,
    backoff: Backoff,
    /// The last answer's body.
    answer: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(requests: Requests, backlog: Arc<Backlog>, desk: Arc<Desk>, bodies: Bodies) -> Sender {
        let backoff = Backoff::new();
        Sender { requests, backlog, desk, bodies, connection: None, backoff, answer: Vec::new() }
    }

    /// Works until there is nothing left to take. Jobs are taken only while there is a connection.
    pub(crate) async fn run(mut self) {
        let backlog = Arc::clone(&self.backlog);
        loop {
            tokio::select! {
                () = self.connect() => {}
                () = backlog.finished() => return,
            }
            let Some(connection) = &mut self.connection else { continue };
            tokio::select! {
                biased;
                job = backlog.next() => match job {
                    Some(job) => self.see_through(job).await,
                    None => return,
                },
                () = connection.closed() => self.connection = None,
            }
        }
    }

    /// Tries until the outcome is known or the time is up, then keeps the pause that the API asks for.
    async fn see_through(&mut self, mut job: Job) {
        loop {
            let (next, retry_after) = self.attempt(&mut job).await;
            match next {
                Next::Done => return self.pause(retry_after).await,
                Next::Again(at) => {
                    sleep_until(at).await;
                    let until = job.begun.map_or(at, |begun| begun.until);
                    if timeout_at(until, self.connect()).await.is_err() {
                        return self.desk.give_up(&mut job, CONNECTION);
                    }
                }
            }
        }
    }

    /// One try, over the connection that is there.
    async fn attempt(&mut self, job: &mut Job) -> (Next, Option<Duration>) {
        let Some(connection) = &mut self.connection else { return (self.desk.postpone(job), None) };
        let body = self.bodies.message(job);
        let key = self.desk.idempotent.then(|| job.key());
        let until = self.desk.begin(job, body.len());
        let request = self.requests.post("/v1/messages", key, body);
        let answer = timeout_at(until, connection.exchange(request, &mut self.answer)).await;
        self.desk.progress.landed(matches!(answer, Ok(Ok(_))));
        let unknown = |code| Reply::Whole(Outcome::Unknown(code));
        let lost = match answer {
            Ok(Ok(head)) => return self.heard(job, head),
            Ok(Err(Broken::NotSent)) => None,
            Ok(Err(Broken::NoAnswer)) => Some(CONNECTION),
            Ok(Err(Broken::BadAnswer)) => Some(BAD_ANSWER),
            Err(_) => Some(NO_ANSWER),
        };
        self.connection = None;
        match lost {
            Some(code) => (self.desk.settle(job, unknown(code), Duration::ZERO), None),
            None => (self.desk.postpone(job), None),
        }
    }

    fn heard(&mut self, job: &mut Job, head: Head) -> (Next, Option<Duration>) {
        self.backoff.reset();
        let (desk, pause) = (&self.desk, head.retry_after.unwrap_or(REPEAT_PAUSE));
        let next =
            reply::messages(head, &self.answer, job.open.len(), |reply| desk.settle(job, reply, pause));
        (next, head.retry_after)
    }

    async fn pause(&mut self, pause: Option<Duration>) {
        let Some(pause) = pause else { return };
        tokio::select! {
            () = sleep(pause) => {}
            () = self.backlog.finished() => {}
        }
    }

    /// Until there is a connection.
    async fn connect(&mut self) {
        while self.connection.is_none() {
            self.backoff.wait().await;
            match Connection::open(self.requests.address()).await {
                Ok(connection) => {
                    self.desk.progress.connected();
                    self.connection = Some(connection);
                }
                Err(error) => self.desk.progress.not_connected(self.requests.address(), &error),
            }
        }
    }
}
