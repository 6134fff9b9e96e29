//! The server as others see it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::Poll;

use crate::Stats;
use crate::door::Door;
use crate::server::{DEVICES, INJECTORS, Server};

/// Where a server listens. A port of 0 becomes a free one.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For devices.
    pub listen: SocketAddr,
    /// For injectors.
    pub inject: SocketAddr,
}

/// A server whose ports are open.
pub struct Raw {
    server: Server,
    devices: SocketAddr,
    injection: SocketAddr,
    stats: Arc<Stats>,
}

/// Opens the ports. Nobody is served before [`Raw::run`].
///
/// # Errors
/// As of `bind`.
pub fn bind(options: Options) -> io::Result<Raw> {
    let poll = Poll::new()?;
    let devices_door = Door::open(options.listen, poll.registry(), DEVICES)?;
    let injectors_door = Door::open(options.inject, poll.registry(), INJECTORS)?;
    let (devices, injection) = (devices_door.address()?, injectors_door.address()?);
    let stats = Arc::new(Stats::default());
    let server = Server::new(poll, devices_door, injectors_door, Arc::clone(&stats));
    Ok(Raw { server, devices, injection, stats })
}

impl Raw {
    /// Where devices really connect.
    pub fn devices(&self) -> SocketAddr {
        self.devices
    }

    /// Where injectors really connect.
    pub fn injection(&self) -> SocketAddr {
        self.injection
    }

    /// What it has done so far, to be read while it runs.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Serves, on this thread, until `stop` is true, which it sees within 50 ms. Then every connection is closed at once.
    ///
    /// # Errors
    /// If the poll fails; then nothing can be served any more.
    pub fn run(self, stop: &AtomicBool) -> io::Result<()> {
        self.server.run(stop)
    }
}
