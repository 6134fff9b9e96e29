//! Who may connect and how fast, over real sockets, and that the others notice nothing.

mod support;

use longline_room::{AdmissionConfig, EngineConfig};
use longline_types::CloseReason;
use support::device::Frame;
use support::{Device, Room, config, eventually, message};

/// A room with these limits.
fn room(admission: AdmissionConfig) -> Room {
    Room::start(EngineConfig { admission, park_ms: 0, ..config() })
}

/// Whether a device from there is welcomed.
fn is_welcome(room: &Room, source: &str) -> bool {
    let mut device = Device::connect_from(source, room.address);
    device.hello(&["visitor"]);
    matches!(device.frame(), Frame::Welcome(_))
}

#[test]
fn an_address_has_so_many_connections_at_a_time() {
    let room = room(AdmissionConfig { per_ip_connections: 2, ..AdmissionConfig::default() });
    let mut first = room.device_from("127.0.0.2", "alice");
    let mut second = room.device_from("127.0.0.2", "bob");
    let close = Device::connect_from("127.0.0.2", room.address).close();
    assert!(close.reason == 1001 && close.retry_after_ms > 0, "{close:?}");
    room.device_from("127.0.0.3", "carol").assert_served();
    assert_eq!(room.refused("per_ip_connections"), 1);
    second.assert_served();
    first.assert_served();
    drop(first);
    room.await_metric("longline_room_connections", 1);
    room.device_from("127.0.0.2", "dora").assert_served();
    second.assert_served();
    room.stop();
}

#[test]
fn an_address_connects_so_often() {
    let limits = AdmissionConfig { per_ip_per_s: 1, per_ip_burst: 3, ..AdmissionConfig::default() };
    let room = room(limits);
    for user in ["alice", "bob", "carol"] {
        room.device_from("127.0.0.2", user).assert_served();
    }
    let close = Device::connect_from("127.0.0.2", room.address).close();
    assert_eq!(close.reason, 1001);
    assert!((1..=1000).contains(&close.retry_after_ms), "when it may again: {close:?}");
    assert_eq!(room.refused("per_ip_rate"), 1);
    room.device_from("127.0.0.3", "dora").assert_served();
    eventually("it may again", || is_welcome(&room, "127.0.0.2"));
    room.stop();
}

#[test]
fn lists_change_at_run_time_also_for_those_who_are_there() {
    let room = room(AdmissionConfig::default());
    let mut bystander = room.device("bystander");
    let mut mallory = room.device_from("127.0.0.2", "mallory");
    room.engine.admit(Some("deny = [\"127.0.0.2/31\"]")).unwrap();
    let close = mallory.close();
    assert!(close.reason == u32::from(CloseReason::Denied.number()) && close.retry_after_ms > 0, "{close:?}");
    let accepted = room.metric("longline_room_accepted_total");
    let mut again = Device::connect_from("127.0.0.3", room.address);
    again.hello(&["mallory"]);
    assert_eq!(again.frame(), Frame::End, "closed without a word");
    assert_eq!((room.refused("denied"), room.metric("longline_room_accepted_total")), (1, accepted));
    bystander.assert_served();

    room.engine.admit(Some("allow = [\"127.0.0.0/30\"]\ndeny = [\"127.0.0.3\"]")).unwrap();
    eventually("what is allowed", || is_welcome(&room, "127.0.0.2"));
    assert!(!is_welcome(&room, "127.0.0.3") && !is_welcome(&room, "127.0.0.4"));
    room.engine.admit(None).unwrap();
    eventually("everybody again", || is_welcome(&room, "127.0.0.4"));
    bystander.assert_served();
    room.stop();
}

#[test]
fn a_limit_that_is_switched_on_counts_who_is_there_and_ends_nobody() {
    let room = room(AdmissionConfig::default());
    let mut there: Vec<Device> =
        ["alice", "bob", "carol"].map(|user| room.device_from("127.0.0.2", user)).into();
    room.engine.admit(Some("per_ip_connections = 2")).unwrap();
    eventually("no more of that address", || !is_welcome(&room, "127.0.0.2"));
    there.iter_mut().for_each(Device::assert_served);
    there.truncate(1);
    eventually("there is space again", || is_welcome(&room, "127.0.0.2"));
    room.stop();
}

