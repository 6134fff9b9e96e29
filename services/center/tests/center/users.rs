//! Presence and kicks over HTTP.

use longline_pb::room::{InFlight, InspectReply};
use longline_pb::saver::ReadInboxReply;
use longline_types::{NodeState, now_ms};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Cluster, PRODUCT, answer};

#[tokio::test]
async fn a_user_who_never_connected_is_offline() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let answer = center.get("/v1/users/nobody").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({ "user": "nobody", "presence": "offline", "waiting": 0 }));
    let inbox = ReadInboxReply { waiting: 3, broadcasts_waiting: 1, oldest_id: 9 };
    cluster.saver.state().inboxes.insert("a/b ü".into(), inbox);
    let answer = center.get("/v1/users/a%2Fb%20%C3%BC").await;
    assert_eq!(answer.body, json!({ "user": "a/b ü", "presence": "offline", "waiting": 4 }));
}

#[tokio::test]
async fn a_connected_user_shows_the_session() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let room = &cluster.rooms[1];
    cluster.register.bind("alice", room.route(1));
    let session = InspectReply {
        found: true,
        connected_at_ms: 1_735_689_600_000,
        peer: "192.0.2.1:5000".into(),
        device: "phone".into(),
        platform: "android 16".into(),
        ..InspectReply::default()
    };
    room.session("alice", session);
    let expected = json!({
        "user": "alice", "presence": "online", "room": 4, "room_endpoint": "room-4.example:9000",
        "since": "2025-01-01T00:00:00.000Z", "device": "phone", "platform": "android 16",
        "peer": "192.0.2.1:5000", "waiting": 0
    });
    assert_eq!(center.get("/v1/users/alice").await.body, expected);
}

#[tokio::test]
async fn what_cannot_be_told_is_unknown_r3() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let presence = async |user: &str| center.get(&format!("/v1/users/{user}")).await.body["presence"].clone();
    cluster.register.set_refilling(true);
    assert_eq!(presence("alice").await, "unknown");
    cluster.register.set_refilling(false);
    // A route into a room that knows nothing of the session is stale.
    cluster.register.bind("alice", cluster.rooms[0].route(1));
    assert_eq!(presence("alice").await, "offline");
    // A room that has gone cannot be asked.
    let mut gone = cluster.rooms[0].route(1);
    gone.node = 99;
    cluster.register.bind("alice", gone);
    assert_eq!(presence("alice").await, "unknown");
}

#[tokio::test]
async fn a_kick_goes_through_a_coordinator() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let answer = center.delete("/v1/users/alice/session?detail=moved%20away").await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, json!({ "kicked": true })));
    assert_eq!(center.delete("/v1/users/nobody/session").await.body, json!({ "kicked": false }));
    let kicks = [("alice".to_owned(), "moved away".to_owned()), ("nobody".to_owned(), String::new())];
    assert_eq!(cluster.coordinator.kicks(), kicks);

    let long = format!("/v1/users/alice/session?detail={}", "x".repeat(257));
    center.delete(&long).await.is_problem(400, "invalid_argument");
    center
        .delete("/v1/users/alice/session?reason=x")
        .await
        .is_problem(400, "invalid_argument")
        .says("reason");

    cluster.keeper.change(|nodes| {
        nodes.iter_mut().filter(|n| n.number == 5).for_each(|n| n.state = NodeState::Draining);
    });
    let center = cluster.center_with(|config| config.ask_timeout_ms = 200).await;
    center.delete("/v1/users/alice/session").await.is_problem(503, "unavailable");
}

#[tokio::test]
async fn an_operator_sees_a_session_of_any_product_live() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let path = |product: u32, user: &str| format!("/v1/admin/products/{product}/users/{user}/session");
    let read = async |path: String| answer(center.admin(Method::GET, &path)).await;
    let nobody = read(path(PRODUCT, "nobody")).await;
    let expected = json!({ "product": PRODUCT, "user": "nobody", "presence": "offline", "waiting": 0 });
    assert_eq!(nobody.body, expected);
    let room = &cluster.rooms[1];
    cluster.register.bind("a/b", room.route(0x2a));
    let now = now_ms();
    let session = InspectReply {
        found: true,
        connected_at_ms: 1_735_689_600_000,
        last_seen_ms: now - 5_000,
        peer: "192.0.2.1:5000".into(),
        device: "phone".into(),
        sdk: "rust/0.1.0".into(),
        platform: "android 16".into(),
        transport: "tls".into(),
        state: "open".into(),
        network: "4g".into(),
        heartbeat_s: 240,
        binds: 2,
        window: 16,
        stalled: true,
        unwritten_bytes: 7,
        frames_left: 500,
        in_flight: vec![InFlight { id: 9, written_at_ms: now - 3_000 }],
        ..InspectReply::default()
    };
    room.session("a/b", session);
    let answer = read(path(PRODUCT, "a%2Fb")).await;
    let mut shown = answer.body["session"].clone();
    let aged = |value: &mut Value, least: u64| {
        let age = value.take().as_u64().unwrap();
        assert!((least..least + 30_000).contains(&age), "{age} ms");
    };
    aged(&mut shown["silent_ms"], 5_000);
    aged(&mut shown["in_flight"][0]["age_ms"], 3_000);
    shown["last_seen"].take();
    let expected = json!({
        "id": format!("{:016x}", room.route(0x2a).session.0), "room": 4, "room_endpoint": "room-4.example:9000",
        "peer": "192.0.2.1:5000", "transport": "tls", "state": "open", "device": "phone", "sdk": "rust/0.1.0",
        "platform": "android 16", "network": "4g", "connected_at": "2025-01-01T00:00:00.000Z", "heartbeat_s": 240,
        "last_seen": null, "silent_ms": null, "binds": 2, "dirty": false, "loading": false, "stalled": true,
        "window": 16, "in_flight": [{ "id": "9", "age_ms": null }], "unconfirmed": 0, "unwritten_bytes": 7,
        "frames_left": 500
    });
    assert_eq!(shown, expected);
    read(path(0, "a")).await.is_problem(400, "invalid_id");
    read(path(404_404, "a")).await.is_problem(404, "not_found");
    center.get(&path(PRODUCT, "a")).await.is_problem(401, "unauthenticated");
}
