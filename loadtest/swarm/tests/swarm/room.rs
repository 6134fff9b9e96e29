//! A small room: a thread per connection, inboxes in memory, everything that devices say written down.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longline_pb::client::{self, BindResult, PushFlag, UplinkResult};
use longline_wire::{
    Body, FrameRef, FrameType, Limits, PREFACE_LEN, WireError, decode, decode_preface, encode, encode_empty,
    encode_push_message,
};

/// What a room is like.
#[derive(Clone)]
pub(crate) struct Manners {
    pub heartbeat_s: u32,
    /// How it answers the HELLO with this number (from 0).
    pub greet: fn(u64) -> Greeting,
    /// Bytes are sent in pieces of this size.
    pub piece: usize,
    /// How it answers an uplink that it has seen so many times before.
    pub uplink: fn(usize) -> (UplinkResult, u32),
    /// Hangs up on a device that said nothing for this long; before HELLO too.
    pub patience: Duration,
    /// Gives sessions back, and lets no ACK arrive.
    pub resumes_and_hears_no_acks: bool,
}

#[derive(Clone)]
pub(crate) enum Greeting {
    Bind(BindResult),
    /// WELCOME first, the bind in a frame of its own.
    BindLater,
    Close(u32, u32),
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            heartbeat_s: 300,
            greet: |_| Greeting::Bind(BindResult::Ok),
            piece: usize::MAX,
            uplink: |_| (UplinkResult::Ok, 0),
            patience: Duration::from_secs(60),
            resumes_and_hears_no_acks: false,
        }
    }
}

/// What devices said and did.
#[derive(Default)]
pub(crate) struct Seen {
    pub hellos: Vec<client::Hello>,
    pub sources: Vec<IpAddr>,
    pub pings: usize,
    pub uplinks: Vec<client::Uplink>,
    /// Connections that ended, by their users; of those that never said hello without a name.
    pub ended: Vec<String>,
    /// What was no protocol.
    pub rubbish: usize,
    /// Connections that were given up since nothing came.
    pub silent: usize,
    /// Frames of ACK, and ids in them.
    pub acks: (usize, usize),
}

pub(crate) struct Room {
    pub address: SocketAddr,
    state: Arc<State>,
}

/// Unacknowledged messages by id, and whether each was sent before.
type Inbox = BTreeMap<u64, (Vec<u8>, bool)>;

struct State {
    manners: Manners,
    seen: Mutex<Seen>,
    /// By user.
    inboxes: Mutex<HashMap<String, Inbox>>,
    /// What the next HELLO of each user is to show.
    tokens: Mutex<HashMap<String, Vec<u8>>>,
    /// Hangs up connections up to this number.
    hang_up: AtomicU64,
    connections: AtomicU64,
    hellos: AtomicU64,
    stops: AtomicBool,
}

impl Room {
    pub(crate) fn start(manners: Manners) -> Room {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            manners,
            seen: Mutex::default(),
            inboxes: Mutex::default(),
            tokens: Mutex::default(),
            hang_up: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            hellos: AtomicU64::new(0),
            stops: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || accepting.accept(&listener));
        Room { address, state }
    }

    /// Puts a message into the user's inbox; it is sent when the user is there.
    pub(crate) fn push(&self, user: &str, id: u64, payload: Vec<u8>) {
        let mut inboxes = self.state.inboxes.lock().unwrap();
        inboxes.entry(user.to_owned()).or_default().insert(id, (payload, false));
    }

    /// Messages that nobody has acknowledged.
    pub(crate) fn waiting(&self) -> usize {
        self.state.inboxes.lock().unwrap().values().map(BTreeMap::len).sum()
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.state.seen.lock().unwrap())
    }

    /// Hangs up on everybody without a word.
    pub(crate) fn hang_up(&self) {
        self.state.hang_up.store(self.state.connections.load(SeqCst), SeqCst);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.state.stops.store(true, SeqCst);
    }
}

