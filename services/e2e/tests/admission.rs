//! Who may connect, as operators change it at a real keeper while the cluster runs.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use longline_e2e::{Cluster, Device, SOON};
use longline_pb::keeper::WriteConfigRequest;
use longline_pb::keeper::keeper_client::KeeperClient;
use longline_testkit::eventually;
use serde_json::json;

/// Sets the entry, or deletes it; its revision from now on.
async fn set(cluster: &Cluster, document: Option<&str>, expected_revision: u64) -> u64 {
    let request = WriteConfigRequest {
        key: "room/admission".to_owned(),
        value: document.unwrap_or_default().into(),
        expected_revision,
        delete: document.is_none(),
    };
    let endpoint = longline_rpc::endpoint(cluster.keeper()).unwrap();
    let mut keeper = KeeperClient::new(endpoint.connect_lazy());
    keeper.write_config(request).await.unwrap().into_inner().revision
}

async fn in_force(cluster: &Cluster, revision: u64) {
    let metric = "longline_room_admission_revision";
    eventually(SOON, "the room has taken it over", async || {
        cluster.metric("room-1", metric) == revision as f64
    })
    .await;
}

#[tokio::test]
async fn a_deny_list_at_the_keeper_takes_effect_and_is_lifted_while_the_room_runs() {
    let cluster = Cluster::start().await.unwrap();
    let alice = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    let first = set(&cluster, Some("deny = [\"127.0.0.0/8\"]"), 0).await;
    in_force(&cluster, first).await;
    // Her session ends, and she does not get in again: messages wait for her.
    cluster.until_presence("alice", "offline").await.unwrap();
    let id = cluster.api.push("alice", json!("while she is out")).await.unwrap();
    let bob = Device::start(longline_sdk::Client::builder("device of bob").rooms(cluster.rooms()).bind(
        cluster.product,
        "bob",
        "",
    ))
    .unwrap();
    let refused = async || cluster.metric("room-1", "longline_room_refused_total") >= 1.0;
    eventually(SOON, "bob is refused", refused).await;
    assert_eq!(bob.received().bound, 0);

    // A document that cannot be taken over changes nothing, and is counted.
    let bad = set(&cluster, Some("deny = [\"somewhere\"]"), first).await;
    let rejected = async || cluster.metric("room-1", "longline_room_admission_rejected_total") == 1.0;
    eventually(SOON, "it is rejected", rejected).await;
    assert_eq!(cluster.metric("room-1", "longline_room_admission_revision"), first as f64);

    set(&cluster, None, bad).await;
    in_force(&cluster, 0).await;
    bob.until("bob gets in", |r| r.bound > 0).await.unwrap();
    let alice_again = Device::bound(&cluster.rooms(), cluster.product, "alice").await.unwrap();
    alice_again.until_has(&[id]).await.unwrap();
    drop(alice);
}

#[tokio::test]
async fn in_a_storm_everybody_is_told_when_to_come_and_gets_in_then() {
    const COMERS: usize = 8;
    let cluster = Cluster::start().await.unwrap();
    let bystander = Device::bound(&cluster.rooms(), cluster.product, "bystander").await.unwrap();
    let limits = "hellos_per_s = 1\nhello_burst = 1\ncome_back_ms = 6000";
    let revision = set(&cluster, Some(limits), 0).await;
    in_force(&cluster, revision).await;
    let storm: Vec<Device> = (0..COMERS)
        .map(|number| {
            let client = longline_sdk::Client::builder(format!("device-{number}")).rooms(cluster.rooms());
            // By itself it would come back at once.
            let client = client.backoff(Duration::from_millis(10), Duration::from_millis(40));
            Device::start(client.bind(cluster.product, format!("comer-{number}").as_str(), "")).unwrap()
        })
        .collect();
    let judged = || {
        let refused = cluster.metric_with("room-1", "longline_room_refused_total", "hello_rate");
        (refused as usize, storm.iter().filter(|device| device.received().bound > 0).count())
    };
    eventually(SOON, "some are let in", async || judged().0 + judged().1 >= COMERS).await;
    // Who is there notices nothing of it, and who was turned away waits.
    let id = cluster.api.push("bystander", json!("meanwhile")).await.unwrap();
    bystander.until_has(&[id]).await.unwrap();
    let (refused, bound) = judged();
    assert!(refused >= COMERS / 2 && refused + bound == COMERS, "{refused} refused, {bound} let in");
    // The storm is over for the room, but not for those who have an appointment.
    set(&cluster, None, revision).await;
    in_force(&cluster, 0).await;
    for device in &storm {
        device.until("it comes at its appointment", |r| r.bound > 0).await.unwrap();
    }
    assert_eq!(judged(), (refused, COMERS), "nobody was refused again");
}

#[tokio::test]
async fn the_keeper_says_who_may_connect_and_how_many_of_an_address() {
    let cluster = Cluster::start().await.unwrap();
    let first = set(&cluster, Some("allow = [\"192.0.2.0/24\"]"), 0).await;
    in_force(&cluster, first).await;
    let alice = longline_sdk::Client::builder("device of alice").rooms(cluster.rooms());
    let alice = Device::start(alice.bind(cluster.product, "alice", "")).unwrap();
    let denied = async || cluster.metric_with("room-1", "longline_room_refused_total", "denied") >= 1.0;
    eventually(SOON, "nobody here is on the list", denied).await;
    assert_eq!(alice.received().bound, 0);

    let second = set(&cluster, Some("allow = [\"127.0.0.0/8\"]\nper_ip_connections = 1"), first).await;
    in_force(&cluster, second).await;
    alice.until("she is on it", |r| r.bound > 0).await.unwrap();
    let bob = longline_sdk::Client::builder("device of bob").rooms(cluster.rooms());
    let bob = Device::start(bob.bind(cluster.product, "bob", "")).unwrap();
    let refused = || cluster.metric_with("room-1", "longline_room_refused_total", "per_ip_connections");
    eventually(SOON, "one of an address is enough", async || refused() >= 1.0).await;
    assert_eq!(bob.received().bound, 0);

    set(&cluster, None, second).await;
    in_force(&cluster, 0).await;
    bob.until("as many as like", |r| r.bound > 0).await.unwrap();
}
