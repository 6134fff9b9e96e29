//! Without faults the server does what a cluster promises.

mod support;

use longline_load_faulty::{Committed, Faults, Faulty, KEY, PRODUCT};
use longline_pb::client::{BindResult, PushFlag};
use longline_wire::FrameType;
use serde_json::json;

use support::{Business, Came, Device, base64, is_marked, texts, until};

async fn start() -> (Faulty, Business) {
    let faulty = Faulty::start(Faults::default()).await.expect("free ports");
    let business = Business::new(&faulty);
    (faulty, business)
}

#[tokio::test]
async fn messages_come_in_order_until_they_are_acknowledged() {
    let (faulty, business) = start().await;
    let mut ids = Vec::new();
    for text in ["1", "2"] {
        ids.push(business.push("a", text).await);
    }
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    ids.push(business.push("a", "3").await);
    let pushes = device.receive(3).await;
    assert_eq!(texts(&pushes), ["1", "2", "3"], "what waited and what came");
    assert_eq!(pushes.iter().map(|push| push.id).collect::<Vec<_>>(), ids);
    assert!(
        ids.is_sorted() && pushes.iter().all(|push| push.flags == 0 && push.expires_at_ms > push.sent_at_ms)
    );
    device.ack(&pushes[..1]).await;
    until("the ack", || faulty.waiting() == 2).await;
    drop(device);

    let mut device = Device::connect(faulty.room(), "a", 2).await;
    let again = device.receive(2).await;
    assert_eq!(texts(&again), ["2", "3"], "again what was not acknowledged");
    assert!(again.iter().all(|push| is_marked(push, PushFlag::Redelivered)));
    device.ack(&again).await;
    until("the acks", || faulty.waiting() == 0).await;
    drop(device);
    Device::connect(faulty.room(), "a", 3).await.hears_nothing().await;
    assert_eq!(faulty.committed(), Committed::default());
}

#[tokio::test]
async fn a_crash_loses_nothing() {
    let (faulty, business) = start().await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    business.push("a", "1").await;
    device.receive(1).await;
    faulty.crash();
    assert_eq!(device.came().await, Came::End, "without a word");
    business.push("a", "2").await;
    let mut device = Device::connect(faulty.room(), "a", 2).await;
    assert_eq!(device.take(2).await, ["1", "2"]);
}

