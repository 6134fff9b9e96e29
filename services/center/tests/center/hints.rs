//! What happens after the answer: lookup and delivery.

use longline_pb::room::DeliverResult;
use serde_json::json;

use crate::support::{Center, Cluster, eventually, id};

#[tokio::test]
async fn an_accepted_message_is_brought_to_the_users_room() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    cluster.register.bind("alice", cluster.rooms[0].route(1));
    cluster.register.bind("bob", cluster.rooms[1].route(2));
    let users = ["alice", "bob", "nobody"];
    let answer = center.post("/v1/messages", json!({ "to": { "users": users }, "payload": 1 })).await;
    let sent = |n: usize| id(&answer.body["messages"][n]["id"]);
    assert_eq!(cluster.rooms[0].handed(1).await, [("alice".into(), sent(0), b"1".to_vec())]);
    assert_eq!(cluster.rooms[1].handed(1).await, [("bob".into(), sent(1), b"1".to_vec())]);
    settled(&center, "pushed", 2).await;
    settled(&center, "offline", 1).await;
    assert_eq!(cluster.register.lookups(), 3, "one each");
}

#[tokio::test]
async fn one_senders_messages_to_one_user_stay_in_order_d7() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let room = &cluster.rooms[0];
    cluster.register.bind("alice", room.route(1));
    let first = cluster.register.hold_next();
    let mut ids = vec![center.send("alice", json!(0)).await];
    eventually("the first is looked up", || cluster.register.lookups() == 1).await;
    for n in 1..150 {
        ids.push(center.send("alice", json!(n)).await);
    }
    assert_eq!(cluster.register.lookups(), 1, "the others wait behind it");
    first.notify_one();
    let handed = room.handed(150).await;
    assert_eq!(handed.iter().map(|(_, id, _)| *id).collect::<Vec<_>>(), ids);
    assert!(ids.is_sorted());
}

#[tokio::test]
async fn a_slow_room_holds_up_nobody_elsewhere() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    cluster.register.bind("alice", cluster.rooms[0].route(1));
    cluster.register.bind("bob", cluster.rooms[1].route(2));
    cluster.rooms[0].set_open(false);
    let users = ["alice", "bob"];
    center.post("/v1/messages", json!({ "to": { "users": users }, "payload": 1 })).await;
    center.post("/v1/messages", json!({ "to": { "users": users }, "payload": 2 })).await;
    let to_bob = cluster.rooms[1].handed(2).await;
    assert_eq!(to_bob.iter().map(|(_, _, payload)| &payload[..]).collect::<Vec<_>>(), [b"1", b"2"]);
    cluster.rooms[0].set_open(true);
    cluster.rooms[0].handed(2).await;
}

#[tokio::test]
async fn a_stale_route_is_removed_exactly_and_the_message_follows_once_d3_i2() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let (old, new) = (cluster.rooms[0].route(1), cluster.rooms[1].route(2));
    cluster.register.bind("alice", old);
    cluster.register.then("alice", new);
    cluster.rooms[0].answer("alice", DeliverResult::NotHere);
    let id = center.send("alice", json!(1)).await;
    assert_eq!(cluster.rooms[1].handed(1).await[0].1, id);
    assert_eq!(cluster.register.unbound(), [old]);
    settled(&center, "pushed", 1).await;
    assert_eq!(center.counter(r#"longline_center_hints_total{result="not_here"}"#), 1);

    // Not there either: nobody tries a third time.
    cluster.rooms[1].answer("alice", DeliverResult::NotHere);
    cluster.register.then("alice", cluster.rooms[0].route(3));
    center.send("alice", json!(2)).await;
    settled(&center, "gone", 1).await;
    assert_eq!(cluster.register.unbound(), [old, new]);
}

#[tokio::test]
async fn a_register_that_refills_is_not_believed_r3() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    cluster.register.set_refilling(true);
    center.send("alice", json!(1)).await;
    settled(&center, "unknown", 1).await;
    assert_eq!(center.counter(r#"longline_center_hints_total{result="offline"}"#), 0);
}

#[tokio::test]
async fn what_a_room_says_is_counted() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let room = &cluster.rooms[0];
    for (user, result, name) in [
        ("a", DeliverResult::Deferred, "deferred"),
        ("b", DeliverResult::Overloaded, "overloaded"),
        ("c", DeliverResult::Dropped, "dropped_by_room"),
    ] {
        cluster.register.bind(user, room.route(1));
        room.answer(user, result);
        center.send(user, json!(1)).await;
        settled(&center, name, 1).await;
    }
    eventually("an empty queue", || center.counter("longline_center_hints_queued") == 0).await;
}

#[tokio::test]
async fn a_full_queue_drops_hints_but_accepts_messages() {
    let cluster = Cluster::start().await;
    let center = cluster.center_with(|config| config.hints.max_items = 3).await;
    let room = &cluster.rooms[0];
    cluster.register.bind("alice", room.route(1));
    room.set_open(false);
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(center.send("alice", json!(n)).await);
    }
    assert_eq!(center.counter(r#"longline_center_hints_total{result="dropped"}"#), 2);
    assert_eq!(cluster.saver.state().messages.len(), 5);
    room.set_open(true);
    let handed: Vec<u64> = room.handed(3).await.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(handed, ids[..3]);
}

#[tokio::test]
async fn a_repeat_is_hinted_again_with_the_first_id_s1() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let room = &cluster.rooms[0];
    cluster.register.bind("alice", room.route(1));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let body = json!({ "to": { "user": "alice" }, "payload": 1 });
        let request = center.request(reqwest::Method::POST, "/v1/messages").header("Idempotency-Key", "k");
        let answer = crate::support::answer(request.json(&body)).await;
        ids.push(id(&answer.body["messages"][0]["id"]));
    }
    let handed: Vec<u64> = room.handed(2).await.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(handed, ids);
    assert_eq!(ids[0], ids[1]);
}

async fn settled(center: &Center, result: &str, count: u64) {
    let line = format!("longline_center_hints_total{{result=\"{result}\"}}");
    eventually(&line, || center.counter(&line) == count).await;
}
