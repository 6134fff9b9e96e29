//! All rooms are restarted one after the other, in order and under traffic: nothing is lost, nothing comes twice, and the devices
//! do not come to the other rooms faster than was set.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use longline_e2e::{Device, SOON};
use longline_procs::{Cluster, Options, Profile, binary};
use longline_sdk::Client;
use longline_testkit::eventually;
use longline_types::Role;
use support::{Traffic, check};

const ROOMS: usize = 3;
const USERS: usize = 150;
/// Most sessions that a room sends away in a second.
const RATE: f64 = 20.0;
/// What a window of a second and more may be above the rate: how exactly a scrape is dated on a busy machine.
const TOLERANCE: f64 = 1.3;

async fn cluster() -> Cluster {
    let options = Options::new(binary(Profile::Dev).unwrap()).count(Role::Room, ROOMS);
    let drain = format!("[drain]\nsessions_per_second = {RATE}\nwithin_ms = 0\ndeadline_ms = 15000");
    let options = options.set(Role::Room, &drain).unwrap().set(Role::Room, "[engine]\nshards = 2").unwrap();
    Cluster::start(options).await.unwrap()
}

async fn devices(cluster: &mut Cluster, users: usize) -> Vec<(String, Device)> {
    let dispatcher = cluster.describe().dispatchers.remove(0);
    let mut devices = Vec::new();
    for number in 0..users {
        let user = format!("user-{number}");
        let builder = Client::builder(format!("device-{number}"))
            .dispatcher(dispatcher.clone())
            .backoff(Duration::from_millis(50), Duration::from_millis(500))
            .bind(cluster.product().id, &user, "");
        devices.push((user, Device::start(builder).unwrap()));
    }
    for (_, device) in &devices {
        device.until("it is bound", |r| r.bound > 0).await.unwrap();
    }
    devices
}

/// The value of a metric of a room.
async fn metric(admin: &str, name: &str) -> Option<f64> {
    let text = reqwest::get(format!("http://{admin}/metrics")).await.ok()?.text().await.ok()?;
    let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#'))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Connections that these rooms have accepted, seen again and again until `done`.
async fn watch(admins: Vec<String>, done: tokio::sync::oneshot::Receiver<()>) -> Vec<(Instant, f64)> {
    let mut seen = Vec::new();
    let mut done = std::pin::pin!(done);
    loop {
        let mut accepted = 0.0;
        for admin in &admins {
            accepted += metric(admin, "longline_room_accepted_total").await.unwrap();
        }
        seen.push((Instant::now(), accepted));
        if tokio::time::timeout(Duration::from_millis(50), &mut done).await.is_ok() {
            return seen;
        }
    }
}

/// The highest rate over any time of a second or a little more.
fn highest_rate(seen: &[(Instant, f64)]) -> f64 {
    let mut highest = 0.0f64;
    for (from, (start, before)) in seen.iter().enumerate() {
        let window = seen[from..].iter().find(|(at, _)| *at - *start >= Duration::from_secs(1));
        if let Some((end, after)) = window {
            highest = highest.max((after - before) / (*end - *start).as_secs_f64());
        }
    }
    highest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_all_rooms_under_traffic_loses_nothing_and_keeps_the_rate() {
    let mut cluster = cluster().await;
    let devices = devices(&mut cluster, USERS).await;
    let traffic = Traffic::start(&cluster, USERS);
    let names: Vec<String> = cluster.of(Role::Room).map(|room| room.name().to_owned()).collect();
    let admin = |room: &longline_procs::NodeProcess| room.addresses().admin.clone().unwrap();
    for name in &names {
        let others: Vec<String> =
            cluster.of(Role::Room).filter(|room| room.name() != name).map(admin).collect();
        let own = admin(cluster.of(Role::Room).find(|room| room.name() == name).unwrap());
        let sessions = metric(&own, "longline_room_sessions{").await.unwrap();
        let (tell, done) = tokio::sync::oneshot::channel();
        let watching = tokio::spawn(watch(others.clone(), done));
        let begun = Instant::now();
        let ended = cluster.node(name).unwrap().stop().await.unwrap();
        assert!(ended.success(), "{name}: {ended:?}");
        let took = begun.elapsed();
        assert!(took.as_secs_f64() > sessions / RATE - 1.0, "{sessions} sessions of {name} in {took:?}");
        eventually(SOON, "all devices to be in the other rooms", async || {
            let mut sessions = 0.0;
            for other in &others {
                sessions += metric(other, "longline_room_sessions{").await.unwrap();
            }
            sessions == USERS as f64
        })
        .await;
        tell.send(()).unwrap();
        let seen = watching.await.unwrap();
        let rate = highest_rate(&seen);
        assert!(rate > RATE / 2.0, "the watch sees {rate} a second from {name} with {sessions} sessions");
        assert!(rate <= RATE * TOLERANCE, "{rate} a second from {name} with {sessions} sessions");
        let node = cluster.node(name).unwrap();
        node.restart().await.unwrap();
        node.wait_ready().await.unwrap();
    }
    let accepted = traffic.accepted(500).await;
    check(&cluster, &devices, &accepted).await;
    cluster.stop().await.unwrap();
}

/// Whether `longline ctl` succeeded, and what it printed: on stdout if it did, else on stderr.
async fn ctl(cluster: &Cluster, words: &[&str]) -> (bool, String) {
    let keeper = cluster.of(Role::Keeper).next().unwrap().addresses().rpc.clone();
    let mut command = tokio::process::Command::new(cluster.program());
    let output = command.arg("ctl").args(words).args(["--keeper", &keeper]).output().await.unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_empties_a_room_and_calls_it_off() {
    let mut cluster = cluster().await;
    let devices = devices(&mut cluster, 20).await;
    let (ok, said) = ctl(&cluster, &["drain", "room-1"]).await;
    assert!(ok && said.starts_with("room-1 takes no more sessions"), "{said}");
    assert!(said.ends_with("room-1 is empty\n"), "{said}");
    let room = cluster.of(Role::Room).next().unwrap();
    let (own, admin) = (room.addresses().public[0].clone(), room.addresses().admin.clone().unwrap());
    assert_eq!(metric(&admin, "longline_room_draining{").await, Some(1.0), "it stays up");
    for (user, device) in &devices {
        device.until("it is elsewhere", |r| r.connections.last() != Some(&own)).await.unwrap();
        assert!(device.received().closed.is_none(), "{user}");
    }
    assert!(ctl(&cluster, &["drain", "room-2", "--no-wait"]).await.0);
    let (ok, said) = ctl(&cluster, &["drain", "room-3"]).await;
    assert!(!ok && said.contains("only room that takes sessions"), "{said}");
    let (ok, said) = ctl(&cluster, &["drain", "room-9"]).await;
    assert!(!ok && said.contains("there is no room `room-9`"), "{said}");
    for room in ["room-1", "room-2"] {
        let (ok, said) = ctl(&cluster, &["undrain", room]).await;
        assert!(ok && said == format!("{room} takes sessions again\n"), "{said}");
    }
    let (ok, said) = ctl(&cluster, &["undrain", "room-1"]).await;
    assert!(!ok && said.contains("nobody has said"), "{said}");
    Device::bound(&[own], cluster.product().id, "back again").await.unwrap();
    cluster.stop().await.unwrap();
}
