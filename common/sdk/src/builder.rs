//! What a client is told before it starts.

use std::path::PathBuf;
use std::time::Duration;

use longline_pb::client::Network;
use longline_types::{Address, limits};
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::binds::Binds;
use crate::counter::Counter;
use crate::device::{AckMode, Device, Identity};
use crate::dispatcher::Dispatcher;
use crate::driver::Driver;
use crate::endpoints::Endpoints;
use crate::resume::Resumption;
use crate::transport::Transport;
use crate::trust::{Trust, TrustOptions};
use crate::{BindError, Client, Events, StartError, inputs};

/// Most events that wait for the application; with the largest payloads 4 MiB.
const EVENTS: usize = 64;

/// Describes a device; [`Builder::start`] starts it. Made by [`Client::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    identity: Identity,
    dispatchers: Vec<String>,
    rooms: Vec<String>,
    binds: Result<Binds, BindError>,
    acks: AckMode,
    state_file: Option<PathBuf>,
    resume: bool,
    transport: Transport,
    trust: TrustOptions,
    timeouts: Timeouts,
    backoff: (Duration, Duration),
}

/// How long the client waits for others.
#[derive(Clone, Debug)]
pub(crate) struct Timeouts {
    /// For a connection, with the handshakes of TLS, WebSocket or Noise.
    pub(crate) connect: Duration,
    /// From the connection to WELCOME.
    pub(crate) handshake: Duration,
    /// For the dispatcher's answer.
    pub(crate) dispatcher: Duration,
    /// For the room to take anything of what is sent.
    pub(crate) write: Duration,
    /// For the room's answer to a BIND or UNBIND.
    pub(crate) bind: Duration,
    /// For goodbye.
    pub(crate) close: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            dispatcher: Duration::from_secs(5),
            write: Duration::from_secs(15),
            bind: Duration::from_secs(30),
            close: Duration::from_secs(2),
        }
    }
}

impl Builder {
    pub(crate) fn new(device: String) -> Builder {
        Builder {
            identity: Identity::new(device),
            dispatchers: Vec::new(),
            rooms: Vec::new(),
            binds: Ok(Binds::default()),
            acks: AckMode::Auto,
            state_file: None,
            resume: true,
            transport: Transport::Tcp,
            trust: TrustOptions::default(),
            timeouts: Timeouts::default(),
            backoff: (Duration::from_millis(500), Duration::from_secs(60)),
        }
    }

    /// Asks this dispatcher for rooms, e.g. `http://push.example.com`. May be called several times; each is tried in turn.
    pub fn dispatcher(mut self, url: impl Into<String>) -> Builder {
        self.dispatchers.push(url.into());
        self
    }

    /// Connects to these rooms (host:port, or with a transport as in `tls://host:port`), in this order. With a dispatcher they are what is left if it does not answer.
    pub fn rooms(mut self, rooms: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        self.rooms.extend(rooms.into_iter().map(Into::into));
        self
    }

    /// What carries the frames to rooms that are named without a transport; TCP in the clear by default.
    pub fn transport(mut self, transport: Transport) -> Builder {
        self.transport = transport;
        self
    }

    /// Over TLS, trusts the certificates in this PEM file and those that they have signed, instead of the system's.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.trust.ca_file = Some(path.into());
        self
    }

    /// Over TLS, the name that the rooms' certificates have; without it, the host of the endpoint.
    pub fn tls_name(mut self, name: impl Into<String>) -> Builder {
        self.trust.tls_name = Some(name.into());
        self
    }

    /// Over Noise, the public key of the rooms, in base64; of those that a dispatcher names no key for.
    pub fn noise_key(mut self, key: impl Into<String>) -> Builder {
        self.trust.noise_key = Some(key.into());
        self
    }

    /// Binds an address from the start. The token is empty if the product wants none. What is wrong with it is told by
    /// [`Builder::start`].
    pub fn bind(mut self, product: u32, user: &str, token: impl Into<String>) -> Builder {
        self.binds = self.binds.and_then(|mut binds| {
            binds.add(Address::new(product, user)?, token.into())?;
            Ok(binds)
        });
        self
    }

    /// The network the device is on, from which the room chooses the heartbeat.
    pub fn network(mut self, network: Network) -> Builder {
        self.identity.network = network;
        self
    }

    /// The range of heartbeat intervals in seconds that the device can keep; without it the room chooses alone.
    pub fn heartbeat(mut self, min_s: u32, max_s: u32) -> Builder {
        self.identity.heartbeat = (min_s, max_s.max(min_s));
        self
    }

    /// Whether a message is acknowledged as it is taken from [`Events`] (the default) or when the application calls
    /// [`Client::ack`].
    pub fn auto_ack(mut self, auto: bool) -> Builder {
        self.acks = if auto { AckMode::Auto } else { AckMode::Explicit };
        self
    }

    /// Acknowledges nothing, ever: messages stay in the inbox. For tools and tests.
    pub fn never_ack(mut self) -> Builder {
        self.acks = AckMode::Never;
        self
    }

    /// Where the connection counter is kept over restarts. Without a file the wall clock stands in for it.
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.state_file = Some(path.into());
        self
    }

    /// Whether a session whose connection breaks is resumed where its room offers that (the default), or begun anew.
    pub fn resume(mut self, resume: bool) -> Builder {
        self.resume = resume;
        self
    }

    /// The shortest and the longest wait between tries; 500 ms and 60 s by default.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Builder {
        self.backoff = (min, max);
        self
    }

    /// How long a room may take to accept the connection, and again to welcome the device; 5 s and 10 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder {
        self.timeouts.connect = timeout;
        self.timeouts.handshake = timeout;
        self
    }

    /// Starts the client's task. Must be called within a tokio runtime. Nothing is waited for: [`Events`] tell what happens.
    pub fn start(self) -> Result<(Client, Events), StartError> {
        if self.identity.device.is_empty() || self.identity.device.len() > limits::DEVICE {
            return Err(StartError::Device);
        }
        if self.dispatchers.is_empty() && self.rooms.is_empty() {
            return Err(StartError::Nowhere);
        }
        let binds = self.binds?;
        if !binds.any_wanted() {
            return Err(BindError::None.into());
        }
        let trust = Trust::new(self.trust)?;
        if self.transport == Transport::Noise && trust.noise_key.is_none() && self.dispatchers.is_empty() {
            return Err(StartError::NoNoiseKey);
        }
        let network = self.identity.network;
        let dispatcher = Dispatcher::new(self.dispatchers, network, self.timeouts.dispatcher)?;
        let (handles, inputs) = inputs::channel();
        let (sender, queue) = mpsc::channel(EVENTS);
        let events = Events { queue, acks: handles.acks.clone(), auto_ack: self.acks == AckMode::Auto };
        let driver = Driver {
            device: Device::new(self.identity, binds, self.acks, Resumption::new(self.resume)),
            endpoints: Endpoints::new(self.rooms, dispatcher),
            counter: Counter::new(self.state_file),
            backoff: Backoff::new(self.backoff.0, self.backoff.1),
            transport: self.transport,
            trust,
            timeouts: self.timeouts,
            inputs,
            events: sender,
        };
        tokio::spawn(driver.run());
        Ok((Client { handles }, events))
    }
}
