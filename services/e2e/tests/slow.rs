//! A device that stops reading, against the real processes: its product says that it is to begin anew, and it does, with everything.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

#[path = "../../room/tests/support/device.rs"]
mod device;

use std::collections::BTreeSet;
use std::time::Duration;

use device::{Device as RawDevice, Frame};
use longline_e2e::{Api, Device, SOON};
use longline_procs::{Cluster, Options, Profile, binary};
use longline_testkit::eventually;
use longline_types::{CloseReason, MessageId, Role};
use serde_json::{Value, json};

/// What the device by hand waits for takes at most this long.
const DEADLINE: Duration = SOON;
/// Far more than the sockets hold.
const MOST: usize = 300;
const CLOSED: &str = "longline_room_unqueued_total{full=\"session\",outcome=\"closed\"";
const PUSHES: &str = "longline_room_pushes_total";

/// The value of a metric of the only room.
async fn metric(cluster: &Cluster, name: &str) -> f64 {
    let room = cluster.of(Role::Room).next().unwrap();
    let text = room.metrics().await.unwrap();
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// A product that wants slow readers to begin anew; its id, and the API with its key.
async fn impatient_product(cluster: &Cluster) -> (u32, Api) {
    let admin = Api::new(cluster.api().remove(0), cluster.admin_key());
    let body = json!({ "name": "impatient", "slow_reader": "close", "window": 1024 });
    let created = admin.post("/v1/admin/products", body).await.unwrap();
    assert_eq!(created.status, 201, "{created:?}");
    let product = &created.body["product"];
    assert_eq!((&product["slow_reader"], &product["max_queued_bytes"]), (&json!("close"), &Value::Null));
    let api = admin.with_key(created.body["key"].as_str().unwrap());
    (product["id"].as_u64().unwrap() as u32, api)
}

/// A session that reads no more than its WELCOME.
async fn deaf(room: String, product: u32) -> RawDevice {
    let connect = move || {
        let mut device = RawDevice::connect(room.parse().unwrap());
        device.hello_with(&["deaf"], |hello| hello.binds[0].product = product);
        device.welcome();
        device
    };
    tokio::task::spawn_blocking(connect).await.unwrap()
}

/// Ids of the messages that come before the CLOSE, and its reason and wait.
fn last_words(device: &mut RawDevice) -> (BTreeSet<u64>, Option<CloseReason>, u32) {
    let mut ids = BTreeSet::new();
    loop {
        match device.frame() {
            Frame::Push(_, push) => assert!(ids.insert(push.id), "{} came twice", push.id),
            Frame::Close(close) => {
                return (ids, CloseReason::from_number(close.reason), close.retry_after_ms);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_stops_reading_is_closed_as_its_product_wants_and_gets_everything_when_it_is_back() {
    let options = Options::new(binary(Profile::Dev).unwrap()).count(Role::Room, 1);
    let mut cluster = Cluster::start(options).await.unwrap();
    let (product, api) = impatient_product(&cluster).await;
    let rooms = cluster.describe().rooms;
    let alice = Device::bound(&rooms, cluster.product().id, "alice").await.unwrap();
    let mut deaf = deaf(rooms[0].clone(), product).await;

    let large = "x".repeat(60_000);
    let mut accepted: Vec<MessageId> = Vec::new();
    while metric(&cluster, CLOSED).await == 0.0 {
        assert!(accepted.len() < MOST, "the sockets hold {MOST} messages");
        accepted.push(api.push("deaf", json!(large)).await.unwrap());
        // One by one: a burst is no sign of a slow device.
        eventually(SOON, "the hint has met the session", async || {
            metric(&cluster, PUSHES).await >= accepted.len() as f64 || metric(&cluster, CLOSED).await > 0.0
        })
        .await;
    }
    let id = Api::new(cluster.api().remove(0), cluster.product().key.clone());
    let id = id.push("alice", json!("unhindered")).await.unwrap();
    alice.until_has(&[id]).await.unwrap();
    let offline = async || api.presence("deaf").await.is_ok_and(|presence| presence == "offline");
    eventually(SOON, "the route is gone", offline).await;

    let read = tokio::task::spawn_blocking(move || last_words(&mut deaf));
    let (seen, reason, retry_after_ms) = read.await.unwrap();
    assert_eq!(reason, Some(CloseReason::SlowReader));
    assert!(retry_after_ms > 0);
    let pushed: BTreeSet<u64> = accepted[..accepted.len() - 1].iter().map(|id| id.0).collect();
    assert_eq!(seen, pushed, "what was queued still came");
    assert_eq!(api.waiting("deaf").await.unwrap(), accepted.len() as u64, "nothing of it was acknowledged");

    let back = Device::bound(&rooms, product, "deaf").await.unwrap();
    back.until_has(&accepted).await.unwrap();
    eventually(SOON, "it has acknowledged all", async || api.waiting("deaf").await.is_ok_and(|n| n == 0))
        .await;
    assert_eq!(alice.received().connections.len(), 1);
    cluster.stop().await.unwrap();
}
