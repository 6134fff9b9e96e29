//! The main job: what was accepted is delivered once the user is there, is acknowledged, and only then forgotten.
#![allow(clippy::unwrap_used)]

use longline_e2e::{Cluster, Device, SOON};
use longline_sdk::{Client, MessageId};
use longline_testkit::eventually;
use serde_json::json;

/// Waits until the store has forgotten it for this reason.
async fn until_state(cluster: &Cluster, id: MessageId, state: &str) {
    let what = format!("message {id} is {state}");
    eventually(SOON, &what, async || cluster.api.state(id).await.is_ok_and(|s| s == state)).await;
}

#[tokio::test]
async fn a_message_reaches_an_online_user_and_its_history_tells_the_way() {
    let cluster = Cluster::start().await.unwrap();
    let alice = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    let id = cluster.api.push("alice", json!({ "text": "hello" })).await.unwrap();
    alice.until_has(&[id]).await.unwrap();
    assert_eq!(alice.texts(), [r#"{"text":"hello"}"#]);
    until_state(&cluster, id, "acked").await;
    let status = cluster.api.get(&format!("/v1/messages/{id}")).await.unwrap().body;
    let steps: Vec<&str> =
        status["history"].as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
    assert_eq!(steps, ["accepted", "stored", "written", "acked"], "{status}");
    assert!(status["history"].as_array().unwrap().iter().all(|s| s["at"].is_string()), "{status}");
    assert_eq!(cluster.api.waiting("alice").await.unwrap(), 0);
}

#[tokio::test]
async fn messages_wait_for_a_user_who_is_offline_and_come_in_order_d1() {
    let cluster = Cluster::start().await.unwrap();
    let mut ids = Vec::new();
    for number in 0..200 {
        ids.push(cluster.api.push("bob", json!(number)).await.unwrap());
    }
    assert_eq!(cluster.api.presence("bob").await.unwrap(), "offline");
    assert_eq!(cluster.api.waiting("bob").await.unwrap(), 200);
    let bob = Device::bound(&cluster.rooms(), cluster.product, "bob").await.unwrap();
    bob.until_has(&ids).await.unwrap();
    let came: Vec<MessageId> = bob.received().messages.iter().map(|m| m.id).collect();
    assert_eq!(came, ids, "more than a window, in id order");
    eventually(SOON, "all are acknowledged", async || cluster.api.waiting("bob").await.unwrap() == 0).await;
}

#[tokio::test]
async fn messages_to_one_user_keep_their_order_while_the_device_keeps_up_d7() {
    let cluster = Cluster::start().await.unwrap();
    let carol = Device::bound(&cluster.rooms(), cluster.product, "carol").await.unwrap();
    let mut ids = Vec::new();
    for number in 0..300 {
        ids.push(cluster.api.push("carol", json!(number)).await.unwrap());
    }
    carol.until_has(&ids).await.unwrap();
    let came: Vec<MessageId> = carol.received().messages.iter().map(|m| m.id).collect();
    assert_eq!(came, ids);
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_with_the_same_id() {
    let cluster = Cluster::start().await.unwrap();
    let careless = Client::builder("first device").rooms(cluster.rooms()).bind(cluster.product, "dave", "");
    let careless = Device::start(careless.never_ack()).unwrap();
    let id = cluster.api.push("dave", json!("important")).await.unwrap();
    careless.until_has(&[id]).await.unwrap();
    assert_eq!(cluster.api.waiting("dave").await.unwrap(), 1);
    careless.close().await;
    cluster.until_presence("dave", "offline").await.unwrap();
    let careful = Device::bound(&cluster.rooms(), cluster.product, "dave").await.unwrap();
    careful.until_has(&[id]).await.unwrap();
    until_state(&cluster, id, "acked").await;
}

#[tokio::test]
async fn a_retry_under_the_same_idempotency_key_is_the_same_message_s1() {
    let cluster = Cluster::start().await.unwrap();
    let body = json!({ "to": { "user": "erin" }, "payload": "once" });
    let first = cluster.api.send(body.clone(), Some("order-17")).await.unwrap();
    assert_eq!(cluster.api.send(body, Some("order-17")).await.unwrap(), first);
    let other = json!({ "to": { "user": "erin" }, "payload": "something else" });
    let refused = cluster.api.send(other, Some("order-17")).await.unwrap_err().to_string();
    assert!(refused.contains("409") || refused.contains("conflict"), "{refused}");
    assert_eq!(cluster.api.waiting("erin").await.unwrap(), 1);
    let erin = Device::bound(&cluster.rooms(), cluster.product, "erin").await.unwrap();
    erin.until_has(&[first]).await.unwrap();
}

#[tokio::test]
async fn recalled_collapsed_and_expired_messages_do_not_come() {
    let cluster = Cluster::start().await.unwrap();
    let to = |payload: &str| json!({ "to": { "user": "frank" }, "payload": payload });
    let recalled = cluster.api.push("frank", json!("recalled")).await.unwrap();
    let answer = cluster.api.delete(&format!("/v1/messages/{recalled}")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut older = to("score 1:0");
    older["collapse_key"] = json!("score");
    let mut newer = to("score 2:0");
    newer["collapse_key"] = json!("score");
    let collapsed = cluster.api.send(older, None).await.unwrap();
    let newest = cluster.api.send(newer, None).await.unwrap();
    let mut brief = to("too late");
    brief["ttl_seconds"] = json!(1);
    let expired = cluster.api.send(brief, None).await.unwrap();
    until_state(&cluster, expired, "expired").await;
    until_state(&cluster, collapsed, "collapsed").await;
    until_state(&cluster, recalled, "recalled").await;
    let frank = Device::bound(&cluster.rooms(), cluster.product, "frank").await.unwrap();
    frank.until_has(&[newest]).await.unwrap();
    let last = cluster.api.push("frank", json!("last")).await.unwrap();
    frank.until_has(&[last]).await.unwrap();
    assert_eq!(frank.received().messages.len(), 2);
}

#[tokio::test]
async fn transient_messages_reach_who_is_online_and_are_never_stored() {
    let cluster = Cluster::start().await.unwrap();
    let to = |user: &str| json!({ "to": { "user": user }, "payload": "typing", "class": "transient" });
    cluster.api.send(to("grace"), None).await.unwrap();
    assert_eq!(cluster.api.waiting("grace").await.unwrap(), 0);
    let grace = Device::bound(&cluster.rooms(), cluster.product, "grace").await.unwrap();
    let id = cluster.api.send(to("grace"), None).await.unwrap();
    grace.until_has(&[id]).await.unwrap();
    assert!(grace.received().messages[0].transient);
    assert_eq!(grace.received().messages.len(), 1, "the first was dropped: nobody was there");
}

#[tokio::test]
async fn a_multicast_reaches_each_of_its_users() {
    let cluster = Cluster::start().await.unwrap();
    let users: Vec<String> = (0..50).map(|n| format!("user-{n}")).collect();
    let mut devices = Vec::new();
    for user in &users[..25] {
        devices.push(Device::bound(&cluster.rooms(), cluster.product, user).await.unwrap());
    }
    let body = json!({ "to": { "users": users }, "payload": "to all of you" });
    let answer = cluster.api.post("/v1/messages", body).await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = |n: usize| answer.body["messages"][n]["id"].as_str().unwrap().parse::<MessageId>().unwrap();
    for user in &users[25..] {
        devices.push(Device::bound(&cluster.rooms(), cluster.product, user).await.unwrap());
    }
    for (number, device) in devices.iter().enumerate() {
        device.until_has(&[id(number)]).await.unwrap();
        assert_eq!(device.received().messages.len(), 1);
    }
}

#[tokio::test]
async fn a_full_inbox_loses_its_oldest_and_says_so() {
    let cluster = Cluster::start().await.unwrap();
    let (product, api) = cluster.create_product(json!({ "name": "small", "inbox_limit": 3 })).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(api.push("heidi", json!(number)).await.unwrap());
    }
    assert_eq!(api.waiting("heidi").await.unwrap(), 3);
    assert_eq!(api.state(ids[0]).await.unwrap(), "overflowed");
    let heidi = Device::bound(&cluster.rooms(), product, "heidi").await.unwrap();
    heidi.until_has(&ids[2..]).await.unwrap();
    assert_eq!(heidi.received().messages.len(), 3);
}
