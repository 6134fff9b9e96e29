//! How a connection uses its transport.

use std::net::SocketAddr;

use longline_types::CloseReason;
use longline_wire::WireError;

use super::{Connection, Ending, Env, Now, Phase, Returning};
use crate::transport::{Opened, Shared, Transport, TransportKind};

/// With this many unwritten bytes, layers answer nothing more by themselves.
const MOST_UNREAD: usize = 64 * 1024;

impl Connection {
    /// How the device is connected.
    pub(crate) fn transport_kind(&self) -> TransportKind {
        self.transport.as_ref().map_or(TransportKind::Tcp, |transport| transport.kind())
    }

    /// The first byte of all tells the transport.
    pub(super) fn begin_transport(&mut self, bytes: &[u8], env: &Env) {
        if let Phase::Greeting(greeting) = &self.phase
            && !greeting.has_begun()
            && self.transport.is_none()
            && self.input.is_empty()
            && let Some(first) = bytes.first()
        {
            self.transport = Transport::begun_by(*first, &env.transports);
        }
    }

    /// Where the device is, if a trusted proxy has said so.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.transport.as_ref()?.client()
    }

    /// It was accepted from a trusted proxy.
    pub(crate) fn came_by_proxy(&mut self) {
        self.transport = Some(Transport::behind_proxy());
    }

    /// Bytes came through the transport; none: its turn for a handshake has come.
    pub(super) fn open(&mut self, bytes: &[u8], now: Now, env: &mut Env) -> Option<Box<Returning>> {
        let transport = self.transport.as_mut()?;
        let known = transport.client().is_some();
        let opened = transport.open(bytes, &mut env.transports, &env.counters);
        if !known {
            env.transports.introduced = transport.client();
        }
        self.take_opened(opened, now, env)
    }

    /// The preface has announced Noise: what came after it is for that.
    pub(super) fn begin_noise(&mut self, now: Now, env: &mut Env) -> Option<Box<Returning>> {
        if !env.transports.settings.speaks_noise() {
            self.end(&WireError::UnsupportedMode(longline_noise::PREFACE[3]).into(), now, env);
            return None;
        }
        let bytes = self.input.take();
        let transport = self.transport.get_or_insert_with(Transport::bare);
        let opened = transport.begin_noise(&bytes, &mut env.transports);
        self.take_opened(opened, now, env)
    }

    fn take_opened(
        &mut self,
        opened: Result<Opened, Ending>,
        now: Now,
        env: &mut Env,
    ) -> Option<Box<Returning>> {
        let shared = &mut env.transports;
        let (plain, replies) = (std::mem::take(&mut shared.plain), std::mem::take(&mut shared.replies));
        // Who sends and does not read gets no more answers.
        if !replies.is_empty() && self.output.len() < MOST_UNREAD {
            self.output.add_sealed(&replies, &mut env.pool, now.ms);
            env.output_bytes += replies.len();
        }
        let mut returning = None;
        if !plain.is_empty() {
            returning = self.opened(&plain, now, env);
        }
        Shared::keep(&mut env.transports.plain, plain);
        Shared::keep(&mut env.transports.replies, replies);
        match opened {
            Ok(Opened::Done) => return returning,
            Ok(Opened::Waits) => {
                if self.transport.as_mut().is_some_and(|transport| transport.lines_up()) {
                    env.transports.waiting.push_back(self.id);
                }
            }
            // A layer that is ended in order is a goodbye: the session is not parked.
            Ok(Opened::Ended) => self.end(&Ending::new(CloseReason::ClientGone, ""), now, env),
            Err(ending) => self.end(&ending, now, env),
        }
        None
    }

    /// Makes what is to be written ready for the wire. To be called before it is written.
    ///
    /// # Errors
    /// If nothing more can be said over this connection, which is to be cut then.
    pub(crate) fn seal(&mut self, now: Now, env: &mut Env) -> Result<(), Ending> {
        let Some(transport) = &mut self.transport else { return Ok(()) };
        let leaving = match &self.phase {
            Phase::Leaving(leaving) => Some(leaving.reason),
            _ => None,
        };
        if !(self.output.has_unsealed() || leaving.is_some() && transport.is_to_be_closed()) {
            return Ok(());
        }
        let before = self.output.len();
        let shared = &mut env.transports;
        let sealed = self.output.seal(&mut env.pool, now.ms, |plain, wire| {
            let sealed = transport.seal(plain, wire, shared);
            if let Some(reason) = leaving {
                transport.close(reason, wire);
            }
            sealed
        });
        env.output_bytes = env.output_bytes.saturating_sub(before) + self.output.len();
        sealed
    }
}
