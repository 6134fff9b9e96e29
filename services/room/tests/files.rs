//! A room whose process may open no more files, in a process of its own.

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::device::Frame;
use support::{Device, Room, config, eventually};

const VARIABLE: &str = "LONGLINE_TEST_FEW_FILES";
const ADDRESS: &str = "room listens on ";
const REFUSED: &str = "refused: ";

/// The process with few files; nothing unless the other test has started it.
#[test]
fn child() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let room = Room::start(config());
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 20), maximum }).unwrap();
    println!("\n{ADDRESS}{}", room.address);
    // Until the other test closes the pipe.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    println!("\n{REFUSED}{}", room.refused("open_files"));
    room.stop();
}

#[test]
fn without_files_devices_are_told_to_come_back_and_those_who_are_there_are_served() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(VARIABLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said =
        |prefix: &str| lines.find_map(|line| line.strip_prefix(prefix).map(str::to_owned)).unwrap();
    let address: SocketAddr = said(ADDRESS).parse().unwrap();

    let mut welcome = Vec::new();
    let mut turned_away = 0;
    for number in 0..60 {
        let mut device = Device::connect(address);
        device.hello(&[&format!("user-{number}")]);
        match device.frame() {
            Frame::Welcome(_) => welcome.push(device),
            Frame::Close(close) => {
                assert!(close.reason == 1001 && close.retry_after_ms > 0, "{close:?}");
                turned_away += 1;
            }
            // What it had sent already was not read: the answer may be lost with the connection.
            Frame::End => turned_away += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((15..=25).contains(&welcome.len()), "{} of 60", welcome.len());
    assert_eq!(welcome.len() + turned_away, 60, "nobody waits in vain");
    // Nothing of this one can be unread.
    let close = Device::connect(address).close();
    assert!(close.reason == 1001 && close.retry_after_ms > 0, "{close:?}");
    turned_away += 1;
    welcome.iter_mut().for_each(Device::assert_served);
    welcome.truncate(10);
    eventually("there are files again", || {
        let mut device = Device::connect(address);
        device.hello(&["later"]);
        matches!(device.frame(), Frame::Welcome(_))
    });
    drop(child.stdin.take());
    assert!(said(REFUSED).parse::<usize>().unwrap() >= turned_away);
    assert!(child.wait().unwrap().success());
}
