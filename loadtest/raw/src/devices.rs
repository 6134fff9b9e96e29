//! All devices that are connected.

use bytes::BufMut as _;
use longline_pb::client::{BindResult, Bound, Close, Push, UplinkAck, UplinkResult, Welcome};
use longline_types::{CloseReason, now_ms};
use longline_wire::{Body, FrameType, encode, encode_empty, encode_push_message};
use mio::net::TcpStream;
use mio::{Registry, Token};

use crate::connection::{Connection, Got};
use crate::injectors::Serial;
use crate::output::{Output, Pool};
use crate::session::{Ears, Greeting, Heard};
use crate::stats::Tally;
use crate::users::Users;

/// Reads from one socket in one turn.
const READS: usize = 4;
/// Most bytes that one device may leave unread here.
const UNREAD: u64 = 512 * 1024;
/// Most bytes that all devices together may leave unread here.
const ALL_UNREAD: u64 = 256 * 1024 * 1024;
/// What is told to devices. There is no window here, so it is just more than anybody needs.
const WINDOW: u32 = 1024;

/// The connections, by their index, which is also their token.
#[derive(Default)]
pub(crate) struct Devices {
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    users: Users,
    /// Connections with something to write.
    listed: Vec<u32>,
    welcomed: u64,
    pool: Pool,
    ears: Ears,
    pub(crate) tally: Tally,
}

impl Devices {
    /// Every index is below this.
    pub(crate) fn places(&self) -> u32 {
        self.connections.len() as u32
    }

