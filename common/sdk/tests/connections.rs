//! Coming back: after a loss, as the room asks, and not at all.

mod support;

use std::time::Duration;

use longline_pb::client::{self, BindResult, Directive, Reconnect, directive::What};
use longline_sdk::{Closed, Disconnect, Event};
use longline_types::{CloseReason, MessageId};
use longline_wire::FrameType;
use support::{Room, Sent, device, event, message, next_message, soon, wait_for, welcome_to};

fn disconnected(event: Event) -> Option<Disconnect> {
    match event {
        Event::Disconnected { reason, .. } => Some(reason),
        _ => None,
    }
}

fn connected(event: Event) -> Option<String> {
    match event {
        Event::Connected { endpoint, .. } => Some(endpoint),
        _ => None,
    }
}

fn failed(event: Event) -> Option<(String, Disconnect)> {
    match event {
        Event::ConnectFailed { endpoint, reason } => Some((endpoint, reason)),
        _ => None,
    }
}

#[tokio::test]
async fn after_a_loss_it_comes_back_with_everything_and_tells_nothing_twice() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).bind(2, "bob", "secret").start().unwrap();
    let (mut session, first) = room.welcome().await;
    session.push(1, &[message(1)]).await;
    assert_eq!(next_message(&mut events).await.address.to_string(), "2/bob");
    drop(session);
    let (mut session, second) = room.welcome().await;
    assert!(second.connection_counter > first.connection_counter, "R1");
    assert_eq!(second.binds, first.binds);
    assert_eq!(second.binds[1].token, "secret");
    let again = client::Push { flags: client::PushFlag::Redelivered as u32, ..message(1) };
    session.push(1, &[again, message(2)]).await;
    assert_eq!(next_message(&mut events).await.id, MessageId(2));
    let mut acked = Vec::new();
    while acked.len() < 2 {
        acked.extend(session.ack().await.1);
    }
    assert_eq!(acked, [1, 2], "what was acknowledged in vain is acknowledged again");
}

#[tokio::test]
async fn a_displaced_device_stays_away() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.close(CloseReason::Displaced, 0).await;
    let closed = wait_for(&mut events, |e| if let Event::Closed(c) = e { Some(c) } else { None }).await;
    assert_eq!(closed, Closed::ByRoom { reason: 2008, detail: "test".into() });
    assert_eq!(closed.to_string(), "the room closed the connection: 2008 displaced (test)");
    assert_eq!(soon(events.recv()).await, None);
    assert!(room.stays_alone().await);
    assert!(client.bind(1, "carol", "").await.is_err());
    soon(client.close()).await;
}

#[tokio::test]
async fn an_unknown_number_is_judged_by_its_range() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.send(&client::Close { reason: 1999, ..client::Close::default() }).await;
    wait_for(&mut events, disconnected).await;
    let (mut session, _) = room.welcome().await;
    session.send(&client::Close { reason: 2999, ..client::Close::default() }).await;
    wait_for(&mut events, |e| matches!(e, Event::Closed(_)).then_some(())).await;
}

#[tokio::test]
async fn a_room_that_goes_away_is_left_for_another_after_the_wait_it_named() {
    let (one, other) = (Room::new().await, Room::new().await);
    let (_client, mut events) = device(&[&one, &other]).start().unwrap();
    let (mut session, _) = one.welcome().await;
    session.close(CloseReason::GoingAway, 200).await;
    let wait = wait_for(&mut events, |e| match e {
        Event::Disconnected { retry_in, reason: Disconnect::ByRoom { reason: 1000, .. } } => Some(retry_in),
        _ => None,
    })
    .await;
    assert!((200..=400).contains(&wait.as_millis()), "{wait:?}");
    let _session = other.welcome().await;
    assert_eq!(wait_for(&mut events, connected).await, other.address);
}

#[tokio::test]
async fn a_directive_moves_the_device_to_the_room_it_names() {
    let (one, other) = (Room::new().await, Room::new().await);
    let (_client, mut events) = device(&[&one]).start().unwrap();
    let (mut session, first) = one.welcome().await;
    session.push(0, &[message(1)]).await;
    next_message(&mut events).await;
    assert_eq!(session.ack().await.1, [1]);
    assert!(first.ticket.is_empty());
    let reconnect =
        Reconnect { endpoints: vec![other.address.clone()], within_ms: 50, ticket: b"ticket".to_vec() };
    session.send(&Directive { what: Some(What::Reconnect(reconnect)) }).await;
    assert!(matches!(session.next().await, Sent::Close(close) if close.reason == 1007));
    drop(session);
    let (session, second) = other.welcome().await;
    assert!(second.connection_counter > first.connection_counter);
    assert_eq!(second.ticket, b"ticket");
    assert_eq!(wait_for(&mut events, disconnected).await, Disconnect::Moved);
    drop(session);
    let (_session, third) = one.welcome().await;
    assert!(third.ticket.is_empty(), "it has done its work");
}

