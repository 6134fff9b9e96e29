use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use longline_pb::client::{self, Hello, Welcome};
use longline_types::CloseReason;
use longline_wire::{Body, FrameType, Limits, PREFACE, decode, encode, encode_empty};

use super::DEADLINE;

/// A client by hand.
pub struct Device {
    pub socket: TcpStream,
    /// What lies between the socket and the protocol.
    through: Box<dyn Through>,
    bytes: Vec<u8>,
}

/// Bytes both ways.
pub trait Through: Read + Write + Send {}

impl<T: Read + Write + Send> Through for T {}

#[derive(Clone, PartialEq, Debug)]
pub enum Frame {
    Welcome(Welcome),
    Bound(client::Bound),
    Push(u8, client::Push),
    UplinkAck(client::UplinkAck),
    Pong,
    Directive(client::Directive),
    Close(client::Close),
    /// The room has closed the connection.
    End,
}

impl Device {
    pub fn connect(address: SocketAddr) -> Device {
        Device::connect_through(address, |socket| Box::new(socket))
    }

    /// A client whose bytes go through something.
    pub fn connect_through(
        address: SocketAddr,
        through: impl FnOnce(TcpStream) -> Box<dyn Through>,
    ) -> Device {
        Device::over(TcpStream::connect(address).unwrap(), through)
    }

    /// From another address of this machine, such as 127.0.0.2.
    pub fn connect_from(source: &str, address: SocketAddr) -> Device {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let source: IpAddr = source.parse().unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Device::over(socket.into(), |socket| Box::new(socket))
    }

    fn over(socket: TcpStream, through: impl FnOnce(TcpStream) -> Box<dyn Through>) -> Device {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        let through = through(socket.try_clone().unwrap());
        Device { socket, through, bytes: Vec::new() }
    }

    /// Writes bytes; the room may have closed already.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.through.write_all(bytes).is_ok() && self.through.flush().is_ok()
    }

    pub fn send<M: Body>(&mut self, body: &M) {
        let mut bytes = Vec::new();
        encode(body, &mut bytes).unwrap();
        self.write(&bytes);
    }

    pub fn ping(&mut self) {
        let mut bytes = Vec::new();
        encode_empty(FrameType::Ping, &mut bytes).unwrap();
        self.write(&bytes);
    }

    pub fn hello(&mut self, users: &[&str]) {
        self.hello_with(users, |_| {});
    }

    pub fn hello_with(&mut self, users: &[&str], change: impl FnOnce(&mut Hello)) {
        let binds = users.iter().enumerate().map(|(index, user)| bind(index as u32, user)).collect();
        let mut hello = Hello { device: "device".into(), connection_counter: 1, binds, ..Hello::default() };
        change(&mut hello);
        self.write(&PREFACE);
        self.send(&hello);
    }

    pub fn ack(&mut self, index: u32, ids: &[u64]) {
        self.send(&client::Ack { index, ids: ids.to_vec() });
    }

    /// The next frame, if one comes within this time.
    pub fn frame_within(&mut self, wait: Duration) -> Option<Frame> {
        let end = Instant::now() + wait;
        loop {
            if let Some((frame, length)) = decode(&self.bytes, &Limits::FROM_ROOM).unwrap() {
                let frame = match frame.kind {
                    FrameType::Welcome => Frame::Welcome(frame.parse().unwrap()),
                    FrameType::Bound => Frame::Bound(frame.parse().unwrap()),
                    FrameType::UplinkAck => Frame::UplinkAck(frame.parse().unwrap()),
                    FrameType::Directive => Frame::Directive(frame.parse().unwrap()),
                    FrameType::Close => Frame::Close(frame.parse().unwrap()),
                    FrameType::Push => {
                        let (index, push) = frame.parse_push().unwrap();
                        Frame::Push(index, push)
                    }
                    FrameType::Pong => Frame::Pong,
                    kind => panic!("a room does not send {kind}"),
                };
                self.bytes.drain(..length);
                return Some(frame);
            }
            if Instant::now() >= end {
                return None;
            }
            let mut buffer = [0; 64 * 1024];
            match self.through.read(&mut buffer) {
                Ok(0) => return Some(Frame::End),
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Some(Frame::End),
            }
        }
    }

    pub fn frame(&mut self) -> Frame {
        self.frame_within(DEADLINE).expect("no frame came")
    }

    pub fn welcome(&mut self) -> Welcome {
        match self.frame() {
            Frame::Welcome(welcome) => welcome,
            other => panic!("WELCOME expected, {other:?} came"),
        }
    }

    pub fn bound(&mut self) -> client::Bound {
        match self.frame() {
            Frame::Bound(bound) => bound,
            other => panic!("BOUND expected, {other:?} came"),
        }
    }

    pub fn push(&mut self) -> (u8, client::Push) {
        match self.frame() {
            Frame::Push(index, push) => (index, push),
            other => panic!("PUSH expected, {other:?} came"),
        }
    }

    /// Ids of the next pushes.
    pub fn ids(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.push().1.id).collect()
    }

    /// The CLOSE that comes next.
    pub fn close(&mut self) -> client::Close {
        match self.frame() {
            Frame::Close(close) => close,
            other => panic!("CLOSE expected, {other:?} came"),
        }
    }

    /// Why the room closes, whatever comes before the CLOSE; none if the connection ends without one.
    pub fn close_reason(&mut self) -> Option<CloseReason> {
        loop {
            match self.frame() {
                Frame::Close(close) => return CloseReason::from_number(close.reason),
                Frame::End => return None,
                _ => {}
            }
        }
    }

    /// Still served: it gets an answer to a PING.
    pub fn assert_served(&mut self) {
        self.ping();
        assert_eq!(self.frame(), Frame::Pong);
    }
}

pub fn bind(index: u32, user: &str) -> client::Bind {
    client::Bind { index, product: 1, user: user.to_owned(), ..client::Bind::default() }
}
