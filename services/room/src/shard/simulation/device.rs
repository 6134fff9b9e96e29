use std::collections::HashSet;

use longline_pb::client::{self, PushFlag};
use longline_types::limits;
use longline_wire::{Body, FrameType, Limits, PREFACE, decode, encode};

/// What a device knows.
#[derive(Default)]
pub(super) struct Device {
    /// Its connection in the shard.
    pub(super) connection: Option<u32>,
    pub(super) counter: u64,
    bytes: Vec<u8>,
    /// (bind, id): to be acknowledged.
    pub(super) owed: Vec<(u8, u64)>,
    /// What it has seen on this connection.
    seen: HashSet<(u8, u64)>,
    /// What it has acknowledged, ever.
    pub(super) acknowledged: HashSet<u64>,
    welcomed: bool,
    /// It has sent bytes that are no frames.
    pub(super) confused: bool,
    pub(super) closed: bool,
}

impl Device {
    pub(super) fn connected(&mut self, connection: u32) {
        self.counter += 1;
        *self = Device {
            connection: Some(connection),
            counter: self.counter,
            acknowledged: std::mem::take(&mut self.acknowledged),
            ..Device::default()
        };
    }

    pub(super) fn hello(&self, name: &str, users: impl Iterator<Item = (u32, String)>) -> Vec<u8> {
        let binds = users.map(|(index, user)| bind(index, user)).collect();
        let hello = client::Hello {
            device: name.to_owned(),
            connection_counter: self.counter,
            binds,
            ..client::Hello::default()
        };
        [&PREFACE[..], &frame(&hello)].concat()
    }

    /// Bytes from the room: every frame is whole and makes sense.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let mut used = 0;
        while let Some((frame, length)) = decode(&self.bytes[used..], &Limits::FROM_ROOM).unwrap() {
            assert!(!self.closed, "{} after CLOSE", frame.kind);
            match frame.kind {
                FrameType::Welcome => {
                    assert!(!std::mem::replace(&mut self.welcomed, true), "a second WELCOME")
                }
                FrameType::Push => {
                    assert!(self.welcomed, "a PUSH before WELCOME");
                    let (index, push) = frame.parse_push().unwrap();
                    assert!(usize::from(index) < limits::BINDS);
                    if !self.seen.insert((index, push.id)) {
                        let again = push.flags & PushFlag::Redelivered as u32 != 0;
                        assert!(again, "{} was pushed twice without saying so", push.id);
                    }
                    self.owed.retain(|owed| *owed != (index, push.id));
                    self.owed.push((index, push.id));
                }
                FrameType::Close => self.closed = true,
                FrameType::Bound => assert!(self.welcomed, "a BOUND before WELCOME"),
                _ => {}
            }
            used += length;
        }
        self.bytes.drain(..used);
    }
}

pub(super) fn bind(index: u32, user: String) -> client::Bind {
    client::Bind { index, product: 1, user, ..client::Bind::default() }
}

pub(super) fn frame<M: Body>(body: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(body, &mut bytes).unwrap();
    bytes
}
