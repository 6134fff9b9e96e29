//! Devices whose network swallows everything without a word: found by their silence, or by what they do not acknowledge. Needs root
//! and `ip`, for a network of its own.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use longline_pb::client::Network;
use longline_room::{EngineConfig, Transports};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use support::{Device, Room, config, message};

/// A network namespace with one cable to ours. Both are gone with it.
struct Elsewhere {
    name: String,
    cable: String,
    /// Our address on it.
    here: String,
}

impl Elsewhere {
    /// None, with a word why, where there are no rights or no tools for it.
    fn new(number: u8) -> Option<Elsewhere> {
        let process = std::process::id();
        let (name, cable) = (format!("longline-{process}-{number}"), format!("ll{process}x{number}"));
        // A subnet of the range for tests between networks (RFC 2544), apart for each process and test.
        let subnet = (process % 60 * 4 + u32::from(number)) as u8;
        let (here, there) = (format!("198.19.{subnet}.1"), format!("198.19.{subnet}.2"));
        let elsewhere = Elsewhere { here: here.clone(), name: name.clone(), cable: cable.clone() };
        let far = format!("{cable}f");
        let steps = [
            format!("netns add {name}"),
            format!("link add {cable} type veth peer name {far} netns {name}"),
            format!("addr add {here}/30 dev {cable}"),
            format!("link set {cable} up"),
            format!("-n {name} addr add {there}/30 dev {far}"),
            format!("-n {name} link set {far} up"),
        ];
        for step in steps {
            if let Err(why) = ip(&step) {
                eprintln!("skipped: no network namespace can be made here: ip {step}: {why}");
                return None;
            }
        }
        Some(elsewhere)
    }

    /// A room at our end of the cable.
    fn room(&self, config: EngineConfig) -> Room {
        Room::start_with(config, Transports::default(), &[&format!("{}:0", self.here)])
    }

    /// A device that connects from there.
    fn device(&self, room: SocketAddr) -> Device {
        let namespace = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        // The socket stays where it was made; the thread, which has moved there for good, ends.
        let connect = std::thread::spawn(move || {
            let there = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), there).unwrap();
            Device::connect(room)
        });
        connect.join().unwrap()
    }

    /// From now on nothing comes through, and nobody says so.
    fn cut(&self) {
        ip(&format!("-n {} link set {}f down", self.name, self.cable)).unwrap();
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Whatever of it there is: it may have been made in part.
        let _ = ip(&format!("link del {}", self.cable));
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn survival(outcome: &str) -> String {
    format!("longline_room_heartbeat_intervals_total{{interval=\"30\",network=\"4g\",outcome=\"{outcome}\"}}")
}

#[test]
fn a_half_open_session_is_found_within_one_and_a_half_intervals() {
    let Some(elsewhere) = Elsewhere::new(0) else { return };
    let config = EngineConfig { heartbeat_floor_s: 1, park_ms: 100, ..config() };
    let room = elsewhere.room(config);
    let mut alice = elsewhere.device(room.address);
    alice.hello_with(&["alice"], |hello| {
        hello.network = Network::Network4g.into();
        hello.heartbeat_max_s = 2;
    });
    assert_eq!(alice.welcome().heartbeat_s, 2);
    room.await_clean("alice");
    // An interval of silence that the network survives.
    std::thread::sleep(Duration::from_secs(2));
    alice.assert_served();
    let last_byte = Instant::now();
    elsewhere.cut();
    room.await_metric("longline_room_closes_total{reason=\"heartbeat_timeout\"}", 1);
    let found_after = last_byte.elapsed();
    assert!(found_after > Duration::from_millis(2_900), "{found_after:?}: not before 1.5 intervals");
    assert!(found_after < Duration::from_millis(3_900), "{found_after:?}: 1.5 intervals are 3 s");
    assert_eq!((room.metric(&survival("survived")), room.metric(&survival("broken"))), (1, 1));
    room.await_metric("longline_room_binds", 0);
    room.stop();
}

#[test]
fn a_session_that_acknowledges_nothing_on_the_level_of_tcp_is_broken_long_before_its_heartbeat() {
    let Some(elsewhere) = Elsewhere::new(1) else { return };
    let config = EngineConfig { tcp_user_timeout_ms: 1_000, park_ms: 100, ..config() };
    let room = elsewhere.room(config);
    let mut alice = elsewhere.device(room.address);
    alice.hello(&["alice"]);
    assert_eq!(alice.welcome().heartbeat_s, 240);
    room.await_clean("alice");
    alice.assert_served();
    elsewhere.cut();
    room.cluster.store("alice", [message(1)]);
    room.deliver("alice", vec![message(1)]);
    room.await_metric("longline_room_failed_connections_total", 1);
    room.await_metric("longline_room_binds", 0);
    assert_eq!(room.cluster.waiting("alice"), [1], "the message waits for the device");
    room.stop();
}