    /// Takes in a device.
    pub(crate) fn add(&mut self, stream: TcpStream, registry: &Registry) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.places() - 1
        });
        match Connection::new(stream, token(index), registry) {
            Ok(connection) => self.connections[index as usize] = Some(connection),
            Err(error) => {
                tracing::warn!(%error, "cannot watch a connection");
                self.free.push(index);
            }
        }
    }

    /// Reads what a device has sent, up to some reads; says whether there may be more. `ends`: the device sends no more, so read
    /// to the end. `acked` is told who delivered last, the user and the ids of each ACK.
    pub(crate) fn read(
        &mut self,
        index: u32,
        ends: bool,
        buffer: &mut [u8],
        mut acked: impl FnMut(Serial, u32, &[u64]),
    ) -> bool {
        for _ in 0..READS {
            let Some(connection) = self.get_mut(index) else { return false };
            match connection.read(buffer) {
                Got::Bytes(count) => {
                    self.received(index, &buffer[..count], &mut acked);
                    if 0 < count && count < buffer.len() && !ends {
                        return false;
                    }
                }
                Got::Nothing => return false,
                Got::End => {
                    self.remove(index);
                    return false;
                }
            }
        }
        true
    }

    /// The poll says that a device takes bytes again.
    pub(crate) fn has_space(&mut self, index: u32) {
        if let Some(connection) = self.get_mut(index)
            && connection.has_space()
        {
            self.list(index);
        }
    }

    /// Appends a message to what is to be written to the user. False if the user is not connected.
    pub(crate) fn deliver(&mut self, user: u32, from: Serial, push: &Push) -> bool {
        let Some(index) = self.users.connection(user) else { return false };
        let Some(Some(connection)) = self.connections.get_mut(index as usize) else { return false };
        connection.injector = from;
        let buffer = connection.output.buffer(&mut self.pool);
        if encode_push_message(connection.bind, push, buffer).is_ok() {
            self.tally.deliveries += 1;
        }
        self.list(index);
        true
    }

    /// Writes a PUSH to the session with this index, if there is one; the bind's index is put in at `bind_at`.
    pub(crate) fn broadcast(&mut self, index: u32, frame: &mut [u8], bind_at: usize) {
        let Some(Some(connection)) = self.connections.get_mut(index as usize) else { return };
        if !connection.session.is_open() {
            return;
        }
        frame[bind_at] = connection.bind;
        self.tally.broadcasts += 1;
        let mut taken = 0;
        if connection.output.is_empty() {
            match connection.write_now(frame) {
                Ok(count) => taken = count,
                Err(_) => return self.remove(index),
            }
        }
        if taken < frame.len() {
            connection.output.buffer(&mut self.pool).put_slice(&frame[taken..]);
            self.list(index);
        }
    }

    /// Writes all that the turn has left to write, to each device at once. A device that leaves too much unread is cut off.
    pub(crate) fn flush(&mut self, registry: &Registry) {
        let mut listed = std::mem::take(&mut self.listed);
        listed.drain(..).for_each(|index| self.flush_one(index, registry));
        self.listed = listed;
    }

    fn flush_one(&mut self, index: u32, registry: &Registry) {
        let Some(Some(connection)) = self.connections.get_mut(index as usize) else { return };
        if !std::mem::take(&mut connection.is_listed) {
            return;
        }
        let watched = match connection.write(&mut self.pool, &mut self.tally.unread) {
            Ok(()) if connection.is_unwatched() => connection.watch_space(token(index), registry),
            written => written,
        };
        let stuck = connection.stuck();
        if stuck > UNREAD || stuck > 0 && self.tally.unread > ALL_UNREAD {
            tracing::debug!(index, stuck, "a device does not read");
            self.remove(index);
        } else if watched.is_err() {
            self.remove(index);
        }
    }

    fn received(&mut self, index: u32, bytes: &[u8], acked: &mut impl FnMut(Serial, u32, &[u64])) {
        let Some(Some(connection)) = self.connections.get_mut(index as usize) else { return };
        let Connection { session, output, user, bind, injector, .. } = connection;
        let (pool, tally) = (&mut self.pool, &mut self.tally);
        let (mut greeted, mut bye) = (false, false);
        let result = session.received(bytes, &mut self.ears, |heard| match heard {
            Heard::Hello(greeting) => {
                (*user, *bind, greeted) = (greeting.user, greeting.bind, true);
                self.welcomed += 1;
                put(output, pool, &welcome(self.welcomed, &greeting));
            }
            // An empty frame always fits.
            Heard::Ping => encode_empty(FrameType::Pong, output.buffer(pool)).unwrap_or_default(),
            Heard::Acked(ids) => {
                tally.acks += ids.len() as u64;
                acked(*injector, *user, ids);
            }
            Heard::Uplink(sequence) => {
                tally.uplinks += 1;
                let result = UplinkResult::Ok.into();
                put(output, pool, &UplinkAck { sequence, result, retry_after_ms: 0 });
            }
            Heard::Bye => bye = true,
        });
        let (user, answers) = (*user, !output.is_empty());
        if greeted {
            self.bind(user, index);
        }
        match result {
            Err(reason) => self.close(index, reason),
            Ok(()) if bye => self.remove(index),
            Ok(()) if answers => self.list(index),
            Ok(()) => {}
        }
    }

    /// The user's earlier connection makes way.
    fn bind(&mut self, user: u32, index: u32) {
        self.tally.sessions += 1;
        if let Some(before) = self.users.bind(user, index) {
            self.close(before, CloseReason::Displaced);
        }
    }

    /// Says the reason, if the socket takes it, and removes the device.
    fn close(&mut self, index: u32, reason: CloseReason) {
        if let Some(Some(connection)) = self.connections.get_mut(index as usize) {
            let close = Close { reason: reason.number().into(), ..Close::default() };
            put(&mut connection.output, &mut self.pool, &close);
            // Who does not take it will see that the connection has ended.
            let _ = connection.write(&mut self.pool, &mut self.tally.unread);
        }
        self.remove(index);
    }

    fn remove(&mut self, index: u32) {
        let Some(mut connection) = self.connections.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        if connection.session.is_open() {
            self.tally.sessions -= 1;
            self.users.unbind(connection.user, index);
        }
        connection.give_up(&mut self.pool, &mut self.tally.unread);
        self.free.push(index);
    }

    fn list(&mut self, index: u32) {
        if let Some(connection) = self.get_mut(index)
            && !std::mem::replace(&mut connection.is_listed, true)
        {
            self.listed.push(index);
        }
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Connection> {
        self.connections.get_mut(index as usize)?.as_mut()
    }
}

fn token(index: u32) -> Token {
    Token(index as usize)
}

fn put(output: &mut Output, pool: &mut Pool, body: &impl Body) {
    // All that is said here is far below the limits.
    encode(body, output.buffer(pool)).unwrap_or_default();
}

fn welcome(session: u64, greeting: &Greeting) -> Welcome {
    let result = BindResult::Ok.into();
    let bound = Bound { index: greeting.bind.into(), result, window: WINDOW, ..Bound::default() };
    let heartbeat_s = greeting.heartbeat_s;
    Welcome { session, heartbeat_s, server_time_ms: now_ms(), binds: vec![bound], ..Welcome::default() }
}
