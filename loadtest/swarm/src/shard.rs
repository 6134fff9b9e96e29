//! One thread of the swarm: an epoll, its share of the devices and their sockets, a timer wheel, one read buffer.

mod lines;
mod orders;
mod pacing;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::chance::mix;
use crate::control::{Order, WAKER};
use crate::device::{Act, Device, Ending, State};
use crate::hostile::Manner;
use crate::leftovers::Leftovers;
use crate::line::{HEAD, Line, READ};
use crate::time::Ms;
use crate::wheel::{TICK_MS, Wheel};
use crate::world::{Cx, Shared, World};
use pacing::Paces;

/// Events taken in one turn.
const EVENTS: usize = 1024;
/// The longest sleep, in ticks: a second.
const SLEEP_TICKS: u32 = 1_000 / TICK_MS;
/// Connects begun in one turn, so that the devices that are there are not kept waiting.
const CONNECTS: usize = 256;
/// Sockets without devices that are watched over: a share of the devices, and at least some.
const LEFTOVERS: (usize, usize, usize) = (8, 64, 4096);
/// How often they are looked through.
const SWEEP_MS: Ms = 500;

/// A thread's share of the swarm.
pub(crate) struct Shard {
    poll: Poll,
    orders: Receiver<Order>,
    devices: Vec<Device>,
    lines: Vec<Line>,
    wheel: Wheel,
    leftovers: Leftovers,
    swept: Ms,
    paces: Paces,
    /// Connects that may still begin this turn.
    connects_left: usize,
    /// Sockets that have more to read than was taken from them.
    unread: Vec<u32>,
    fired: Vec<u32>,
    buffer: Box<[u8]>,
    cx: Cx,
    stops: bool,
}

impl Shard {
    /// The devices of thread `number` of all.
    pub(crate) fn new(
        poll: Poll,
        orders: Receiver<Order>,
        number: usize,
        world: Arc<World>,
        shared: Arc<Shared>,
    ) -> Shard {
        let options = &world.options;
        let users = options.users.clone().skip(number).step_by(options.threads);
        let devices: Vec<Device> =
            users.map(|user| Device::new(user, Manner::of(user, &options.hostile, options.seed))).collect();
        let (part, least, most) = LEFTOVERS;
        let leftovers = Leftovers::new((devices.len() / part).clamp(least, most), devices.len());
        let seed = mix(options.seed, number as u64);
        Shard {
            poll,
            orders,
            lines: devices.iter().map(|_| Line::default()).collect(),
            wheel: Wheel::new(devices.len()),
            leftovers,
            swept: 0,
            paces: Paces::default(),
            connects_left: 0,
            unread: Vec::new(),
            fired: Vec::new(),
            buffer: vec![0; HEAD + READ].into_boxed_slice(),
            cx: Cx::new(world, shared, seed),
            stops: false,
            devices,
        }
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    /// If the poll fails; then nothing can be done any more.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let step = self.cx.world.options.step;
        let mut looked = Instant::now();
        while !self.stops {
            if !step.is_zero() {
                // Not a wait for something: whatever comes meanwhile is to be served together.
                std::thread::sleep(step.saturating_sub(looked.elapsed()));
                looked = Instant::now();
            }
            let wait = self.wait();
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.turn(&events);
        }
        self.devices.iter_mut().filter(|device| device.is_on_line()).for_each(|device| {
            device.ended(Ending::Dropped { away: 0 }, &mut self.cx);
        });
        Ok(())
    }

    fn wait(&self) -> Duration {
        if !self.unread.is_empty() {
            return Duration::ZERO;
        }
        let now = self.cx.world.time.now();
        let timers = Duration::from_millis(self.wheel.quiet_ms(now.ms, SLEEP_TICKS).into());
        let sweep = if self.leftovers.is_empty() { timers } else { Duration::from_millis(SWEEP_MS.into()) };
        let paced = self.paces.next().map_or(timers, |at| Duration::from_micros(at.saturating_sub(now.at)));
        timers.min(sweep).min(paced)
    }

    fn turn(&mut self, events: &Events) {
        self.connects_left = CONNECTS;
        for event in events {
            match event.token() {
                WAKER => {}
                Token(index) if index < self.devices.len() => self.happened(index as u32, event),
                Token(token) => self.leftovers.happened(token, event, &mut self.buffer),
            }
        }
        for index in std::mem::take(&mut self.unread) {
            self.read(index, false);
        }
        self.take_orders();
        self.timers();
        self.follow_paces();
        self.sweep();
    }

    fn happened(&mut self, index: u32, event: &Event) {
        self.cx.tick();
        match self.devices[index as usize].state() {
            State::Fresh | State::Away | State::Refused => {}
            State::Opening => self.opened(index),
            _ => {
                let ends = event.is_read_closed() || event.is_error();
                if event.is_writable() && !self.send_more(index) {
                    return;
                }
                if event.is_readable() || ends {
                    self.readable(index, ends);
                }
            }
        }
    }

    fn timers(&mut self) {
        self.cx.tick();
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(self.cx.now.ms, &mut fired);
        fired.drain(..).for_each(|index| self.timer(index));
        self.fired = fired;
    }

    fn timer(&mut self, index: u32) {
        if self.is_stuck(index) {
            return;
        }
        // What follows may set it earlier; this is for when it does not.
        self.cx.rearm = true;
        match self.devices[index as usize].timer(&mut self.cx) {
            Act::Nothing => {
                self.settle(index, None);
            }
            Act::Connect => self.connect(index),
            Act::Read => self.read_slowly(index),
            Act::End(ending) => {
                self.settle(index, Some(ending));
            }
        }
    }

    /// Sees to it that the device's timer fires in time.
    fn rearm(&mut self, index: u32) {
        let next = self.devices[index as usize].next(&self.cx);
        self.wheel.set(index, next.min(self.stuck_at(index)));
        self.cx.rearm = false;
    }

    fn sweep(&mut self) {
        if !self.leftovers.is_empty() && self.cx.now.ms.saturating_sub(self.swept) >= SWEEP_MS {
            self.leftovers.sweep(self.cx.now.ms);
            self.swept = self.cx.now.ms;
        }
        let tally = &self.cx.shared.tally.half_open;
        tally.add(self.leftovers.half_open().wrapping_sub(tally.get()));
    }
}
