//! The limit of open files. Alone in its process, since the limit is the process's.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{Device, Running, bound};
use longline_pb::client::Welcome;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn connections_that_cannot_be_accepted_wait_until_they_can() {
    let limit = getrlimit(Resource::Nofile);
    let raw = bound();
    let waiting: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(raw.devices()).unwrap()).collect();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 3), ..limit }).unwrap();
    let raw = Running::run(raw);
    let mut devices: Vec<_> = waiting.into_iter().map(Device::over).collect();
    for (user, device) in devices.iter_mut().enumerate() {
        device.hello(&format!("test-{user}"), 0, 0, 0);
    }
    let _: Welcome = devices[0].expect();
    common::eventually("some are accepted", || raw.stats.sessions() > 0);
    assert!(raw.stats.sessions() < 20, "not all can be");
    setrlimit(Resource::Nofile, limit).unwrap();
    for device in &mut devices[1..] {
        let _: Welcome = device.expect();
    }
    common::eventually("all are accepted", || raw.stats.sessions() == 20);
}
