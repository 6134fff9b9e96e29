//! A device whose connection is cut between it and its room, and that gets its session back (D8).
#![allow(clippy::unwrap_used)]

use longline_e2e::{Cluster, Device, SOON, Shape};
use longline_sdk::Client;
use longline_testkit::eventually;
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A line to a room that can be cut.
struct Line {
    address: String,
    /// Counts the cuts.
    cut: watch::Sender<u32>,
}

impl Line {
    async fn to(room: String) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (cut, cuts) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut device, _)) = listener.accept().await {
                let (room, mut cuts) = (room.clone(), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let mut room = TcpStream::connect(room).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut device, &mut room) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Line { address, cut }
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

/// One room, a line to it, and a device at the other end.
async fn connected(resume: bool) -> (Cluster, Line, Device) {
    let mut shape = Shape::default();
    // It comes back to any of them.
    shape.room.engine.shards = 4;
    let cluster = Cluster::shaped(shape).await.unwrap();
    let line = Line::to(cluster.rooms()[0].clone()).await;
    let builder = Client::builder("phone").rooms([line.address.clone()]).resume(resume);
    let device = Device::start(builder.bind(cluster.product, "alice", "")).unwrap();
    device.until("it is bound", |r| r.bound == 1).await.unwrap();
    (cluster, line, device)
}

#[tokio::test]
async fn a_device_that_is_cut_again_and_again_keeps_its_session_and_its_messages() {
    let (cluster, line, device) = connected(true).await;
    let mut ids = Vec::new();
    for cuts in 1..=3 {
        ids.push(cluster.api.push("alice", json!("before")).await.unwrap());
        line.cut();
        ids.push(cluster.api.push("alice", json!("while it is away, or just back")).await.unwrap());
        device.until("it is back", |r| r.bound == cuts + 1).await.unwrap();
        assert_eq!(device.received().resumed, cuts);
        device.until_has(&ids).await.unwrap();
    }
    assert_eq!(cluster.metric("room-1", "longline_room_resumes_total"), 3.0);
    assert_eq!(device.received().messages.len(), ids.len(), "nothing was told twice");
    eventually(SOON, "every acknowledgement", async || {
        cluster.metric("room-1", "longline_room_sessions") == 1.0
            && cluster.api.waiting("alice").await.unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn a_device_that_does_not_want_to_resume_begins_anew() {
    let (cluster, line, device) = connected(false).await;
    line.cut();
    device.until("it is back", |r| r.bound == 2).await.unwrap();
    assert_eq!(device.received().resumed, 0);
    assert_eq!(cluster.metric("room-1", "longline_room_resumes_total"), 0.0);
}
