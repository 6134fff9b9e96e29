//! The loop around a shard's core: poll, read, turn, write.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longline_types::now_ms;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;

use super::core::{Core, Emigrant, Place};
use super::crossing::{Crossing, Crossings};
use super::ready::Ready;
use super::sockets::{Got, Sockets, Took};
use crate::admission::Gate;
use crate::link::{ClusterSender, ShardInbox};
use crate::metrics::Counters;
use crate::session::{Now, SocketState};

pub(crate) const WAKER: Token = Token(usize::MAX);
/// The first of the listeners; the others count down from it.
const LISTENER: usize = usize::MAX - 1;

/// Most listeners of a shard.
const LISTENERS: usize = 256;
/// Connections accepted in one turn.
const ACCEPTS: usize = 8;
/// A turn reads for no longer than this, so that in a storm deliveries have their turn too. Half a millisecond, with twice as many accepts,
/// makes nothing cheaper, and deliveries wait nearly twice as long.
const READ: Duration = Duration::from_micros(200);
/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE_MS: u64 = 100;
/// While questions wait for the links.
const ASK_AGAIN_MS: u64 = 2;
/// A turn that comes this much late: the process was paused, or starved.
const PAUSE_MS: u64 = 3_000;
/// How long a stopping shard waits for its last bytes and questions to be taken.
const STOP_MS: u64 = 1_000;

/// What a shard's thread owns beside its core.
pub(crate) struct Wiring {
    pub(crate) poll: Poll,
    /// At most 255.
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) inbox: ShardInbox,
    /// A file that is kept open, to have one when there is none.
    pub(crate) reserve: Option<File>,
    pub(crate) links: ClusterSender,
    pub(crate) gate: Gate,
    pub(crate) crossings: Arc<Crossings>,
    /// From when the shard's time is counted.
    pub(crate) started: Instant,
    pub(crate) counters: Arc<Counters>,
    pub(crate) read_bytes: usize,
}

/// Opens a file for [`Wiring::reserve`].
pub(crate) fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}

/// The process, or the system, may open no more files.
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// A shard at work.
pub(crate) struct Shard {
    core: Core,
    wiring: Wiring,
    sockets: Sockets,
    /// Sockets to read from.
    ready: Ready,
    writing: Vec<u32>,
    buffer: Box<[u8]>,
    /// The listeners may have more connections: now, or from this time on.
    accept_at: Option<u64>,
}