#[test]
fn limits_are_taken_over_also_where_nobody_has_connected_yet() {
    let room = room(AdmissionConfig::default());
    room.engine.admit(Some("hellos_per_s = 1\nhello_burst = 1\nmemory_bytes = 1000000")).unwrap();
    let mut first = room.device("alice");
    let mut second = Device::connect(room.address);
    second.hello(&["bob"]);
    assert_eq!(second.close_reason(), Some(CloseReason::Overloaded));
    assert_eq!(room.refused("hello_rate"), 1);
    assert_eq!(room.metric("longline_room_memory_budget_bytes"), 1_000_000);
    first.assert_served();
    room.stop();
}

#[test]
fn a_bad_document_changes_nothing() {
    let room = room(AdmissionConfig { per_ip_connections: 1, ..AdmissionConfig::default() });
    let error = room.engine.admit(Some("per_ip_connections = 0\ndeny = [\"nowhere\"]")).unwrap_err();
    assert!(error.to_string().contains("`nowhere`"), "{error}");
    let _one = room.device_from("127.0.0.2", "alice");
    assert!(!is_welcome(&room, "127.0.0.2"));
    room.stop();
}

#[test]
fn in_a_storm_devices_are_told_when_to_come_back_and_those_who_are_there_are_served() {
    const COMERS: usize = 300;
    let limits = AdmissionConfig { hellos_per_s: 20, hello_burst: 20, ..AdmissionConfig::default() };
    let room = room(limits);
    let mut bystander = room.device("bystander");
    room.await_clean("bystander");
    let mut comers: Vec<Device> = (0..COMERS).map(|_| Device::connect(room.address)).collect();
    for (number, comer) in comers.iter_mut().enumerate() {
        comer.hello(&[&format!("comer-{number}")]);
    }
    let mut waits = Vec::new();
    for comer in &mut comers {
        match comer.frame() {
            Frame::Welcome(_) => {}
            Frame::Close(close) => {
                assert_eq!(close.reason, 1001);
                waits.push(close.retry_after_ms);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(room.refused("hello_rate"), waits.len() as u64);
    assert!(
        (COMERS / 2..COMERS).contains(&waits.len()),
        "some are served, some turned away: {}",
        waits.len()
    );
    // A hundred of them take five seconds, at twenty a second.
    let (first, last) = (waits[0], waits[waits.len() - 1]);
    assert!(first <= 1_500 && last >= waits.len() as u32 * 20, "{first} to {last} of {}", waits.len());
    room.deliver("bystander", vec![message(1)]);
    assert_eq!(bystander.ids(1), [1]);
    bystander.assert_served();
    drop(comers);
    room.await_metric("longline_room_connections", 1);
    room.stop();
}

#[test]
fn while_the_cluster_cannot_be_reached_all_get_an_appointment_too() {
    const COMERS: usize = 200;
    let room = room(AdmissionConfig { hellos_per_s: 20, hello_burst: 1_000, ..AdmissionConfig::default() });
    room.cluster.lock().fails = true;
    let mut comers: Vec<Device> = (0..COMERS).map(|_| Device::connect(room.address)).collect();
    let mut waits = Vec::new();
    for (number, comer) in comers.iter_mut().enumerate() {
        comer.hello(&[&format!("comer-{number}")]);
        let Frame::Welcome(_) = comer.frame() else {
            panic!("WELCOME comes first, with the bind that is refused")
        };
        let close = comer.close();
        assert_eq!(close.reason, 1001);
        waits.push(close.retry_after_ms);
    }
    // Two hundred of them take ten seconds, at twenty a second; a quarter of that is left to chance.
    assert!(waits[0] == 5_000 && waits[COMERS - 1] >= 7_000, "{waits:?}");
    room.stop();
}

#[test]
fn while_binds_wait_for_the_cluster_nobody_new_is_taken() {
    let room = room(AdmissionConfig { binds_waiting: 3, ..AdmissionConfig::default() });
    let mut bystander = room.device("bystander");
    room.cluster.lock().silent = true;
    let mut waiting: Vec<Device> = ["alice", "bob", "carol"].map(|_| Device::connect(room.address)).into();
    for (number, device) in waiting.iter_mut().enumerate() {
        device.hello(&[&format!("user-{number}")]);
    }
    room.await_metric("longline_room_binds_waiting", 3);
    let close = Device::connect(room.address).close();
    assert!(close.reason == 1001 && close.retry_after_ms >= 1_000, "{close:?}");
    assert_eq!(room.refused("overloaded"), 1);
    bystander.assert_served();
    room.stop();
}

#[test]
fn beyond_the_memory_budget_nobody_new_is_taken_and_it_comes_back() {
    let room = room(AdmissionConfig {
        memory_bytes: 22_000,
        unauthenticated_percent: 100,
        ..AdmissionConfig::default()
    });
    assert_eq!(room.metric("longline_room_memory_budget_bytes"), 22_000);
    let users = ["alice", "bob", "carol", "dora", "eve", "frank"];
    let mut sessions: Vec<Device> = Vec::new();
    for user in users {
        // What the last one takes is counted at the end of the turn.
        let before = room.metric("longline_room_memory_counted_bytes");
        let mut device = Device::connect(room.address);
        device.hello(&[user]);
        match device.frame() {
            Frame::Welcome(_) => {
                device.assert_served();
                eventually("it is counted", || {
                    room.metric("longline_room_memory_counted_bytes") > before + 4_096
                });
                sessions.push(device);
            }
            Frame::Close(close) => {
                assert!(close.reason == 1001 && close.retry_after_ms > 0, "{close:?}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sessions.len(), 5, "as many as fit");
    assert_eq!(room.refused("memory"), 1);
    sessions.iter_mut().for_each(Device::assert_served);
    sessions.pop();
    eventually("there is space again", || is_welcome(&room, "127.0.0.1"));
    drop(sessions);
    room.await_metric("longline_room_memory_counted_bytes", 0);
    room.stop();
}

#[test]
fn who_has_not_said_hello_has_a_share_of_the_memory() {
    let limits =
        AdmissionConfig { memory_bytes: 2_000_000, unauthenticated_percent: 1, ..AdmissionConfig::default() };
    let room = room(limits);
    let mut sessions: Vec<Device> =
        ["alice", "bob", "carol", "dora", "eve"].map(|user| room.device(user)).into();
    // A HELLO of 60,000 bytes, of which half has come: more than one connection may keep.
    let mut half = Device::connect(room.address);
    half.write(&[b"LL\x01\x00\x01\xe0\xd4\x03", vec![0; 30_000].as_slice()].concat());
    assert_eq!(half.close_reason(), Some(CloseReason::Overloaded));
    drop(half);
    room.await_metric("longline_room_connections", 5);
    let mut silent: Vec<Device> = (0..8).map(|_| Device::connect(room.address)).collect();
    let wait = std::time::Duration::from_millis(100);
    let closed = silent.iter_mut().filter_map(|device| device.frame_within(wait)).count();
    assert!((2..=5).contains(&closed), "20,000 bytes are some four of them: {closed} of 8");
    assert_eq!(room.refused("unauthenticated"), 1 + closed as u64);
    sessions.iter_mut().for_each(Device::assert_served);
    room.stop();
}

#[test]
fn what_a_storm_took_is_given_back() {
    let room = room(AdmissionConfig { hellos_per_s: 50, hello_burst: 50, ..AdmissionConfig::default() });
    let mut bystander = room.device("bystander");
    room.await_clean("bystander");
    bystander.assert_served();
    let steady = room.metric("longline_room_memory_counted_bytes");
    let comers = 2000.min(support::open_files() as usize / 4);
    let mut storm: Vec<Device> = (0..comers).map(|_| Device::connect(room.address)).collect();
    for (number, comer) in storm.iter_mut().enumerate() {
        comer.hello(&[&format!("comer-{number}")]);
    }
    for comer in &mut storm {
        let answer = comer.frame();
        assert!(
            matches!(answer, Frame::Welcome(_) | Frame::Close(_)),
            "everybody gets an answer: {answer:?}"
        );
    }
    assert!(room.refused("hello_rate") as usize > comers / 2);
    drop(storm);
    room.await_metric("longline_room_connections", 1);
    room.await_metric("longline_room_memory_counted_bytes", steady);
    bystander.assert_served();
    room.stop();
}
