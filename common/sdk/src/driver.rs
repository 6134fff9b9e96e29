//! The client's task: finds a room, lives a connection, waits, and begins again.

use std::pin::{Pin, pin};
use std::time::Duration;

use longline_types::CloseReason;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::builder::Timeouts;
use crate::connection::{Connection, Ended, Finished};
use crate::counter::Counter;
use crate::device::Device;
use crate::endpoints::Endpoints;
use crate::inputs::Inputs;
use crate::link::{NoLink, connect};
use crate::transport::Transport;
use crate::trust::Trust;
use crate::{Closed, Disconnect, Event};

/// A connection that lasted this long was good: the next wait is a short one again.
const GOOD: Duration = Duration::from_secs(10);
/// Without anything due, the task still looks around this often.
const IDLE: Duration = Duration::from_secs(60);

/// The client's task and all its state.
pub(crate) struct Driver {
    pub(crate) device: Device,
    pub(crate) endpoints: Endpoints,
    pub(crate) counter: Counter,
    pub(crate) backoff: Backoff,
    /// Of endpoints that name none.
    pub(crate) transport: Transport,
    pub(crate) trust: Trust,
    pub(crate) timeouts: Timeouts,
    pub(crate) inputs: Inputs,
    pub(crate) events: mpsc::Sender<Event>,
}

/// The client is to end.
enum Stop {
    ForGood(Closed),
    ByApplication(Option<oneshot::Sender<()>>),
}

