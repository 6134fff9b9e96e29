//! Binds that come, go and are refused, and uplinks.

mod support;

use std::time::Duration;

use longline_pb::client::{self, BindResult, UplinkResult};
use longline_sdk::{BindError, BindId, Closed, Event, Events, StartError, UplinkError};
use support::{Room, Sent, bound, device, event, message, next_message, soon, wait_for, welcome_to};

async fn next_bound(events: &mut Events) -> BindId {
    wait_for(events, |e| if let Event::Bound { bind, .. } = e { Some(bind) } else { None }).await
}

fn answer(sequence: u64, result: UplinkResult, retry_after_ms: u32) -> client::UplinkAck {
    client::UplinkAck { sequence, result: result.into(), retry_after_ms }
}

#[tokio::test]
async fn binds_come_and_go_while_connected_and_stay_over_connections() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    let alice = next_bound(&mut events).await;

    let bob = client.bind(2, "bob", "t").await.unwrap();
    let Sent::Bind(asked) = session.next().await else { panic!("BIND expected") };
    assert_eq!((asked.product, asked.user.as_str(), asked.token.as_str()), (2, "bob", "t"));
    session.send(&bound(asked.index, BindResult::Ok)).await;
    assert_eq!(next_bound(&mut events).await, bob);
    session.push(asked.index as u8, &[message(1)]).await;
    assert_eq!(next_message(&mut events).await.bind, bob);
    assert_eq!(session.ack().await, (asked.index, vec![1]));

    assert!(client.unbind(alice).await.unwrap());
    assert!(!client.unbind(alice).await.unwrap());
    assert_eq!(session.next().await, Sent::Unbind(client::Unbind { index: 0 }));
    // A message that crossed the UNBIND is neither told nor acknowledged.
    session.push(0, &[message(2)]).await;
    session.send(&bound(0, BindResult::Unbound)).await;
    session.push(asked.index as u8, &[message(3)]).await;
    assert_eq!(next_message(&mut events).await.id.0, 3);
    assert_eq!(session.ack().await, (asked.index, vec![3]));

    drop(session);
    let (_session, hello) = room.welcome().await;
    assert_eq!(hello.binds.iter().map(|b| b.user.as_str()).collect::<Vec<_>>(), ["bob"]);
}

#[tokio::test]
async fn a_refused_bind_ends_alone_and_the_last_one_ends_the_client() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).bind(9, "bob", "").start().unwrap();
    let mut session = room.accept().await;
    let hello = session.hello().await;
    let mut welcome = welcome_to(&hello, BindResult::Ok);
    welcome.binds[1].result = BindResult::UnknownProduct.into();
    session.send(&welcome).await;
    let ended = |e| match e {
        Event::BindEnded { address, result, .. } => Some((address.to_string(), result)),
        _ => None,
    };
    assert_eq!(wait_for(&mut events, ended).await, ("9/bob".into(), BindResult::UnknownProduct));
    drop(session);
    let (mut session, hello) = room.welcome().await;
    assert_eq!(hello.binds.len(), 1, "it is not asked for again");
    session.send(&bound(0, BindResult::Kicked)).await;
    assert_eq!(wait_for(&mut events, ended).await, ("1/alice".into(), BindResult::Kicked));
    let Event::Closed(closed) = event(&mut events).await else { panic!("closed for good") };
    assert!(matches!(closed, Closed::NoBindLeft { result: BindResult::Kicked, .. }));
    assert_eq!(closed.to_string(), "1/alice: the business ended the session");
    assert!(matches!(session.next().await, Sent::Close(close) if close.reason == 1007));
}

#[tokio::test]
async fn a_bind_that_is_not_available_is_asked_for_again() {
    let room = Room::new().await;
    let (_client, mut events) = device(&[&room]).start().unwrap();
    let mut session = room.accept().await;
    let hello = session.hello().await;
    session.send(&client::Welcome { binds: vec![], ..welcome_to(&hello, BindResult::Ok) }).await;
    session.send(&bound(0, BindResult::Unavailable)).await;
    assert!(matches!(session.next().await, Sent::Bind(bind) if bind.user == "alice"));
    session.send(&bound(0, BindResult::Ok)).await;
    next_bound(&mut events).await;
}

