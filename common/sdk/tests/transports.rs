//! The same session over every transport, and rooms that are not those that are meant.

mod support;

use std::time::Duration;

use longline_noise::StaticKey;
use longline_pb::client;
use longline_sdk::{Builder, Client, Disconnect, Event, Events, MessageId, StartError, Transport};
use longline_websocket::Control;
use support::front::Front;
use support::{Room, Sent, message, next_message, soon, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn device(endpoint: &str) -> Builder {
    Client::builder("test-device")
        .rooms([endpoint])
        .bind(1, "alice", "")
        .backoff(Duration::from_millis(10), Duration::from_millis(40))
}

/// A device that trusts the front.
fn trusting(front: &Front) -> Builder {
    device(&front.endpoint).ca_file(front.ca_file()).noise_key(front.noise_key.to_string())
}

/// Why the device could not connect.
async fn failure(events: &mut Events) -> String {
    let failed = |event| match event {
        Event::ConnectFailed { reason: Disconnect::Io(reason), .. } => Some(reason),
        _ => None,
    };
    wait_for(events, failed).await
}

#[tokio::test]
async fn messages_and_acks_go_over_every_transport() {
    for transport in Transport::ALL {
        let room = Room::new().await;
        let front = Front::new(transport, &room.address).await;
        let (client, mut events) = trusting(&front).start().unwrap();
        let (mut session, hello) = room.welcome().await;
        assert_eq!(hello.binds[0].user, "alice", "{transport}");
        let large = client::Push { payload: vec![7; 60_000].into(), ..message(2) };
        session.push(0, &[message(1), large, message(3)]).await;
        for id in 1..=3 {
            let message = next_message(&mut events).await;
            assert_eq!(message.id, MessageId(id), "{transport}");
            assert_eq!(message.payload.len(), if id == 2 { 60_000 } else { 1 }, "{transport}");
        }
        let mut acked = Vec::new();
        while acked.len() < 3 {
            acked.extend(session.ack().await.1);
        }
        assert_eq!(acked, [1, 2, 3], "{transport}");
        soon(client.close()).await;
        let said = session.rest().await;
        assert!(matches!(&said[..], [Sent::Close(_)]), "{transport}: {said:?}");
    }
}

#[tokio::test]
async fn over_websocket_pings_are_answered_and_the_end_is_said() {
    let room = Room::new().await;
    let mut front = Front::new(Transport::Ws, &room.address).await;
    let (client, _events) = trusting(&front).start().unwrap();
    let (mut session, _) = room.welcome().await;
    assert_eq!(soon(front.controls.recv()).await, Some(Control::Pong));
    let closing = tokio::spawn(async move { client.close().await });
    assert!(matches!(session.next().await, Sent::Close(_)));
    assert_eq!(soon(front.controls.recv()).await, Some(Control::Close(Some(1000))));
    soon(closing).await.unwrap();
}

#[tokio::test]
async fn a_room_whose_certificate_nobody_trusts_gets_nothing() {
    let room = Room::new().await;
    let front = Front::new(Transport::Tls, &room.address).await;
    let other = Front::new(Transport::Tls, &room.address).await;
    let (_client, mut events) = device(&front.endpoint).ca_file(other.ca_file()).start().unwrap();
    let reason = failure(&mut events).await;
    assert!(reason.starts_with("TLS: ") && reason.contains("certificate"), "{reason}");
    let named = trusting(&front).tls_name("elsewhere.example");
    let (_client, mut events) = named.start().unwrap();
    let reason = failure(&mut events).await;
    assert!(reason.contains("elsewhere.example"), "{reason}");
    assert!(room.stays_alone().await);
}

#[tokio::test]
async fn a_certificate_is_found_by_name_where_the_room_is_known_by_its_address() {
    let room = Room::new().await;
    let front = Front::new(Transport::Wss, &room.address).await;
    let endpoint = front.endpoint.replace("localhost", "127.0.0.1");
    let builder = device(&endpoint).ca_file(front.ca_file()).tls_name("localhost");
    let (_client, _events) = builder.start().unwrap();
    room.welcome().await;
}

#[tokio::test]
async fn a_room_with_another_noise_key_gets_nothing() {
    let room = Room::new().await;
    let front = Front::new(Transport::Noise, &room.address).await;
    let other = StaticKey::generate().unwrap().public();
    let (_client, mut events) = device(&front.endpoint).noise_key(other.to_string()).start().unwrap();
    let reason = failure(&mut events).await;
    assert!(reason.starts_with("Noise: ") && reason.contains("another key"), "{reason}");
}

/// Says CLOSE in the clear to the next connection: it may come back in a minute.
async fn turn_away(room: &TcpListener, reason: u32) {
    let (mut socket, _) = soon(room.accept()).await.expect("a connection");
    let close = client::Close { reason, detail: "full".to_owned(), retry_after_ms: 60_000 };
    let mut frame = Vec::new();
    longline_wire::encode(&close, &mut frame).expect("a short frame");
    socket.write_all(&frame).await.expect("a device that listens");
    socket.shutdown().await.expect("a device that listens");
}

#[tokio::test]
async fn a_room_that_turns_it_away_in_the_clear_is_heard_over_every_transport() {
    for transport in Transport::ALL {
        let front = Front::new(transport, "127.0.0.1:1").await;
        let room = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("{transport}://{}", room.local_addr().unwrap());
        let trusting = device(&endpoint).ca_file(front.ca_file()).noise_key(front.noise_key.to_string());
        let (_client, mut events) = trusting.start().unwrap();
        turn_away(&room, 1001).await;
        let turned_away = |event| match event {
            Event::ConnectFailed { reason, .. } => Some(reason),
            _ => None,
        };
        let reason = wait_for(&mut events, turned_away).await;
        assert_eq!(reason, Disconnect::ByRoom { reason: 1001, detail: "full".to_owned() }, "{transport}");
        // By itself it would wait for 40 ms at most.
        let again = tokio::time::timeout(Duration::from_millis(300), room.accept()).await;
        assert!(again.is_err(), "{transport}: it comes back after the wait it was named");
    }
}

#[tokio::test]
async fn what_anybody_can_say_in_the_clear_keeps_no_device_away_for_good() {
    let front = Front::new(Transport::Tls, "127.0.0.1:1").await;
    let room = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tls://{}", room.local_addr().unwrap());
    let (_client, mut events) = device(&endpoint).ca_file(front.ca_file()).start().unwrap();
    for _ in 0..2 {
        turn_away(&room, 2009).await;
        assert!(failure(&mut events).await.starts_with("TLS: "));
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_upgrade_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let (_client, mut events) = device(&endpoint).transport(Transport::Ws).start().unwrap();
    let (mut socket, _) = soon(listener.accept()).await.unwrap();
    let mut request = [0; 1024];
    assert!(soon(socket.read(&mut request)).await.unwrap() > 0);
    let answer = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    socket.write_all(answer).await.unwrap();
    let reason = failure(&mut events).await;
    assert!(reason.starts_with("WebSocket: ") && reason.contains("404"), "{reason}");
}

#[tokio::test]
async fn what_is_missing_is_said_before_it_starts() {
    let refused = |builder: Builder| builder.start().map(drop).unwrap_err();
    let device = || device("127.0.0.1:1");
    assert!(matches!(refused(device().transport(Transport::Noise)), StartError::NoNoiseKey));
    assert!(matches!(refused(device().noise_key("AAAA")), StartError::NoiseKey(_)));
    assert!(matches!(refused(device().tls_name("a b")), StartError::TlsName(_)));
    let error = refused(device().ca_file("/nowhere/ca.pem"));
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    let (_client, mut events) =
        Client::builder("d").rooms(["ftp://a:1"]).bind(1, "alice", "").start().unwrap();
    let reason = failure(&mut events).await;
    assert!(reason.contains("\"ftp\" is no transport"), "{reason}");
}
