//! Sessions and binds: several addresses on one connection, takeover, kick, tokens, and a room that stops.
#![allow(clippy::unwrap_used)]

use longline_auth::sign_token;
use longline_e2e::{Cluster, Device, SOON, Shape};
use longline_sdk::{BindResult, Client, Closed};
use longline_types::{ProductId, User, now_ms};
use serde_json::json;

#[tokio::test]
async fn one_connection_receives_for_several_addresses() {
    let cluster = Cluster::start().await.unwrap();
    let (other, other_api) = cluster.create_product(json!({ "name": "other app" })).await.unwrap();
    let builder = Client::builder("phone").rooms(cluster.rooms());
    let phone =
        Device::start(builder.bind(cluster.product, "alice", "").bind(other, "alice@other", "")).unwrap();
    phone.until("both are bound", |r| r.bound == 2).await.unwrap();
    let later = phone.client.bind(cluster.product, "alice-work", "").await.unwrap();
    let ids = [
        cluster.api.push("alice", json!(1)).await.unwrap(),
        other_api.push("alice@other", json!(2)).await.unwrap(),
        cluster.api.push("alice-work", json!(3)).await.unwrap(),
    ];
    phone.until_has(&ids).await.unwrap();
    assert_eq!(phone.received().connections.len(), 1);
    assert!(phone.client.unbind(later).await.unwrap());
    cluster.until_presence("alice-work", "offline").await.unwrap();
    assert_eq!(cluster.api.presence("alice").await.unwrap(), "online");
}

#[tokio::test]
async fn a_newer_device_displaces_the_older_one_which_is_told_d9() {
    for rooms in [1, 2] {
        let cluster = Cluster::shaped(Shape { rooms, ..Shape::default() }).await.unwrap();
        let (first, last) = (&cluster.rooms()[..1], &cluster.rooms()[rooms - 1..]);
        let older = Device::bound(first, cluster.product, "bob").await.unwrap();
        let newer = Client::builder("another device").rooms(last).bind(cluster.product, "bob", "");
        let newer = Device::start(newer).unwrap();
        newer.until("it is bound", |r| r.bound == 1).await.unwrap();
        older.until("it is displaced", |r| r.closed.is_some()).await.unwrap();
        let closed = older.received().closed.unwrap();
        assert!(matches!(closed, Closed::ByRoom { reason: 2008, .. }), "{rooms} rooms: {closed:?}");
        let id = cluster.api.push("bob", json!("for the newer")).await.unwrap();
        newer.until_has(&[id]).await.unwrap();
    }
}

#[tokio::test]
async fn in_one_room_the_older_session_has_ended_when_the_newer_is_bound_d9() {
    let cluster = Cluster::start().await.unwrap();
    let mut devices = Vec::new();
    for number in 0..50 {
        let builder = Client::builder(format!("device-{number}")).rooms(cluster.rooms());
        let device = Device::start(builder.bind(cluster.product, "bob", "")).unwrap();
        device.until("it is bound", |r| r.bound == 1).await.unwrap();
        assert_eq!(cluster.metric("room-1", "longline_room_sessions"), 1.0, "device {number}");
        devices.push(device);
    }
}

#[tokio::test]
async fn a_displaced_bind_of_several_leaves_the_others_alone() {
    let cluster = Cluster::start().await.unwrap();
    let builder = Client::builder("tablet").rooms(cluster.rooms());
    let tablet =
        Device::start(builder.bind(cluster.product, "carol", "").bind(cluster.product, "family", ""))
            .unwrap();
    tablet.until("both are bound", |r| r.bound == 2).await.unwrap();
    let _phone = Device::bound(&cluster.rooms(), cluster.product, "carol").await.unwrap();
    tablet.until("one bind has ended", |r| r.ended == [BindResult::Displaced]).await.unwrap();
    let id = cluster.api.push("family", json!("still here")).await.unwrap();
    tablet.until_has(&[id]).await.unwrap();
    assert!(tablet.received().closed.is_none());
}

