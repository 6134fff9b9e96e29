//! Broken connections whose sessions are resumed, as the room offers it.

mod support;

use longline_pb::client::{self, BindResult, Directive, PushFlag, Reconnect, Welcome, directive::What};
use longline_sdk::{BindId, Client, Disconnect, Event, Events};
use longline_types::{CloseReason, MessageId};
use support::{Room, Sent, Session, bound, device, event, message, next_message, soon, wait_for, welcome_to};

/// Welcomes the next connection and offers it back under this token.
async fn welcome(room: &Room, token: &[u8], resumed: bool) -> (Session, client::Hello) {
    let mut session = room.accept().await;
    let hello = session.hello().await;
    let welcome = Welcome { resume_token: token.to_vec(), resumed, ..welcome_to(&hello, BindResult::Ok) };
    session.send(&welcome).await;
    (session, hello)
}

/// Pushes messages on a bind and takes their acknowledgements.
async fn deliver(session: &mut Session, events: &mut Events, index: u8, ids: std::ops::Range<u64>) {
    let pushes: Vec<_> = ids.clone().map(message).collect();
    session.push(index, &pushes).await;
    for id in ids.clone() {
        assert_eq!(next_message(events).await.id, MessageId(id));
    }
    let mut acked = Vec::new();
    while acked.len() < pushes.len() {
        acked.extend(session.ack().await.1);
    }
}

async fn connected(events: &mut Events) -> bool {
    wait_for(events, |e| if let Event::Connected { resumed, .. } = e { Some(resumed) } else { None }).await
}

async fn next_bound(events: &mut Events) -> BindId {
    wait_for(events, |e| if let Event::Bound { bind, .. } = e { Some(bind) } else { None }).await
}

fn have(hello: &client::Hello) -> Vec<(u32, Vec<u64>)> {
    hello.have.iter().map(|ack| (ack.index, ack.ids.clone())).collect()
}

#[tokio::test]
async fn a_broken_session_is_resumed_with_what_was_acknowledged() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).bind(2, "bob", "").start().unwrap();
    let (mut session, first) = welcome(&room, b"one", false).await;
    assert!(first.resume_token.is_empty() && first.have.is_empty());
    assert!(!connected(&mut events).await);
    deliver(&mut session, &mut events, 0, 1..3).await;
    deliver(&mut session, &mut events, 1, 3..4).await;
    drop(session);

    let (mut session, second) = welcome(&room, b"two", true).await;
    assert_eq!(second.resume_token, b"one");
    assert!(second.connection_counter > first.connection_counter, "R1");
    assert_eq!(second.binds, first.binds);
    assert_eq!(have(&second), [(0, vec![1, 2]), (1, vec![3])]);
    assert!(connected(&mut events).await);
    // What was told before is not told again, also in the resumed session.
    let again = client::Push { flags: PushFlag::Redelivered as u32, ..message(2) };
    session.push(0, &[again, message(4)]).await;
    assert_eq!(next_message(&mut events).await.id, MessageId(4));
    let mut acked = Vec::new();
    while acked.len() < 2 {
        acked.extend(session.ack().await.1);
    }
    assert_eq!(acked, [2, 4]);
    drop(session);

    let (_session, third) = welcome(&room, b"three", true).await;
    assert_eq!(third.resume_token, b"two", "each is good once");
    assert_eq!(have(&third), [(0, vec![1, 2, 4]), (1, vec![3])], "it is still the same session");
}

#[tokio::test]
async fn a_session_that_is_not_given_back_is_forgotten_with_what_was_acknowledged_in_it() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = welcome(&room, b"one", false).await;
    deliver(&mut session, &mut events, 0, 1..3).await;
    drop(session);
    let (mut session, second) = welcome(&room, b"two", false).await;
    assert_eq!(second.resume_token, b"one");
    assert!(!connected(&mut events).await);
    session.push(0, &[message(2), message(3)]).await;
    assert_eq!(next_message(&mut events).await.id, MessageId(3), "2 is known over sessions");
    while !session.ack().await.1.contains(&3) {}
    drop(session);
    let (_session, third) = welcome(&room, b"", false).await;
    assert_eq!(third.resume_token, b"two");
    assert_eq!(have(&third), [(0, vec![2, 3])], "of this session");
}

