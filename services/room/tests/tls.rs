//! Devices that connect with TLS, on the port of all others.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use longline_room::link::Delivered;
use longline_room::{EngineConfig, Transports};
use longline_types::{CloseReason, MessageId};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use support::tls::{Authority, TlsStream, handshaken, write_new};
use support::{Device, Room, config, message};

fn room(authority: &Authority, config: EngineConfig) -> Room {
    let transports = Transports::default().with_tls(Arc::clone(&authority.certificates));
    Room::start_with(config, transports, &["127.0.0.1:0"])
}

fn connect(room: &Room, client: &Arc<ClientConfig>) -> TlsStream {
    handshaken(client, TcpStream::connect(room.address).unwrap()).unwrap()
}

/// A device over TLS that is bound as `user`.
fn device(room: &Room, client: &Arc<ClientConfig>, user: &str) -> Device {
    let mut device =
        Device::connect_through(room.address, |socket| Box::new(handshaken(client, socket).unwrap()));
    device.hello(&[user]);
    device.welcome();
    device
}

#[test]
fn both_versions_are_served_beside_plain_tcp() {
    let authority = Authority::new();
    let room = room(&authority, config());
    let mut plain = room.device("plain");
    for (version, user) in [(&TLS13, "new"), (&TLS12, "old")] {
        let client = Arc::new(authority.client(version));
        let mut device = device(&room, &client, user);
        room.await_clean(user);
        assert_eq!(room.deliver(user, vec![message(1), message(2)]), [Delivered::Pushed; 2]);
        assert_eq!(device.ids(2), [1, 2]);
        device.ack(0, &[1, 2]);
        device.assert_served();
        assert_eq!(room.metric("longline_room_connections_by_state{state=\"open\",transport=\"tls\"}"), 1);
        assert_eq!(room.metric("longline_room_connections_by_state{state=\"open\",transport=\"tcp\"}"), 1);
        drop(device);
        room.await_metric("longline_room_sessions", 1);
    }
    assert_eq!(room.metric("longline_room_tls_full_total"), 2);
    assert_eq!(room.metric("longline_room_connections_by_state{state=\"open\",transport=\"tls\"}"), 0);
    plain.assert_served();
    room.stop();
}

#[test]
fn large_messages_and_one_byte_at_a_time() {
    let authority = Authority::new();
    let room = room(&authority, config());
    let client = Arc::new(authority.client(&TLS13));
    let mut device = device(&room, &client, "alice");
    room.await_clean("alice");
    let mut large = message(1);
    large.payload = (0..60_000u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into();
    let messages =
        (1..=16).map(|id| support::Message { id: MessageId(id), ..large.clone() }).collect::<Vec<_>>();
    room.cluster.store("alice", messages.iter().cloned());
    room.deliver("alice", messages);
    for id in 1..=16 {
        let (_, push) = device.push();
        assert!(push.id == id && push.payload == large.payload);
        device.ack(0, &[id]);
    }
    for byte in [10, 0, 10, 0] {
        device.write(&[byte]);
    }
    device.assert_served();
    room.stop();
}

#[test]
fn who_comes_back_resumes() {
    let authority = Authority::new();
    let room = room(&authority, config());
    for (version, number) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
        let client = Arc::new(authority.client(version));
        let kind = || {
            let mut stream = connect(&room, &client);
            // The ticket of TLS 1.3 comes with what the room says first.
            stream.write_all(b"LL\x01\x00\x0a\x00").unwrap();
            let _ = stream.read(&mut [0; 100]);
            assert_eq!(stream.conn.protocol_version(), Some(number));
            stream.conn.handshake_kind()
        };
        assert_eq!(kind(), Some(HandshakeKind::Full));
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
        // Also after a new certificate.
        write_new(&authority.files);
        assert!(authority.certificates.reload().unwrap());
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
    }
    assert_eq!(room.metric("longline_room_tls_resumed_total"), 4);
    assert_eq!(room.metric("longline_room_tls_full_total"), 2);
    room.stop();
}

#[test]
fn a_client_may_name_the_protocol_but_no_other() {
    let authority = Authority::new();
    let room = room(&authority, config());
    let with = |names: &[&str]| {
        let mut client = authority.client(&TLS13);
        client.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(client)
    };
    let stream = connect(&room, &with(&["h2", "longline/1"]));
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"longline/1"[..]));
    let stream = connect(&room, &with(&["h2", "http/1.1"]));
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let refused = handshaken(&with(&["h2"]), TcpStream::connect(room.address).unwrap()).err().unwrap();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    room.await_metric("longline_room_tls_failed_total", 1);
    assert_eq!(room.closes("bad_transport"), 1);
    room.stop();
}