impl Shard {
    pub(crate) fn new(core: Core, wiring: Wiring) -> Shard {
        Shard {
            core,
            sockets: Sockets::new(),
            ready: Ready::default(),
            writing: Vec::new(),
            buffer: vec![0; wiring.read_bytes.max(1024)].into_boxed_slice(),
            accept_at: None,
            wiring,
        }
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// If the poll fails; then nothing can be served any more.
    pub(crate) fn run(mut self) -> io::Result<()> {
        for (place, listener) in self.wiring.listeners.iter_mut().enumerate() {
            let token = Token(LISTENER - place);
            self.wiring.poll.registry().register(listener, token, Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(1024);
        let (mut last, mut wait_ms) = (self.now(), 0);
        while !self.core.is_stopping() {
            match self.wiring.poll.poll(&mut events, Some(Duration::from_millis(wait_ms))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let began = Instant::now();
            let now = self.at(began);
            if now.ms > last.ms + wait_ms + PAUSE_MS {
                self.core.woke(now);
            }
            last = now;
            self.note(&events);
            wait_ms = self.turn(now);
            self.wiring.counters.turn.observe(began.elapsed(), 1);
        }
        self.stop();
        Ok(())
    }

    fn now(&self) -> Now {
        self.at(Instant::now())
    }

    fn at(&self, instant: Instant) -> Now {
        Now { ms: (instant - self.wiring.started).as_millis() as u64, wall_ms: now_ms() }
    }

    fn note(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKER => {}
                Token(token) if token > LISTENER - LISTENERS => self.accept_at = Some(0),
                Token(index) => {
                    let index = index as u32;
                    let Some(socket) = self.sockets.get_mut(index) else { continue };
                    if event.is_writable() && std::mem::take(&mut socket.is_full) {
                        self.writing.push(index);
                    }
                    socket.ends |= event.is_read_closed() || event.is_error();
                    if (event.is_readable() || socket.ends) && !std::mem::replace(&mut socket.is_ready, true)
                    {
                        self.ready.add(index);
                    }
                }
            }
        }
    }

    /// One turn: everything that can be done now. Says how long to wait for more.
    fn turn(&mut self, now: Now) -> u64 {
        self.write_again(now);
        self.judge_anew(now);
        self.accept(now);
        self.land_all(now);
        self.read(now);
        let taken = self.wiring.inbox.take();
        let sockets = &self.sockets;
        let peer = |index| sockets.peer(index).map_or_else(String::new, |peer| peer.to_string());
        self.core.handle(taken, now, peer);
        let quiet_ms = self.core.turn(now);
        self.write(now);
        if self.core.has_pushed() {
            self.core.written(Instant::now());
        }
        let asks_left = self.core.ask(&self.wiring.links);
        self.wiring.counters.connections.set(self.core.len().into());
        self.core.count_memory();
        if !self.ready.is_empty() || self.core.has_work() || self.wiring.gate.has_work() {
            return 0;
        }
        let accept = self.accept_at.map(|at| at.saturating_sub(now.ms));
        let ask = asks_left.then_some(ASK_AGAIN_MS);
        accept.into_iter().chain(ask).fold(quiet_ms, u64::min)
    }

    fn accept(&mut self, now: Now) {
        if self.accept_at.is_none_or(|at| at > now.ms) {
            return;
        }
        let mut listener = 0;
        for _ in 0..ACCEPTS {
            let Some(current) = self.wiring.listeners.get(listener) else {
                self.accept_at = None;
                return;
            };
            match current.accept() {
                Ok((stream, address)) => self.greet(stream, address.ip(), now),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => listener += 1,
                    // The connection was gone before it was accepted.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ if is_out_of_files(&error) && self.turn_one_away(listener, now) => {}
                    _ => {
                        tracing::warn!(%error, "cannot accept connections");
                        self.wiring.counters.accept_failures.add(1);
                        self.accept_at = Some(now.ms + ACCEPT_PAUSE_MS);
                        return;
                    }
                },
            }
        }
    }

    /// There is no file for a connection: with the one that is kept for this, it is told so, or it would wait for an answer until it gives
    /// up, and those behind it too. Says whether that was possible; another shard may have taken the file.
    fn turn_one_away(&mut self, listener: usize, now: Now) -> bool {
        self.wiring.reserve = None;
        let mut accepted = self.wiring.listeners[listener].accept();
        if let Ok((stream, _)) = &mut accepted {
            self.wiring.counters.accept_failures.add(1);
            // Nothing has been written to it: it takes that much, or is gone.
            let _ = stream.write(&self.core.farewell(now));
            let _ = stream.shutdown(Shutdown::Write);
        }
        let told = accepted.is_ok();
        drop(accepted);
        self.wiring.reserve = reserve().ok();
        told
    }

    fn greet(&mut self, stream: mio::net::TcpStream, address: IpAddr, now: Now) {
        if self.core.trusts(address) {
            // Whom the limits are about, its header will say.
            if let Some(index) = self.core.accepted(now) {
                self.core.came_by_proxy(index, now);
                self.watch(index, stream, now);
            }
            return;
        }
        let gate = &mut self.wiring.gate;
        let index = match gate.knock(address, now.us()) {
            Ok(passed) => {
                let index = self.core.accepted(now);
                gate.enter(passed, index, now.us());
                index
            }
            Err((refusal, wait_us)) => self.core.refused(refusal, wait_us, now),
        };
        if let Some(index) = index {
            self.watch(index, stream, now);
        }
    }

    /// A proxy has said where a device is: that is judged as if it had connected from there.
    fn let_in(&mut self, index: u32, client: IpAddr, now: Now) {
        match self.wiring.gate.knock(client, now.us()) {
            Ok(passed) => self.wiring.gate.enter(passed, Some(index), now.us()),
            Err((refusal, wait_us)) => self.core.turn_away(index, refusal, wait_us, now),
        }
    }

    fn watch(&mut self, index: u32, stream: mio::net::TcpStream, now: Now) {
        let registry = self.wiring.poll.registry();
        if let Err(error) = self.sockets.add(index, stream, Token(index as usize), registry) {
            tracing::warn!(%error, "cannot watch a connection");
            self.wiring.counters.accept_failures.add(1);
            self.core.lost(index, now);
        }
    }

    /// Applies a change of the admission limits to the connections that are there, some in each turn.
    fn judge_anew(&mut self, now: Now) {
        let gate = &mut self.wiring.gate;
        let again = gate.refresh(self.core.places());
        self.core.limit(gate.limits());
        again.for_each(|index| self.judge(index, now));
    }

    /// Ends the connection if its address may not connect any more.
    fn judge(&mut self, index: u32, now: Now) {
        let client = self.core.client(index).or_else(|| self.sockets.peer(index));
        if let Some(client) = client
            && !self.wiring.gate.judge(index, client.ip())
        {
            self.core.deny(index, now);
        }
    }

    /// Reads from the ready sockets.
    fn read(&mut self, now: Now) {
        let end = Instant::now() + READ;
        let mut ready = std::mem::take(&mut self.ready);
        ready.serve(|| Instant::now() < end, |index| self.read_one(index, now));
        ready.append(std::mem::take(&mut self.ready));
        self.ready = ready;
    }

    /// Whether there may be more to read.
    fn read_one(&mut self, index: u32, now: Now) -> bool {
        let Some(socket) = self.sockets.get_mut(index).filter(|socket| socket.is_ready) else { return false };
        let got = socket.read(&mut self.buffer);
        socket.is_ready = matches!(got, Got::Bytes(_));
        match got {
            Got::Bytes(0) | Got::Nothing => {}
            Got::Bytes(count) | Got::Last(count) => {
                let mut place = self.core.received(index, &self.buffer[..count], now);
                if let Some(client) = self.core.take_introduced() {
                    self.let_in(index, client.ip(), now);
                    // What came behind the header, if it is still wanted.
                    place = self.core.received(index, &[], now);
                }
                match place {
                    Place::Same => {}
                    Place::Moved(to) => {
                        self.move_socket(index, to, now);
                        return false;
                    }
                    Place::Across(emigrant) => {
                        self.send_across(index, *emigrant, now);
                        return false;
                    }
                }
            }
            Got::End => self.core.lost(index, now),
            Got::Error => self.core.failed(index, now),
        }
        matches!(got, Got::Bytes(_))
    }

    /// The socket of a device that has got its session back goes to that session.
    fn move_socket(&mut self, from: u32, to: u32, now: Now) {
        self.wiring.gate.relocate(from, to, now.us());
        let registry = self.wiring.poll.registry();
        match self.sockets.relocate(from, to, Token(to as usize), registry) {
            Ok(()) => self.arrived(to, now),
            Err(error) => {
                tracing::warn!(%error, "cannot watch a connection that has returned");
                self.core.lost(to, now);
            }
        }
    }

    /// The socket of a device goes to the shard that has its session.
    fn send_across(&mut self, index: u32, emigrant: Emigrant, now: Now) {
        let passed = self.wiring.gate.let_go(index);
        match self.sockets.take(index, self.wiring.poll.registry()) {
            Some(socket) => {
                let crossing = Box::new(Crossing { emigrant, socket, passed });
                if let Err(crossing) = self.wiring.crossings.send(crossing) {
                    self.land(*crossing, now);
                }
            }
            None => self.wiring.gate.enter(passed, None, now.us()),
        }
    }

    /// Takes the devices that other shards have sent here.
    fn land_all(&mut self, now: Now) {
        for crossing in self.wiring.crossings.take(self.core.number()) {
            self.land(*crossing, now);
        }
    }

    fn land(&mut self, crossing: Crossing, now: Now) {
        let Crossing { emigrant, socket, passed } = crossing;
        let (index, returning) = self.core.land(emigrant);
        self.wiring.gate.enter(passed, Some(index), now.us());
        let registry = self.wiring.poll.registry();
        if let Err(error) = self.sockets.put(index, socket, Token(index as usize), registry) {
            tracing::warn!(%error, "cannot watch a connection that has returned");
            return self.core.lost(index, now);
        }
        match self.core.give_back(index, *returning, now) {
            Place::Moved(to) => self.move_socket(index, to, now),
            Place::Same | Place::Across(_) => self.arrived(index, now),
        }
    }

    /// A connection has another place. A change of the limits may have been applied to this one already, and not to the one before.
    fn arrived(&mut self, index: u32, now: Now) {
        self.judge(index, now);
        self.ready.add(index);
    }

    /// Sockets that were full have space again.
    fn write_again(&mut self, now: Now) {
        let mut writing = std::mem::take(&mut self.writing);
        writing.drain(..).for_each(|index| self.write_one(index, now));
        self.writing = writing;
    }

    /// Writes what the turn has left to write, for each session at once.
    fn write(&mut self, now: Now) {
        let mut writing = std::mem::take(&mut self.writing);
        self.core.take_listed(&mut writing);
        writing.drain(..).for_each(|index| self.write_one(index, now));
        self.writing = writing;
    }

    fn write_one(&mut self, index: u32, now: Now) {
        if self.core.socket_state(index) == SocketState::Given {
            return self.give_up(index, now);
        }
        if let Some(socket) = self.sockets.get_mut(index) {
            while !socket.is_full
                && self.core.socket_state(index) != SocketState::Finished
                && let Some(output) = self.core.writable(index, now).filter(|output| !output.is_empty())
            {
                match socket.write(output) {
                    Took::Bytes(count) => self.core.wrote(index, count, now),
                    Took::Full => {}
                    Took::Error => self.core.failed(index, now),
                }
            }
            let written = self.core.writable(index, now).is_some_and(|output| output.is_empty());
            if written && self.core.socket_state(index) == SocketState::Leaving {
                socket.shut();
            }
        }
        if self.core.socket_state(index) == SocketState::Finished {
            self.sockets.close(index);
            self.core.remove(index);
            self.wiring.gate.leave(index, now.us());
        }
    }

    /// The session is parked: its socket may take what there is at once.
    fn give_up(&mut self, index: u32, now: Now) {
        if let Some(socket) = self.sockets.get_mut(index)
            && let Some(output) = self.core.writable(index, now).filter(|output| !output.is_empty())
        {
            let _ = socket.write(output);
        }
        self.sockets.close(index);
        self.core.detached(index, now);
        self.wiring.gate.leave(index, now.us());
    }

    /// Gives the last bytes and questions a moment to leave.
    fn stop(mut self) {
        self.wiring.crossings.close(self.core.number());
        let end = self.now().ms + STOP_MS;
        let mut events = Events::with_capacity(1024);
        loop {
            let now = self.now();
            self.note_while_stopping(&events);
            self.write_again(now);
            self.read(now);
            self.core.turn(now);
            self.write(now);
            let asks_left = self.core.ask(&self.wiring.links);
            if now.ms >= end || self.core.len() == 0 && !asks_left {
                return;
            }
            let wait = Duration::from_millis(if asks_left { ASK_AGAIN_MS } else { 20 });
            if self.wiring.poll.poll(&mut events, Some(wait)).is_err() {
                return;
            }
        }
    }

    fn note_while_stopping(&mut self, events: &Events) {
        self.note(events);
        self.accept_at = None;
    }
}
