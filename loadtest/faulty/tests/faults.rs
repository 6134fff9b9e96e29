//! Each fault is committed as it was asked for, seen by a device, and counted.

mod support;

use std::time::Duration;

use longline_load_faulty::{Committed, Faults, Faulty};
use longline_pb::client::PushFlag;
use serde_json::json;

use support::{Business, Device, is_marked, texts, until};

async fn start(faults: Faults) -> (Faulty, Business) {
    let faulty = Faulty::start(faults).await.expect("free ports");
    let business = Business::new(&faulty);
    (faulty, business)
}

async fn push_all(business: &Business, user: &str, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        business.push(user, &number.to_string()).await;
    }
}

#[tokio::test]
async fn one_in_three_is_dropped() {
    let (faulty, business) = start(Faults { drop_one_in: Some(3), ..Faults::default() }).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    push_all(&business, "a", 1..=7).await;
    assert_eq!(device.take(5).await, ["1", "2", "4", "5", "7"]);
    device.hears_nothing().await;
    assert_eq!(faulty.committed(), Committed { dropped: 2, ..Committed::default() });
}

#[tokio::test]
async fn one_in_two_comes_twice_without_the_flag() {
    let (faulty, business) = start(Faults { duplicate_one_in: Some(2), ..Faults::default() }).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    push_all(&business, "a", 1..=4).await;
    let pushes = device.receive(6).await;
    assert_eq!(texts(&pushes), ["1", "2", "2", "3", "4", "4"]);
    assert_eq!(pushes[1], pushes[2], "the very same, without REDELIVERED");
    device.ack(&pushes).await;
    until("the acks", || faulty.waiting() == 0).await;
    assert_eq!(faulty.committed(), Committed { duplicated: 2, ..Committed::default() });
}

#[tokio::test]
async fn one_in_two_comes_again_after_its_acknowledgement() {
    let (faulty, business) = start(Faults { resurrect_one_in: Some(2), ..Faults::default() }).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    push_all(&business, "a", 1..=2).await;
    device.take(2).await;
    until("the acks", || faulty.waiting() == 0).await;
    // The acknowledgement has to be old enough.
    tokio::time::sleep(Duration::from_millis(Faults::RESURRECT_AFTER_MS + 100)).await;
    drop(device);
    let mut device = Device::connect(faulty.room(), "a", 2).await;
    let again = device.receive(1).await;
    assert_eq!((texts(&again), is_marked(&again[0], PushFlag::Redelivered)), (vec!["2".to_owned()], true));
    assert_eq!(faulty.committed(), Committed { resurrected: 1, ..Committed::default() });
    device.ack(&again).await;
    drop(device);
    Device::connect(faulty.room(), "a", 3).await.hears_nothing().await;
}

#[tokio::test]
async fn a_young_acknowledgement_is_respected() {
    let (faulty, business) = start(Faults { resurrect_one_in: Some(1), ..Faults::default() }).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    business.push("a", "1").await;
    device.take(1).await;
    until("the ack", || faulty.waiting() == 0).await;
    drop(device);
    Device::connect(faulty.room(), "a", 2).await.hears_nothing().await;
    assert_eq!(faulty.committed(), Committed::default());
}

#[tokio::test]
async fn one_in_three_is_overtaken() {
    let (faulty, business) = start(Faults { reorder_one_in: Some(3), ..Faults::default() }).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    push_all(&business, "a", 1..=9).await;
    let pushes = device.receive(9).await;
    assert_eq!(texts(&pushes), ["1", "2", "4", "3", "5", "6", "8", "7", "9"]);
    assert!(pushes.iter().all(|push| push.flags == 0));
    device.ack(&pushes).await;
    until("the acks", || faulty.waiting() == 0).await;
    assert_eq!(faulty.committed(), Committed { reordered: 2, ..Committed::default() });
}

#[tokio::test]
async fn a_message_that_nothing_overtakes_comes_in_time_and_is_not_counted() {
    let (faulty, business) = start(Faults { reorder_one_in: Some(1), ..Faults::default() }).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    business.push("a", "1").await;
    assert_eq!(device.take(1).await, ["1"]);
    assert_eq!(faulty.committed(), Committed::default());
}

#[tokio::test]
async fn messages_for_the_absent_are_forgotten_and_a_crash_forgets_all() {
    let (faulty, business) = start(Faults { forget_offline: true, ..Faults::default() }).await;
    business.push("a", "1").await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    business.push("a", "2").await;
    business.push("a", "3").await;
    let pushes = device.receive(2).await;
    assert_eq!(texts(&pushes), ["2", "3"]);
    device.ack(&pushes[..1]).await;
    until("the ack", || faulty.waiting() == 1).await;
    faulty.crash();
    assert_eq!(faulty.waiting(), 0);
    Device::connect(faulty.room(), "a", 2).await.hears_nothing().await;
    let expected = Committed { forgotten: 1, forgotten_in_flight: 1, ..Committed::default() };
    assert_eq!(faulty.committed(), expected);
}

#[tokio::test]
async fn one_in_two_goes_to_another_user_as_well() {
    let (faulty, business) = start(Faults { foreign_one_in: Some(2), ..Faults::default() }).await;
    let mut a = Device::connect(faulty.room(), "a", 1).await;
    push_all(&business, "a", 1..=2).await;
    assert_eq!(a.take(2).await, ["1", "2"]);
    assert_eq!(faulty.committed().foreign, 0, "there was nobody else");
    let mut b = Device::connect(faulty.room(), "b", 1).await;
    push_all(&business, "a", 3..=6).await;
    assert_eq!(a.take(4).await, ["3", "4", "5", "6"]);
    assert_eq!(b.take(2).await, ["4", "6"]);
    assert_eq!(faulty.committed(), Committed { foreign: 2, ..Committed::default() });
}

#[tokio::test]
async fn one_in_two_of_those_that_expire_soon_comes_late() {
    let (faulty, business) = start(Faults { late_one_in: Some(2), ..Faults::default() }).await;
    let mut device = Device::connect(faulty.room(), "a", 1).await;
    for text in ["1", "2"] {
        business.push_with("a", text, json!({ "ttl_seconds": 1 })).await;
    }
    business.push("a", "3").await;
    assert_eq!(device.take(2).await, ["1", "3"]);
    let late = device.receive(1).await;
    assert_eq!(texts(&late), ["2"]);
    assert!(now_ms() >= late[0].expires_at_ms + Faults::LATE_BY_MS);
    assert_eq!(faulty.committed(), Committed { late: 1, ..Committed::default() });
}

#[tokio::test]
async fn one_in_two_deliveries_of_a_broadcast_is_lost() {
    let (faulty, business) = start(Faults { lose_broadcast_one_in: Some(2), ..Faults::default() }).await;
    let mut a = Device::connect(faulty.room(), "a", 1).await;
    let mut b = Device::connect(faulty.room(), "b", 1).await;
    business.broadcast("x").await;
    business.push("b", "y").await;
    assert_eq!(a.take(1).await, ["x"]);
    assert_eq!(b.take(1).await, ["y"]);
    b.hears_nothing().await;
    assert_eq!(faulty.committed(), Committed { broadcasts_lost: 1, ..Committed::default() });
}

#[tokio::test]
async fn a_mute_room_never_answers() {
    let (faulty, business) = start(Faults { mute: true, ..Faults::default() }).await;
    let hello = tokio::spawn(async move { Device::hello(faulty.room(), 1, "a", 1).await.1.is_some() });
    // The API is well.
    business.push("a", "1").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!hello.is_finished());
    hello.abort();
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