impl State {
    fn accept(self: Arc<State>, listener: &TcpListener) {
        while !self.stops.load(SeqCst) {
            match listener.accept() {
                Ok((stream, source)) => {
                    let number = self.connections.fetch_add(1, SeqCst) + 1;
                    self.seen.lock().unwrap().sources.push(source.ip());
                    let state = Arc::clone(&self);
                    std::thread::Builder::new()
                        .stack_size(256 * 1024)
                        .spawn(move || Session::new(state, stream, number).run())
                        .unwrap();
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

struct Session {
    state: Arc<State>,
    stream: TcpStream,
    number: u64,
    user: String,
    bound: bool,
    bytes: Vec<u8>,
    heard: Instant,
    /// Ids pushed on this connection.
    pushed: std::collections::HashSet<u64>,
}

/// The connection is over.
struct Over;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Over {
        Over
    }
}

impl From<WireError> for Over {
    fn from(_: WireError) -> Over {
        Over
    }
}

impl Session {
    fn new(state: Arc<State>, stream: TcpStream, number: u64) -> Session {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        Session {
            state,
            stream,
            number,
            user: String::new(),
            bound: false,
            bytes: Vec::new(),
            heard: Instant::now(),
            pushed: std::collections::HashSet::new(),
        }
    }

    fn run(mut self) {
        let _ = self.live();
        self.state.seen.lock().unwrap().ended.push(self.user);
    }

    fn live(&mut self) -> Result<(), Over> {
        while decode_preface(&self.bytes).inspect_err(|_| self.rubbish())?.is_none() {
            self.read()?;
        }
        self.bytes.drain(..PREFACE_LEN);
        loop {
            let bytes = std::mem::take(&mut self.bytes);
            let mut used = 0;
            while let Some((frame, length)) =
                decode(&bytes[used..], &Limits::FROM_DEVICE).inspect_err(|_| self.rubbish())?
            {
                used += length;
                self.frame(frame)?;
            }
            self.bytes = bytes[used..].to_vec();
            self.deliver()?;
            self.read()?;
        }
    }

    fn rubbish(&self) {
        self.state.seen.lock().unwrap().rubbish += 1;
    }

    fn read(&mut self) -> Result<(), Over> {
        if self.state.stops.load(SeqCst) || self.state.hang_up.load(SeqCst) >= self.number {
            return Err(Over);
        }
        if self.heard.elapsed() > self.state.manners.patience {
            self.state.seen.lock().unwrap().silent += 1;
            return Err(Over);
        }
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(Over),
            Ok(count) => {
                self.heard = Instant::now();
                self.bytes.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(_) => Err(Over),
        }
    }

    fn parsed<M: Body>(&self, frame: FrameRef<'_>) -> Result<M, Over> {
        Ok(frame.parse().inspect_err(|_| self.rubbish())?)
    }

    fn frame(&mut self, frame: FrameRef<'_>) -> Result<(), Over> {
        match frame.kind {
            FrameType::Hello => {
                let hello: client::Hello = self.parsed(frame)?;
                self.greet(hello)
            }
            FrameType::Ack => {
                let ack: client::Ack = self.parsed(frame)?;
                if !self.state.manners.resumes_and_hears_no_acks {
                    self.acknowledge(&ack);
                }
                let acks = &mut self.state.seen.lock().unwrap().acks;
                *acks = (acks.0 + 1, acks.1 + ack.ids.len());
                Ok(())
            }
            FrameType::Uplink => {
                let uplink: client::Uplink = self.parsed(frame)?;
                let sequence = uplink.sequence;
                let before = {
                    let uplinks = &mut self.state.seen.lock().unwrap().uplinks;
                    uplinks.push(uplink);
                    uplinks.iter().filter(|known| known.sequence == sequence).count() - 1
                };
                let (result, retry_after_ms) = (self.state.manners.uplink)(before);
                self.send(&client::UplinkAck { sequence, result: result.into(), retry_after_ms })
            }
            FrameType::Ping => {
                self.state.seen.lock().unwrap().pings += 1;
                let mut bytes = Vec::new();
                encode_empty(FrameType::Pong, &mut bytes).unwrap();
                self.write(&bytes)
            }
            FrameType::Close => Err(Over),
            other => panic!("a device of the swarm sent {other}"),
        }
    }

    fn acknowledge(&self, ack: &client::Ack) {
        let mut inboxes = self.state.inboxes.lock().unwrap();
        let inbox = inboxes.get_mut(&self.user);
        inbox.into_iter().for_each(|inbox| ack.ids.iter().for_each(|id| drop(inbox.remove(id))));
    }

    /// Whether the device may have its session back: if it shows the token that it was given last.
    fn resumes(&self, hello: &client::Hello) -> bool {
        let next = self.number.to_be_bytes().to_vec();
        let last = self.state.tokens.lock().unwrap().insert(self.user.clone(), next);
        last.is_some_and(|last| last == hello.resume_token)
    }

    fn greet(&mut self, hello: client::Hello) -> Result<(), Over> {
        self.user = hello.binds[0].user.clone();
        let resumed = self.state.manners.resumes_and_hears_no_acks && self.resumes(&hello);
        if resumed {
            hello.have.iter().for_each(|ack| self.acknowledge(ack));
        }
        let resume_token = self.state.tokens.lock().unwrap().get(&self.user).cloned().unwrap_or_default();
        self.state.seen.lock().unwrap().hellos.push(hello);
        let bound = |result: BindResult| client::Bound { result: result.into(), ..client::Bound::default() };
        let heartbeat_s = self.state.manners.heartbeat_s;
        let welcome = |binds| client::Welcome {
            heartbeat_s,
            binds,
            resumed,
            resume_token: resume_token.clone(),
            ..client::Welcome::default()
        };
        match (self.state.manners.greet)(self.state.hellos.fetch_add(1, SeqCst)) {
            Greeting::Bind(result) => {
                self.send(&welcome(vec![bound(result)]))?;
                self.bound = result == BindResult::Ok;
            }
            Greeting::BindLater => {
                self.send(&welcome(vec![]))?;
                self.send(&bound(BindResult::Ok))?;
                self.bound = true;
            }
            Greeting::Close(reason, retry_after_ms) => {
                self.send(&client::Close { reason, retry_after_ms, ..client::Close::default() })?;
                return Err(Over);
            }
        }
        Ok(())
    }

    /// Pushes what the inbox has and this connection has not been sent.
    fn deliver(&mut self) -> Result<(), Over> {
        if !self.bound {
            return Ok(());
        }
        let mut bytes = Vec::new();
        if let Some(inbox) = self.state.inboxes.lock().unwrap().get_mut(&self.user) {
            for (id, (payload, sent)) in inbox.iter_mut().filter(|(id, _)| self.pushed.insert(**id)) {
                let flag = if std::mem::replace(sent, true) { PushFlag::Redelivered } else { PushFlag::None };
                let push = client::Push {
                    id: *id,
                    payload: payload.clone().into(),
                    flags: flag as u32,
                    ..client::Push::default()
                };
                encode_push_message(0, &push, &mut bytes).unwrap();
            }
        }
        self.write(&bytes)
    }

    fn send<M: Body>(&mut self, message: &M) -> Result<(), Over> {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).unwrap();
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        for piece in bytes.chunks(self.state.manners.piece) {
            self.stream.write_all(piece)?;
        }
        Ok(())
    }
}
