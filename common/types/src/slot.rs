use std::fmt;

/// Number of slots: the hash buckets of addresses in which the register and the storage are divided.
pub const SLOTS: usize = 4096;

/// One of [`SLOTS`] buckets of addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot with this number, if there is one.
    pub fn new(number: u32) -> Option<Slot> {
        ((number as usize) < SLOTS).then_some(Slot(number as u16))
    }

    /// Every slot, in order.
    pub fn all() -> impl ExactSizeIterator<Item = Slot> {
        (0..SLOTS as u16).map(Slot)
    }

    /// 0 to 4,095.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn of_hash(high: u64) -> Slot {
        Slot((high >> 52) as u16)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
