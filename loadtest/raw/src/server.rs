//! The loop: poll, read, hand over, write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longline_pb::client::{Push, PushFlag};
use longline_types::now_ms;
use mio::{Events, Poll, Token};

use crate::InjectError;
use crate::broadcasts::Broadcasts;
use crate::devices::Devices;
use crate::door::Door;
use crate::injection::{Delivery, Order};
use crate::injectors::Injectors;
use crate::peer::Peer;
use crate::stats::Stats;

pub(crate) const DEVICES: Token = Token(usize::MAX);
pub(crate) const INJECTORS: Token = Token(usize::MAX - 1);
/// Tokens from here on are those of injectors, those below are those of devices.
const FIRST_INJECTOR: usize = 1 << 32;

/// How often it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);
const EVENTS: usize = 1024;
const BUFFER: usize = 64 * 1024;

/// The server at work.
pub(crate) struct Server {
    poll: Poll,
    devices_door: Door,
    injectors_door: Door,
    devices: Devices,
    injectors: Injectors,
    broadcasts: Broadcasts,
    /// Devices with more to read, and whether they send no more after that.
    unread: Vec<(u32, bool)>,
    buffer: Box<[u8]>,
    stats: Arc<Stats>,
}

impl Server {
    pub(crate) fn new(poll: Poll, devices_door: Door, injectors_door: Door, stats: Arc<Stats>) -> Server {
        Server {
            poll,
            devices_door,
            injectors_door,
            devices: Devices::default(),
            injectors: Injectors::new(FIRST_INJECTOR),
            broadcasts: Broadcasts::new(),
            unread: Vec::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            stats,
        }
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// If the poll fails; then nothing can be served any more.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(self.wait())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.handle(&events);
            self.turn();
        }
        Ok(())
    }

    fn wait(&self) -> Duration {
        if !self.unread.is_empty() || self.broadcasts.are_under_way() || self.injectors.have_work() {
            return Duration::ZERO;
        }
        let doors = [&self.devices_door, &self.injectors_door].into_iter().filter_map(Door::accept_at);
        let now = doors.min().map(|at| at.saturating_duration_since(Instant::now()));
        now.map_or(LOOK, |wait| wait.min(LOOK))
    }

    /// Notes what the poll tells, and reads from the devices that have sent something.
    fn handle(&mut self, events: &Events) {
        let mut unread = std::mem::take(&mut self.unread);
        unread.retain(|(index, ends)| self.read(*index, *ends));
        for event in events {
            let ends = event.is_read_closed() || event.is_error();
            match event.token() {
                DEVICES => self.devices_door.knock(),
                INJECTORS => self.injectors_door.knock(),
                Token(token) if token < FIRST_INJECTOR => {
                    let index = token as u32;
                    if event.is_writable() {
                        self.devices.has_space(index);
                    }
                    if (event.is_readable() || ends) && self.read(index, ends) {
                        unread.push((index, ends));
                    }
                }
                Token(token) => {
                    if let Some(peer) = self.injectors.get_mut(token - FIRST_INJECTOR) {
                        peer.note(event.is_readable(), ends, event.is_writable());
                    }
                }
            }
        }
        self.unread = unread;
    }

    /// Everything else that can be done now. What a session has to write is written once.
    fn turn(&mut self) {
        let registry = self.poll.registry();
        self.devices_door.accept(|stream| self.devices.add(stream, registry));
        self.injectors_door.accept(|stream| self.injectors.add(stream, registry));
        let sent_at_ms = now_ms();
        for place in 0..self.injectors.places() {
            self.serve(place, sent_at_ms);
        }
        self.broadcasts.walk(&mut self.devices);
        // Before anybody can see what was done.
        self.stats.publish(&self.devices.tally);
        self.devices.flush(self.poll.registry());
        self.injectors.flush();
    }

    /// Reads from a device; says whether there may be more.
    fn read(&mut self, index: u32, ends: bool) -> bool {
        let (injectors, broadcasts) = (&mut self.injectors, &self.broadcasts);
        self.devices.read(index, ends, &mut self.buffer, |last, user, ids| {
            for id in ids {
                injectors.acked(broadcasts.sender(*id).unwrap_or(last), user, *id);
            }
        })
    }

    /// Reads from an injector and does what it asks for. Ends the connection if it has ended or is not understood.
    fn serve(&mut self, place: usize, sent_at_ms: u64) {
        let Some(peer) = self.injectors.get_mut(place) else { return };
        let read = peer.read(&mut self.buffer).map_err(InjectError::from);
        let served = read.and_then(|()| follow(peer, &mut self.devices, &mut self.broadcasts, sent_at_ms));
        match served {
            Ok(true) => {}
            Ok(false) => self.injectors.remove(place),
            Err(error) => {
                tracing::warn!(%error, "an injector is given up");
                self.injectors.remove(place);
            }
        }
    }
}

/// Does what an injector asks for, as far as possible now. False if nothing more can come from it.
fn follow(
    peer: &mut Peer,
    devices: &mut Devices,
    broadcasts: &mut Broadcasts,
    sent_at_ms: u64,
) -> Result<bool, InjectError> {
    while !broadcasts.are_full() {
        match peer.next_order()? {
            Some(Order::Deliver(Delivery { user, id, payload })) => {
                let flags = if peer.is_transient { PushFlag::Transient as u32 } else { 0 };
                let push = Push { id, payload, flags, sent_at_ms, ..Push::default() };
                if !devices.deliver(user, peer.serial(), &push) {
                    devices.tally.absent += 1;
                    peer.reports.absent();
                } else if peer.is_transient {
                    peer.reports.acked(user, id);
                }
            }
            // Users are found by their numbers here.
            Some(Order::Users { transient, .. }) => peer.is_transient = transient,
            Some(Order::Broadcast { id, payload }) => {
                broadcasts.start(id, payload, peer.serial(), sent_at_ms)
            }
            None => return Ok(!peer.has_ended()),
        }
    }
    Ok(true)
}
