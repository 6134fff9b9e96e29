//! A deliberately faulty server, to see that the load tester catches it.
//!
//! [`Faulty`] is a whole Longline in miniature, within the process that starts it: the API of a center for messages and broadcasts, a
//! dispatcher's `/v1/route`, and a room that speaks the client protocol, with inboxes in memory. Without [`Faults`] it does what a
//! cluster promises: what it accepted is delivered in order until it is acknowledged, also over reconnects. With them it breaks
//! these promises on purpose, and counts in [`Committed`] what it really broke, so that a test can compare that with a verdict.
//!
//! It is no second implementation: it knows one product with one key, takes payloads as Base64 and the first bind of HELLO only, has no
//! routes for uplinks, and looks neither at `rate_per_second` nor at `durability`.

mod account;
mod api;
mod connection;
mod faults;
mod message;
mod repeats;
mod room;
mod server;
mod session;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use faults::{Committed, Faults};

use server::Server;

/// The product of the users of a [`Faulty`].
pub const PRODUCT: u32 = 1;
/// Its key.
pub const KEY: &str = "ll_faulty";

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Faulty {
    api: SocketAddr,
    room: SocketAddr,
    shared: Arc<Shared>,
    /// Ends everything when it is dropped.
    _stop: DropGuard,
}

/// What the API and the connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    server: Mutex<Server>,
    /// Ends every connection of a device; replaced when that has happened.
    connections: Mutex<CancellationToken>,
    stop: CancellationToken,
    mute: bool,
}

impl Faulty {
    /// Starts it on free ports of the loopback, in the runtime of the caller.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(faults: Faults) -> std::io::Result<Faulty> {
        let any = (IpAddr::from(Ipv4Addr::LOCALHOST), 0);
        let (api, room) = (TcpListener::bind(any).await?, TcpListener::bind(any).await?);
        let (api_address, room_address) = (api.local_addr()?, room.local_addr()?);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            mute: faults.mute,
            server: Mutex::new(Server::new(faults)),
            connections: Mutex::new(stop.child_token()),
            stop: stop.clone(),
        });
        tokio::spawn(api::serve(api, room_address, shared.clone()));
        tokio::spawn(room::serve(room, shared.clone()));
        Ok(Faulty { api: api_address, room: room_address, shared, _stop: stop.drop_guard() })
    }

    /// URL of the API, which answers as a dispatcher too.
    pub fn api(&self) -> String {
        format!("http://{}", self.api)
    }

    /// Where devices connect.
    pub fn room(&self) -> SocketAddr {
        self.room
    }

    /// The faults committed so far.
    pub fn committed(&self) -> Committed {
        self.shared.server().committed()
    }

    /// Messages and broadcasts that wait in inboxes, acknowledged by nobody.
    pub fn waiting(&self) -> usize {
        self.shared.server().waiting()
    }

    /// Ends every connection of a device without a word, as the death of a process does; with [`Faults::forget_offline`] the inboxes are
    /// gone too. The ports stay open, as if it had been started again at once.
    pub fn crash(&self) {
        let next = self.shared.stop.child_token();
        std::mem::replace(&mut *lock(&self.shared.connections), next).cancel();
        self.shared.server().crash();
    }
}

impl Shared {
    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        lock(&self.server)
    }

    /// Tells a new connection when it has to end.
    pub(crate) fn connection_token(&self) -> CancellationToken {
        lock(&self.connections).clone()
    }
}

/// A panic of a test leaves nothing half done that would matter to another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
