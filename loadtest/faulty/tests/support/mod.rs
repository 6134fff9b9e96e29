//! A tiny client: one device, and a business that sends.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use longline_load_faulty::{Faulty, KEY, PRODUCT};
use longline_pb::client::{Ack, Bind, BindResult, Close, Hello, Push, PushFlag, Welcome};
use longline_wire::{Body, FrameType, Limits, PREFACE, decode, encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No step takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is to stay away for this long does not come.
const QUIET: Duration = Duration::from_millis(300);

pub(crate) struct Device {
    socket: TcpStream,
    input: BytesMut,
}

/// A frame that came.
#[derive(Debug, PartialEq)]
pub(crate) enum Came {
    Push(Push),
    Close(u32),
    End,
}

impl Device {
    /// The device `d-<user>`, welcomed.
    pub(crate) async fn connect(room: SocketAddr, user: &str, counter: u64) -> Device {
        let (mut device, welcome) = Device::hello(room, PRODUCT, user, counter).await;
        let welcome = welcome.expect("a welcome");
        assert_eq!(welcome.binds[0].result(), BindResult::Ok);
        assert!(welcome.heartbeat_s > 0 && welcome.binds[0].window > 0);
        device.input.reserve(1);
        device
    }

    /// A device that says HELLO, and what it is answered.
    pub(crate) async fn hello(
        room: SocketAddr,
        product: u32,
        user: &str,
        counter: u64,
    ) -> (Device, Option<Welcome>) {
        let socket = TcpStream::connect(room).await.expect("a room");
        let mut device = Device { socket, input: BytesMut::new() };
        let bind = Bind { product, user: user.to_owned(), ..Bind::default() };
        let hello = Hello {
            device: format!("d-{user}"),
            connection_counter: counter,
            binds: vec![bind],
            ..Hello::default()
        };
        device.socket.write_all(&PREFACE).await.expect("a room that reads");
        device.send(&hello).await;
        let welcome = device.frame(|kind, frame| match kind {
            FrameType::Welcome => Some(frame.parse::<Welcome>().expect("a welcome")),
            _ => None,
        });
        let welcome = welcome.await;
        (device, welcome)
    }

    pub(crate) async fn send(&mut self, body: &impl Body) {
        let mut bytes = Vec::new();
        encode(body, &mut bytes).expect("within limits");
        self.raw(&bytes).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("a room that reads");
    }

    pub(crate) async fn ack(&mut self, pushes: &[Push]) {
        self.send(&Ack { index: 0, ids: pushes.iter().map(|push| push.id).collect() }).await;
    }

    /// The next so many messages.
    pub(crate) async fn receive(&mut self, count: usize) -> Vec<Push> {
        let mut pushes = Vec::new();
        while pushes.len() < count {
            match self.came().await {
                Came::Push(push) => pushes.push(push),
                other => panic!("{other:?} after {} messages", pushes.len()),
            }
        }
        pushes
    }

    /// The same, acknowledged, as text.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<String> {
        let pushes = self.receive(count).await;
        self.ack(&pushes).await;
        texts(&pushes)
    }

    /// What comes next.
    pub(crate) async fn came(&mut self) -> Came {
        let came = self.frame(|kind, frame| match kind {
            FrameType::Push => Some(Came::Push(frame.parse_push().expect("a message").1)),
            FrameType::Close => Some(Came::Close(frame.parse::<Close>().expect("a reason").reason)),
            _ => None,
        });
        came.await.unwrap_or(Came::End)
    }

    /// The type of the next frame.
    pub(crate) async fn kind(&mut self) -> Option<FrameType> {
        self.frame(|kind, _| Some(kind)).await
    }

    /// Nothing comes for a while.
    pub(crate) async fn hears_nothing(&mut self) {
        let came = timeout(QUIET, self.came()).await;
        assert!(came.is_err(), "{came:?}");
    }

    /// The next frame that `take` takes; none if the connection ends.
    async fn frame<T>(
        &mut self,
        take: impl Fn(FrameType, &longline_wire::FrameRef<'_>) -> Option<T>,
    ) -> Option<T> {
        loop {
            if let Some((frame, length)) = decode(&self.input, &Limits::FROM_ROOM).expect("valid frames") {
                let taken = take(frame.kind, &frame);
                let _ = self.input.split_to(length);
                match taken {
                    None => continue,
                    taken => return taken,
                }
            }
            let read = timeout(PATIENCE, self.socket.read_buf(&mut self.input)).await;
            if read.expect("a frame in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

pub(crate) fn texts(pushes: &[Push]) -> Vec<String> {
    pushes.iter().map(|push| String::from_utf8_lossy(&push.payload).into_owned()).collect()
}

pub(crate) fn is_marked(push: &Push, flag: PushFlag) -> bool {
    push.flags & flag as u32 != 0
}

/// A business: one connection to the API.
pub(crate) struct Business {
    client: reqwest::Client,
    api: String,
}

impl Business {
    pub(crate) fn new(faulty: &Faulty) -> Business {
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1).timeout(PATIENCE);
        Business { client: client.build().expect("a client"), api: faulty.api() }
    }

    /// A message to a user; its id.
    pub(crate) async fn push(&self, user: &str, text: &str) -> u64 {
        self.push_with(user, text, json!({})).await
    }

    /// The same with more fields.
    pub(crate) async fn push_with(&self, user: &str, text: &str, more: Value) -> u64 {
        let mut body = json!({ "to": { "user": user }, "payload_base64": base64(text) });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let (status, answer) = self.post("/v1/messages", "", body).await;
        assert_eq!(status, 202, "{answer}");
        id(&answer["messages"][0]["id"])
    }

    pub(crate) async fn broadcast(&self, text: &str) -> u64 {
        let (status, answer) =
            self.post("/v1/broadcasts", "", json!({ "payload_base64": base64(text) })).await;
        assert_eq!(status, 202, "{answer}");
        id(&answer["id"])
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.api)).bearer_auth(KEY).json(&body);
        let request = if key.is_empty() { request } else { request.header("idempotency-key", key) };
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> (u16, Value) {
        let request = self.client.get(format!("{}{path}", self.api)).bearer_auth(key);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }
}

pub(crate) fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn id(value: &Value) -> u64 {
    value.as_str().and_then(|id| id.parse().ok()).expect("an id as text")
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} takes too long"));
}
