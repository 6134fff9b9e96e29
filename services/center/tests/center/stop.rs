//! Joining and stopping.

use longline_boot::Readiness;
use longline_pb::room::DeliverResult;
use longline_types::NodeState;
use serde_json::json;

use crate::support::{Cluster, eventually};

#[tokio::test]
async fn a_center_is_ready_at_the_keeper_and_leaves_in_order() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    eventually("the keeper knows", || cluster.center_state() == Some(NodeState::Ready)).await;
    let (address, health) = (center.address, center.deps.health.clone());
    center.stop().await;
    assert_eq!(cluster.center_state(), None, "it has left");
    assert_eq!(health.now(), Readiness::NotReady("stopping".into()));
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn hints_under_way_are_finished_first() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let room = cluster.rooms[0].clone();
    cluster.register.bind("alice", room.route(1));
    room.answer("alice", DeliverResult::Pushed);
    room.set_open(false);
    let id = center.send("alice", json!(1)).await;
    let stopping = tokio::spawn(center.stop());
    eventually("it is draining", || cluster.center_state() == Some(NodeState::Draining)).await;
    room.set_open(true);
    stopping.await.unwrap();
    assert_eq!(room.handed(1).await[0].1, id);
}
