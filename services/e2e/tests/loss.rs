//! What is lost between the store and the device is found again: hints, routes, registers, savers, acknowledgements.
#![allow(clippy::unwrap_used)]

use longline_e2e::{Cluster, Device, SOON, Shape};
use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{PutBatch, PutRequest};
use longline_pb::types::{Address, Class, Message};
use longline_sdk::{Client, MessageId};
use longline_testkit::eventually;
use longline_types::now_ms;
use serde_json::json;

/// A shape whose rooms check every second what they should have been told (D2).
fn watchful() -> Shape {
    let mut shape = Shape::default();
    shape.room.engine.check_s = 1;
    shape
}

/// Stores a message behind the back of every center: nobody is told of it, as if every hint were lost.
async fn store_untold(cluster: &Cluster, user: &str, id: u64) -> MessageId {
    let mut saver = SaverClient::connect(format!("http://{}", cluster.rpc("saver"))).await.unwrap();
    let message = Message {
        id,
        payload: "untold".into(),
        sent_at_ms: now_ms(),
        expires_at_ms: now_ms() + 3_600_000,
        class: Class::Durable.into(),
        ..Message::default()
    };
    let address = Address { product: cluster.product, user: user.to_owned() };
    let put = PutRequest {
        address: Some(address),
        message: Some(message),
        inbox_limit: 100,
        ..PutRequest::default()
    };
    let batch = PutBatch { first: 1, items: vec![put] };
    let mut replies = saver.put(futures::stream::iter([batch])).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap();
    assert!(reply.items[0].error.is_none(), "{reply:?}");
    MessageId(id)
}

#[tokio::test]
async fn a_message_whose_every_hint_was_lost_is_found_by_the_check_d2() {
    let cluster = Cluster::shaped(watchful()).await.unwrap();
    let alice = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    // Only a bind that has loaded is checked: the load after the bind cannot be what finds the message.
    let checked = async || cluster.metric("room-1", "longline_room_checks_total") > 0.0;
    eventually(SOON, "the room has loaded, and checks", checked).await;
    let id = store_untold(&cluster, "alice", 1).await;
    alice.until_has(&[id]).await.unwrap();
}

#[tokio::test]
async fn without_any_register_messages_come_by_checks_and_with_a_new_one_by_hints() {
    let mut cluster = Cluster::shaped(Shape { registers: 1, ..watchful() }).await.unwrap();
    let bob = Device::bound(&cluster.rooms(), cluster.product, "bob").await.unwrap();
    cluster.stop("register-1").await.unwrap();
    let id = cluster.api.push("bob", json!("nobody knows where bob is")).await.unwrap();
    bob.until_has(&[id]).await.unwrap();
    assert_ne!(cluster.api.presence("bob").await.unwrap(), "offline", "not known is not offline (R3)");
    cluster.add_register("register-2").await.unwrap();
    cluster.until_presence("bob", "online").await.unwrap();
}

#[tokio::test]
async fn routes_of_a_lost_register_are_refilled_by_the_rooms_r2() {
    let mut cluster = Cluster::shaped(Shape { registers: 2, rooms: 2, ..Shape::default() }).await.unwrap();
    let mut devices = Vec::new();
    for number in 0..40 {
        let room = &cluster.rooms()[number % 2..=number % 2];
        let user = format!("user-{number}");
        devices.push((user.clone(), Device::bound(room, cluster.product, &user).await.unwrap()));
    }
    for (user, _) in &devices {
        cluster.until_presence(user, "online").await.unwrap();
    }
    cluster.stop("register-1").await.unwrap();
    for (user, device) in &devices {
        cluster.until_presence(user, "online").await.unwrap();
        let id = cluster.api.push(user, json!("by the new owner's route")).await.unwrap();
        device.until_has(&[id]).await.unwrap();
        assert_eq!(device.received().connections.len(), 1, "nobody was disconnected");
    }
}

#[tokio::test]
async fn a_late_goodbye_never_erases_the_newer_route() {
    let cluster = Cluster::shaped(Shape { rooms: 2, ..Shape::default() }).await.unwrap();
    for _ in 0..10 {
        let older = Device::bound(&cluster.rooms()[..1], cluster.product, "carol").await.unwrap();
        let builder = Client::builder("newer device").rooms(&cluster.rooms()[1..]);
        let newer = Device::start(builder.bind(cluster.product, "carol", "")).unwrap();
        // The older session ends while the newer one binds: its goodbye and the displacement race.
        older.close().await;
        newer.until("it is bound", |r| r.bound == 1).await.unwrap();
        cluster.until_presence("carol", "online").await.unwrap();
        let id = cluster.api.push("carol", json!("who is it")).await.unwrap();
        newer.until_has(&[id]).await.unwrap();
        newer.close().await;
        cluster.until_presence("carol", "offline").await.unwrap();
    }
}

#[tokio::test]
async fn acknowledgements_are_repeated_until_a_saver_takes_them_d6() {
    let mut cluster = Cluster::shaped(watchful()).await.unwrap();
    let careful = Client::builder("phone").rooms(cluster.rooms()).bind(cluster.product, "dave", "");
    let dave = Device::start(careful.auto_ack(false)).unwrap();
    dave.until("it is bound", |r| r.bound == 1).await.unwrap();
    let id = cluster.api.push("dave", json!("ack me")).await.unwrap();
    dave.until_has(&[id]).await.unwrap();
    cluster.stop("saver").await.unwrap();
    dave.client.ack(&dave.received().messages[0]).await.unwrap();
    // The links have tried for long and given up: from now on only the session repeats it.
    let failed = async || cluster.metric("room-1", "longline_room_failed_acks_total") > 0.0;
    eventually(SOON, "the ack has failed", failed).await;
    cluster.restart_saver().await.unwrap();
    eventually(SOON, "the message is acked", async || {
        cluster.api.state(id).await.is_ok_and(|s| s == "acked")
    })
    .await;
    assert_eq!(dave.received().messages.len(), 1);
}
