//! The binds of a session: nearly always one, so the first is inline.

use longline_types::{Address, limits};

use super::bind::Bind;

/// At most 16 binds.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "8 bytes in each session instead of 24, and hardly ever there")]
pub(crate) struct Binds {
    first: Option<Bind>,
    more: Option<Box<Vec<Bind>>>,
}

impl Binds {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |more| more.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bind> {
        self.first.iter().chain(self.more.iter().flat_map(|more| more.iter()))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Bind> {
        self.first.iter_mut().chain(self.more.iter_mut().flat_map(|more| more.iter_mut()))
    }

    /// The bind under the device's number.
    pub(crate) fn by_index(&mut self, index: u32) -> Option<&mut Bind> {
        self.iter_mut().find(|b| u32::from(b.index) == index)
    }

    /// The bind under the device's number, if it is the one with this serial.
    pub(crate) fn by_serial(&mut self, index: u8, serial: u16) -> Option<&mut Bind> {
        self.iter_mut().find(|b| b.index == index && b.serial == serial)
    }

    pub(crate) fn by_address(&mut self, address: &Address) -> Option<&mut Bind> {
        self.iter_mut().find(|b| b.address == *address)
    }

    /// Adds a bind; the caller has seen to it that index and address are free and [`Binds::is_full`] is not true.
    pub(crate) fn add(&mut self, bind: Bind) {
        if self.first.is_none() {
            self.first = Some(bind);
        } else {
            self.more.get_or_insert_default().push(bind);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= limits::BINDS
    }

    pub(crate) fn remove(&mut self, index: u8) -> Option<Bind> {
        if self.first.as_ref().is_some_and(|b| b.index == index) {
            let next = self.more.as_mut().and_then(|more| more.pop());
            self.drop_empty();
            return std::mem::replace(&mut self.first, next);
        }
        let more = self.more.as_mut()?;
        let place = more.iter().position(|b| b.index == index)?;
        let removed = more.swap_remove(place);
        self.drop_empty();
        Some(removed)
    }

    /// Takes them all.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Bind> + use<> {
        self.first.take().into_iter().chain(self.more.take().into_iter().flat_map(|more| *more))
    }

    fn drop_empty(&mut self) {
        if self.more.as_ref().is_some_and(|more| more.is_empty()) {
            self.more = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(index: u8) -> Bind {
        Bind::new(index, 0, Address::new(1, &format!("user-{index}")).unwrap(), 0)
    }

    fn indexes(binds: &Binds) -> Vec<u8> {
        let mut indexes: Vec<u8> = binds.iter().map(|b| b.index).collect();
        indexes.sort_unstable();
        indexes
    }

    #[test]
    fn any_bind_can_be_removed_and_one_needs_no_box() {
        for removed in 0..3 {
            let mut binds = Binds::default();
            (0..3).for_each(|i| binds.add(bind(i)));
            assert_eq!(binds.remove(removed).unwrap().index, removed);
            assert!(binds.remove(removed).is_none());
            assert_eq!(indexes(&binds), (0..3).filter(|i| *i != removed).collect::<Vec<_>>());
            let other = indexes(&binds)[0];
            binds.remove(other);
            assert!(binds.more.is_none() && binds.len() == 1);
        }
    }

    #[test]
    fn binds_are_found_by_index_serial_and_address() {
        let mut binds = Binds::default();
        (0..16).for_each(|i| binds.add(bind(i)));
        assert!(binds.is_full());
        assert_eq!(binds.by_index(9).unwrap().index, 9);
        assert!(binds.by_index(16).is_none());
        assert!(binds.by_serial(9, 1).is_none());
        assert_eq!(binds.by_address(&bind(15).address).unwrap().index, 15);
        assert_eq!(binds.take().count(), 16);
        assert!(binds.is_empty());
    }
}
