//! Devices that connect with WebSocket, Noise and through proxies, inside TLS and without, on one port.
#![allow(clippy::unwrap_used)] // all of this is a test

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use longline_noise::StaticKey;
use longline_pb::client::Hello;
use longline_room::link::{Command, Delivered, ToCluster};
use longline_room::{AdmissionConfig, EngineConfig, ProxyConfig, Transports, WebSocketConfig};
use longline_types::{CloseReason, MessageId};
use longline_wire::{FrameType, PREFACE, encode, encode_empty};
use rustls::version::TLS13;
use support::device::{Frame, Through, bind};
use support::tls::{Authority, handshaken};
use support::{DEADLINE, Device, Message, Room, address, config, eventually, message};
use support::{noise, websocket};
use tungstenite::protocol::frame::coding::CloseCode;

/// Everything that a port can speak, with loopback as a trusted proxy.
struct Everything {
    authority: Authority,
    key: Arc<StaticKey>,
    room: Room,
}

impl Everything {
    fn start(config: EngineConfig) -> Everything {
        let authority = Authority::new();
        let key = Arc::new(StaticKey::generate().unwrap());
        let transports = Transports::default()
            .with_tls(Arc::clone(&authority.certificates))
            .with_noise(Arc::clone(&key))
            .with_proxies(ProxyConfig { trusted: vec!["127.0.0.0/8".parse().unwrap()] });
        let room = Room::start_with(config, transports, &["127.0.0.1:0"]);
        Everything { authority, key, room }
    }

    /// What the words say, from the outside in.
    fn through(&self, words: &str, socket: TcpStream) -> Box<dyn Through> {
        let mut through: Box<dyn Through> = Box::new(socket.try_clone().unwrap());
        for word in words.split(' ') {
            through = match word {
                "tcp" => through,
                "proxy" => {
                    through.write_all(&proxy_header("192.0.2.7:1234")).unwrap();
                    through
                }
                "tls" => {
                    let client = Arc::new(self.authority.client(&TLS13));
                    Box::new(handshaken(&client, socket.try_clone().unwrap()).unwrap())
                }
                "ws" => Box::new(websocket::Stream::connect("ws://localhost/v1/ws", Patient(through))),
                "noise" => Box::new(noise::Stream::connect(through, &self.key.public()).unwrap()),
                other => panic!("{other}"),
            };
        }
        through
    }

    fn device(&self, words: &str, user: &str) -> Device {
        let mut device = Device::connect_through(self.room.address, |socket| self.through(words, socket));
        device.hello(&[user]);
        device.welcome();
        device
    }
}

/// Waits where a stream only looks: a handshake of tungstenite is to be finished by one call.
struct Patient(Box<dyn Through>);

impl std::io::Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn proxy_header(client: &str) -> Vec<u8> {
    let mut header = Vec::new();
    let addresses = longline_proxy::Addresses {
        source: client.parse().unwrap(),
        destination: "192.0.2.1:443".parse().unwrap(),
    };
    longline_proxy::encode_v2(Some(addresses), &mut header);
    header
}

/// Where the room says that a session is connected from.
fn peer(room: &Room, user: &str) -> String {
    let route = room.cluster.route(user);
    room.ask(|reply| Command::Inspect { address: address(user), route, reply }).unwrap().peer
}

