//! The real processes with real Redis and MariaDB: each is killed in turn under traffic, and every id that was accepted is
//! checked against what its device received.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use longline_e2e::{Api, Device, SOON};
use longline_procs::{Cluster, Options, Profile, binary};
use longline_sdk::Client;
use longline_testkit::{Restart, eventually};
use longline_types::Role;
use rustix::process::{Pid, getpriority_process};
use support::{Traffic, check};

/// Users who receive; one more is offline all the time and comes at the end.
const USERS: usize = 12;

/// A cluster whose lost hints and leases are noticed within the patience of a test.
async fn cluster() -> Cluster {
    let options = Options::new(binary(Profile::Dev).unwrap())
        .set(Role::Keeper, "lease_ms = 2000")
        .unwrap()
        .set(Role::Room, "[engine]\ncheck_s = 3")
        .unwrap();
    Cluster::start(options).await.unwrap()
}

async fn devices(cluster: &mut Cluster) -> Vec<(String, Device)> {
    let description = cluster.describe();
    let mut devices = Vec::new();
    for number in 0..USERS {
        let user = format!("user-{number}");
        let builder = Client::builder(format!("device-{number}"))
            .rooms(description.rooms.clone())
            .backoff(Duration::from_millis(50), Duration::from_millis(500))
            .bind(cluster.product().id, &user, "");
        let device = Device::start(builder).unwrap();
        device.until("it is bound", |r| r.bound > 0).await.unwrap();
        devices.push((user, device));
    }
    devices
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_accepted_is_lost_whichever_process_is_killed() {
    let mut cluster = cluster().await;
    let mut devices = devices(&mut cluster).await;
    let traffic = Traffic::start(&cluster, USERS + 1);
    let names: Vec<String> = cluster.nodes().iter().map(|n| n.name().to_owned()).collect();
    for name in &names {
        let node = cluster.node(name).unwrap();
        node.kill().unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        node.restart().await.unwrap();
        node.wait_ready().await.unwrap();
    }
    cluster.redis().restart(Restart::Emptied).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.redis().restart(Restart::Truncated(20_000)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.mariadb().restart().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let accepted = traffic.accepted(200).await;
    let late = format!("user-{USERS}");
    let rooms = cluster.describe().rooms;
    devices.push((late.clone(), Device::bound(&rooms, cluster.product().id, &late).await.unwrap()));
    check(&cluster, &devices, &accepted).await;
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_slept_past_its_lease_comes_back_as_a_new_one_r4() {
    let mut cluster = cluster().await;
    let devices = devices(&mut cluster).await;
    let traffic = Traffic::start(&cluster, USERS + 1);
    cluster.node("room-1").unwrap().pause().unwrap();
    // Longer than the lease: the view loses the room, and its users' routes with it.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    cluster.node("room-1").unwrap().resume().unwrap();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let accepted = traffic.accepted(200).await;
    check(&cluster, &devices, &accepted).await;
    let api = Api::new(cluster.api().remove(0), cluster.product().key.clone());
    for (user, _) in &devices {
        // Checks find messages without a route; a route there is only if the room has made its binds anew.
        let online = async || api.presence(user).await.is_ok_and(|presence| presence == "online");
        eventually(SOON, &format!("{user} has a route"), online).await;
    }
    cluster.stop().await.unwrap();
}

/// The name and the nice value of each of a process's threads.
fn nice_values(pid: u32) -> Vec<(String, i32)> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(Result::unwrap);
    let value = |thread: std::fs::DirEntry| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        // One that has ended meanwhile is passed over.
        let nice = getpriority_process(Pid::from_raw(thread.file_name().to_str()?.parse().ok()?)).ok()?;
        Some((name.trim_end().to_owned(), nice))
    };
    threads.filter_map(value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rooms_shards_and_its_lease_come_before_the_threads_of_its_runtime() {
    let options = Options::new(binary(Profile::Dev).unwrap()).set(Role::Room, "runtime_nice = 7").unwrap();
    let cluster = Cluster::start(options).await.unwrap();
    let own = getpriority_process(None).unwrap();
    let threads = nice_values(cluster.of(Role::Room).next().unwrap().pid());
    let named = |name: &str| {
        let mut found = threads.iter().filter(|(thread, _)| thread.starts_with(name)).peekable();
        assert!(found.peek().is_some(), "{name}: {threads:?}");
        found.map(|(_, nice)| nice - own).collect::<Vec<_>>()
    };
    assert!(named("shard-").iter().chain(&named("member")).all(|nice| *nice == 0), "{threads:?}");
    assert!(named("tokio-rt-worker").iter().all(|nice| *nice == 7), "{threads:?}");
    cluster.stop().await.unwrap();
}