#[tokio::test]
async fn a_kicked_user_is_told_and_is_offline() {
    let cluster = Cluster::start().await.unwrap();
    let dave = Device::bound(&cluster.rooms(), cluster.product, "dave").await.unwrap();
    cluster.until_presence("dave", "online").await.unwrap();
    let answer = cluster.api.delete("/v1/users/dave/session").await.unwrap();
    assert_eq!((answer.status, &answer.body["kicked"]), (200, &json!(true)), "{answer:?}");
    dave.until("it is closed", |r| r.closed.is_some()).await.unwrap();
    assert!(matches!(dave.received().closed, Some(Closed::ByRoom { reason: 2009, .. })));
    cluster.until_presence("dave", "offline").await.unwrap();
    let again = cluster.api.delete("/v1/users/dave/session").await.unwrap();
    assert_eq!((again.status, &again.body["kicked"]), (200, &json!(false)));
}

#[tokio::test]
async fn a_product_that_requires_tokens_takes_only_its_own_for_that_user() {
    let cluster = Cluster::start().await.unwrap();
    let record = json!({ "name": "closed app", "require_token": true });
    let record = cluster.admin_post("/v1/admin/products", record).await.unwrap();
    let product = record["product"]["id"].as_u64().unwrap() as u32;
    let secret = record["token_key"].as_str().unwrap().as_bytes();
    let in_an_hour = now_ms() + 3_600_000;
    let token = |secret: &[u8], user: &str, until| {
        sign_token(secret, &User::new(user).unwrap(), Some(ProductId(product)), until)
    };
    let good = token(secret, "erin", in_an_hour);
    let bad = [
        ("no token", String::new()),
        ("rubbish", "a.b.c".to_owned()),
        ("another key", token(b"another key", "erin", in_an_hour)),
        ("another user", token(secret, "mallory", in_an_hour)),
        ("expired", token(secret, "erin", now_ms() - 60_000)),
    ];
    let device = Client::builder("device").rooms(cluster.rooms()).bind(cluster.product, "anchor", "");
    let device = Device::start(device).unwrap();
    for (number, (what, token)) in bad.into_iter().enumerate() {
        device.client.bind(product, "erin", &token).await.unwrap();
        device.until(&format!("refused: {what}"), |r| r.ended.len() == number + 1).await.unwrap();
        assert_eq!(device.received().ended[number], BindResult::BadToken, "{what}");
    }
    device.client.bind(999_999, "erin", "").await.unwrap();
    device
        .until("the unknown product is refused", |r| r.ended.last() == Some(&BindResult::UnknownProduct))
        .await
        .unwrap();
    device.client.bind(product, "erin", &good).await.unwrap();
    device.until("the good token is taken", |r| r.bound == 2).await.unwrap();
}

#[tokio::test]
async fn devices_of_a_room_that_stops_move_to_another_and_miss_nothing() {
    let mut cluster = Cluster::shaped(Shape { rooms: 2, ..Shape::default() }).await.unwrap();
    let first = cluster.rooms()[0].clone();
    let mut devices = Vec::new();
    for number in 0..20 {
        let user = format!("user-{number}");
        let builder = Client::builder(user.clone()).dispatcher(cluster.dispatcher());
        let device = Device::start(builder.bind(cluster.product, &user, "")).unwrap();
        device.until("it is bound", |r| r.bound > 0).await.unwrap();
        devices.push((user, device));
    }
    let on_first = |d: &Device| d.received().connections.last() == Some(&first);
    assert!(devices.iter().any(|(_, d)| on_first(d)), "the dispatcher spreads users over both rooms");
    cluster.stop("room-1").await.unwrap();
    for (user, device) in &devices {
        let id = cluster.api.push(user, json!("wherever you are")).await.unwrap();
        device.until_has(&[id]).await.unwrap();
        assert!(!on_first(device));
    }
}

#[tokio::test]
async fn a_user_who_never_connected_is_offline_and_has_nothing_waiting() {
    let cluster = Cluster::start().await.unwrap();
    let answer = cluster.api.get("/v1/users/nobody%20yet").await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!((&answer.body["presence"], &answer.body["waiting"]), (&json!("offline"), &json!(0)));
    let device = Device::bound(&cluster.rooms(), cluster.product, "nobody yet").await.unwrap();
    let online = async || {
        let user = cluster.api.get("/v1/users/nobody%20yet").await.unwrap().body;
        user["presence"] == "online" && user["since"].is_string() && !user["room"].is_null()
    };
    longline_testkit::eventually(SOON, "the user is online", online).await;
    device.close().await;
    cluster.until_presence("nobody%20yet", "offline").await.unwrap();
}
