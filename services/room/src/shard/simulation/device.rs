use std::collections::HashSet;
use std::mem::take;

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
    /// (bind, id): acknowledged in this session. Some of it may not have arrived.
    have: Vec<(u8, u64)>,
    /// Of the latest WELCOME, and of the one before it.
    pub(super) latest: Given,
    pub(super) before: Given,
    /// (index, user): what it has bound, as far as it knows.
    pub(super) users: Vec<(u32, usize)>,
    /// What WELCOME is to give back; none if it is to begin a new session.
    pub(super) resumes: Option<Given>,
    welcomed: bool,
    /// It has sent bytes that are no frames.
    pub(super) confused: bool,
    pub(super) closed: bool,
}

/// A resume token, the session that it was given for, and how often that had been resumed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Given {
    pub(super) token: Vec<u8>,
    pub(super) session: u64,
    pub(super) resumes: u8,
}

impl Device {
    pub(super) fn connected(&mut self, connection: u32, users: Vec<(u32, usize)>) {
        *self = Device {
            connection: Some(connection),
            counter: self.counter + 1,
            // Whether it is still true WELCOME will tell.
            owed: take(&mut self.owed),
            seen: take(&mut self.seen),
            have: take(&mut self.have),
            latest: take(&mut self.latest),
            before: take(&mut self.before),
            users,
            ..Device::default()
        };
    }

    pub(super) fn hello(&self, name: &str, shown: &Given) -> Vec<u8> {
        let binds = self.users.iter().map(|(index, user)| bind(*index, format!("user-{user}"))).collect();
        // What it has of another session says nothing of this one.
        let have = self.have.iter().filter(|_| shown.session == self.latest.session);
        let have = have.map(|(index, id)| client::Ack { index: (*index).into(), ids: vec![*id] });
        let hello = client::Hello {
            device: name.to_owned(),
            connection_counter: self.counter,
            binds,
            have: have.collect(),
            resume_token: shown.token.clone(),
            ..client::Hello::default()
        };
        [&PREFACE[..], &frame(&hello)].concat()
    }

    /// The next message that it acknowledges. Before WELCOME it does not know of which session it speaks.
    pub(super) fn acknowledge(&mut self) -> Option<(u8, u64)> {
        let may = self.welcomed && !self.owed.is_empty();
        let (index, id) = may.then(|| self.owed.remove(0))?;
        self.have.push((index, id));
        Some((index, id))
    }

    /// What was bound under this index is not what is now.
    pub(super) fn changes(&mut self, index: u32, user: Option<usize>) {
        self.users.retain(|(other, _)| *other != index);
        self.users.extend(user.map(|user| (index, user)));
        self.have.retain(|(other, _)| u32::from(*other) != index);
        self.owed.retain(|(other, _)| u32::from(*other) != index);
    }

    /// It will come back with these binds. What it has of others under their indexes says nothing of them.
    pub(super) fn wants(&mut self, users: &[(u32, usize)]) {
        for (index, user) in self.users.clone() {
            if !users.contains(&(index, user)) {
                self.changes(index, None);
            }
        }
    }

    /// Bytes from the room: every frame is whole and makes sense.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let mut used = 0;
        while let Some((frame, length)) = decode(&self.bytes[used..], &Limits::FROM_ROOM).unwrap() {
            assert!(!self.closed, "{} after CLOSE", frame.kind);
            match frame.kind {
                FrameType::Welcome => {
                    assert!(!std::mem::replace(&mut self.welcomed, true), "a second WELCOME");
                    self.welcome(&frame.parse().unwrap());
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
                    // One that was on its way when the device gave the bind up is nobody's.
                    if self.users.iter().any(|(bound, _)| *bound == u32::from(index)) {
                        self.owed.push((index, push.id));
                    }
                }
                FrameType::Close => self.closed = true,
                FrameType::Bound => assert!(self.welcomed, "a BOUND before WELCOME"),
                _ => {}
            }
            used += length;
        }
        self.bytes.drain(..used);
    }

    fn welcome(&mut self, welcome: &client::Welcome) {
        let resumed = self.resumes.take();
        assert_eq!(welcome.resumed.then_some(welcome.session), resumed.as_ref().map(|given| given.session));
        if resumed.as_ref().is_none_or(|given| given.session != self.latest.session) {
            self.owed.clear();
            self.seen.clear();
            self.have.clear();
        }
        let given = Given {
            token: welcome.resume_token.clone(),
            session: welcome.session,
            resumes: resumed.map_or(0, |given| given.resumes + 1),
        };
        self.before = std::mem::replace(&mut self.latest, given);
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
