//! Which sessions of the shard are parked, and until when (D8). They are bounded in number and bytes; when there are too many the one that
//! was parked first goes, for its device is the least likely to come back.

use std::collections::{HashMap, VecDeque};

use crate::EngineConfig;

/// What a parked session takes here, in bytes: its entry and its place in the order, with what a table keeps free.
const ENTRY: usize = 96;

/// The parked sessions, by connection index.
pub(crate) struct Parking {
    park_ms: u64,
    most: usize,
    most_bytes: usize,
    parked: HashMap<u32, Parked>,
    /// (number, index), in the order of parking; some are not parked any more.
    order: VecDeque<(u64, u32)>,
    bytes: usize,
    last: u64,
}

#[derive(Clone, Copy)]
struct Parked {
    /// Counts the parkings: tells this one from an earlier one of the same index.
    number: u64,
    until: u64,
    bytes: usize,
}

/// Why a parking is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Over {
    Time,
    Space,
}

impl Parking {
    pub(crate) fn new(config: &EngineConfig) -> Parking {
        let shards = u32::from(config.shard_count());
        Parking {
            park_ms: config.park_ms.into(),
            most: config.parked_sessions.div_ceil(shards) as usize,
            most_bytes: config.parked_bytes.div_ceil(shards.into()) as usize,
            parked: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            last: 0,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.parked.len() as u32
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The session with this index, which takes so many bytes, is parked from now on.
    pub(crate) fn add(&mut self, index: u32, bytes: usize, now_ms: u64) {
        self.remove(index);
        self.last += 1;
        let parked = Parked { number: self.last, until: now_ms + self.park_ms, bytes: bytes + ENTRY };
        self.bytes += parked.bytes;
        self.order.push_back((parked.number, index));
        self.parked.insert(index, parked);
    }

    /// It is not any more.
    pub(crate) fn remove(&mut self, index: u32) {
        let Some(parked) = self.parked.remove(&index) else { return };
        self.bytes -= parked.bytes;
        // Devices that break and come back again and again leave their earlier places in the order.
        if self.order.len() > 2 * self.parked.len() + 64 {
            self.order.retain(|(number, index)| self.parked.get(index).is_some_and(|p| p.number == *number));
        }
        if self.parked.capacity() > 8 * (self.parked.len() + 64) {
            self.parked.shrink_to(2 * self.parked.len());
            self.order.shrink_to(2 * self.parked.len());
        }
    }

    /// One whose parking is over; it is to be ended, and then removed.
    pub(crate) fn over(&mut self, now_ms: u64) -> Option<(u32, Over)> {
        let (index, parked) = self.oldest()?;
        if parked.until <= now_ms {
            Some((index, Over::Time))
        } else if self.parked.len() > self.most || self.bytes > self.most_bytes {
            Some((index, Over::Space))
        } else {
            None
        }
    }

    /// For how many milliseconds none is over.
    pub(crate) fn quiet_ms(&mut self, now_ms: u64) -> u64 {
        self.oldest().map_or(u64::MAX, |(_, parked)| parked.until.saturating_sub(now_ms))
    }

    fn oldest(&mut self) -> Option<(u32, Parked)> {
        loop {
            let (number, index) = *self.order.front()?;
            match self.parked.get(&index) {
                Some(parked) if parked.number == number => return Some((index, *parked)),
                _ => self.order.pop_front(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parking(most: u32, most_bytes: u64) -> Parking {
        let config = EngineConfig {
            shards: 1,
            park_ms: 100,
            parked_sessions: most,
            parked_bytes: most_bytes,
            ..EngineConfig::default()
        };
        Parking::new(&config)
    }

    fn end(parking: &mut Parking, now_ms: u64) -> Vec<(u32, Over)> {
        let mut ended = Vec::new();
        while let Some((index, over)) = parking.over(now_ms) {
            parking.remove(index);
            ended.push((index, over));
        }
        ended
    }

    #[test]
    fn a_parking_ends_after_its_time_counted_from_the_latest() {
        let mut parking = parking(10, 1 << 20);
        parking.add(1, 400, 0);
        parking.add(2, 400, 50);
        parking.remove(1);
        parking.add(1, 400, 60);
        assert_eq!(parking.quiet_ms(100), 50);
        assert_eq!(end(&mut parking, 149), []);
        assert_eq!(end(&mut parking, 159), [(2, Over::Time)]);
        assert_eq!(end(&mut parking, 160), [(1, Over::Time)]);
        assert_eq!((parking.len(), parking.bytes()), (0, 0));
    }

    #[test]
    fn when_there_are_too_many_the_first_goes() {
        let mut parking = parking(2, 1 << 20);
        (1..=4).for_each(|index| parking.add(index, 400, 0));
        assert_eq!(end(&mut parking, 0), [(1, Over::Space), (2, Over::Space)]);
    }

    #[test]
    fn when_they_take_too_much_memory_the_first_go() {
        let mut parking = parking(10, 1000);
        (1..=3).for_each(|index| parking.add(index, 400, 0));
        assert_eq!(end(&mut parking, 0), [(1, Over::Space)]);
        parking.add(4, 2000, 0);
        assert_eq!(end(&mut parking, 0).len(), 3, "one that is larger than all there is does not stay");
    }

    #[test]
    fn devices_that_break_again_and_again_leave_nothing_behind() {
        let mut parking = parking(10, 1 << 20);
        for round in 0..10_000 {
            parking.add(round % 3, 400, 0);
        }
        assert_eq!(parking.len(), 3);
        assert!(parking.order.len() < 100, "{}", parking.order.len());
    }
}