#[tokio::test]
async fn what_is_acknowledged_without_a_connection_is_told_by_hello() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).auto_ack(false).start().unwrap();
    let (mut session, _) = welcome(&room, b"one", false).await;
    session.push(0, &[message(1), message(2)]).await;
    let first = next_message(&mut events).await;
    next_message(&mut events).await;
    drop(session);
    wait_for(&mut events, |e| matches!(e, Event::Disconnected { .. }).then_some(())).await;
    client.ack(&first).await.unwrap();
    // The acknowledgement may still be on its way for the first of these connections, not for the second.
    drop(welcome(&room, b"two", true).await);
    let (_session, hello) = welcome(&room, b"three", true).await;
    assert_eq!(have(&hello), [(0, vec![1])], "2 is not safe");
}

#[tokio::test]
async fn no_more_than_the_latest_1024_are_named() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).bind(2, "bob", "").start().unwrap();
    let (mut session, _) = welcome(&room, b"one", false).await;
    deliver(&mut session, &mut events, 0, 0..600).await;
    deliver(&mut session, &mut events, 1, 600..1300).await;
    drop(session);
    let (_session, hello) = welcome(&room, b"two", true).await;
    assert_eq!(have(&hello), [(0, (276..600).collect::<Vec<_>>()), (1, (600..1300).collect())]);
}

#[tokio::test]
async fn what_came_on_a_bind_that_ended_is_not_named_for_another_on_its_index() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).bind(2, "bob", "").bind(2, "carol", "").start().unwrap();
    let (mut session, _) = welcome(&room, b"one", false).await;
    let alice = next_bound(&mut events).await;
    for index in 0..3 {
        deliver(&mut session, &mut events, index, u64::from(index)..u64::from(index) + 1).await;
    }
    session.send(&bound(1, BindResult::Kicked)).await;
    wait_for(&mut events, |e| matches!(e, Event::BindEnded { .. }).then_some(())).await;
    assert!(client.unbind(alice).await.unwrap());
    assert_eq!(session.next().await, Sent::Unbind(client::Unbind { index: 0 }));
    session.send(&bound(0, BindResult::Unbound)).await;
    // An answer to something later shows that this one was taken.
    session.push(2, &[message(9)]).await;
    next_message(&mut events).await;
    session.ack().await;
    client.bind(2, "dave", "").await.unwrap();
    assert!(matches!(session.next().await, Sent::Bind(bind) if bind.index == 0 && bind.user == "dave"));
    drop(session);
    let (_session, hello) = welcome(&room, b"two", true).await;
    assert_eq!(have(&hello), [(2, vec![2, 9])]);
    let binds: Vec<_> = hello.binds.iter().map(|bind| (bind.index, bind.user.as_str())).collect();
    assert!(binds.contains(&(0, "dave")) && binds.contains(&(2, "carol")) && binds.len() == 2, "{binds:?}");
}

#[tokio::test]
async fn a_silent_room_and_one_that_heard_nothing_may_give_the_session_back() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let mut session = room.accept().await;
    let hello = session.hello().await;
    let offer = Welcome { resume_token: b"one".to_vec(), ..welcome_to(&hello, BindResult::Ok) };
    session.send(&Welcome { heartbeat_s: 1, ..offer }).await;
    assert_eq!(session.next().await, Sent::Ping);
    let lost = |e| if let Event::Disconnected { reason, .. } = e { Some(reason) } else { None };
    assert_eq!(wait_for(&mut events, lost).await, Disconnect::Silence);
    let (mut session, hello) = welcome(&room, b"two", true).await;
    assert_eq!(hello.resume_token, b"one");
    session.close(CloseReason::HeartbeatTimeout, 0).await;
    assert_eq!(welcome(&room, b"three", true).await.1.resume_token, b"two");
}

#[tokio::test]
async fn the_same_room_is_tried_first_and_no_other_is_shown_the_token() {
    let (one, other) = (Room::new().await, Room::new().await);
    let (_client, _events) = device(&[&one, &other]).start().unwrap();
    // The first room refuses the device once, so that it has its session at the second.
    one.accept().await.close(CloseReason::Overloaded, 0).await;
    drop(welcome(&other, b"secret", false).await);
    let mut session = other.accept().await;
    assert_eq!(session.hello().await.resume_token, b"secret");
    drop((session, other));
    let hello = welcome(&one, b"", false).await.1;
    assert!(hello.resume_token.is_empty() && hello.have.is_empty());
}