impl Driver {
    pub(crate) async fn run(mut self) {
        let mut asked = None;
        let stop = loop {
            if let Err(stop) = self.connect_once(&mut asked).await {
                break stop;
            }
        };
        let Driver { mut device, inputs, events, .. } = self;
        // Whoever calls from now on is told that the client has ended.
        drop(inputs);
        match stop {
            Stop::ForGood(closed) => {
                device.events.push_back(Event::Closed(closed));
                // Takes as long as the application takes; ends if it drops its side.
                for event in device.events {
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
            Stop::ByApplication(Some(done)) => drop(done.send(())),
            Stop::ByApplication(None) => {}
        }
    }

    /// Tries the next room, lives the connection if there is one, and waits as long as is due then. `asked` is the longest wait
    /// that the rooms of this round have asked for.
    async fn connect_once(&mut self, asked: &mut Option<Duration>) -> Result<(), Stop> {
        self.until_wanted().await?;
        if self.endpoints.is_over() {
            self.begin_round().await?;
        }
        let Some(endpoint) = self.endpoints.next() else {
            return self.round_failed(asked).await;
        };
        let trust = self.trust.with_noise_key(self.endpoints.noise_key(&endpoint));
        let link = connect(endpoint.clone(), self.transport, trust, self.timeouts.connect);
        let link = match self.meanwhile(link).await? {
            Ok(link) => link,
            Err(NoLink { reason, retry_after }) => {
                *asked = (*asked).max(retry_after);
                return self.failed(endpoint, reason, asked).await;
            }
        };
        let counter = self.counter.next().await;
        let connection =
            Connection::new(&endpoint, &mut self.device, &mut self.inputs, &self.events, &self.timeouts);
        let finished = connection.run(link, counter).await;
        self.after(endpoint, finished, asked).await
    }

    /// Waits until there is a bind to connect for, and until the application has taken what happened before.
    async fn until_wanted(&mut self) -> Result<(), Stop> {
        while !self.device.any_wanted() || !self.device.events.is_empty() {
            self.step(pin!(std::future::pending::<()>())).await?;
        }
        Ok(())
    }

    async fn begin_round(&mut self) -> Result<(), Stop> {
        let question = self.device.first_address().and_then(|a| self.endpoints.question(a, Instant::now()));
        if let Some(question) = question {
            match self.meanwhile(question).await? {
                Ok(group) => self.endpoints.answered(group, Instant::now()),
                Err((endpoint, error)) => {
                    let reason = Disconnect::Io(error);
                    self.device.events.push_back(Event::ConnectFailed { endpoint, reason });
                }
            }
        }
        self.endpoints.start_round();
        Ok(())
    }

    async fn after(
        &mut self,
        endpoint: String,
        finished: Finished,
        asked: &mut Option<Duration>,
    ) -> Result<(), Stop> {
        let Some(open_for) = finished.open_for else {
            return self.after_no_welcome(endpoint, finished.ended, asked).await;
        };
        self.endpoints.worked(&endpoint);
        *asked = None;
        if open_for >= GOOD {
            self.backoff.reset();
        }
        let (reason, wait) = match finished.ended {
            Ended::ForGood(closed) => return Err(Stop::ForGood(closed)),
            Ended::ByApplication(done) => return Err(Stop::ByApplication(done)),
            Ended::NoBinds => (Disconnect::NoBinds, Duration::ZERO),
            Ended::Moved(named) => {
                self.endpoints.sent_away(&endpoint, named);
                let wait = if open_for >= GOOD { Duration::ZERO } else { self.backoff.next() };
                (Disconnect::Moved, wait)
            }
            Ended::Lost { reason, retry_after } if self.device.may_resume(&endpoint) => {
                self.endpoints.return_to(&endpoint);
                let wait = match retry_after {
                    Some(_) => self.backoff.next_or(retry_after),
                    None => self.backoff.prompt(),
                };
                (reason, wait)
            }
            Ended::Lost { reason, retry_after } => {
                if is_sent_away(&reason) {
                    self.endpoints.sent_away(&endpoint, Vec::new());
                }
                (reason, self.backoff.next_or(retry_after))
            }
        };
        self.device.events.push_back(Event::Disconnected { reason, retry_in: wait });
        self.meanwhile(sleep(wait)).await
    }

    async fn after_no_welcome(
        &mut self,
        endpoint: String,
        ended: Ended,
        asked: &mut Option<Duration>,
    ) -> Result<(), Stop> {
        match ended {
            Ended::ForGood(closed) => Err(Stop::ForGood(closed)),
            Ended::ByApplication(done) => Err(Stop::ByApplication(done)),
            Ended::NoBinds | Ended::Moved(_) => Ok(()),
            Ended::Lost { reason, retry_after } => {
                *asked = (*asked).max(retry_after);
                self.failed(endpoint, reason, asked).await
            }
        }
    }

    /// A room could not be used. The next is tried at once; after the last of the round comes a wait.
    async fn failed(
        &mut self,
        endpoint: String,
        reason: Disconnect,
        asked: &mut Option<Duration>,
    ) -> Result<(), Stop> {
        tracing::debug!(%endpoint, %reason, "a room could not be used");
        self.device.events.push_back(Event::ConnectFailed { endpoint, reason });
        if self.endpoints.is_over() { self.round_failed(asked).await } else { Ok(()) }
    }

    async fn round_failed(&mut self, asked: &mut Option<Duration>) -> Result<(), Stop> {
        self.endpoints.round_failed();
        let wait = self.backoff.next_or(asked.take());
        self.meanwhile(sleep(wait)).await
    }

    /// Waits for `work` and serves the application meanwhile.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut work = pin!(work);
        loop {
            if let Some(done) = self.step(work.as_mut()).await? {
                return Ok(done);
            }
        }
    }

    /// Waits for `work` or serves the application once.
    async fn step<T>(&mut self, work: Pin<&mut impl Future<Output = T>>) -> Result<Option<T>, Stop> {
        let now = Instant::now();
        self.device.expire(now);
        let wake = self.device.due(now).unwrap_or(now + IDLE);
        tokio::select! {
            done = work => return Ok(Some(done)),
            place = self.events.reserve(), if !self.device.events.is_empty() => {
                if let (Ok(place), Some(event)) = (place, self.device.events.pop_front()) {
                    place.send(event);
                }
            }
            input = self.inputs.next(self.device.takes_uplinks()) => {
                if let Some(done) = self.device.take(input, Instant::now()) {
                    return Err(Stop::ByApplication(Some(done)));
                }
            }
            () = self.events.closed() => return Err(Stop::ByApplication(None)),
            () = sleep_until(wake) => {}
        }
        Ok(None)
    }
}

/// Whether the room is better left alone for a while.
fn is_sent_away(reason: &Disconnect) -> bool {
    let away = [CloseReason::GoingAway, CloseReason::Overloaded, CloseReason::Isolated];
    match reason {
        Disconnect::ByRoom { reason, .. } => {
            CloseReason::from_number(*reason).is_some_and(|r| away.contains(&r))
        }
        _ => false,
    }
}