#[tokio::test]
async fn a_batch_goes_to_its_users_and_a_repeat_is_known() {
    let (faulty, business) = start().await;
    let body = || json!({ "to": { "users": ["a", "b"] }, "payload_base64": base64("x"), "ttl_seconds": 60 });
    let (status, first) = business.post("/v1/messages", "key", body()).await;
    assert_eq!((status, first["messages"][1]["user"].as_str()), (202, Some("b")));
    assert_eq!(business.post("/v1/messages", "key", body()).await, (202, first.clone()));
    let other = json!({ "to": { "users": ["a"] }, "payload_base64": base64("y") });
    assert_eq!(business.post("/v1/messages", "key", other).await.0, 409);
    for user in ["a", "b"] {
        let mut device = Device::connect(faulty.room(), user, 1).await;
        assert_eq!(device.take(1).await, ["x"]);
        device.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_broadcast_goes_to_all_who_ever_came() {
    let (faulty, business) = start().await;
    let mut here = Device::connect(faulty.room(), "here", 1).await;
    drop(Device::connect(faulty.room(), "away", 1).await);
    business.push("new", "before").await;
    let id = business.broadcast("all").await;
    let pushes = here.receive(1).await;
    assert_eq!((pushes[0].id, pushes[0].broadcast_seq), (id, 1));
    assert!(is_marked(&pushes[0], PushFlag::Broadcast));
    let mut away = Device::connect(faulty.room(), "away", 2).await;
    assert_eq!(away.take(1).await, ["all"]);
    let mut new = Device::connect(faulty.room(), "new", 1).await;
    assert_eq!(new.take(1).await, ["before"]);
    new.hears_nothing().await;
}

#[tokio::test]
async fn who_is_there_is_known() {
    let (faulty, business) = start().await;
    let presence = async |wanted: &str| {
        let waiting = async {
            while business.get("/v1/users/a", KEY).await.1["presence"] != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await.expect(wanted);
    };
    let device = Device::connect(faulty.room(), "a", 1).await;
    presence("online").await;
    drop(device);
    presence("offline").await;
}

#[tokio::test]
async fn transient_messages_are_for_those_who_are_there() {
    let (faulty, business) = start().await;
    business.push_with("a", "gone", json!({ "class": "transient" })).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    business.push_with("a", "typing", json!({ "class": "transient" })).await;
    let pushes = device.receive(1).await;
    assert_eq!(
        (texts(&pushes), is_marked(&pushes[0], PushFlag::Transient)),
        (vec!["typing".to_owned()], true)
    );
    assert_eq!(faulty.waiting(), 0);
}

#[tokio::test]
async fn what_has_expired_does_not_come() {
    let (faulty, business) = start().await;
    business.push_with("a", "short", json!({ "ttl_seconds": 1 })).await;
    business.push("a", "long").await;
    // Time has to pass here: it is what is tested.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    assert_eq!(device.take(1).await, ["long"]);
    until("the inbox", || faulty.waiting() == 0).await;
}

#[tokio::test]
async fn more_than_a_window_comes_in_order() {
    let (faulty, business) = start().await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    let users: Vec<String> = vec!["a".to_owned()];
    for number in 0..600 {
        let body = json!({ "to": { "users": users }, "payload_base64": base64(&number.to_string()) });
        assert_eq!(business.post("/v1/messages", "", body).await.0, 202);
    }
    let mut all = Vec::new();
    while all.len() < 600 {
        all.extend(device.take(1).await);
    }
    assert_eq!(all, (0..600).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn connections_displace_each_other_as_the_protocol_says() {
    let (faulty, business) = start().await;
    let mut first = Device::connect(faulty.room(), "a", 5).await;
    let (_, welcome) = Device::hello(faulty.room(), PRODUCT, "a", 4).await;
    assert_eq!(welcome.expect("an answer").binds[0].result(), BindResult::Stale, "an older connection");
    let mut second = Device::connect(faulty.room(), "a", 6).await;
    assert_eq!(first.came().await, Came::Close(2008));
    business.push("a", "x").await;
    assert_eq!(second.take(1).await, ["x"]);
    let (mut stranger, welcome) = Device::hello(faulty.room(), PRODUCT + 1, "a", 1).await;
    assert_eq!(welcome.expect("an answer").binds[0].result(), BindResult::UnknownProduct);
    assert_eq!(stranger.came().await, Came::Close(2007));
}

#[tokio::test]
async fn frames_are_answered_and_rubbish_is_refused() {
    let (faulty, _) = start().await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    device.raw(&[FrameType::Ping.number(), 0]).await;
    assert_eq!(device.kind().await, Some(FrameType::Pong));
    device.raw(&[FrameType::Uplink.number(), 0]).await;
    assert_eq!(device.kind().await, Some(FrameType::UplinkAck));
    device.raw(&[99, 0]).await;
    assert_eq!(device.came().await, Came::Close(2003));
    assert_eq!(device.came().await, Came::End);
}

#[tokio::test]
async fn the_api_refuses_what_is_wrong() {
    let (faulty, business) = start().await;
    let post = |body| business.post("/v1/messages", "", body);
    assert_eq!(post(json!({ "to": { "user": "a" }, "payload_base64": "*" })).await.0, 400);
    assert_eq!(post(json!({ "to": {}, "payload_base64": "" })).await.0, 400);
    assert_eq!(post(json!({ "to": { "user": "" }, "payload_base64": "" })).await.0, 400);
    assert_eq!(post(json!({ "to": { "user": "a" }, "payload_base64": "", "ttl_seconds": 0 })).await.0, 400);
    assert_eq!(post(json!({ "nonsense": 1 })).await.0, 422);
    assert_eq!(business.get("/v1/users/nobody", "ll_wrong").await.0, 401);
    assert_eq!(business.get("/v1/users/nobody", KEY).await.1["presence"], "offline");
    assert_eq!(
        business.get("/v1/route?product=1&user=a", KEY).await.1["endpoints"][0],
        faulty.room().to_string()
    );
    assert_eq!(business.get("/nowhere", KEY).await.0, 404);
}
