//! One broadcast.

use std::time::Duration;

use bytes::Bytes;
use longline_load_raw::Injector;
use longline_load_truth::Header;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::address::{BadApi, Center};
use crate::backoff::Backoff;
use crate::body;
use crate::desk::{DEADLINE, Outcome, REPEAT_PAUSE};
use crate::http::reply::{self, Head};
use crate::http::{Connection, Requests};
use crate::load::Api;

/// Why there is no id.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It cannot be sent to these addresses.
    #[error(transparent)]
    Api(#[from] BadApi),
    /// The API said no: it is not under way.
    #[error("refused: {0}")]
    Refused(String),
    /// It may be under way or not.
    #[error("no answer: {0}")]
    Unknown(String),
    /// The reference server did not take it.
    #[error(transparent)]
    Raw(#[from] longline_load_raw::InjectError),
}

/// After so long without an acknowledgement the reference server's are waited for no more.
const QUIET: Duration = Duration::from_secs(2);

/// Sends a broadcast and returns its id; at an injection port, which gives none, it is made here. Repeats the request
/// until it is answered, for at most 10 seconds.
///
/// # Errors
/// If it was not accepted, or nobody knows.
pub async fn broadcast(
    api: &Api,
    header: Header,
    payload_bytes: usize,
    ttl_s: Option<u32>,
    per_second: u32,
) -> Result<u64, SendError> {
    let mut payload = Vec::new();
    header.payload(payload_bytes, &mut payload);
    if let Some(address) = &api.injector {
        return inject(address, injected_id(&header), payload.into()).await;
    }
    let ttl = ttl_s.map(|ttl| format!(r#","ttl_seconds":{ttl}"#)).unwrap_or_default();
    let body = body::broadcast(&payload, &format!(r#","rate_per_second":{per_second}{ttl}"#));
    let center = pick(&api.centers, header.sequence)?;
    let requests = Requests::new(Center::new(center, &api.key)?)?;
    let key = format!("{:08x}-b-{}", header.run, header.sequence);
    Posting { requests, key, body, until: Instant::now() + DEADLINE }.run().await
}

/// A broadcast on its way to a center.
struct Posting {
    requests: Requests,
    key: String,
    body: Bytes,
    until: Instant,
}

impl Posting {
    async fn run(self) -> Result<u64, SendError> {
        let (mut uncertain, mut backoff) = (false, Backoff::new());
        let mut last = "no connection".to_owned();
        while Instant::now() < self.until {
            let trying = async {
                backoff.wait().await;
                self.attempt().await
            };
            let pause = match timeout_at(self.until, trying).await {
                Ok(Ok((Tried::Accepted(id), _))) => return Ok(id),
                Ok(Ok((Tried::Refused(code), _))) if !uncertain => return Err(SendError::Refused(code)),
                Ok(Ok((Tried::Refused(code) | Tried::Unknown(code), pause))) => {
                    (uncertain, last) = (true, code);
                    pause.unwrap_or(REPEAT_PAUSE)
                }
                Ok(Err(why)) => {
                    (uncertain, last) = (true, why);
                    Duration::ZERO
                }
                Err(_) => break,
            };
            sleep_until(self.until.min(Instant::now() + pause)).await;
        }
        Err(SendError::Unknown(last))
    }

    /// One try, on a connection of its own: broadcasts are rare.
    async fn attempt(&self) -> Result<(Tried, Option<Duration>), String> {
        let mut connection =
            Connection::open(self.requests.address()).await.map_err(|error| error.to_string())?;
        let request = self.requests.post("/v1/broadcasts", Some(self.key.clone()), self.body.clone());
        let mut answer = Vec::new();
        let head = connection.exchange(request, &mut answer).await;
        let head: Head = head.map_err(|broken| format!("the connection broke: {broken:?}"))?;
        Ok((reply::broadcast(head, &answer, Tried::of), head.retry_after))
    }
}

enum Tried {
    Accepted(u64),
    Refused(String),
    Unknown(String),
}

impl Tried {
    fn of(outcome: Outcome<'_>) -> Tried {
        match outcome {
            Outcome::Accepted(id) => Tried::Accepted(id),
            Outcome::Refused(code) => Tried::Refused(code.to_owned()),
            Outcome::Unknown(code) => Tried::Unknown(code.to_owned()),
        }
    }
}

/// Broadcasts take turns at the centers.
fn pick(centers: &[String], number: u64) -> Result<&String, BadApi> {
    let count = centers.len().max(1) as u64;
    centers.get((number % count) as usize).ok_or(BadApi::Missing)
}

/// Different for every broadcast of all legs, and from every unicast's.
fn injected_id(header: &Header) -> u64 {
    1 << 62 | u64::from(header.run) << 24 | header.sequence & 0xff_ffff
}

/// An injection port keeps no times and no rate. Its acknowledgements are taken until no more come, so that it does the
/// whole of its work.
async fn inject(address: &str, id: u64, payload: Bytes) -> Result<u64, SendError> {
    let address = address.parse().map_err(|_| BadApi::Address(address.to_owned()))?;
    let (injector, mut acks) = Injector::connect(address).await?;
    injector.broadcast(id, &payload).await?;
    tokio::spawn(async move {
        let _open = injector;
        while let Ok(Ok(Some(_))) = timeout(QUIET, acks.next()).await {}
    });
    Ok(id)
}
