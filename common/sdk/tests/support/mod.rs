//! A room written by hand: what it receives is returned frame by frame, and it says what the test tells it to.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod front;

use std::time::Duration;

use bytes::{Buf, BytesMut};
use longline_pb::client::{self, BindResult};
use longline_sdk::{Client, Event, Events, Message};
use longline_types::CloseReason;
use longline_wire::{
    Body, FrameType, Limits, PREFACE_LEN, decode, decode_preface, encode, encode_empty, encode_push_message,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing in these tests takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have come long ago")
}

pub(crate) struct Room {
    listener: TcpListener,
    pub(crate) address: String,
}

pub(crate) struct Session {
    socket: TcpStream,
    bytes: BytesMut,
}

/// What a device sends.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Sent {
    Hello(client::Hello),
    Bind(client::Bind),
    Unbind(client::Unbind),
    Ack(client::Ack),
    Uplink(client::Uplink),
    Ping,
    Close(client::Close),
    /// It hung up.
    End,
}

impl Room {
    pub(crate) async fn new() -> Room {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        Room { listener, address }
    }

    /// The next connection, after its preface.
    pub(crate) async fn accept(&self) -> Session {
        soon(async {
            let (mut socket, _) = self.listener.accept().await.expect("a connection");
            let mut preface = [0; PREFACE_LEN];
            socket.read_exact(&mut preface).await.expect("a preface");
            assert!(decode_preface(&preface).expect("the preface").is_some());
            Session { socket, bytes: BytesMut::new() }
        })
        .await
    }

    /// The next connection, welcomed with all its binds, and its HELLO.
    pub(crate) async fn welcome(&self) -> (Session, client::Hello) {
        let mut session = self.accept().await;
        let hello = session.hello().await;
        session.send(&welcome_to(&hello, BindResult::Ok)).await;
        (session, hello)
    }

    /// Whether nobody connects for a while.
    pub(crate) async fn stays_alone(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.listener.accept()).await.is_err()
    }
}

pub(crate) fn welcome_to(hello: &client::Hello, result: BindResult) -> client::Welcome {
    let binds = hello.binds.iter().map(|bind| bound(bind.index, result)).collect();
    client::Welcome { session: 7, heartbeat_s: 60, binds, ..client::Welcome::default() }
}

pub(crate) fn bound(index: u32, result: BindResult) -> client::Bound {
    client::Bound { index, result: result.into(), window: 32, ..client::Bound::default() }
}

pub(crate) fn message(id: u64) -> client::Push {
    client::Push { id, payload: id.to_string().into(), ..client::Push::default() }
}

impl Session {
    pub(crate) async fn hello(&mut self) -> client::Hello {
        match self.next().await {
            Sent::Hello(hello) => hello,
            other => panic!("HELLO comes first, not {other:?}"),
        }
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Sent {
        soon(async {
            loop {
                if let Some(sent) = self.decode() {
                    return sent;
                }
                match self.socket.read_buf(&mut self.bytes).await {
                    Ok(0) | Err(_) => return Sent::End,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    fn decode(&mut self) -> Option<Sent> {
        let (frame, used) = decode(&self.bytes, &Limits::FROM_DEVICE).expect("valid frames")?;
        let sent = match frame.kind {
            FrameType::Hello => Sent::Hello(frame.parse().expect("HELLO")),
            FrameType::Bind => Sent::Bind(frame.parse().expect("BIND")),
            FrameType::Unbind => Sent::Unbind(frame.parse().expect("UNBIND")),
            FrameType::Ack => Sent::Ack(frame.parse().expect("ACK")),
            FrameType::Uplink => Sent::Uplink(frame.parse().expect("UPLINK")),
            FrameType::Ping => Sent::Ping,
            FrameType::Close => Sent::Close(frame.parse().expect("CLOSE")),
            other => panic!("a device does not send {other}"),
        };
        self.bytes.advance(used);
        Some(sent)
    }

    /// Frames up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Sent::End => return all,
                sent => all.push(sent),
            }
        }
    }

    /// The next frame, which must be an ACK: its bind and ids.
    pub(crate) async fn ack(&mut self) -> (u32, Vec<u64>) {
        match self.next().await {
            Sent::Ack(ack) => (ack.index, ack.ids),
            other => panic!("ACK expected, not {other:?}"),
        }
    }

    pub(crate) async fn uplink(&mut self) -> client::Uplink {
        match self.next().await {
            Sent::Uplink(uplink) => uplink,
            other => panic!("UPLINK expected, not {other:?}"),
        }
    }

    pub(crate) async fn send<M: Body>(&mut self, body: &M) {
        let mut bytes = Vec::new();
        encode(body, &mut bytes).expect("within limits");
        self.raw(&bytes).await;
    }

    pub(crate) async fn push(&mut self, index: u8, pushes: &[client::Push]) {
        let mut bytes = Vec::new();
        for push in pushes {
            encode_push_message(index, push, &mut bytes).expect("within limits");
        }
        self.raw(&bytes).await;
    }

    pub(crate) async fn pong(&mut self) {
        let mut bytes = Vec::new();
        encode_empty(FrameType::Pong, &mut bytes).expect("within limits");
        self.raw(&bytes).await;
    }

    pub(crate) async fn close(&mut self, reason: CloseReason, retry_after_ms: u32) {
        let reason = reason.number().into();
        self.send(&client::Close { reason, detail: "test".into(), retry_after_ms }).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        soon(self.socket.write_all(bytes)).await.expect("the device listens");
    }
}

/// A device that is quick to come back.
pub(crate) fn device(rooms: &[&Room]) -> longline_sdk::Builder {
    Client::builder("test-device")
        .rooms(rooms.iter().map(|room| room.address.clone()))
        .bind(1, "alice", "")
        .backoff(Duration::from_millis(10), Duration::from_millis(40))
}

/// The next event.
pub(crate) async fn event(events: &mut Events) -> Event {
    soon(events.recv()).await.expect("an event")
}

/// The next message; what else happens on the way is passed over.
pub(crate) async fn next_message(events: &mut Events) -> Message {
    loop {
        if let Event::Message(message) = event(events).await {
            return message;
        }
    }
}

/// The next event that this picks; others are passed over.
pub(crate) async fn wait_for<T>(events: &mut Events, pick: impl Fn(Event) -> Option<T>) -> T {
    loop {
        if let Some(picked) = pick(event(events).await) {
            return picked;
        }
    }
}
