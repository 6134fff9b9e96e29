//! How a connection uses its transport.

use super::{Connection, Env, Now, Phase};
use crate::transport::{Opened, Shared, Transport, TransportKind};

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

    /// Bytes came through the transport.
    pub(super) fn open(&mut self, bytes: &[u8], now: Now, env: &mut Env) {
        let Some(transport) = &mut self.transport else { return };
        let result = transport.open(bytes, &mut env.transports, &env.counters);
        if !env.transports.replies.is_empty() {
            let replies = std::mem::take(&mut env.transports.replies);
            self.output.add_sealed(&replies, &mut env.pool, now.ms);
            env.output_bytes += replies.len();
            Shared::keep(&mut env.transports.replies, replies);
        }
        if !env.transports.plain.is_empty() {
            let plain = std::mem::take(&mut env.transports.plain);
            self.opened(&plain, now, env);
            Shared::keep(&mut env.transports.plain, plain);
        }
        match result {
            Ok(Opened::Done) => {}
            Ok(Opened::Waits) => env.transports.waiting.push_back(self.id),
            Ok(Opened::Ended) => self.lost(now, env),
            Err(ending) => self.end(&ending, now, env),
        }
    }

    /// Makes what is to be written ready for the wire. To be called before it is written.
    pub(crate) fn seal(&mut self, now: Now, env: &mut Env) {
        let Some(transport) = &mut self.transport else { return };
        let leaving = matches!(self.phase, Phase::Leaving(_));
        if !(self.output.has_unsealed() || leaving && transport.is_to_be_closed()) {
            return;
        }
        let before = self.output.len();
        let sealed = self.output.seal(&mut env.pool, now.ms, |plain, wire| {
            let sealed = transport.seal(plain, wire);
            if leaving {
                transport.close(wire);
            }
            sealed
        });
        env.output_bytes = env.output_bytes.saturating_sub(before) + self.output.len();
        if let Err(ending) = sealed {
            self.end(&ending, now, env);
        }
    }
}
