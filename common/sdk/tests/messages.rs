//! Messages, duplicates and acknowledgements.

mod support;

use longline_pb::client::{self, PushFlag};
use longline_sdk::Event;
use longline_types::MessageId;
use support::{Room, Sent, device, event, message, next_message, soon};

#[tokio::test]
async fn a_message_is_told_and_acknowledged() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, hello) = room.welcome().await;
    assert_eq!((hello.device.as_str(), hello.binds[0].user.as_str()), ("test-device", "alice"));
    assert!(matches!(event(&mut events).await, Event::Connected { session: 7, .. }));
    assert!(matches!(event(&mut events).await, Event::Bound { window: 32, .. }));
    let flags = PushFlag::Redelivered as u32 | PushFlag::Broadcast as u32;
    session.push(0, &[client::Push { flags, sent_at_ms: 5, expires_at_ms: 6, ..message(42) }]).await;
    let told = next_message(&mut events).await;
    assert_eq!(
        (told.id, &told.payload[..], told.address.to_string()),
        (MessageId(42), &b"42"[..], "1/alice".into())
    );
    assert_eq!((told.sent_at_ms, told.expires_at_ms), (5, 6));
    assert!(told.redelivered && told.broadcast && !told.transient && !told.notify_only);
    assert_eq!(session.ack().await, (0, vec![42]));
}

#[tokio::test]
async fn many_acknowledgements_share_a_frame() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    let pushes: Vec<_> = (0..1000).map(message).collect();
    session.push(0, &pushes).await;
    for id in 0..1000 {
        assert_eq!(next_message(&mut events).await.id, MessageId(id));
    }
    let (mut acked, mut frames) = (Vec::new(), 0);
    while acked.len() < 1000 {
        acked.extend(session.ack().await.1);
        frames += 1;
    }
    assert_eq!(acked, (0..1000).collect::<Vec<_>>());
    assert!(frames < 250, "{frames} frames for 1000 acknowledgements");
}

#[tokio::test]
async fn a_duplicate_is_told_once_and_acknowledged_twice_d6() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.push(0, &[message(1)]).await;
    next_message(&mut events).await;
    assert_eq!(session.ack().await.1, [1]);
    session.push(0, &[message(1), message(2)]).await;
    assert_eq!(next_message(&mut events).await.id, MessageId(2));
    let mut acked = session.ack().await.1;
    while acked.len() < 2 {
        acked.extend(session.ack().await.1);
    }
    assert_eq!(acked, [1, 2]);
}

#[tokio::test]
async fn the_application_may_acknowledge_itself_and_nothing_is_acknowledged_before() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).auto_ack(false).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.push(0, &[message(1), message(1), message(2)]).await;
    let first = next_message(&mut events).await;
    let second = next_message(&mut events).await;
    assert_eq!((first.id, second.id), (MessageId(1), MessageId(2)));
    client.ack(&second).await.unwrap();
    assert_eq!(session.ack().await, (0, vec![2]), "the duplicate of 1 was not acknowledged either");
    client.ack(&first).await.unwrap();
    assert_eq!(session.ack().await, (0, vec![1]));
}

#[tokio::test]
async fn who_never_acknowledges_never_does() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).never_ack().start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.push(0, &[message(1), message(1), message(2)]).await;
    let first = next_message(&mut events).await;
    client.ack(&first).await.unwrap();
    assert_eq!(next_message(&mut events).await.id, MessageId(2));
    client.close().await;
    assert!(matches!(&session.rest().await[..], [Sent::Close(_)]));
}

#[tokio::test]
async fn a_transient_message_is_told_and_not_acknowledged() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.push(0, &[client::Push { flags: PushFlag::Transient as u32, ..message(1) }]).await;
    let told = next_message(&mut events).await;
    assert!(told.transient);
    client.ack(&told).await.unwrap();
    client.close().await;
    assert!(matches!(&session.rest().await[..], [Sent::Close(_)]));
}

#[tokio::test]
async fn closing_sends_what_was_acknowledged_and_says_goodbye() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).auto_ack(false).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.push(0, &(0..50).map(message).collect::<Vec<_>>()).await;
    for _ in 0..50 {
        let message = next_message(&mut events).await;
        client.ack(&message).await.unwrap();
    }
    client.close().await;
    let sent = session.rest().await;
    assert_eq!(acked(&sent), (0..50).collect::<Vec<_>>());
    assert!(matches!(sent.last(), Some(Sent::Close(close)) if close.reason == 1007), "{sent:?}");
    assert_eq!(soon(events.recv()).await, None);
}

#[tokio::test]
async fn what_nobody_reads_any_more_does_not_cost_what_was_acknowledged() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    session.push(0, &[message(1)]).await;
    next_message(&mut events).await;
    // More than the client takes: closing its socket with these unread would reset the connection.
    let large = |id| client::Push { payload: vec![0; 16_384].into(), ..message(id) };
    session.push(0, &(2..100).map(large).collect::<Vec<_>>()).await;
    let closing = tokio::spawn(async move { client.close().await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!closing.is_finished(), "it waits for the room to hang up");
    let sent = session.rest().await;
    assert_eq!(acked(&sent), [1]);
    drop(session);
    soon(closing).await.unwrap();
}

fn acked(sent: &[Sent]) -> Vec<u64> {
    let ids = |sent: &Sent| if let Sent::Ack(ack) = sent { ack.ids.clone() } else { Vec::new() };
    sent.iter().flat_map(ids).collect()
}

#[tokio::test]
async fn an_application_that_stands_still_loses_nothing() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    let pushes: Vec<_> =
        (0..500).map(|id| client::Push { payload: vec![0; 4096].into(), ..message(id) }).collect();
    session.push(0, &pushes).await;
    // Only now does the application begin to take its events: they are more than the queue holds.
    for id in 0..500 {
        assert_eq!(next_message(&mut events).await.id, MessageId(id));
    }
}

#[tokio::test]
async fn an_application_that_stands_still_makes_the_room_stop_sending() {
    const MUCH: u64 = 2_000;
    let room = Room::new().await;
    let (_client, _events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    let sent = async {
        for id in 0..MUCH {
            session.push(0, &[client::Push { payload: vec![0; 65_536].into(), ..message(id) }]).await;
        }
    };
    // 128 MiB do not fit into the kernel's buffers; if they can be sent, the client has taken them into its own.
    assert!(tokio::time::timeout(std::time::Duration::from_secs(2), sent).await.is_err());
}
