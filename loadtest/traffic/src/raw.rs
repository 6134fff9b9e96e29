//! Sending to an injection port, of the reference server or of the backend of a room alone: everything over one connection, in groups.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use longline_load_raw::{Acks, Delivery, InjectError, Injector, Report};
use longline_load_truth::Header;
use tokio::time::timeout;

use crate::backlog::Backlog;
use crate::backoff::Backoff;
use crate::desk::{CONNECTION, Desk, Outcome, Reply};
use crate::job::Job;
use crate::load::Traffic;
use crate::window::Flight;

/// At the end, after so long without a report there will be none.
const QUIET: Duration = Duration::from_millis(500);
/// Messages handed over together.
const TOGETHER: usize = 64;

/// Sends all jobs of an agent.
pub(crate) struct Sender {
    address: SocketAddr,
    /// What the users are called.
    prefix: String,
    transient: bool,
    backlog: Arc<Backlog>,
    desk: Arc<Desk>,
    /// Messages sent whose acknowledgement has not come.
    flight: Arc<Flight>,
    backoff: Backoff,
}

impl Sender {
    /// To this port, for the users of this load.
    pub(crate) fn new(
        address: SocketAddr,
        traffic: &Traffic,
        backlog: Arc<Backlog>,
        desk: Arc<Desk>,
        flight: Arc<Flight>,
    ) -> Sender {
        let (prefix, transient) = (traffic.prefix.clone(), traffic.load.transient);
        Sender { address, prefix, transient, backlog, desk, flight, backoff: Backoff::new() }
    }

    /// Works until there is nothing left to take. Jobs are taken only while there is a connection.
    pub(crate) async fn run(mut self) {
        let backlog = Arc::clone(&self.backlog);
        loop {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = backlog.finished() => return,
            };
            match self.work(connected).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "the reference server's connection ended"),
            }
        }
    }

    async fn work(&mut self, (injector, mut acks): (Injector, Acks)) -> Result<(), InjectError> {
        loop {
            let job = tokio::select! {
                biased;
                report = acks.next() => {
                    self.heard(report?)?;
                    continue;
                }
                job = self.backlog.next() => job,
            };
            let Some(job) = job else { return self.last_reports(&mut acks).await };
            let mut jobs = vec![job];
            while jobs.len() < TOGETHER
                && let Some(job) = self.backlog.try_next()
            {
                jobs.push(job);
            }
            self.send(&injector, &mut acks, jobs).await?;
        }
    }

    /// Reads reports until none come any more. To close while some are unread would break the connection, and with it what the server
    /// has not read yet.
    async fn last_reports(&mut self, acks: &mut Acks) -> Result<(), InjectError> {
        while let Ok(report) = timeout(QUIET, acks.next()).await {
            self.heard(report?)?;
        }
        Ok(())
    }

    /// Hands a group over; taken means accepted, since the server refuses nothing.
    async fn send(
        &mut self,
        injector: &Injector,
        acks: &mut Acks,
        mut jobs: Vec<Job>,
    ) -> Result<(), InjectError> {
        let deliveries: Vec<Delivery> = jobs.iter_mut().map(|job| self.delivery(job)).collect();
        let sent = self.hand_over(injector, acks, &deliveries).await;
        let taken = sent.is_ok();
        if !taken {
            self.flight.land(jobs.len());
        }
        for (mut job, delivery) in jobs.into_iter().zip(deliveries) {
            let outcome = if taken { Outcome::Accepted(delivery.id) } else { Outcome::Unknown(CONNECTION) };
            self.desk.progress.landed(taken);
            self.desk.settle(&mut job, Reply::Whole(outcome), Duration::ZERO);
        }
        sent
    }

    /// Takes acknowledgements meanwhile: a server whose reports are not read takes nothing.
    async fn hand_over(
        &mut self,
        injector: &Injector,
        acks: &mut Acks,
        deliveries: &[Delivery],
    ) -> Result<(), InjectError> {
        let mut sending = pin!(injector.send(deliveries));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return sent,
                report = acks.next() => self.heard(report?)?,
            }
        }
    }

    fn delivery(&self, job: &mut Job) -> Delivery {
        let mut payload = Vec::with_capacity((job.bytes as usize).max(Header::LEN));
        job.header.payload(job.bytes as usize, &mut payload);
        self.desk.begin(job, payload.len());
        Delivery { user: job.header.user, id: id(&job.header), payload: payload.into() }
    }

    fn heard(&mut self, report: Option<Report>) -> Result<(), InjectError> {
        let report = report.ok_or_else(|| InjectError::Ended(String::new()))?;
        self.backoff.reset();
        self.desk.progress.absent(report.absent);
        self.flight.land(report.acked.len() + report.absent as usize);
        Ok(())
    }

    async fn connect(&mut self) -> (Injector, Acks) {
        loop {
            self.backoff.wait().await;
            match self.open().await {
                Ok(connected) => {
                    self.desk.progress.connected();
                    return connected;
                }
                Err(error) => self.desk.progress.not_connected(&self.address.to_string(), &error),
            }
        }
    }

    async fn open(&self) -> Result<(Injector, Acks), InjectError> {
        let (injector, acks) = Injector::connect(self.address).await?;
        injector.users(&self.prefix, self.transient).await?;
        Ok((injector, acks))
    }
}

/// Different for every message of a leg, and not zero.
fn id(header: &Header) -> u64 {
    (u64::from(header.agent) + 1) << 46 | header.sequence
}