#[tokio::test]
async fn a_quiet_device_pings_and_a_dead_room_is_noticed() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let mut session = room.accept().await;
    let hello = session.hello().await;
    session.send(&client::Welcome { heartbeat_s: 1, ..welcome_to(&hello, BindResult::Ok) }).await;
    assert_eq!(session.next().await, Sent::Ping);
    session.pong().await;
    assert_eq!(session.next().await, Sent::Ping);
    // Not answered this time.
    assert_eq!(wait_for(&mut events, disconnected).await, Disconnect::Silence);
    room.welcome().await;
}

#[tokio::test]
async fn the_room_may_ask_for_quicker_heartbeats() {
    let room = Room::new().await;
    let (_client, _events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.send(&Directive { what: Some(What::HeartbeatS(1)) }).await;
    assert_eq!(session.next().await, Sent::Ping);
}

#[tokio::test]
async fn what_is_not_the_protocol_is_answered_with_a_number_and_a_new_try() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.raw(&[99]).await;
    assert!(matches!(session.next().await, Sent::Close(close) if close.reason == 2003));
    drop(session);
    assert!(matches!(wait_for(&mut events, disconnected).await, Disconnect::Protocol(_)));
    let (mut session, _) = room.welcome().await;
    session.raw(&[FrameType::Push.number(), 0xff, 0xff, 0x7f]).await;
    assert!(matches!(session.next().await, Sent::Close(close) if close.reason == 2002));
}

#[tokio::test]
async fn a_room_that_never_welcomes_is_given_up_for_the_next() {
    let (mute, good) = (Room::new().await, Room::new().await);
    let timeout = Duration::from_millis(200);
    let (_client, mut events) = device(&[&mute, &good]).connect_timeout(timeout).start().unwrap();
    let _held = mute.accept().await;
    let (failed, reason) = wait_for(&mut events, failed).await;
    assert_eq!((failed, reason), (mute.address.clone(), Disconnect::ConnectTimeout));
    let (session, _) = good.welcome().await;
    assert_eq!(wait_for(&mut events, connected).await, good.address);
    drop(session);
    // What worked is remembered.
    good.welcome().await;
}

#[tokio::test]
async fn a_room_that_speaks_out_of_turn_is_given_up() {
    let (rude, good) = (Room::new().await, Room::new().await);
    let (_client, mut events) = device(&[&rude, &good]).start().unwrap();
    let mut session = rude.accept().await;
    session.push(0, &[message(1)]).await;
    assert_eq!(wait_for(&mut events, failed).await.1, Disconnect::UnexpectedFrame);
    good.welcome().await;
}

#[tokio::test]
async fn an_overloaded_room_is_passed_over_and_its_wait_kept_if_all_are() {
    let (one, other) = (Room::new().await, Room::new().await);
    let (_client, _events) = device(&[&one, &other]).start().unwrap();
    let begun = std::time::Instant::now();
    for room in [&one, &other] {
        let mut session = room.accept().await;
        session.hello().await;
        session.close(CloseReason::Overloaded, 300).await;
    }
    one.welcome().await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn dropping_the_events_ends_the_client() {
    let room = Room::new().await;
    let (client, events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    drop(events);
    assert!(matches!(&session.rest().await[..], [Sent::Close(close)] if close.reason == 1007));
    drop(session);
    soon(client.close()).await;
    assert!(room.stays_alone().await);
}

#[tokio::test]
async fn the_counter_is_kept_over_restarts() {
    let (room, folder) = (Room::new().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("state");
    let ahead = longline_types::now_ms() + 1_000_000;
    std::fs::write(&path, ahead.to_string()).unwrap();
    let mut last = ahead;
    for _ in 0..2 {
        let (_client, _events) = device(&[&room]).state_file(&path).start().unwrap();
        let counter = room.welcome().await.1.connection_counter;
        assert_eq!(counter, last + 1);
        last = counter;
        drop((_client, _events));
    }
}

#[tokio::test]
async fn the_client_can_be_closed_while_it_has_no_room() {
    let room = Room::new().await;
    let gone = room.address.clone();
    drop(room);
    let (client, mut events) =
        longline_sdk::Client::builder("d").rooms([gone]).bind(1, "a", "").start().unwrap();
    assert!(matches!(event(&mut events).await, Event::ConnectFailed { reason: Disconnect::Io(_), .. }));
    soon(client.close()).await;
    assert_eq!(soon(events.recv()).await, None);
}
