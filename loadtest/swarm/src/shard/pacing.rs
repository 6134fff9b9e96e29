//! What a thread does at a rate: first connects, churn, uplinks.

use std::time::Duration;

use longline_load_truth::{Header, Micros};
use longline_types::limits;

use super::Shard;
use crate::device::{Ending, State};
use crate::flights::Flight;
use crate::options::{Churn, Uplinks};
use crate::pace::Pace;
use crate::time::Ms;

/// Devices looked at to find one for a drop or an uplink.
const LOOKS: usize = 16;
/// Drops of one turn; what is due beyond that follows in the next. Few, so that a swarm that is late does not come in lumps.
const DROPS: usize = 16;
/// Uplinks of one turn.
const UPLINKS: usize = 256;

/// The rates that a thread follows.
#[derive(Default)]
pub(super) struct Paces {
    connect: Option<Pace>,
    /// The first device that was not asked to connect.
    fresh: usize,
    churn: Option<(Churn, Pace)>,
    uplink: Option<(Uplinks, Pace)>,
}

impl Paces {
    /// Lets devices connect that have not yet, at this rate; 0: at once.
    pub(super) fn connect(&mut self, per_second: f64, now: Micros, phase: f64) {
        let per_second = if per_second == 0.0 { f64::INFINITY } else { per_second };
        self.connect = Some(Pace::new(per_second, now, phase));
    }

    pub(super) fn churn(&mut self, churn: Option<Churn>, now: Micros, phase: f64) {
        self.churn = churn.map(|churn| {
            let pace = Pace::new(churn.per_second, now, phase);
            (churn, pace)
        });
    }

    pub(super) fn uplink(&mut self, uplinks: Option<Uplinks>, now: Micros, phase: f64) {
        self.uplink = uplinks.map(|uplinks| {
            let pace = Pace::new(uplinks.per_second, now, phase);
            (uplinks, pace)
        });
    }

    /// No more churn, and nobody waits for a turn to connect.
    pub(super) fn calm(&mut self) {
        self.connect = None;
        self.churn = None;
    }

    /// When the next of them is due.
    pub(super) fn next(&self) -> Option<Micros> {
        let churn = self.churn.as_ref().and_then(|(_, pace)| pace.next());
        let uplink = self.uplink.as_ref().and_then(|(_, pace)| pace.next());
        let connect = self.connect.and_then(|pace| pace.next());
        [connect, churn, uplink].into_iter().flatten().min()
    }
}

impl Shard {
    pub(super) fn follow_paces(&mut self) {
        self.cx.tick();
        self.connect_fresh();
        for _ in 0..DROPS {
            let now = self.cx.now.at;
            let Some((churn, pace)) = &mut self.paces.churn else { break };
            if pace.take(now).is_none() {
                break;
            }
            let churn = churn.clone();
            self.drop_one(&churn);
        }
        for _ in 0..UPLINKS {
            let now = self.cx.now.at;
            let Some((uplinks, pace)) = &mut self.paces.uplink else { break };
            let Some(due) = pace.take(now) else { break };
            let (bytes, route) = (uplinks.payload_bytes.clamp(Header::LEN, limits::PAYLOAD), uplinks.route);
            self.send_uplink(bytes as u32, route, due);
        }
    }

    fn connect_fresh(&mut self) {
        while self.connects_left > 0 {
            let Some(pace) = &mut self.paces.connect else { return };
            let Some(device) = self.devices.get_mut(self.paces.fresh) else {
                self.paces.connect = None;
                return;
            };
            if device.state() != State::Fresh {
                self.paces.fresh += 1;
                continue;
            }
            let Some(due) = pace.take(self.cx.now.at) else { return };
            device.come(0, due, &mut self.cx);
            let index = self.paces.fresh as u32;
            self.paces.fresh += 1;
            self.connect(index);
        }
    }

    /// A device that is at work, by chance.
    fn some_device(&mut self) -> Option<u32> {
        for _ in 0..LOOKS {
            let index = self.cx.chance.below(self.devices.len());
            if self.devices.get(index).is_some_and(|device| device.is_at_work(&self.cx)) {
                return Some(index as u32);
            }
        }
        None
    }

    fn drop_one(&mut self, churn: &Churn) {
        let Some(index) = self.some_device() else {
            self.cx.tally().drops_missed.add(1);
            return;
        };
        let away = self.cx.chance.between(ms(churn.away.0), ms(churn.away.1));
        let ending = Ending::Dropped { away };
        if self.cx.chance.happens(churn.half_open) && self.leftovers.has_space() {
            self.abandon(index, ending);
        } else {
            self.end(index, ending);
        }
    }

    fn send_uplink(&mut self, bytes: u32, route: u32, due: Micros) {
        let taken = self.some_device().filter(|index| {
            self.devices[*index as usize].uplink(
                |cx| Flight { sequence: cx.world.next_uplink(), due, bytes, route, send_at: cx.now.ms },
                &mut self.cx,
            )
        });
        match taken {
            Some(index) => {
                self.cx.tally().uplinks.add(1);
                self.settle(index, None);
            }
            None => self.cx.tally().uplinks_missed.add(1),
        }
    }
}

fn ms(duration: Duration) -> Ms {
    Ms::try_from(duration.as_millis()).unwrap_or(Ms::MAX)
}
