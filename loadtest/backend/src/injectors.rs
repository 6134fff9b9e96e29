//! The injectors that are connected, and what they are to be told.

use std::sync::Arc;

use longline_load_raw::Reports;
use tokio::sync::Notify;

/// Most injectors at a time: one for each process that makes load, and one for each broadcast.
const MOST: usize = 256;

/// Names an injector. A later one on the same place has another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Serial {
    place: usize,
    number: u64,
}

impl Serial {
    /// No injector has it.
    #[cfg(test)]
    pub(crate) const NONE: Serial = Serial { place: 0, number: 0 };
}

/// What an injector has told and is to be told.
pub(crate) struct Injector {
    serial: Serial,
    /// The number of its users' prefix, once it has named it.
    pub(crate) space: Option<u32>,
    pub(crate) transient: bool,
    pub(crate) reports: Reports,
    has_news: bool,
    wake: Arc<Notify>,
}

/// The injectors, by place.
#[derive(Default)]
pub(crate) struct Injectors {
    places: Vec<Option<Injector>>,
    numbers: u64,
}

impl Injectors {
    /// Takes one in, if there is a place for it. `wake` is told when there is something to be written.
    pub(crate) fn connect(&mut self, wake: Arc<Notify>) -> Option<Serial> {
        let free = self.places.iter().position(Option::is_none);
        let place = free.unwrap_or(self.places.len());
        if place >= MOST {
            return None;
        }
        self.numbers += 1;
        let serial = Serial { place, number: self.numbers };
        let (reports, has_news) = (Reports::default(), false);
        let injector = Injector { serial, space: None, transient: false, reports, has_news, wake };
        match free {
            Some(place) => self.places[place] = Some(injector),
            None => self.places.push(Some(injector)),
        }
        Some(serial)
    }

    /// It has gone; what it was.
    pub(crate) fn disconnect(&mut self, serial: Serial) -> Option<Injector> {
        self.get_mut(serial)?;
        self.places.get_mut(serial.place)?.take()
    }

    pub(crate) fn get_mut(&mut self, serial: Serial) -> Option<&mut Injector> {
        self.places.get_mut(serial.place)?.as_mut().filter(|injector| injector.serial == serial)
    }

    /// A message was acknowledged.
    pub(crate) fn acked(&mut self, to: Serial, user: u32, id: u64) {
        if let Some(injector) = self.get_mut(to) {
            injector.reports.acked(user, id);
            injector.has_news = true;
        }
    }

    /// A message was dropped.
    pub(crate) fn absent(&mut self, to: Serial) {
        if let Some(injector) = self.get_mut(to) {
            injector.reports.absent();
            injector.has_news = true;
        }
    }

    /// Has what there is to tell written.
    pub(crate) fn wake(&mut self) {
        for injector in self.places.iter_mut().flatten() {
            if std::mem::take(&mut injector.has_news) {
                injector.wake.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_injector_is_not_told_of_an_earlier_ones_messages() {
        let mut injectors = Injectors::default();
        let first = injectors.connect(Arc::default()).unwrap();
        assert!(injectors.disconnect(first).is_some());
        let second = injectors.connect(Arc::default()).unwrap();
        assert_eq!(first.place, second.place);
        injectors.acked(first, 1, 1);
        let told = |injectors: &mut Injectors| {
            let reports = &mut injectors.get_mut(second).unwrap().reports;
            reports.end();
            reports.unwritten().len()
        };
        assert_eq!(told(&mut injectors), 0);
        injectors.acked(second, 1, 1);
        assert!(told(&mut injectors) > 0);
        assert!(injectors.disconnect(first).is_none());
    }

    #[test]
    fn there_are_only_so_many() {
        let mut injectors = Injectors::default();
        let all: Vec<Serial> = (0..MOST).filter_map(|_| injectors.connect(Arc::default())).collect();
        assert_eq!((all.len(), injectors.connect(Arc::default())), (MOST, None));
        injectors.disconnect(all[7]);
        assert_eq!(injectors.connect(Arc::default()).map(|serial| serial.place), Some(7));
    }
}