#[test]
fn every_nesting_of_transports_is_served() {
    let everything = Everything::start(config());
    let room = &everything.room;
    let cases = [
        ("tcp", "tcp"),
        ("tls", "tls"),
        ("ws", "ws"),
        ("tls ws", "wss"),
        ("noise", "noise"),
        ("ws noise", "noise"),
        ("tls noise", "noise"),
        ("tls ws noise", "noise"),
        ("proxy tcp", "tcp"),
        ("proxy tls", "tls"),
        ("proxy ws", "ws"),
        ("proxy tls ws", "wss"),
        ("proxy noise", "noise"),
    ];
    let mut large = message(1);
    large.payload = (0..60_000u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into();
    for (words, kind) in cases {
        let mut device = everything.device(words, "alice");
        eventually("a clean bind", || {
            let route = room.cluster.route("alice");
            let inspect = |reply| Command::Inspect { address: address("alice"), route, reply };
            room.ask(inspect).is_some_and(|bind| !bind.dirty && !bind.loading)
        });
        let messages = (1..=3).map(|id| Message { id: MessageId(id), ..large.clone() }).collect();
        assert_eq!(room.deliver("alice", messages), [Delivered::Pushed; 3], "{words}");
        for id in 1..=3 {
            let (_, push) = device.push();
            assert!(push.id == id && push.payload == large.payload, "{words}");
        }
        device.ack(0, &[1, 2, 3]);
        device.assert_served();
        assert_eq!(
            room.metric(&format!(
                "longline_room_connections_by_state{{state=\"open\",transport=\"{kind}\"}}"
            )),
            1
        );
        let peer = peer(room, "alice");
        assert_eq!(peer == "192.0.2.7:1234", words.starts_with("proxy"), "{words}: {peer}");
        drop(device);
        room.await_metric("longline_room_connections", 0);
    }
    everything.room.stop();
}

#[test]
fn a_text_header_of_a_proxy_and_none_from_a_health_check() {
    let everything = Everything::start(config());
    let mut device = Device::connect(everything.room.address);
    device.write(b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n");
    device.hello(&["alice"]);
    device.welcome();
    assert_eq!(peer(&everything.room, "alice"), "[2001:db8::7]:4711");
    let mut check = Device::connect(everything.room.address);
    check.write(b"PROXY UNKNOWN\r\n");
    check.hello(&["bob"]);
    check.welcome();
    assert!(peer(&everything.room, "bob").starts_with("127.0.0.1:"));
    let mut bad = Device::connect(everything.room.address);
    bad.write(b"PROXY TCP4 nonsense\r\n");
    assert_eq!(bad.close_reason(), Some(CloseReason::BadPreface));
    everything.room.stop();
}

#[test]
fn nothing_is_read_of_a_device_behind_a_proxy_that_may_not_connect() {
    let everything = Everything::start(config());
    let room = &everything.room;
    room.engine.admit(Some("deny = [\"192.0.2.0/24\"]")).unwrap();
    let hello = Hello {
        device: "device".into(),
        connection_counter: 1,
        binds: vec![bind(0, "mallory")],
        ..Hello::default()
    };
    let mut together = [&proxy_header("192.0.2.7:1234")[..], &PREFACE].concat();
    encode(&hello, &mut together).unwrap();
    let mut mallory = Device::connect(room.address);
    mallory.write(&together);
    assert_eq!(mallory.close_reason(), Some(CloseReason::Denied));
    let asked = room.cluster.asked(|question| matches!(question, ToCluster::Bind(_)).then_some(()));
    assert!(asked.is_empty(), "its HELLO came with the header");
    everything.room.stop();
}

#[test]
fn who_is_not_trusted_cannot_say_where_it_is() {
    let transports =
        Transports::default().with_proxies(ProxyConfig { trusted: vec!["10.0.0.0/8".parse().unwrap()] });
    let room = Room::start_with(config(), transports, &["127.0.0.1:0"]);
    for header in [proxy_header("192.0.2.7:1234"), b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n".to_vec()] {
        let mut device = Device::connect(room.address);
        device.write(&header);
        assert_eq!(device.close_reason(), Some(CloseReason::BadPreface));
    }
    room.stop();
}

/// A plain connection after this request, and the status it got.
fn request(room: &Room, text: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(room.address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().to_owned();
    (socket, status)
}

#[test]
fn a_request_that_is_no_upgrade_is_told_so() {
    let transports = Transports::default().with_websocket(WebSocketConfig { path: "/push".to_owned() });
    let room = Room::start_with(config(), transports, &["127.0.0.1:0"]);
    let upgrade = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Origin: https://elsewhere.example\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let cases = [
        (format!("GET /push HTTP/1.1\r\n{upgrade}"), "101"),
        (format!("GET /push?x=1 HTTP/1.1\r\n{upgrade}"), "101"),
        (format!("GET /v1/ws HTTP/1.1\r\n{upgrade}"), "404"),
        ("GET /push HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), "426"),
        ("GET nonsense\r\n\r\n".to_owned(), "400"),
    ];
    for (text, expected) in cases {
        let (mut socket, status) = request(&room, &text);
        assert_eq!(status, expected, "{text}");
        if status != "101" {
            socket.read_to_end(&mut Vec::new()).unwrap();
        }
    }
    assert_eq!(room.closes("bad_transport"), 3);
    room.stop();
}

#[test]
fn websocket_pings_are_answered_and_its_rules_kept() {
    use tungstenite::Message;
    let everything = Everything::start(config());
    let connect = || {
        let socket = TcpStream::connect(everything.room.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        tungstenite::client("ws://localhost/v1/ws", socket).unwrap().0
    };
    let closed = |socket: &mut tungstenite::WebSocket<TcpStream>| loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.unwrap().code,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let mut socket = connect();
    socket.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
    socket.close(None).unwrap();
    assert_eq!(closed(&mut socket), CloseCode::Normal);

    let mut socket = connect();
    socket.send(Message::Text("hello".into())).unwrap();
    assert_eq!(closed(&mut socket), CloseCode::Unsupported);

    let mut socket = connect();
    socket.send(Message::Binary(b"LX".to_vec().into())).unwrap();
    let Message::Binary(close) = socket.read().unwrap() else { panic!("CLOSE comes first") };
    assert_eq!(close[0], 13);
    assert_eq!(closed(&mut socket), CloseCode::Policy);

    let mut socket = connect();
    socket.get_mut().write_all(b"\x82\x04LL\x01\x00").unwrap();
    assert_eq!(closed(&mut socket), CloseCode::Protocol, "not masked");
    everything.room.stop();
}

#[test]
fn pings_of_websocket_that_nobody_reads_cost_a_bounded_amount() {
    let config = EngineConfig { write_timeout_ms: 500, linger_ms: 200, ..config() };
    let everything = Everything::start(config);
    let mut device = everything.device("ws", "mallory");
    device.socket.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let pings = [0x89, 0xfd, 0, 0, 0, 0].iter().copied().chain([7; 125]).collect::<Vec<u8>>().repeat(500);
    let end = std::time::Instant::now() + Duration::from_secs(2);
    while std::time::Instant::now() < end && device.socket.write_all(&pings).is_ok() {
        assert!(everything.room.metric("longline_room_output_bytes") < 256 * 1024);
    }
    everything.room.stop();
}

#[test]
fn a_key_of_another_room_and_a_room_without_one() {
    let everything = Everything::start(config());
    let other = StaticKey::generate().unwrap().public();
    let socket = TcpStream::connect(everything.room.address).unwrap();
    assert!(noise::Stream::connect(socket, &other).is_err());
    everything.room.await_metric("longline_room_closes_total{reason=\"bad_transport\"}", 1);
    everything.room.stop();

    let room = Room::start(config());
    let mut device = Device::connect(room.address);
    device.write(&longline_noise::PREFACE);
    device.write(&[0, 48]);
    assert_eq!(device.close_reason(), Some(CloseReason::UnsupportedVersion));
    room.stop();
}

#[test]
fn messages_of_websocket_have_no_meaning_and_nothing_is_compressed() {
    let room = Room::start(config());
    let through = |socket| Box::new(websocket::Stream::connect("ws://localhost/v1/ws", socket)) as _;
    let mut device = Device::connect_through(room.address, through);
    let hello = Hello {
        device: "device".into(),
        connection_counter: 1,
        binds: vec![bind(0, "alice")],
        ..Hello::default()
    };
    let mut bytes = PREFACE.to_vec();
    encode(&hello, &mut bytes).unwrap();
    let mut ping = Vec::new();
    encode_empty(FrameType::Ping, &mut ping).unwrap();
    // HELLO in two messages; then two PINGs and a half in one, and the rest.
    device.write(&bytes[..10]);
    device.write(&bytes[10..]);
    device.welcome();
    device.write(&[&ping[..], &ping, &ping[..1]].concat());
    assert_eq!([device.frame(), device.frame()], [Frame::Pong, Frame::Pong]);
    device.write(&ping[1..]);
    assert_eq!(device.frame(), Frame::Pong);

    let mut socket = TcpStream::connect(room.address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = "GET /v1/ws HTTP/1.1\r\nHost: room\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).unwrap(), 1);
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101 ") && !answer.contains("extensions"), "{answer}");
    room.stop();
}

#[test]
fn what_the_layers_of_strangers_keep_is_of_their_share_of_the_memory() {
    let admission =
        AdmissionConfig { memory_bytes: 3_000_000, unauthenticated_percent: 1, ..AdmissionConfig::default() };
    let everything = Everything::start(EngineConfig { admission, ..config() });
    let room = &everything.room;
    let mut bystander = room.device("bystander");
    // None of it ever comes whole. A connection takes some 4,400 of the 30,000 bytes that all strangers have, and 10,240 for TLS.
    let cases = [
        ("noise", 1, [[0xff; 2].as_slice(), &[0; 30_000]].concat()),
        ("tcp", 1, [[0x16, 3, 1, 0x40, 0].as_slice(), &[0; 16_000]].concat()),
        ("tcp", 3, [b"GET /v1/ws HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 8_000]].concat()),
    ];
    for (number, (layers, connections, half)) in cases.iter().enumerate() {
        let hoarders: Vec<_> = (0..*connections)
            .map(|_| {
                let mut socket = TcpStream::connect(room.address).unwrap();
                let through = everything.through(layers, socket.try_clone().unwrap());
                // It may be told before all is written.
                let _ = socket.write_all(half);
                (socket, through)
            })
            .collect();
        eventually("one of them is sent away", || room.refused("unauthenticated") == number as u64 + 1);
        drop(hoarders);
        room.await_metric("longline_room_connections", 1);
    }
    bystander.assert_served();
    everything.room.stop();
}

#[test]
fn a_handshake_of_noise_in_single_bytes_is_as_good_as_any() {
    struct Slowly(TcpStream);
    impl std::io::Read for Slowly {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let end = buffer.len().min(1);
            self.0.read(&mut buffer[..end])
        }
    }
    impl std::io::Write for Slowly {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(&bytes[..bytes.len().min(1)])
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let everything = Everything::start(config());
    let key = everything.key.public();
    let mut device = Device::connect_through(everything.room.address, |socket| {
        Box::new(noise::Stream::connect(Slowly(socket), &key).unwrap())
    });
    device.hello(&["alice"]);
    device.welcome();
    device.assert_served();
    everything.room.stop();
}

#[test]
fn what_the_room_ends_with_is_said_through_all_layers() {
    let everything = Everything::start(config());
    for (number, words) in ["tcp", "tls", "ws", "tls ws", "noise", "tls ws noise"].iter().enumerate() {
        let user = format!("user-{number}");
        let mut device = everything.device(words, &user);
        let route = everything.room.cluster.route(&user);
        let kicked = everything.room.ask(|reply| Command::Kick {
            address: address(&user),
            route,
            detail: "enough".to_owned(),
            reply,
        });
        assert!(kicked, "{words}");
        match device.frame() {
            Frame::Close(close) => {
                assert_eq!((close.reason, close.detail.as_str()), (2009, "enough"), "{words}")
            }
            other => panic!("{words}: {other:?}"),
        }
        assert_eq!(device.frame(), Frame::End, "{words}");
    }
    everything.room.stop();
}

/// Many connections that begin a handshake of Noise at once.
#[test]
fn handshakes_of_noise_take_their_turns() {
    let everything = Everything::start(EngineConfig { handshakes_per_turn: 1, ..config() });
    let (address, key): (SocketAddr, _) = (everything.room.address, everything.key.public());
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            std::thread::spawn(move || {
                (0..8)
                    .map(|number| {
                        let through = |socket| {
                            Box::new(noise::Stream::connect(socket, &key).unwrap()) as Box<dyn Through>
                        };
                        let mut device = Device::connect_through(address, through);
                        device.hello(&[&format!("user-{thread}-{number}")]);
                        device.welcome();
                        device
                    })
                    .collect::<Vec<Device>>()
            })
        })
        .collect();
    let mut devices: Vec<Device> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    devices.iter_mut().for_each(Device::assert_served);
    everything.room.stop();
}
