//! The server over its sockets: devices on one side, injectors on the other.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Device, Running, eventually};
use longline_load_raw::{Acked, Acks, Delivery, Injector, Report};
use longline_pb::client::{Ack, PushFlag, Uplink, UplinkAck, UplinkResult, Welcome};
use longline_wire::FrameType;

fn deliveries(user: u32, ids: std::ops::Range<u64>, payload: &Bytes) -> Vec<Delivery> {
    ids.map(|id| Delivery { user, id, payload: payload.clone() }).collect()
}

/// Reports until `acked` ids and `absent` deliveries have been told.
async fn reports(acks: &mut Acks, acked: usize, absent: u64) -> Report {
    let mut all = Report::default();
    while all.acked.len() < acked || all.absent < absent {
        let next = tokio::time::timeout(Duration::from_secs(20), acks.next()).await;
        let next = next.expect("a report within the deadline").unwrap().expect("the connection stands");
        all.acked.extend(next.acked);
        all.absent += next.absent;
    }
    all
}

#[test]
fn a_device_is_welcomed_and_answered() {
    let raw = Running::start();
    let mut device = Device::connect(&raw);
    device.hello("run-7", 3, 60, 120);
    let welcome: Welcome = device.expect();
    assert_ne!(welcome.session, 0);
    assert_eq!((welcome.heartbeat_s, welcome.binds.len()), (120, 1));
    assert_eq!((welcome.binds[0].index, welcome.binds[0].result), (3, 1));
    assert!(welcome.binds[0].window > 0 && welcome.server_time_ms > 1_600_000_000_000);
    device.send_empty(FrameType::Ping);
    assert_eq!(device.next_frame().unwrap().0, FrameType::Pong);
    device.send(&Uplink { index: 3, sequence: 77, payload: vec![1; 2000].into(), route: 1 });
    let answer: UplinkAck = device.expect();
    assert_eq!((answer.sequence, answer.result), (77, UplinkResult::Ok.into()));
    eventually("the counters", || (raw.stats.sessions(), raw.stats.uplinks()) == (1, 1));
    drop(device);
    eventually("the slot is free", || raw.stats.sessions() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_arrive_and_acks_come_back() {
    let raw = Running::start();
    let mut devices: Vec<Device> = (0..3).map(|user| Device::open(&raw, user)).collect();
    let (injector, mut acks) = Injector::connect(raw.injection).await.unwrap();
    let payload = Bytes::from_static(b"payload");
    let mut batch = deliveries(1, 10..13, &payload);
    batch.extend(deliveries(2, 20..21, &payload));
    batch.extend(deliveries(9, 90..92, &payload));
    batch.extend(deliveries(u32::MAX, 1..2, &payload));
    injector.send(&batch).await.unwrap();

    let pushed: Vec<_> = (0..3).map(|_| devices[1].expect_push()).collect();
    assert!(pushed.iter().map(|(_, push)| push.id).eq(10..13), "in order");
    let (index, push) = &pushed[0];
    assert_eq!((*index, &push.payload, push.flags), (Device::BIND, &payload, 0));
    assert!(push.sent_at_ms > 1_600_000_000_000);
    assert_eq!(devices[2].expect_push().1.id, 20);
    devices[1].ack(&[10, 11, 12]);
    devices[2].ack(&[20]);

    let mut report = reports(&mut acks, 4, 3).await;
    report.acked.sort_by_key(|acked| acked.id);
    let expected = [(1, 10), (1, 11), (1, 12), (2, 20)].map(|(user, id)| Acked { user, id });
    assert_eq!(report, Report { acked: expected.into(), absent: 3 });
    eventually("the counters", || {
        (raw.stats.deliveries(), raw.stats.acks(), raw.stats.absent()) == (4, 4, 3)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_messages_are_reported_once_they_are_handed_over() {
    let raw = Running::start();
    let mut device = Device::open(&raw, 1);
    let (injector, mut acks) = Injector::connect(raw.injection).await.unwrap();
    injector.users("test", true).await.unwrap();
    let payload = Bytes::from_static(b"payload");
    injector.send(&deliveries(1, 10..12, &payload)).await.unwrap();
    injector.send(&deliveries(9, 90..91, &payload)).await.unwrap();
    let report = reports(&mut acks, 2, 1).await;
    let expected = [10, 11].map(|id| Acked { user: 1, id });
    assert_eq!(report, Report { acked: expected.into(), absent: 1 });
    let pushed: Vec<_> = (0..2).map(|_| device.expect_push().1).collect();
    assert!(pushed.iter().all(|push| push.flags == PushFlag::Transient as u32), "{pushed:?}");
    let long = injector.users(&"x".repeat(101), true).await;
    assert!(matches!(long, Err(longline_load_raw::InjectError::PrefixTooLong(101))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_reaches_every_session_and_its_acks_their_sender() {
    let raw = Running::start();
    let mut devices: Vec<Device> = (0..20)
        .map(|user| {
            let mut device = Device::connect(&raw);
            device.hello(&format!("run-{user}"), user % 16, 0, 0);
            let _: Welcome = device.expect();
            device
        })
        .collect();
    let mut silent = Device::connect(&raw);
    let (agent, mut agent_acks) = Injector::connect(raw.injection).await.unwrap();
    let (controller, mut controller_acks) = Injector::connect(raw.injection).await.unwrap();
    agent.send(&deliveries(5, 1..2, &Bytes::new())).await.unwrap();
    assert_eq!(devices[5].expect_push().1.id, 1);
    controller.broadcast(1000, &Bytes::from(vec![7; 60_000])).await.unwrap();
    for (user, device) in devices.iter_mut().enumerate() {
        let (index, push) = device.expect_push();
        assert_eq!((index as usize, push.id, push.flags), (user % 16, 1000, PushFlag::Broadcast as u32));
        assert!(push.payload.len() == 60_000 && push.payload.iter().all(|byte| *byte == 7));
    }
    devices[5].ack(&[1000, 1]);
    devices[6].ack(&[1000]);
    let mut users: Vec<u32> =
        reports(&mut controller_acks, 2, 0).await.acked.iter().map(|acked| acked.user).collect();
    users.sort_unstable();
    assert_eq!(users, [5, 6]);
    assert_eq!(reports(&mut agent_acks, 1, 0).await.acked, [Acked { user: 5, id: 1 }]);
    // Who has not said HELLO got nothing: the next thing it gets is WELCOME.
    silent.hello("run-99", 0, 0, 0);
    let _: Welcome = silent.expect();
    eventually("the counter", || raw.stats.broadcast_deliveries() == 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_connection_of_a_user_replaces_the_earlier() {
    let raw = Running::start();
    let mut earlier = Device::open(&raw, 1);
    let mut later = Device::open(&raw, 1);
    assert_eq!(earlier.expect_close(), 2008);
    let (injector, mut acks) = Injector::connect(raw.injection).await.unwrap();
    injector.send(&deliveries(1, 1..2, &Bytes::new())).await.unwrap();
    assert_eq!(later.expect_push().1.id, 1);
    later.ack(&[1]);
    assert_eq!(reports(&mut acks, 1, 0).await.acked, [Acked { user: 1, id: 1 }]);
    eventually("one session", || raw.stats.sessions() == 1);
    drop(later);
    eventually("none", || raw.stats.sessions() == 0);
    injector.send(&deliveries(1, 2..3, &Bytes::new())).await.unwrap();
    assert_eq!(reports(&mut acks, 0, 1).await.absent, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slow_device_does_not_take_at_once_comes_later() {
    let raw = Running::start();
    let mut device = Device::connect_with_small_buffer(&raw);
    device.hello("run-1", 0, 0, 0);
    let _: Welcome = device.expect();
    let (injector, _acks) = Injector::connect(raw.injection).await.unwrap();
    let payload = Bytes::from((0..50_000).map(|i| i as u8).collect::<Vec<u8>>());
    let mut sent = 0;
    // More than the socket takes, less than is too much: the rest has to be written when there is space.
    while raw.stats.unread_bytes() == 0 {
        assert!(sent < 1000, "50 MB that nobody reads");
        injector.send(&deliveries(1, sent..sent + 1, &payload)).await.unwrap();
        sent += 1;
        eventually("it is handed over", || raw.stats.deliveries() == sent);
    }
    for id in 0..sent {
        let (_, push) = device.expect_push();
        assert!(push.id == id && push.payload == payload);
    }
    eventually("nothing is left", || raw.stats.unread_bytes() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_does_not_read_is_cut_off_and_the_others_are_served() {
    let raw = Running::start();
    let _deaf = Device::open(&raw, 1);
    let mut good = Device::open(&raw, 2);
    let (injector, mut acks) = Injector::connect(raw.injection).await.unwrap();
    let payload = Bytes::from(vec![0; 64 * 1024]);
    let mut sent = 0;
    while raw.stats.sessions() > 1 {
        assert!(sent < 2000, "128 MB that nobody reads");
        injector.send(&deliveries(1, sent..sent + 1, &payload)).await.unwrap();
        injector.send(&deliveries(2, sent..sent + 1, &Bytes::new())).await.unwrap();
        assert_eq!(good.expect_push().1.id, sent);
        sent += 1;
    }
    injector.send(&deliveries(1, 0..1, &payload)).await.unwrap();
    // Perhaps the last of the loop was too late already.
    assert!(reports(&mut acks, 0, 1).await.absent >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_input_closes_its_connection_and_no_other() {
    let raw = Running::start();
    let mut good = Device::open(&raw, 1);
    let (injector, _acks) = Injector::connect(raw.injection).await.unwrap();
    for (rubbish, reason) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], 2000), (b"LL\x01\x00\x07\x00", 2005)] {
        let mut device = Device::connect(&raw);
        device.write(rubbish);
        assert_eq!(device.expect_close(), reason);
    }
    let mut known = Device::open(&raw, 2);
    known.write(&[99]);
    assert_eq!(known.expect_close(), 2003);
    for rubbish in [&b"GET "[..], b"LLI\x02", b"LLI\x01\xff\xff\xff\xff", b"LLI\x01\x01\0\0\0\x09"] {
        common::expect_end(&raw, rubbish);
    }
    injector.send(&deliveries(1, 5..6, &Bytes::new())).await.unwrap();
    assert_eq!(good.expect_push().1.id, 5);
    eventually("who is left", || raw.stats.sessions() == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_of_a_kilobyte_is_told_whole() {
    let raw = Running::start();
    let mut device = Device::open(&raw, 1);
    let (injector, mut acks) = Injector::connect(raw.injection).await.unwrap();
    injector.send(&deliveries(1, 0..1, &Bytes::new())).await.unwrap();
    device.expect_push();
    for first in (0..20).map(|i| i * 1024) {
        device.send(&Ack { index: 0, ids: (first..first + 1024).collect() });
    }
    let report = reports(&mut acks, 20 * 1024, 0).await;
    assert!(report.acked.iter().map(|acked| acked.id).eq(0..20 * 1024));
}
