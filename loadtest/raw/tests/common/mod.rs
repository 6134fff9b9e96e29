//! A server on a thread of its own, and devices that are driven step by step.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longline_load_raw::{Options, Raw, Stats, bind};
use longline_pb::client::{Ack, Bind, Close, Hello, Push, Welcome};
use longline_wire::{Body, FrameRef, FrameType, Limits, PREFACE, decode, encode, encode_empty};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn bound() -> Raw {
    let any = "127.0.0.1:0".parse().unwrap();
    bind(Options { listen: any, inject: any }).unwrap()
}

/// A server that runs; it stops when this is dropped.
pub(crate) struct Running {
    pub(crate) devices: SocketAddr,
    pub(crate) injection: SocketAddr,
    pub(crate) stats: Arc<Stats>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start() -> Running {
        Running::run(bound())
    }

    pub(crate) fn run(raw: Raw) -> Running {
        let (devices, injection, stats) = (raw.devices(), raw.injection(), raw.stats());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = Some(std::thread::spawn(move || raw.run(&stopped).unwrap()));
        Running { devices, injection, stats, stop, thread }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(result, Some(Ok(()))), "the server panicked");
    }
}

pub(crate) struct Device {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Device {
    /// The index that [`Device::open`] binds.
    pub(crate) const BIND: u8 = 2;

    pub(crate) fn connect(raw: &Running) -> Device {
        Device::over(TcpStream::connect(raw.devices).unwrap())
    }

    /// Its kernel takes little that it has not read.
    pub(crate) fn connect_with_small_buffer(raw: &Running) -> Device {
        Device::over(small_socket(raw.devices))
    }

    /// Connected and welcomed.
    pub(crate) fn open(raw: &Running, user: u32) -> Device {
        let mut device = Device::connect(raw);
        device.hello(&format!("test-{user}"), Device::BIND.into(), 0, 0);
        let _: Welcome = device.expect();
        device
    }

    pub(crate) fn over(socket: TcpStream) -> Device {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Device { socket, input: Vec::new() }
    }

    pub(crate) fn hello(&mut self, user: &str, index: u32, heartbeat_min_s: u32, heartbeat_max_s: u32) {
        let bind = Bind { index, product: 1, user: user.into(), ..Bind::default() };
        let (device, binds) = (user.to_owned(), vec![bind]);
        self.write(&PREFACE);
        self.send(&Hello { device, binds, heartbeat_min_s, heartbeat_max_s, ..Hello::default() });
    }

    pub(crate) fn send(&mut self, body: &impl Body) {
        let mut bytes = Vec::new();
        encode(body, &mut bytes).unwrap();
        self.write(&bytes);
    }

    pub(crate) fn send_empty(&mut self, kind: FrameType) {
        let mut bytes = Vec::new();
        encode_empty(kind, &mut bytes).unwrap();
        self.write(&bytes);
    }

    pub(crate) fn ack(&mut self, ids: &[u64]) {
        self.send(&Ack { index: Device::BIND.into(), ids: ids.to_vec() });
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// The next frame; none at the end of the connection.
    pub(crate) fn next_frame(&mut self) -> Option<(FrameType, Vec<u8>)> {
        loop {
            if let Some((frame, used)) = decode(&self.input, &Limits::FROM_ROOM).unwrap() {
                let found = (frame.kind, frame.body.to_vec());
                self.input.drain(..used);
                return Some(found);
            }
            let mut buffer = [0; 16 * 1024];
            match self.socket.read(&mut buffer).unwrap() {
                0 => return None,
                count => self.input.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// The next frame, which has this body.
    pub(crate) fn expect<M: Body>(&mut self) -> M {
        let (kind, body) = self.next_frame().expect("a frame");
        FrameRef { kind, body: &body }.parse().unwrap()
    }

    pub(crate) fn expect_push(&mut self) -> (u8, Push) {
        let (kind, body) = self.next_frame().expect("a frame");
        FrameRef { kind, body: &body }.parse_push().unwrap()
    }

    /// CLOSE, and then the end. Its reason.
    pub(crate) fn expect_close(&mut self) -> u32 {
        let close: Close = self.expect();
        assert_eq!(self.next_frame(), None);
        close.reason
    }
}

/// A connection whose kernel takes little that is not read.
pub(crate) fn small_socket(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    socket.into()
}

/// What says this to the injection port is hung up on.
pub(crate) fn expect_end(raw: &Running, said: &[u8]) {
    let mut socket = TcpStream::connect(raw.injection).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(said).unwrap();
    match socket.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("{said:?}: {other:?}"),
    }
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
