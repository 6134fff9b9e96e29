//! Broadcasts: online users at once, others when they next bind, each exactly once, at the rate asked for.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use longline_e2e::{Cluster, Device, SOON, Shape};
use longline_sdk::{Client, MessageId};
use longline_testkit::eventually;
use serde_json::{Value, json};
use tokio::time::Instant;

async fn broadcast(cluster: &Cluster, body: Value) -> MessageId {
    let answer = cluster.api.post("/v1/broadcasts", body).await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["id"].as_str().unwrap().parse().unwrap()
}

async fn progress(cluster: &Cluster, id: MessageId) -> Value {
    let answer = cluster.api.get(&format!("/v1/broadcasts/{id}")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Waits until the store has seen the user, with the first load after the bind: a user who was never there starts at the present (S8),
/// and the present is that load.
async fn until_seen(cluster: &Cluster, user: &str, device: &Device) {
    let id = cluster.api.push(user, json!("are you there?")).await.unwrap();
    device.until_has(&[id]).await.unwrap();
    eventually(SOON, "it is acknowledged", async || cluster.api.state(id).await.is_ok_and(|s| s == "acked"))
        .await;
}

/// Devices of users who have been seen, and what each has received so far.
async fn seen(cluster: &Cluster, count: usize) -> Vec<Device> {
    let mut devices = Vec::new();
    for number in 0..count {
        let room = &cluster.rooms()[number % cluster.rooms().len()];
        let user = format!("user-{number}");
        let device = Device::bound(std::slice::from_ref(room), cluster.product, &user).await.unwrap();
        until_seen(cluster, &user, &device).await;
        devices.push(device);
    }
    devices
}

#[tokio::test]
async fn a_broadcast_reaches_who_is_online_and_later_who_was_not_once_each_s8() {
    let cluster = Cluster::shaped(Shape { rooms: 2, ..Shape::default() }).await.unwrap();
    let mut devices = seen(&cluster, 20).await;
    let away: Vec<Device> = devices.drain(15..).collect();
    for device in away {
        device.close().await;
    }
    for number in 15..20 {
        cluster.until_presence(&format!("user-{number}"), "offline").await.unwrap();
    }
    let id = broadcast(&cluster, json!({ "payload": "to everyone" })).await;
    for device in &devices {
        device.until_has(&[id]).await.unwrap();
    }
    eventually(SOON, "the online part is done", async || {
        let p = progress(&cluster, id).await;
        p["done"] == true && p["online_reached"] == 15
    })
    .await;
    for number in 15..20 {
        let back = Device::bound(&cluster.rooms(), cluster.product, &format!("user-{number}")).await.unwrap();
        back.until_has(&[id]).await.unwrap();
        assert!(back.received().messages.iter().all(|m| m.broadcast));
        devices.push(back);
    }
    eventually(SOON, "the offline part is counted", async || {
        progress(&cluster, id).await["offline_reached"] == 5
    })
    .await;
    let stranger = Device::bound(&cluster.rooms(), cluster.product, "a new user").await.unwrap();
    for (number, device) in devices.into_iter().enumerate() {
        let times = device.received().messages.iter().filter(|m| m.id == id).count();
        assert_eq!(times, 1, "user-{number}");
        device.close().await;
    }
    // Once acknowledged it never comes again, to no session.
    let again = Device::bound(&cluster.rooms(), cluster.product, "user-3").await.unwrap();
    let unicast = cluster.api.push("user-3", json!("only this")).await.unwrap();
    again.until_has(&[unicast]).await.unwrap();
    assert_eq!(again.received().messages.len(), 1);
    assert!(stranger.received().messages.is_empty(), "a user seen for the first time starts at the present");
}

#[tokio::test]
async fn a_broadcast_keeps_its_rate() {
    let cluster = Cluster::start().await.unwrap();
    let devices = seen(&cluster, 30).await;
    let begun = Instant::now();
    let id = broadcast(&cluster, json!({ "payload": "slowly", "rate_per_second": 20 })).await;
    for device in &devices {
        device.until_has(&[id]).await.unwrap();
    }
    // 30 at 20 a second: at least a second, less what may go at once.
    assert!(begun.elapsed() > Duration::from_millis(700), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_user_who_does_not_acknowledge_a_broadcast_gets_it_again() {
    let cluster = Cluster::start().await.unwrap();
    let before = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    until_seen(&cluster, "alice", &before).await;
    before.close().await;
    let careless = Client::builder("careless").rooms(cluster.rooms()).bind(cluster.product, "alice", "");
    let careless = Device::start(careless.never_ack()).unwrap();
    careless.until("it is bound", |r| r.bound == 1).await.unwrap();
    let id = broadcast(&cluster, json!({ "payload": "important" })).await;
    careless.until_has(&[id]).await.unwrap();
    careless.close().await;
    cluster.until_presence("alice", "offline").await.unwrap();
    assert_eq!(cluster.api.waiting("alice").await.unwrap(), 1);
    let careful = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    careful.until_has(&[id]).await.unwrap();
}