#[test]
fn a_new_certificate_is_used_at_once_and_a_bad_one_never() {
    let authority = Authority::new();
    let room = room(&authority, config());
    let certificate_of = |client: &Arc<ClientConfig>| {
        let stream = connect(&room, client);
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let first = authority.certificate();
    let client = Arc::new(authority.client(&TLS13));
    assert_eq!(certificate_of(&client), first);
    assert!(!authority.certificates.reload().unwrap(), "nothing has changed");
    let mut session = device(&room, &client, "alice");

    let key = std::fs::read(&authority.files.key).unwrap();
    std::fs::write(&authority.files.key, "no key").unwrap();
    let refused = format!("{:#}", authority.certificates.reload().unwrap_err());
    assert!(refused.contains("cannot read the private key") && refused.contains("room.key"), "{refused}");
    assert!(!authority.certificates.reload().unwrap(), "it is told once");
    write_new(&authority.files);
    std::fs::write(&authority.files.key, key).unwrap();
    let refused = format!("{:#}", authority.certificates.reload().unwrap_err());
    assert!(refused.contains("do not fit"), "{refused}");
    assert_eq!(certificate_of(&client), first);

    write_new(&authority.files);
    assert!(authority.certificates.reload().unwrap());
    let second = authority.certificate();
    assert_ne!(first, second);
    assert_eq!(certificate_of(&Arc::new(authority.client(&TLS13))), second);
    session.assert_served();
    room.stop();
}

#[test]
fn many_handshakes_at_once_take_their_turns() {
    let authority = Authority::new();
    let room = room(&authority, EngineConfig { handshakes_per_turn: 1, ..config() });
    let client = Arc::new(authority.client(&TLS13));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (client, address) = (Arc::clone(&client), room.address);
            std::thread::spawn(move || {
                (0..8)
                    .map(|number| {
                        let through = |socket| Box::new(handshaken(&client, socket).unwrap()) as _;
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
    assert_eq!(room.metric("longline_room_connections_by_state{state=\"open\",transport=\"tls\"}"), 64);
    devices.iter_mut().for_each(Device::assert_served);
    room.stop();
}

#[test]
fn the_room_says_in_tls_why_and_that_it_ends() {
    let authority = Authority::new();
    let room = room(&authority, config());
    let client = Arc::new(authority.client(&TLS13));
    let mut stream = connect(&room, &client);
    stream.write_all(b"LX").unwrap();
    stream.sock.set_read_timeout(Some(support::DEADLINE)).unwrap();
    let mut said = Vec::new();
    // Without a close_notify this would be an error.
    stream.read_to_end(&mut said).unwrap();
    assert_eq!(said[0], 13, "CLOSE");
    assert_eq!(room.closes("bad_preface"), 1);
    room.stop();
}

#[test]
fn what_is_no_tls_ends_with_an_alert_and_nobody_else_notices() {
    let authority = Authority::new();
    let room = room(&authority, EngineConfig { handshake_ms: 300, linger_ms: 200, ..config() });
    let client = Arc::new(authority.client(&TLS13));
    let mut bystander = device(&room, &client, "bystander");
    let cases: [&[u8]; 3] =
        [b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff", b"\x16\xff\xff\xff\xff\xff\xff\xff"];
    for (number, bytes) in (1..).zip(cases) {
        let mut socket = TcpStream::connect(room.address).unwrap();
        socket.write_all(bytes).unwrap();
        let mut said = Vec::new();
        socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
        socket.read_to_end(&mut said).unwrap();
        assert!(said.is_empty() || said[0] == 0x15, "an alert, or nothing: {said:x?}");
        room.await_metric("longline_room_tls_failed_total", number);
        assert_eq!(room.closes("bad_transport"), number);
    }
    // Half a record, and then nothing.
    let mut half = TcpStream::connect(room.address).unwrap();
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00").unwrap();
    room.await_metric("longline_room_closes_total{reason=\"handshake_timeout\"}", 1);
    bystander.assert_served();
    room.await_metric("longline_room_connections", 1);
    room.stop();
}

#[test]
fn without_a_certificate_tls_is_no_preface() {
    let room = Room::start(config());
    let mut device = Device::connect(room.address);
    device.write(b"\x16\x03\x01\x00\x05hello");
    assert_eq!(device.close_reason(), Some(CloseReason::BadPreface));
    room.stop();
}

#[test]
fn every_address_speaks_all_of_it() {
    let authority = Authority::new();
    let transports = Transports::default().with_tls(Arc::clone(&authority.certificates));
    let config = EngineConfig { shards: 2, ..config() };
    let room = Room::start_with(config, transports, &["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"]);
    let addresses = room.engine.addresses().to_vec();
    assert_eq!(addresses.len(), 3);
    let client = Arc::new(authority.client(&TLS13));
    for (number, address) in addresses.into_iter().enumerate() {
        let mut plain = Device::connect(address);
        plain.hello(&[&format!("plain-{number}")]);
        plain.welcome();
        let mut device =
            Device::connect_through(address, |socket| Box::new(handshaken(&client, socket).unwrap()));
        device.hello(&[&format!("tls-{number}")]);
        device.welcome();
        plain.assert_served();
        device.assert_served();
    }
    room.stop();
}
