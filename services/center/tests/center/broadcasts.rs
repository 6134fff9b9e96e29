//! Broadcasts: accepted, driven, taken over, looked at.

use longline_pb::room::BroadcastProgress;
use longline_pb::saver::{BroadcastRecord, RoomProgress};
use longline_pb::types::Message;
use longline_types::now_ms;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{CENTER, Center, Cluster, PRODUCT, answer, eventually, id};

const INCARNATION: u64 = 1000 + CENTER as u64;

fn progress(done: bool, sessions: u64, acked: u64) -> BroadcastProgress {
    BroadcastProgress { known: true, done, sessions, pushed: sessions, acked }
}

async fn broadcast(center: &Center, rate: u32) -> u64 {
    let body = json!({ "payload": { "a": 1 }, "ttl_seconds": 60, "rate_per_second": rate });
    let answer = center.post("/v1/broadcasts", body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    id(&answer.body["id"])
}

async fn status(center: &Center, id: u64) -> Value {
    center.get(&format!("/v1/broadcasts/{id}")).await.body
}

#[tokio::test]
async fn every_room_walks_its_sessions_and_the_progress_is_told() {
    let cluster = Cluster::start().await;
    let center = cluster.center_with(|config| config.broadcasts.claim_every_ms = 3_600_000).await;
    cluster.rooms[0].set_progress(progress(false, 3, 1));
    cluster.rooms[1].set_progress(progress(true, 5, 5));
    let id = broadcast(&center, 100).await;
    let halfway = || cluster.saver.state().broadcasts[0].record.rooms.iter().any(|room| room.done);
    eventually("a first report, since the accepting center begins at once", halfway).await;
    let seen = status(&center, id).await;
    assert_eq!((&seen["done"], &seen["rooms"], &seen["rooms_done"]), (&json!(false), &json!(2), &json!(1)));

    cluster.rooms[0].set_progress(progress(true, 10, 10));
    eventually("the end", || cluster.saver.state().broadcasts[0].record.finished).await;
    // Two users have acknowledged it after they bound, and the store knows.
    cluster.saver.state().broadcasts[0].record.acked = 17;
    let seen = status(&center, id).await;
    let figures = ["done", "online", "online_reached", "offline_reached", "rooms", "rooms_done"];
    assert_eq!(
        figures.map(|f| seen[f].clone()),
        [json!(true), json!(15), json!(15), json!(2), json!(2), json!(2)]
    );
    assert_eq!(seen["id"], id.to_string());

    let first = &cluster.rooms[0].broadcasts()[0];
    let message = first.message.clone().unwrap();
    assert_eq!((first.product, first.start, first.rate_per_second), (PRODUCT, true, 50));
    assert_eq!((message.id, message.broadcast_seq, &message.payload[..]), (id, 1, &b"{\"a\":1}"[..]));
    assert_eq!(message.expires_at_ms - message.sent_at_ms, 60_000);
    let later = cluster.rooms[0].broadcasts().into_iter().skip(1).find(|b| b.message.is_some()).unwrap();
    assert!(!later.start && later.message.unwrap().payload.is_empty(), "the payload travels once");
}

#[tokio::test]
async fn a_room_that_leaves_is_not_waited_for() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    cluster.rooms[0].set_progress(progress(false, 0, 0));
    cluster.rooms[1].set_progress(progress(true, 1, 1));
    let id = broadcast(&center, 0).await;
    eventually("both were asked", || !cluster.rooms[0].broadcasts().is_empty()).await;
    cluster.keeper.change(|nodes| nodes.retain(|n| n.number != cluster.rooms[0].number));
    eventually("the end", || cluster.saver.state().broadcasts[0].record.finished).await;
    assert_eq!(status(&center, id).await["rooms_done"], 2);
}

#[tokio::test]
async fn another_center_takes_over_from_one_that_stops() {
    let cluster = Cluster::start().await;
    cluster.rooms[0].set_progress(progress(false, 1, 0));
    cluster.rooms[1].set_progress(progress(true, 1, 1));
    let first = cluster.center().await;
    let id = broadcast(&first, 0).await;
    let reported = || !cluster.saver.state().broadcasts[0].record.rooms.is_empty();
    eventually("the first center drives", reported).await;
    let second = cluster.center().await;
    first.stop().await;
    let claims = || cluster.saver.state().broadcasts[0].claims.clone();
    eventually("the second center claims", || claims() == [INCARNATION, INCARNATION + 1]).await;
    cluster.rooms[0].set_progress(progress(true, 1, 1));
    eventually("the end", || cluster.saver.state().broadcasts[0].record.finished).await;
    assert_eq!(status(&second, id).await["online_reached"], 2);
}

#[tokio::test]
async fn what_a_dead_center_drove_is_taken_over_when_its_claim_lapses() {
    let cluster = Cluster::start().await;
    cluster.rooms[1].set_progress(progress(true, 2, 2));
    let sent_at_ms = now_ms();
    let message = Message {
        id: 77,
        broadcast_seq: 1,
        sent_at_ms,
        expires_at_ms: sent_at_ms + 600_000,
        payload: b"x"[..].into(),
        ..Message::default()
    };
    let walked = RoomProgress { node: 3, incarnation: 1003, done: true, sessions: 4, pushed: 4, acked: 4 };
    let record = BroadcastRecord {
        product: PRODUCT,
        message: Some(message),
        rooms: vec![walked],
        ..BroadcastRecord::default()
    };
    cluster.saver.leave_broadcast(record, 300);
    let center = cluster.center().await;
    eventually("the end", || cluster.saver.state().broadcasts[0].record.finished).await;
    assert!(now_ms() >= sent_at_ms + 300, "not before the claim had lapsed");
    assert_eq!(cluster.rooms[0].broadcasts().len(), 0, "what is done is not asked for again");
    assert_eq!(status(&center, 77).await["online_reached"], 6);
}

#[tokio::test]
async fn a_repeat_gets_the_same_id_and_wrong_ones_are_refused() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let send = async |payload: u32| {
        let request = center.request(Method::POST, "/v1/broadcasts").header("Idempotency-Key", "k");
        answer(request.json(&json!({ "payload": payload }))).await
    };
    let first = send(1).await;
    assert_eq!(send(1).await.body, first.body);
    send(2).await.is_problem(409, "idempotency_conflict");
    center.get("/v1/broadcasts/1").await.is_problem(404, "not_found");
    center.get("/v1/broadcasts/x").await.is_problem(400, "invalid_id");
    for (body, code) in [
        (json!({}), 400),
        (json!({ "payload": 1, "to": "all" }), 400),
        (json!({ "payload": 1, "rate_per_second": -1 }), 400),
        (json!({ "payload": 1, "ttl_seconds": 3601 }), 400),
        (json!({ "payload": "x".repeat(64 * 1024) }), 413),
    ] {
        assert_eq!(center.post("/v1/broadcasts", body.clone()).await.status.as_u16(), code, "{body}");
    }
}