#[tokio::test]
async fn without_binds_it_waits_for_one_without_a_connection() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    let alice = next_bound(&mut events).await;
    client.unbind(alice).await.unwrap();
    assert!(matches!(session.rest().await.last(), Some(Sent::Close(close)) if close.reason == 1007));
    drop(session);
    assert!(room.stays_alone().await);
    client.bind(1, "bob", "").await.unwrap();
    assert_eq!(room.welcome().await.1.binds[0].user, "bob");
}

#[tokio::test]
async fn what_cannot_be_bound_is_said_at_once() {
    let room = Room::new().await;
    let start = |b: longline_sdk::Builder| b.start().map(drop).unwrap_err();
    assert!(matches!(start(device(&[&room]).bind(1, "alice", "")), StartError::Bind(BindError::Duplicate)));
    assert!(matches!(start(device(&[&room]).bind(1, "", "")), StartError::Bind(BindError::User(_))));
    assert!(matches!(start(device(&[])), StartError::Nowhere));
    let client = longline_sdk::Client::builder;
    assert!(matches!(start(client("")), StartError::Device));
    assert!(matches!(start(client("d").rooms(["x:1"])), StartError::Bind(BindError::None)));

    let (client, _events) = device(&[&room]).start().unwrap();
    assert_eq!(client.bind(1, "alice", "").await, Err(BindError::Duplicate));
    assert_eq!(client.bind(1, "b", &"x".repeat(5000)).await, Err(BindError::Token));
    for i in 0..15 {
        client.bind(1, &format!("u{i}"), "").await.unwrap();
    }
    assert_eq!(client.bind(1, "one more", "").await, Err(BindError::TooMany));
}

#[tokio::test]
async fn an_uplink_is_sent_until_it_is_answered_over_connections() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    let alice = next_bound(&mut events).await;
    let uplink = tokio::spawn({
        let client = client.clone();
        async move { client.uplink(alice, 3, &b"data"[..], Duration::from_secs(20)).await }
    });
    let first = session.uplink().await;
    assert_eq!((first.index, first.route, &first.payload[..]), (0, 3, &b"data"[..]));
    session.send(&answer(first.sequence, UplinkResult::Retry, 10)).await;
    assert_eq!(session.uplink().await, first, "after RETRY");
    drop(session);
    let (mut session, _) = room.welcome().await;
    assert_eq!(session.uplink().await, first, "after a reconnect");
    session.send(&answer(first.sequence, UplinkResult::Ok, 0)).await;
    assert_eq!(soon(uplink).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn an_uplink_tells_what_became_of_it() {
    let room = Room::new().await;
    let (client, mut events) = device(&[&room]).start().unwrap();
    let (mut session, _) = room.welcome().await;
    let alice = next_bound(&mut events).await;
    let long = Duration::from_secs(20);
    for (result, expected) in
        [(UplinkResult::NoRoute, UplinkError::NoRoute), (UplinkResult::Refused, UplinkError::Refused)]
    {
        let (told, ()) = tokio::join!(client.uplink(alice, 1, &b"x"[..], long), async {
            let sequence = session.uplink().await.sequence;
            session.send(&answer(sequence, result, 0)).await;
        });
        assert_eq!(told, Err(expected));
    }
    let short = Duration::from_millis(50);
    assert_eq!(client.uplink(alice, 1, &b"x"[..], short).await, Err(UplinkError::Deadline));
    assert_eq!(client.uplink(alice, 1, vec![0; 65_537], long).await, Err(UplinkError::TooLarge));
    client.unbind(alice).await.unwrap();
    assert_eq!(client.uplink(alice, 1, &b"x"[..], long).await, Err(UplinkError::NoBind));
}
