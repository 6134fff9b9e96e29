//! The client in Python, which was written from proto/README.md alone, against a room played here: the proof that the page is
//! complete.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use longline_pb::client::{self, BindResult, PushFlag};
use longline_wire::{
    Body, FrameType, Limits, PREFACE, PREFACE_LEN, decode, encode, encode_empty, encode_push_message,
};

/// No step takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Room(TcpListener);

struct Session {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Room {
    fn new() -> Room {
        Room(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// The client, for user `alice ü` of product 300.
    fn client(&self, count: u32) -> Child {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../services/e2e/clients/mini_client.py");
        let port = self.0.local_addr().expect("an address").port().to_string();
        Command::new("python3")
            .args([script, "127.0.0.1", &port, "300", "alice ü", "--count", &count.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 is needed; on Debian: apt-get install python3")
    }

    /// The next connection, after its preface, and its HELLO.
    fn accept(&self) -> (Session, client::Hello) {
        let mut socket = self.connection();
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut preface = [0; PREFACE_LEN];
        socket.read_exact(&mut preface).expect("a preface");
        assert_eq!(preface, PREFACE);
        let mut session = Session { socket, bytes: Vec::new() };
        let hello = session.frame(FrameType::Hello);
        (session, hello)
    }
}

impl Room {
    fn connection(&self) -> TcpStream {
        self.0.set_nonblocking(true).expect("an option");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok((socket, _)) = self.0.accept() {
                socket.set_nonblocking(false).expect("an option");
                return socket;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the client did not connect");
    }
}

impl Session {
    /// The next frame, which must be of this type.
    fn frame<M: Body>(&mut self, kind: FrameType) -> M {
        loop {
            if let Some((frame, used)) = decode(&self.bytes, &Limits::FROM_DEVICE).expect("valid frames") {
                assert_eq!(frame.kind, kind);
                let message = frame.parse().expect("its message");
                self.bytes.drain(..used);
                return message;
            }
            let mut more = [0; 4096];
            let read = self.socket.read(&mut more).expect("a frame in time");
            assert!(read > 0, "{kind} was expected, not the end");
            self.bytes.extend_from_slice(&more[..read]);
        }
    }

    /// PING, which has no message.
    fn ping(&mut self) {
        let mut frame = [0; 2];
        self.socket.read_exact(&mut frame).expect("a PING in time");
        assert_eq!(frame, [FrameType::Ping.number(), 0]);
    }

    fn send<M: Body>(&mut self, message: &M) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).expect("within limits");
        self.raw(&bytes);
    }

    /// Byte by byte, as a network may.
    fn raw(&mut self, bytes: &[u8]) {
        self.socket.set_nodelay(true).expect("an option");
        bytes.iter().for_each(|byte| self.socket.write_all(&[*byte]).expect("the client reads"));
    }

    fn welcome(&mut self, heartbeat_s: u32) {
        let bound = client::Bound { result: BindResult::Ok.into(), window: 32, ..Default::default() };
        self.send(&client::Welcome { session: 1, heartbeat_s, binds: vec![bound], ..Default::default() });
    }

    fn push(&mut self, id: u64, payload: &str, flags: u32) {
        let mut bytes = Vec::new();
        let push = client::Push { id, payload: payload.to_owned().into(), flags, ..Default::default() };
        encode_push_message(0, &push, &mut bytes).expect("within limits");
        self.raw(&bytes);
    }

    /// Acknowledged ids until there are this many.
    fn acked(&mut self, count: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.extend(self.frame::<client::Ack>(FrameType::Ack).ids);
        }
        ids
    }
}

#[test]
fn it_listens_acknowledges_comes_back_and_says_goodbye() {
    let room = Room::new();
    let client = room.client(4);
    let (mut session, first) = room.accept();
    let bind = &first.binds[0];
    assert_eq!((bind.index, bind.product, bind.user.as_str()), (0, 300, "alice ü"));
    session.welcome(60);
    session.push(7, "\"hello\"", 0);
    session.push(u64::MAX >> 1, &"x".repeat(300), 0);
    session.push(7, "\"hello\"", PushFlag::Redelivered as u32);
    session.push(9, "gone", PushFlag::Transient as u32);
    assert_eq!(session.acked(3), [7, u64::MAX >> 1, 7]);
    let reason = client::Close { reason: 1000, detail: "bye".into(), retry_after_ms: 10 };
    session.send(&reason);
    drop(session);

    let (mut session, second) = room.accept();
    assert!(second.connection_counter > first.connection_counter);
    session.welcome(1);
    session.ping();
    let mut pong = Vec::new();
    encode_empty(FrameType::Pong, &mut pong).unwrap();
    session.raw(&pong);
    session.push(7, "\"hello\"", PushFlag::Redelivered as u32);
    session.push(11, "{}", PushFlag::Broadcast as u32);
    assert_eq!(session.acked(2), [7, 11]);
    assert_eq!(session.frame::<client::Close>(FrameType::Close).reason, 1007);
    drop(session);
    let output = client.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let long = format!("{} {}", u64::MAX >> 1, "x".repeat(300));
    assert_eq!(printed, format!("7 \"hello\"\n{long}\n9 gone\n11 {{}}\n"));
    assert!(output.status.success());
}

#[test]
fn it_stays_away_when_it_is_told_to() {
    let room = Room::new();
    let client = room.client(1);
    let (mut session, _) = room.accept();
    session.send(&client::Close { reason: 2008, detail: "displaced".into(), retry_after_ms: 0 });
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "closed by the room: 2008 displaced\n");
}
