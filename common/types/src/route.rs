use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// Orders the binds of one address (R1): the higher stamp wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Stamp {
    /// View number at which the owner of the slot got it (R2).
    pub generation: u64,
    /// Counts the binds of the slot within the generation.
    pub counter: u64,
}

/// A session as its room names it: shard (8 bits), index in the shard (32), generation of that place (24).
///
/// A place is used again with the next generation, so an id of an earlier session never names a later one
/// (but after 16,777,216 sessions in one place).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Generations run from 0 to this, then start again.
    pub const MAX_GENERATION: u32 = (1 << 24) - 1;

    /// Packs the three parts; of the generation the low 24 bits count.
    pub fn new(shard: u8, index: u32, generation: u32) -> SessionId {
        SessionId(
            u64::from(shard) << 56 | u64::from(index) << 24 | u64::from(generation & Self::MAX_GENERATION),
        )
    }

    /// The shard that owns the session.
    pub fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Its place in the shard.
    pub fn index(self) -> u32 {
        (self.0 >> 24) as u32
    }

    /// Which of the sessions that had this place.
    pub fn generation(self) -> u32 {
        self.0 as u32 & Self::MAX_GENERATION
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.shard(), self.index(), self.generation())
    }
}

/// Where an address is connected. Compared as a whole before it is changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Route {
    /// Given by the register with the bind.
    pub stamp: Stamp,
    /// Number of the room in the view.
    pub node: u32,
    /// Incarnation of that room.
    pub incarnation: u64,
    /// Session in that room.
    pub session: SessionId,
}

/// The device that made a bind, so that its own older connection never displaces a newer one (R1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Device {
    /// xxh3 of the device id.
    pub hash: u64,
    /// HELLO's connection counter.
    pub counter: u64,
}

impl Device {
    /// The device with this id and counter.
    pub fn new(id: &str, counter: u64) -> Device {
        Device { hash: xxh3_64(id.as_bytes()), counter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_keep_their_parts() {
        let id = SessionId::new(255, u32::MAX, SessionId::MAX_GENERATION);
        assert_eq!((id.shard(), id.index(), id.generation()), (255, u32::MAX, SessionId::MAX_GENERATION));
        let id = SessionId::new(3, 70_000, SessionId::MAX_GENERATION + 1);
        assert_eq!((id.shard(), id.index(), id.generation()), (3, 70_000, 0));
    }
}
