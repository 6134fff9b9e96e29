//! Connects, reads, writes and ends of a thread's sockets.

use mio::{Interest, Token};

use super::Shard;
use crate::connect::connect;
use crate::device::{Ending, Reading, Received, SLOW_BYTES};
use crate::line::{Got, READ, Sent};
use crate::time::{Ms, NEVER};
use crate::trouble::Trouble;
use crate::wrap::Wrap;

/// Reads of one socket before the others have their turn.
const READS: usize = 4;
/// A room that takes nothing of what is sent to it for this long is lost.
const STUCK_MS: Ms = 15_000;

impl Shard {
    /// Connects a device whose time has come, if not too many connect in this turn.
    pub(super) fn connect(&mut self, index: u32) {
        if self.connects_left == 0 {
            self.rearm(index);
            return;
        }
        self.connects_left -= 1;
        self.cx.tick();
        let device = &mut self.devices[index as usize];
        let Some(room) = device.route(&mut self.cx) else {
            self.rearm(index);
            return;
        };
        device.opening(&mut self.cx);
        let sources = &self.cx.world.options.sources;
        let source = sources.get(device.user as usize % sources.len().max(1)).copied();
        let slow = device.reading_when_bound(&self.cx) == Reading::Slowly;
        let world = &self.cx.world;
        let wrap = Wrap::new(world.transport(device.user), &world.links);
        let opened =
            wrap.and_then(|wrap| Ok((connect(room, source, slow)?, wrap))).and_then(|(mut stream, wrap)| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(index as usize), interest)?;
                Ok((stream, wrap))
            });
        match opened {
            Ok((stream, wrap)) => {
                self.lines[index as usize].open(stream, wrap);
                self.rearm(index);
            }
            Err(error) => self.end(index, Ending::Trouble(Trouble::of(&error))),
        }
    }

    /// A connect may have come to its end.
    pub(super) fn opened(&mut self, index: u32) {
        match self.lines[index as usize].connected() {
            None => {}
            Some(Ok(())) => {
                self.devices[index as usize].opened(&mut self.cx);
                self.settle(index, None);
            }
            Some(Err(error)) => self.end(index, Ending::Trouble(Trouble::of(&error))),
        }
    }

    /// There is something to read, or the room has ended the connection.
    pub(super) fn readable(&mut self, index: u32, ends: bool) {
        match self.devices[index as usize].reading(&self.cx) {
            Reading::Freely => self.read(index, ends),
            Reading::Slowly | Reading::Not if ends => self.end(index, Ending::Trouble(Trouble::HungUp)),
            Reading::Slowly | Reading::Not => {}
        }
    }

    /// Reads and handles what has come; `ends`: up to the end, however short the reads.
    pub(super) fn read(&mut self, index: u32, ends: bool) {
        for _ in 0..READS {
            if self.lines[index as usize].is_clogged() || !self.devices[index as usize].is_on_line() {
                return;
            }
            match self.read_once(index, READ) {
                Some(more) if more || ends => {}
                _ => return,
            }
            // What it read may have changed how it reads.
            if self.devices[index as usize].reading(&self.cx) != Reading::Freely {
                return;
            }
        }
        self.unread.push(index);
    }

    /// A slow device takes its few bytes.
    pub(super) fn read_slowly(&mut self, index: u32) {
        if self.settle(index, None) {
            self.read_once(index, SLOW_BYTES);
            self.rearm(index);
        }
    }

    /// Whether there may be more to read; none if there was nothing, or there is no connection any more.
    fn read_once(&mut self, index: u32, most: usize) -> Option<bool> {
        self.cx.tick();
        let (bytes, fresh, more) =
            match self.lines[index as usize].read(&mut self.buffer, most, self.cx.now.ms) {
                Got::Bytes { bytes, fresh, more } => (bytes, fresh, more),
                Got::Nothing => return None,
                Got::End => {
                    self.end(index, Ending::Trouble(Trouble::HungUp));
                    return None;
                }
                Got::Failed(error) => {
                    self.end(index, Ending::Trouble(Trouble::of(&error)));
                    return None;
                }
            };
        self.cx.tally().bytes_in.add(fresh as u64);
        let bytes = &self.buffer[bytes];
        let Received { used, ending } = self.devices[index as usize].received(bytes, &mut self.cx);
        self.lines[index as usize].keep(&bytes[used..]);
        self.settle(index, ending).then_some(more)
    }

    /// Writes what a device has said, and ends its connection if it is over. Whether it is not.
    pub(super) fn settle(&mut self, index: u32, ending: Option<Ending>) -> bool {
        let ending = self.send(index).err().map(Ending::Trouble).or(ending);
        if let Some(ending) = ending {
            self.end(index, ending);
            return false;
        }
        if self.cx.rearm {
            self.rearm(index);
        }
        true
    }

    fn send(&mut self, index: u32) -> Result<(), Trouble> {
        if self.cx.out.is_empty() {
            return Ok(());
        }
        let now = self.cx.now.ms;
        let sent = self.lines[index as usize].send(&self.cx.out, &self.cx.receipts, now);
        self.cx.out.clear();
        match sent {
            Ok(Sent::All(took)) => {
                self.cx.tally().bytes_out.add(took as u64);
                self.devices[index as usize].wrote(now);
                self.acked(index);
                Ok(())
            }
            Ok(Sent::Part(took)) => {
                self.cx.tally().bytes_out.add(took as u64);
                // The receipts wait with the bytes; who resumes does not name these ids, and may get them again.
                self.cx.receipts.clear();
                self.cx.acked.clear();
                self.cx.rearm = true;
                Ok(())
            }
            Err(error) => {
                self.cx.receipts.clear();
                self.cx.acked.clear();
                Err(Trouble::of(&error))
            }
        }
    }

    /// The acknowledgements at hand are in the kernel's.
    fn acked(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        device.acknowledged(&self.cx.acked);
        self.cx.acked.clear();
        let ledger = &self.cx.world.options.ledger;
        let receipts = &self.cx.receipts;
        if !receipts.is_empty() {
            ledger.acked(device.user, device.connection, receipts, self.cx.now.at);
            self.cx.shared.tally.acks.add(receipts.len() as u64);
        }
        self.cx.receipts.clear();
    }

    /// The socket may have space again. Whether the connection still stands.
    pub(super) fn send_more(&mut self, index: u32) -> bool {
        if self.stuck_at(index) == NEVER {
            return true;
        }
        let now = self.cx.now.ms;
        match self.lines[index as usize].send_more(&mut self.cx.receipts, now) {
            Ok(Sent::All(took) | Sent::Part(took)) => {
                self.cx.tally().bytes_out.add(took as u64);
                self.devices[index as usize].wrote(now);
                self.acked(index);
                if self.lines[index as usize].take_unread() {
                    self.unread.push(index);
                }
                true
            }
            Err(error) => {
                self.end(index, Ending::Trouble(Trouble::of(&error)));
                false
            }
        }
    }

    /// When the room will have taken nothing for too long.
    pub(super) fn stuck_at(&self, index: u32) -> Ms {
        self.lines[index as usize].stuck_since().map_or(NEVER, |since| since + STUCK_MS)
    }

    /// Ends the connection of a device whose room takes nothing.
    pub(super) fn is_stuck(&mut self, index: u32) -> bool {
        let stuck = self.stuck_at(index) <= self.cx.now.ms;
        if stuck {
            self.end(index, Ending::Trouble(Trouble::Stuck));
        }
        stuck
    }

    /// The connection is over.
    pub(super) fn end(&mut self, index: u32, ending: Ending) {
        let stream = self.lines[index as usize].close();
        self.left(index, ending);
        if let Some(stream) = stream.filter(|_| ending.is_peaceful()) {
            self.leftovers.part(stream, self.cx.now.ms, self.poll.registry());
        }
    }

    /// The device goes and its socket stays, to be neither read nor written; closed if there are too many of those.
    pub(super) fn abandon(&mut self, index: u32, ending: Ending) {
        let stream = self.lines[index as usize].close();
        self.left(index, ending);
        if let Some(stream) = stream {
            self.leftovers.forget(stream, self.cx.now.ms, self.poll.registry());
        }
    }

    fn left(&mut self, index: u32, ending: Ending) {
        // What it still wanted to say was for this connection.
        self.cx.out.clear();
        self.cx.receipts.clear();
        self.cx.acked.clear();
        self.devices[index as usize].ended(ending, &mut self.cx);
        self.rearm(index);
    }
}