#[tokio::test]
async fn after_a_close_of_the_room_the_token_is_not_shown_any_more() {
    for reason in [CloseReason::GoingAway, CloseReason::Internal, CloseReason::SlowReader] {
        let room = Room::new().await;
        let (_client, _events) = device(&[&room]).start().unwrap();
        let (mut session, _) = welcome(&room, b"one", false).await;
        session.close(reason, 0).await;
        assert!(welcome(&room, b"two", false).await.1.resume_token.is_empty(), "{reason}");
    }
}

#[tokio::test]
async fn a_room_that_refuses_a_return_for_now_is_shown_the_token_again() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    drop(welcome(&room, b"one", false).await);
    assert!(!connected(&mut events).await);
    for reason in [CloseReason::Overloaded, CloseReason::GoingAway] {
        let mut session = room.accept().await;
        assert_eq!(session.hello().await.resume_token, b"one", "{reason}");
        session.close(reason, 1).await;
    }
    assert_eq!(welcome(&room, b"two", true).await.1.resume_token, b"one");
    assert!(connected(&mut events).await);
}

#[tokio::test]
async fn after_its_own_close_the_token_is_not_shown_any_more() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = welcome(&room, b"one", false).await;
    // A fault of the room is answered with CLOSE.
    session.raw(&[99]).await;
    assert!(matches!(session.next().await, Sent::Close(close) if close.reason == 2003));
    drop(session);
    let (mut session, hello) = welcome(&room, b"two", false).await;
    assert!(hello.resume_token.is_empty());
    // Without binds there is no connection, and the next is a fresh one.
    next_bound(&mut events).await;
    let alice = next_bound(&mut events).await;
    assert!(client.unbind(alice).await.unwrap());
    assert!(matches!(session.rest().await.last(), Some(Sent::Close(close)) if close.reason == 1007));
    drop(session);
    client.bind(1, "bob", "").await.unwrap();
    assert!(welcome(&room, b"three", false).await.1.resume_token.is_empty());
}

#[tokio::test]
async fn after_a_directive_the_token_is_not_shown_any_more() {
    let (one, other) = (Room::new().await, Room::new().await);
    let (_client, mut events) = device(&[&one]).start().unwrap();
    let (mut session, _) = welcome(&one, b"one", false).await;
    session.send(&Directive { what: Some(What::HeartbeatS(100)) }).await;
    drop(session);
    let (mut session, hello) = welcome(&one, b"two", true).await;
    assert_eq!(hello.resume_token, b"one", "another heartbeat ends no session");
    let endpoints = vec![other.address.clone()];
    let reconnect = Reconnect { endpoints, within_ms: 3_600_000, ticket: Vec::new() };
    session.send(&Directive { what: Some(What::Reconnect(reconnect)) }).await;
    session.push(0, &[message(1)]).await;
    next_message(&mut events).await;
    // Before the device has gone.
    drop(session);
    assert!(welcome(&one, b"", false).await.1.resume_token.is_empty());
}

#[tokio::test]
async fn who_does_not_want_to_resume_never_does() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).resume(false).start().unwrap();
    drop(welcome(&room, b"one", false).await);
    let (_session, hello) = welcome(&room, b"two", true).await;
    assert!(hello.resume_token.is_empty() && hello.have.is_empty());
    assert!(!connected(&mut events).await && !connected(&mut events).await, "whatever the room says");
    soon(client.close()).await;
}

#[tokio::test]
async fn a_room_that_is_gone_is_left_for_another_after_a_wait() {
    let (one, other) = (Room::new().await, Room::new().await);
    let gone = one.address.clone();
    let (_client, mut events) = Client::builder("d")
        .rooms([&one.address, &other.address])
        .bind(1, "alice", "")
        .backoff(std::time::Duration::from_millis(300), std::time::Duration::from_secs(1))
        .start()
        .unwrap();
    let (session, _) = welcome(&one, b"one", false).await;
    connected(&mut events).await;
    next_bound(&mut events).await;
    let cut = std::time::Instant::now();
    drop((session, one));
    let Event::Disconnected { retry_in, .. } = event(&mut events).await else { panic!("it was cut") };
    assert!(retry_in.as_millis() <= 100, "the first try is a prompt one: {retry_in:?}");
    for _ in 0..2 {
        let Event::ConnectFailed { endpoint, .. } = event(&mut events).await else {
            panic!("nobody is there")
        };
        assert_eq!(endpoint, gone);
    }
    let (_session, hello) = welcome(&other, b"", false).await;
    assert!(hello.resume_token.is_empty());
    assert!(cut.elapsed().as_millis() >= 150, "all devices of a room that died do not come at once");
}
