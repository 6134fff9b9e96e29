//! Routes as they are kept: small.

use longline_types::{Device, Route, SessionId, Stamp};

use crate::rooms::Room;

/// What is kept of a route and its device. What many routes of a slot have in common is in [`Origins`]: with the key an entry
/// takes 56 bytes instead of 72.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    counter: u64,
    session: SessionId,
    device: Device,
    origin: u32,
}

/// The room of a route, and the generation of its stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Origin {
    room: Room,
    generation: u64,
}

/// The origins of a slot's routes, by index.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    places: Vec<Option<Origin>>,
}

impl Origins {
    /// The route as an entry.
    pub(crate) fn pack(&mut self, route: Route, device: Device) -> Entry {
        let room = Room { number: route.node, incarnation: route.incarnation };
        let origin = self.place(Origin { room, generation: route.stamp.generation });
        Entry { counter: route.stamp.counter, session: route.session, device, origin }
    }

    /// The route and the device of an entry that was packed here. None if its room was forgotten.
    pub(crate) fn unpack(&self, entry: &Entry) -> Option<(Route, Device)> {
        let origin = (*self.places.get(entry.origin as usize)?)?;
        let route = Route {
            stamp: Stamp { generation: origin.generation, counter: entry.counter },
            node: origin.room.number,
            incarnation: origin.room.incarnation,
            session: entry.session,
        };
        Some((route, entry.device))
    }

    /// Forgets the rooms that are not `live`: their entries must go too, before anything is packed again.
    pub(crate) fn forget(&mut self, live: impl Fn(Room) -> bool) {
        for place in &mut self.places {
            place.take_if(|origin| !live(origin.room));
        }
    }

    /// A slot has a few origins per room, so looking through all of them is quicker than a map would be.
    fn place(&mut self, origin: Origin) -> u32 {
        let known = self.places.iter().position(|place| *place == Some(origin));
        let index = known.unwrap_or_else(|| {
            let free = self.places.iter().position(Option::is_none);
            let index = free.unwrap_or(self.places.len());
            match free {
                Some(_) => self.places[index] = Some(origin),
                None => self.places.push(Some(origin)),
            }
            index
        });
        index as u32
    }
}

#[cfg(test)]
mod tests {
    use longline_types::AddressKey;

    use super::*;

    fn route(node: u32, generation: u64, counter: u64) -> Route {
        let stamp = Stamp { generation, counter };
        Route { stamp, node, incarnation: 100 + u64::from(node), session: SessionId(counter) }
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<(AddressKey, Entry)>(), 56);
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut origins = Origins::default();
        let device = Device { hash: 1, counter: 2 };
        let routes = [route(1, 5, 1), route(2, 5, 2), route(1, 6, 3), route(1, 5, 4)];
        let entries = routes.map(|route| origins.pack(route, device));
        assert_eq!(entries.map(|e| origins.unpack(&e)), routes.map(|route| Some((route, device))));
        assert_eq!(origins.places.len(), 3, "two have the same origin");
    }

    #[test]
    fn forgotten_places_are_used_again() {
        let mut origins = Origins::default();
        let device = Device { hash: 1, counter: 2 };
        let [gone, kept] = [route(1, 5, 1), route(2, 5, 2)].map(|r| origins.pack(r, device));
        origins.forget(|room| room.number == 2);
        assert_eq!(origins.unpack(&gone), None);
        assert_eq!(origins.unpack(&kept), Some((route(2, 5, 2), device)));
        origins.pack(route(3, 5, 3), device);
        assert_eq!(origins.places.len(), 2);
    }
}
