//! The web server.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use longline_auth::webhook;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Record;
use crate::http::body::{self, Whole};

/// How the webhook behaves.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; a port of 0 becomes a free one.
    pub listen: SocketAddr,
    /// The product's webhook secret; calls without its signature are answered 401. None: anybody may call.
    pub secret: Option<Vec<u8>>,
    /// Each so-many-eth call is answered 500 and not taken; 0: none.
    pub fail_one_in: u64,
}

/// A running webhook. It ends when it is dropped.
pub struct Webhook {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    record: Record,
    calls: u64,
}

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 1024;
/// A payload of 64 KiB as Base64, beside itself as JSON.
const LONGEST_BODY: usize = 256 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors, say) the next one waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Webhook {
    /// Listens and serves in the background. To be called within a tokio runtime.
    ///
    /// # Errors
    /// As of `bind`.
    pub async fn start(options: Options) -> io::Result<Webhook> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { options, state: Mutex::default() });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(
            listener,
            Arc::clone(&shared),
            stop.clone(),
        )));
        Ok(Webhook { address, shared, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for a product's route.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// What came so far.
    pub fn record(&self) -> Record {
        self.shared.state().record.clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = connection(stream, Arc::clone(&shared), slot);
                tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
            }
            Err(error) => {
                tracing::warn!(%error, "the webhook did not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, _slot: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(shared.call(request).await)) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a caller's connection ended in an error");
    }
}

fn answer(status: StatusCode) -> Response<Whole> {
    let mut response = Response::new(Whole::new(Bytes::new()));
    *response.status_mut() = status;
    response
}

impl Shared {
    async fn call(&self, request: Request<Incoming>) -> StatusCode {
        let (head, incoming) = request.into_parts();
        let mut body = Vec::new();
        match timeout(BODY_TIMEOUT, body::read(incoming, LONGEST_BODY, &mut body)).await {
            Ok(Ok(())) => self.take(&head.headers, &body),
            _ => {
                self.state().record.unreadable += 1;
                StatusCode::BAD_REQUEST
            }
        }
    }

    /// Takes the callback down; answers 2xx only for what is in the record.
    fn take(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        if !self.is_signed(headers, body) {
            self.state().record.forged += 1;
            return StatusCode::UNAUTHORIZED;
        }
        let what = read(body);
        let mut state = self.state();
        state.calls += 1;
        let record_fault =
            self.options.fail_one_in > 0 && state.calls.is_multiple_of(self.options.fail_one_in);
        if record_fault {
            state.record.refused += 1;
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        match what {
            What::Uplink(payload) => state.record.add(&payload),
            What::Other => state.record.others += 1,
            What::Unreadable => state.record.unreadable += 1,
        }
        StatusCode::OK
    }

    fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let Some(secret) = &self.options.secret else { return true };
        let value = headers.get(webhook::HEADER).and_then(|value| value.to_str().ok());
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        value.is_some_and(|value| webhook::verify(secret, value, body, now_s, webhook::TOLERANCE_S).is_ok())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a callback is about.
enum What {
    Uplink(Vec<u8>),
    Other,
    Unreadable,
}

/// The part of a callback's body that matters.
#[derive(Deserialize)]
struct Callback<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    payload_base64: Option<Cow<'a, str>>,
}

fn read(body: &[u8]) -> What {
    let Ok(callback) = serde_json::from_slice::<Callback<'_>>(body) else { return What::Unreadable };
    if callback.r#type != "uplink" {
        return What::Other;
    }
    let payload = callback.payload_base64.and_then(|text| STANDARD.decode(text.as_bytes()).ok());
    payload.map_or(What::Unreadable, What::Uplink)
}
