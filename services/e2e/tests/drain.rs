//! Rooms that are emptied while devices are there: on command, and with tokens that have expired meanwhile.
#![allow(clippy::unwrap_used)]

use longline_auth::{TokenKeys, sign_token};
use longline_e2e::{Cluster, Device, SOON, Shape};
use longline_pb::keeper::keeper_client::KeeperClient;
use longline_pb::keeper::{ReadConfigRequest, WriteConfigRequest};
use longline_room::drain_key;
use longline_sdk::Client;
use longline_testkit::eventually;
use longline_types::{ProductId, User, now_ms};
use serde_json::{Value, json};

async fn two_rooms() -> Cluster {
    Cluster::shaped(Shape { rooms: 2, ..Shape::default() }).await.unwrap()
}

#[tokio::test]
async fn a_device_moves_on_its_ticket_though_its_token_has_expired() {
    let mut cluster = two_rooms().await;
    let record = json!({ "name": "closed app", "require_token": true });
    let record = cluster.admin_post("/v1/admin/products", record).await.unwrap();
    let product = record["product"]["id"].as_u64().unwrap() as u32;
    let secret = record["token_key"].as_str().unwrap().as_bytes();
    let erin = User::new("erin").unwrap();
    let token = sign_token(secret, &erin, Some(ProductId(product)), now_ms() + 2_000);
    let rooms = cluster.rooms();
    let start = |name: &str, rooms: &[String]| {
        Device::start(Client::builder(name).rooms(rooms).bind(product, "erin", &token)).unwrap()
    };
    let device = start("phone", &rooms[..1]);
    device.until("it is bound", |r| r.bound == 1).await.unwrap();
    let keys = TokenKeys::new([secret]);
    eventually(SOON, "the token to expire", async || {
        keys.verify(&token, &erin, ProductId(product), now_ms()).is_err()
    })
    .await;
    cluster.stop("room-1").await.unwrap();
    device.until("it is bound in the other room", |r| r.bound == 2).await.unwrap();
    assert_eq!(device.received().connections, rooms);
    let accepted = cluster.metric_with("room-2", "longline_room_tickets_shown_total", "accepted");
    assert_eq!(accepted, 1.0);
    let stranger = start("another phone", &rooms[1..]);
    stranger.until("it is refused without a ticket", |r| r.closed.is_some()).await.unwrap();
}

#[tokio::test]
async fn a_room_is_emptied_on_command_and_takes_sessions_again() {
    let cluster = two_rooms().await;
    let mut devices = Vec::new();
    for number in 0..20 {
        let user = format!("user-{number}");
        let builder = Client::builder(user.clone()).dispatcher(cluster.dispatcher());
        let device = Device::start(builder.bind(cluster.product, &user, "")).unwrap();
        device.until("it is bound", |r| r.bound > 0).await.unwrap();
        devices.push((user, device));
    }
    let before = cluster.metric("room-1", "longline_room_sessions");
    assert!(before > 0.0, "the dispatcher spreads users over both rooms");
    let key = drain_key(incarnation_of(&cluster, "room-1").await);
    write(&cluster, &key, false).await;
    eventually(SOON, "the room to be empty", async || {
        cluster.metric("room-1", "longline_room_sessions") == 0.0
            && cluster.metric("room-2", "longline_room_sessions") == 20.0
    })
    .await;
    assert_eq!(state_of(&cluster, "room-1").await, "draining");
    assert_eq!(cluster.metric("room-1", "longline_room_draining"), 1.0);
    assert!(cluster.metric("room-1", "longline_room_tickets_issued_total") >= before);
    for (user, device) in &devices {
        let id = cluster.api.push(user, json!("wherever you are")).await.unwrap();
        device.until_has(&[id]).await.unwrap();
    }
    let late = Client::builder("late").dispatcher(cluster.dispatcher()).bind(cluster.product, "late", "");
    let late = Device::start(late).unwrap();
    late.until("it is bound", |r| r.bound > 0).await.unwrap();
    assert_eq!(late.received().connections, cluster.rooms()[1..]);

    write(&cluster, &key, true).await;
    eventually(SOON, "the room to be ready", async || state_of(&cluster, "room-1").await == "ready").await;
    Device::bound(&cluster.rooms()[..1], cluster.product, "back again").await.unwrap();
    assert_eq!(cluster.metric("room-1", "longline_room_draining"), 0.0);
}

async fn node(cluster: &Cluster, name: &str) -> Value {
    let answer = cluster.admin().get("/v1/admin/nodes").await.unwrap();
    answer.body["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap().clone()
}

async fn incarnation_of(cluster: &Cluster, name: &str) -> u64 {
    node(cluster, name).await["incarnation"].as_str().unwrap().parse().unwrap()
}

async fn state_of(cluster: &Cluster, name: &str) -> String {
    node(cluster, name).await["state"].as_str().unwrap().to_owned()
}

/// What `longline ctl drain` and `undrain` do.
async fn write(cluster: &Cluster, key: &str, delete: bool) {
    let mut keeper = KeeperClient::connect(format!("http://{}", cluster.keeper())).await.unwrap();
    let entry = keeper.read_config(ReadConfigRequest { key: key.to_owned() }).await.unwrap().into_inner();
    let value = if delete { Vec::new() } else { b"room-1".to_vec() };
    let request =
        WriteConfigRequest { key: key.to_owned(), value, expected_revision: entry.revision, delete };
    keeper.write_config(request).await.unwrap();
}
