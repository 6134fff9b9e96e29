//! What a thread does when it is told to.

use super::Shard;
use crate::control::Order;
use crate::device::{Ending, Reading, State};
use crate::time::Ms;

/// When all are to be back, those who are away come within this.
const BACK_MS: Ms = 1_000;

impl Shard {
    pub(super) fn take_orders(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            self.cx.tick();
            match order {
                Order::Connect { per_second, phase } => {
                    self.paces.connect(per_second, self.cx.now.at, phase);
                }
                Order::Churn { churn, phase } => self.paces.churn(churn, self.cx.now.at, phase),
                Order::Uplink { uplinks, phase } => self.paces.uplink(uplinks, self.cx.now.at, phase),
                Order::DropAll => self.drop_all(),
                Order::AllBack => self.all_back(),
                Order::Stop => self.stops = true,
            }
        }
    }

    /// A storm: everybody loses the connection and comes back as after a first failure.
    fn drop_all(&mut self) {
        for index in 0..self.devices.len() as u32 {
            if self.devices[index as usize].is_on_line() {
                let away = self.cx.chance.backoff(0);
                self.end(index, Ending::Dropped { away });
            }
        }
    }

    /// Everybody behaves and comes online.
    fn all_back(&mut self) {
        self.paces.calm();
        let was_tame = std::mem::replace(&mut self.cx.tame, true);
        for index in 0..self.devices.len() as u32 {
            let device = &self.devices[index as usize];
            match device.state() {
                State::Fresh | State::Away => self.come_back(index),
                _ if was_tame => {}
                _ if device.spoils_its_connection() => {
                    let away = self.cx.chance.between(0, BACK_MS);
                    self.end(index, Ending::Dropped { away });
                }
                State::Bound => self.listen(index),
                _ => {}
            }
        }
    }

    fn come_back(&mut self, index: u32) {
        let wait = self.cx.chance.between(0, BACK_MS);
        self.devices[index as usize].come_back(wait, &mut self.cx);
        self.rearm(index);
    }

    /// Reads what was left unread, if it was.
    fn listen(&mut self, index: u32) {
        let device = &mut self.devices[index as usize];
        if device.read_badly() {
            device.listen_again(&mut self.cx);
            debug_assert_eq!(device.reading(&self.cx), Reading::Freely);
            self.rearm(index);
            self.unread.push(index);
        }
    }
}
