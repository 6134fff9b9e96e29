//! Sending, looking and recalling over HTTP.

use longline_pb::room::{InFlight, InspectReply};
use longline_pb::types::{Class, Durability, MessageState};
use longline_types::{ErrorCode, MessageId, now_ms};
use reqwest::Method;
use serde_json::json;

use crate::support::saver::SAVER;
use crate::support::{CENTER, Cluster, PRODUCT, answer, id};

#[tokio::test]
async fn a_message_is_stored_as_asked_and_answered_with_its_id() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let before = now_ms();
    let body = r#"{"to": {"user": "älice"}, "payload": {"b": 1.50, "a": [null, "x y"]}, "ttl_seconds": 60,
        "collapse_key": "score", "durability": "fast"}"#;
    let request = center.request(Method::POST, "/v1/messages").header("content-type", "application/json");
    let answer = answer(request.header("Idempotency-Key", "order 1").body(body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = id(&answer.body["messages"][0]["id"]);
    assert_eq!(answer.body, json!({ "messages": [{ "user": "älice", "id": id.to_string() }] }));
    assert_eq!(MessageId(id).node(), CENTER);

    let put = cluster.saver.state().puts[0].clone();
    let (address, message) = (put.address.clone().unwrap(), put.message.clone().unwrap());
    assert_eq!((address.product, address.user.as_str()), (PRODUCT, "älice"));
    assert_eq!(&message.payload[..], br#"{"b":1.50,"a":[null,"x y"]}"#);
    assert_eq!((message.id, message.class()), (id, Class::Durable));
    assert!((before..=now_ms()).contains(&message.sent_at_ms));
    assert_eq!(message.expires_at_ms, message.sent_at_ms + 60_000);
    assert_eq!((put.collapse_key.as_str(), put.idempotency_key.as_str()), ("score", "order 1"));
    assert_eq!((put.durability(), put.inbox_limit), (Durability::Fast, 50));
    assert_eq!(center.counter(r#"longline_center_messages_accepted_total{class="durable"}"#), 1);
}

#[tokio::test]
async fn what_is_left_out_is_as_the_product_says() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let answer =
        center.post("/v1/messages", json!({ "to": { "user": "a" }, "payload_base64": "AP8=" })).await;
    assert_eq!(answer.status, 202);
    let put = cluster.saver.state().puts[0].clone();
    let message = put.message.clone().unwrap();
    assert_eq!(&message.payload[..], [0, 255]);
    assert_eq!(message.expires_at_ms - message.sent_at_ms, 600_000, "the product's default");
    assert_eq!(put.durability(), Durability::Synced);
    let null = json!({ "to": { "user": "a" }, "payload": null });
    assert_eq!(center.post("/v1/messages", null).await.status, 202);
    assert_eq!(&cluster.saver.state().puts[1].message.as_ref().unwrap().payload[..], b"null");
}

#[tokio::test]
async fn many_users_get_a_message_each_in_the_order_of_the_request() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let users: Vec<String> = (0..1000).map(|n| format!("user-{n}")).collect();
    let answer = center.post("/v1/messages", json!({ "to": { "users": users }, "payload": 1 })).await;
    assert_eq!(answer.status, 202);
    let messages = answer.body["messages"].as_array().unwrap();
    let named: Vec<&str> = messages.iter().map(|m| m["user"].as_str().unwrap()).collect();
    assert_eq!(named, users);
    let mut ids: Vec<u64> = messages.iter().map(|m| id(&m["id"])).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
}

#[tokio::test]
async fn a_repeat_gets_the_same_ids_and_another_request_under_its_key_is_refused_s1() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let send = async |users: &[&str], payload: u32| {
        let body = json!({ "to": { "users": users }, "payload": payload });
        answer(center.request(Method::POST, "/v1/messages").header("Idempotency-Key", "k").json(&body)).await
    };
    let first = send(&["a", "b"], 1).await;
    let second = send(&["a", "b"], 1).await;
    assert_eq!((second.status.as_u16(), &second.body), (202, &first.body));
    send(&["a", "b"], 2).await.is_problem(409, "idempotency_conflict");
    // A repeat that names more users: the first of them is known, the other is new.
    let wider = send(&["a", "c"], 1).await;
    assert_eq!(wider.body["messages"][0], first.body["messages"][0]);
    assert_eq!(wider.status, 202);
    assert_eq!(center.counter(r#"longline_center_messages_accepted_total{class="durable"}"#), 3);
}

#[tokio::test]
async fn part_of_a_send_may_fail_and_says_so_by_user() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    cluster.saver.refuse("b", &[ErrorCode::ResourceExhausted]);
    let answer = center.post("/v1/messages", json!({ "to": { "users": ["a", "b"] }, "payload": 1 })).await;
    assert_eq!(answer.status, 202);
    let [a, b] = &answer.body["messages"].as_array().unwrap()[..] else { panic!("{answer:?}") };
    assert!(a["id"].is_string() && a.get("error").is_none());
    assert_eq!(b["error"]["code"], "resource_exhausted");
    assert!(b.get("id").is_none());
    // Nobody accepted: the request failed as a whole.
    cluster.saver.refuse("b", &[ErrorCode::ResourceExhausted]);
    let answer = center.post("/v1/messages", json!({ "to": { "user": "b" }, "payload": 1 })).await;
    answer.is_problem(429, "resource_exhausted");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_put_is_tried_again_with_the_same_id_i2() {
    let cluster = Cluster::start().await;
    let center = cluster.center_with(|config| config.put_timeout_ms = 2_000).await;
    cluster.saver.refuse("a", &[ErrorCode::Unavailable, ErrorCode::Unavailable]);
    let id = center.send("a", json!(1)).await;
    let ids: Vec<u64> = cluster.saver.state().puts.iter().map(|p| p.message.as_ref().unwrap().id).collect();
    assert_eq!(ids, [id, id, id]);
    cluster.saver.refuse("a", &[ErrorCode::Unavailable; 1000]);
    let answer = center.post("/v1/messages", json!({ "to": { "user": "a" }, "payload": 1 })).await;
    match answer.status.as_u16() {
        // The last try was not answered in time: it may have been stored.
        504 => answer.is_problem(504, "deadline_exceeded"),
        _ => answer.is_problem(503, "unavailable"),
    };
}

#[tokio::test]
async fn a_waiting_message_shows_how_far_it_is() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let id = center.send("alice", json!(1)).await;
    let path = format!("/v1/messages/{id}");
    let answer = center.get(&path).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["id"], id.to_string());
    assert_eq!(
        (&answer.body["user"], &answer.body["state"], &answer.body["class"]),
        (&json!("alice"), &json!("stored"), &json!("durable"))
    );
    assert_eq!(states(&answer.body), ["accepted", "stored"]);
    assert_eq!(answer.body["history"][0]["node"], CENTER);
    assert_eq!(answer.body["history"][1]["node"], SAVER);
    assert!(answer.body["expires_at"].as_str().unwrap().ends_with('Z'));

    let room = &cluster.rooms[0];
    cluster.register.bind("alice", room.route(1));
    let connected_at_ms = now_ms() - 5000;
    let mut session = InspectReply { found: true, connected_at_ms, ..InspectReply::default() };
    room.session("alice", session.clone());
    assert_eq!(states(&center.get(&path).await.body), ["accepted", "stored", "routed"]);
    session.in_flight = vec![InFlight { id, written_at_ms: 1_735_689_600_042 }];
    room.session("alice", session);
    let answer = center.get(&path).await;
    assert_eq!(answer.body["state"], "written");
    assert_eq!(states(&answer.body), ["accepted", "stored", "routed", "written"]);
    assert_eq!(
        answer.body["history"][3],
        json!({ "state": "written", "at": "2025-01-01T00:00:00.042Z", "node": room.number })
    );

    cluster.saver.end(id, MessageState::Acked);
    let answer = center.get(&path).await;
    assert_eq!(
        (&answer.body["state"], states(&answer.body).last().unwrap().as_str()),
        (&json!("acked"), "acked")
    );
}

#[tokio::test]
async fn a_recall_is_repeatable_but_comes_too_late_for_an_ended_message() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let id = center.send("alice", json!(1)).await;
    for _ in 0..2 {
        let answer = center.delete(&format!("/v1/messages/{id}")).await;
        assert_eq!((answer.status.as_u16(), &answer.body["state"]), (200, &json!("recalled")));
    }
    let id = center.send("alice", json!(2)).await;
    cluster.saver.end(id, MessageState::Acked);
    let answer = center.delete(&format!("/v1/messages/{id}")).await;
    answer.is_problem(409, "already_ended").says("acked");
}

#[tokio::test]
async fn a_transient_message_is_never_stored() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    cluster.register.bind("alice", cluster.rooms[0].route(1));
    let body = json!({ "to": { "user": "alice" }, "payload": "typing", "class": "transient" });
    let answer = center.post("/v1/messages", body).await;
    assert_eq!(answer.status, 202);
    let id = id(&answer.body["messages"][0]["id"]);
    assert_eq!(cluster.rooms[0].handed(1).await, [("alice".into(), id, b"\"typing\"".to_vec())]);
    assert!(cluster.saver.state().puts.is_empty());
    center.get(&format!("/v1/messages/{id}")).await.is_problem(404, "not_found").says("transient");
    assert_eq!(center.counter(r#"longline_center_messages_accepted_total{class="transient"}"#), 1);
}

fn states(body: &serde_json::Value) -> Vec<String> {
    let history = body["history"].as_array().unwrap();
    history.iter().map(|step| step["state"].as_str().unwrap().to_owned()).collect()
}
