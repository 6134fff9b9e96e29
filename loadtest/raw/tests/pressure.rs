//! What happens when one side does not take what the other has for it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{DEADLINE, Device, Running, bound, eventually, small_socket};
use longline_load_raw::{Delivery, InjectError, Injector};
use longline_pb::client::Ack;
use tokio::time::timeout;

const IDS: u64 = 1024;

fn preface_and_delivery(user: u32, id: u64) -> Vec<u8> {
    [&b"LLI\x01"[..], &delivery(user, id)].concat()
}

/// A batch with one delivery without a payload, by hand as the documentation has it.
fn delivery(user: u32, id: u64) -> Vec<u8> {
    let mut bytes = vec![17, 0, 0, 0, 1];
    bytes.extend(user.to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend([0; 4]);
    bytes
}

/// Acknowledges many times over, and waits until all of that has been taken.
fn ack_on_and_on(raw: &Running, device: &mut Device, frames: u64) {
    let before = raw.stats.acks();
    for _ in 0..frames {
        device.send(&Ack { index: 0, ids: (0..IDS).collect() });
    }
    eventually("all acks have been read", || raw.stats.acks() == before + frames * IDS);
}

#[test]
fn an_injector_that_does_not_read_is_not_read_from_until_it_does() {
    let raw = Running::start();
    let mut device = Device::open(&raw, 1);
    let mut deaf = small_socket(raw.injection);
    deaf.set_read_timeout(Some(DEADLINE)).unwrap();
    deaf.write_all(&preface_and_delivery(1, 1)).unwrap();
    assert_eq!(device.expect_push().1.id, 1);
    // 6 MB of reports: more than the kernel takes.
    ack_on_and_on(&raw, &mut device, 512);

    deaf.write_all(&delivery(1, 2)).unwrap();
    let mut other = small_socket(raw.injection);
    other.write_all(&preface_and_delivery(1, 3)).unwrap();
    assert_eq!(device.expect_push().1.id, 3, "the other is served, the first one is not");

    let (mut acked, mut absent) = (0, 0);
    while acked < 512 * IDS {
        let mut head = [0; 8];
        deaf.read_exact(&mut head).unwrap();
        let [length, missing] =
            [&head[..4], &head[4..]].map(|number| u32::from_le_bytes(number.try_into().unwrap()));
        deaf.read_exact(&mut vec![0; length as usize - 4]).unwrap();
        acked += u64::from(length - 4) / 12;
        absent += missing;
    }
    assert_eq!((acked, absent), (512 * IDS, 0));
    assert_eq!(device.expect_push().1.id, 2, "now it is its turn");
}

#[test]
fn an_injector_that_never_reads_is_given_up() {
    let raw = Running::start();
    let mut device = Device::open(&raw, 1);
    let mut deaf = small_socket(raw.injection);
    deaf.write_all(&preface_and_delivery(1, 1)).unwrap();
    assert_eq!(device.expect_push().1.id, 1);
    // 24 MB of reports: more than the kernel and the server take.
    ack_on_and_on(&raw, &mut device, 2048);
    let end = Instant::now() + DEADLINE;
    let error = loop {
        assert!(Instant::now() < end, "it is still connected");
        match deaf.write_all(&delivery(2, 2)) {
            Ok(()) => {}
            Err(error) => break error.kind(),
        }
    };
    assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    let mut other = small_socket(raw.injection);
    other.write_all(&preface_and_delivery(1, 3)).unwrap();
    assert_eq!(device.expect_push().1.id, 3, "the next one is served");
}

#[test]
fn a_batch_may_come_byte_by_byte() {
    let raw = Running::start();
    let mut device = Device::open(&raw, 1);
    let mut socket = small_socket(raw.injection);
    for byte in preface_and_delivery(1, 9) {
        socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(device.expect_push().1.id, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injector_waits_for_a_server_that_does_not_read() {
    let raw = bound();
    let (injector, mut acks) = Injector::connect(raw.injection()).await.unwrap();
    let payload = Bytes::from(vec![0; 60_000]);
    let batch: Vec<_> = (0..4).map(|id| Delivery { user: 1, id, payload: payload.clone() }).collect();
    let mut sent = 0;
    while timeout(Duration::from_millis(300), injector.send(&batch)).await.is_ok_and(|sent| sent.is_ok()) {
        sent += 4;
        assert!(sent < 4000, "240 MB that nobody reads");
    }
    let _running = Running::run(raw);
    timeout(DEADLINE, injector.send(&batch)).await.unwrap().unwrap();
    sent += 4;
    let mut absent = 0;
    while absent < sent {
        absent += timeout(DEADLINE, acks.next()).await.unwrap().unwrap().unwrap().absent;
    }
    assert_eq!(absent, sent, "what was given up halfway was not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_the_injector_ended_is_delivered() {
    let raw = Running::start();
    let mut devices = [Device::open(&raw, 1), Device::open(&raw, 2)];
    let (injector, mut acks) = Injector::connect(raw.injection).await.unwrap();
    let payload = Bytes::from(vec![1; 1000]);
    let batch: Vec<_> =
        (0..1000).map(|id| Delivery { user: 1 + id as u32 % 2, id, payload: payload.clone() }).collect();
    injector.send(&batch).await.unwrap();
    drop(injector);
    assert!(timeout(DEADLINE, acks.next()).await.unwrap().unwrap().is_none());
    for id in 0..1000 {
        assert_eq!(devices[id as usize % 2].expect_push().1.id, id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injector_says_why_it_cannot_go_on() {
    let raw = Running::start();
    let (injector, mut acks) = Injector::connect(raw.injection).await.unwrap();
    let long = Delivery { user: 1, id: 1, payload: Bytes::from(vec![0; 64 * 1024 + 1]) };
    let short = Delivery { user: 1, id: 1, payload: Bytes::new() };
    let error = injector.send(&[short.clone(), long]).await.unwrap_err();
    assert!(matches!(error, InjectError::PayloadTooLong(65537)), "{error}");
    injector.send(std::slice::from_ref(&short)).await.unwrap();
    assert_eq!(
        timeout(DEADLINE, acks.next()).await.unwrap().unwrap().unwrap().absent,
        1,
        "nothing else went"
    );

    let address = raw.injection;
    drop(raw);
    assert!(!matches!(timeout(DEADLINE, acks.next()).await.unwrap(), Ok(Some(_))));
    let error = timeout(DEADLINE, async {
        loop {
            if let Err(error) = injector.send(std::slice::from_ref(&short)).await {
                return error.to_string();
            }
        }
    });
    let error = error.await.unwrap();
    assert!(error.starts_with("the connection to the reference server has ended: "), "{error}");
    assert!(matches!(Injector::connect(address).await, Err(InjectError::Io(_))));
}
