//! One slot that this register owns: its routes, and what is still missing of them. No I/O, no clock.

use std::collections::HashMap;
use std::collections::hash_map;

use longline_types::{AddressKey, Device, Route, SessionId, Stamp};

use crate::entry::{Entry, Origins};
use crate::rooms::{Room, Rooms};

/// Who binds an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    pub(crate) room: Room,
    pub(crate) session: SessionId,
    pub(crate) device: Device,
}

/// What came of a bind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BindResult {
    /// The address is the claimant's, under this stamp; `displaced` is told (R5).
    Bound { stamp: Stamp, displaced: Option<Route> },
    /// A later connection of the same device has it (R1). Nothing was changed.
    Stale,
}

/// What came of an assertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AssertResult {
    /// The route stands; `displaced` is told (R5).
    Stands { displaced: Option<Route> },
    /// Another stands there (R1).
    Displaced,
}

/// The routes of a slot, since this register got it.
#[derive(Debug)]
pub(crate) struct OwnedSlot {
    /// View number at which this register got the slot (R2).
    generation: u64,
    /// Counts the binds (R1).
    counter: u64,
    entries: HashMap<AddressKey, Entry>,
    origins: Origins,
    /// Rooms that may have routes of this slot that they have not sent yet (R2). None: the slot is filled.
    waiting: Vec<Room>,
}

impl OwnedSlot {
    /// A slot just got: it is refilling until all these rooms are done.
    pub(crate) fn new(generation: u64, rooms: &Rooms) -> OwnedSlot {
        OwnedSlot {
            generation,
            counter: 0,
            entries: HashMap::new(),
            origins: Origins::default(),
            waiting: rooms.iter().collect(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a miss means that the address is not connected (R3).
    pub(crate) fn is_filled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Number of routes.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where the address is connected, as far as is known.
    pub(crate) fn lookup(&self, key: AddressKey, live: &Rooms) -> Option<Route> {
        self.standing(key, live).map(|(route, _)| route)
    }

    /// Binds the address to the claimant, under the highest stamp so far, unless a later connection of its device has it.
    pub(crate) fn bind(&mut self, key: AddressKey, claim: Claim, live: &Rooms) -> BindResult {
        let stamp = Stamp { generation: self.generation, counter: self.counter + 1 };
        let route = Route {
            stamp,
            node: claim.room.number,
            incarnation: claim.room.incarnation,
            session: claim.session,
        };
        match self.offer(key, route, claim.device, live) {
            AssertResult::Displaced => BindResult::Stale,
            AssertResult::Stands { displaced } => BindResult::Bound { stamp, displaced },
        }
    }

    /// Takes a route that a room holds. Its generation is at most this slot's. A session that was resumed asserts its route with a higher
    /// connection counter than it was bound with, which is noted (R1).
    pub(crate) fn assert(
        &mut self,
        key: AddressKey,
        route: Route,
        device: Device,
        live: &Rooms,
    ) -> AssertResult {
        if let Some((standing, its_device)) = self.standing(key, live)
            && same_session(&standing, &route)
            && standing.stamp >= route.stamp
        {
            if device.hash == its_device.hash && device.counter > its_device.counter {
                let entry = self.origins.pack(standing, device);
                self.entries.insert(key, entry);
            }
            return AssertResult::Stands { displaced: None };
        }
        self.offer(key, route, device, live)
    }

    /// Removes the route if it is exactly this one.
    pub(crate) fn unbind(&mut self, key: AddressKey, route: Route) -> bool {
        let hash_map::Entry::Occupied(entry) = self.entries.entry(key) else { return false };
        let same = self.origins.unpack(entry.get()).is_some_and(|(standing, _)| standing == route);
        if same {
            entry.remove();
        }
        same
    }

    /// The room has sent all its routes of this slot, or has left the view.
    pub(crate) fn done(&mut self, room: Room) {
        self.waiting.retain(|waited| *waited != room);
    }

    /// Waits no longer for rooms that are not live.
    pub(crate) fn wait_only_for(&mut self, live: &Rooms) {
        self.waiting.retain(|room| live.contains(*room));
    }

    /// Drops the routes of rooms that are not live. They count as absent before that already.
    pub(crate) fn sweep(&mut self, live: &Rooms) {
        self.origins.forget(|room| live.contains(room));
        let origins = &self.origins;
        self.entries.retain(|_, entry| origins.unpack(entry).is_some());
        // What a storm has left behind, and only then: shrinking by little would be undone soon.
        if self.entries.capacity() > 4 * self.entries.len().max(16) {
            self.entries.shrink_to_fit();
        }
    }

    /// Lets the route stand if it outranks the one that does.
    fn offer(&mut self, key: AddressKey, route: Route, device: Device, live: &Rooms) -> AssertResult {
        let standing = self.standing(key, live);
        if standing.is_some_and(|(before, its_device)| !outranks((&route, device), (&before, its_device))) {
            return AssertResult::Displaced;
        }
        if route.stamp.generation == self.generation {
            self.counter = self.counter.max(route.stamp.counter);
        }
        let entry = self.origins.pack(route, device);
        self.entries.insert(key, entry);
        let before = standing.map(|(before, _)| before);
        AssertResult::Stands { displaced: before.filter(|before| !same_session(before, &route)) }
    }

    fn standing(&self, key: AddressKey, live: &Rooms) -> Option<(Route, Device)> {
        let (route, device) = self.origins.unpack(self.entries.get(&key)?)?;
        live.contains(Room { number: route.node, incarnation: route.incarnation }).then_some((route, device))
    }
}

/// Which of two routes of an address stands (R1): between connections of one device the later one, whatever the stamps say (a
/// late bind of the earlier one may have met a slot that was refilling); else the higher stamp.
fn outranks((new, new_device): (&Route, Device), (old, old_device): (&Route, Device)) -> bool {
    match new_device.hash == old_device.hash {
        true => (new_device.counter, new.stamp) > (old_device.counter, old.stamp),
        false => new.stamp > old.stamp,
    }
}

fn same_session(a: &Route, b: &Route) -> bool {
    (a.node, a.incarnation, a.session) == (b.node, b.incarnation, b.session)
}

#[cfg(test)]
mod tests {
    use longline_types::View;

    use super::*;

    const KEY: AddressKey = AddressKey { high: 1, low: 2 };
    const A: Room = Room { number: 1, incarnation: 11 };
    const B: Room = Room { number: 2, incarnation: 12 };

    fn rooms(rooms: &[Room]) -> Rooms {
        let node = |room: &Room| longline_types::Node {
            number: room.number,
            incarnation: room.incarnation,
            role: longline_types::Role::Room,
            name: String::new(),
            idc: String::new(),
            rpc: String::new(),
            public: Vec::new(),
            noise_key: String::new(),
            state: longline_types::NodeState::Ready,
            load: longline_types::Load::default(),
            registered_at_ms: 0,
            version: String::new(),
        };
        Rooms::of(&View::new(1, rooms.iter().map(node), Vec::new()))
    }

    fn slot() -> (OwnedSlot, Rooms) {
        (OwnedSlot::new(7, &Rooms::default()), rooms(&[A, B]))
    }

    fn claim(room: Room, session: u64, device: u64, counter: u64) -> Claim {
        Claim { room, session: SessionId(session), device: Device { hash: device, counter } }
    }

    fn route(claim: Claim, generation: u64, counter: u64) -> Route {
        Route {
            stamp: Stamp { generation, counter },
            node: claim.room.number,
            incarnation: claim.room.incarnation,
            session: claim.session,
        }
    }

    #[test]
    fn a_later_bind_displaces_the_earlier_r1_r5() {
        let (mut slot, live) = slot();
        let (first, second) = (claim(A, 1, 100, 1), claim(B, 1, 200, 1));
        let stamp = Stamp { generation: 7, counter: 1 };
        assert_eq!(slot.bind(KEY, first, &live), BindResult::Bound { stamp, displaced: None });
        let BindResult::Bound { stamp: later, displaced } = slot.bind(KEY, second, &live) else { panic!() };
        assert!(later > stamp);
        assert_eq!(displaced, Some(route(first, 7, 1)));
        assert_eq!(slot.lookup(KEY, &live), Some(route(second, 7, 2)));
    }

    #[test]
    fn binding_again_in_the_same_session_displaces_nobody_r5() {
        let (mut slot, live) = slot();
        slot.bind(KEY, claim(A, 1, 100, 1), &live);
        let stamp = Stamp { generation: 7, counter: 2 };
        let again = slot.bind(KEY, claim(A, 1, 100, 1), &live);
        assert_eq!(again, BindResult::Bound { stamp, displaced: None });
    }

    #[test]
    fn an_earlier_connection_of_a_device_never_displaces_a_later_one_r1() {
        let (mut slot, live) = slot();
        slot.bind(KEY, claim(A, 1, 100, 5), &live);
        assert_eq!(slot.bind(KEY, claim(B, 1, 100, 4), &live), BindResult::Stale);
        assert_eq!(slot.lookup(KEY, &live), Some(route(claim(A, 1, 100, 5), 7, 1)));
        assert!(
            matches!(slot.bind(KEY, claim(B, 2, 100, 5), &live), BindResult::Bound { .. }),
            "not earlier"
        );
        assert!(matches!(slot.bind(KEY, claim(B, 3, 200, 1), &live), BindResult::Bound { .. }), "another's");
    }

    #[test]
    fn a_late_earlier_connection_yields_when_the_later_one_is_refilled_r1() {
        let (mut slot, live) = slot();
        let (late, real) = (claim(B, 1, 100, 4), claim(A, 1, 100, 5));
        slot.bind(KEY, late, &live);
        let asserted = slot.assert(KEY, route(real, 3, 9), real.device, &live);
        assert_eq!(asserted, AssertResult::Stands { displaced: Some(route(late, 7, 1)) });
        assert_eq!(slot.assert(KEY, route(late, 7, 1), late.device, &live), AssertResult::Displaced);
    }

    #[test]
    fn a_late_goodbye_erases_nothing_newer() {
        let (mut slot, live) = slot();
        let (first, second) = (claim(A, 1, 100, 1), claim(A, 2, 100, 2));
        slot.bind(KEY, first, &live);
        slot.bind(KEY, second, &live);
        slot.bind(KEY, second, &live);
        assert!(!slot.unbind(KEY, route(first, 7, 1)));
        assert!(!slot.unbind(KEY, route(second, 7, 2)), "the same session has bound again");
        assert!(slot.unbind(KEY, route(second, 7, 3)));
        assert!(!slot.unbind(KEY, route(second, 7, 3)) && slot.len() == 0);
    }

    #[test]
    fn the_higher_stamp_stands_in_whichever_order_they_come_r1() {
        let (low, high) = (claim(A, 1, 100, 1), claim(B, 1, 200, 1));
        let (low, high) = ((route(low, 3, 9), low.device), (route(high, 4, 1), high.device));
        let (mut slot, live) = slot();
        assert_eq!(slot.assert(KEY, low.0, low.1, &live), AssertResult::Stands { displaced: None });
        let result = slot.assert(KEY, high.0, high.1, &live);
        assert_eq!(result, AssertResult::Stands { displaced: Some(low.0) });
        assert_eq!(slot.assert(KEY, low.0, low.1, &live), AssertResult::Displaced);
        assert_eq!(slot.assert(KEY, high.0, high.1, &live), AssertResult::Stands { displaced: None });
        assert_eq!(slot.lookup(KEY, &live), Some(high.0));
    }

    #[test]
    fn a_connection_that_the_resumed_session_has_outlived_never_displaces_it_r1() {
        let (mut slot, live) = slot();
        let (bound, late, resumed) = (claim(A, 1, 100, 4), claim(B, 1, 100, 5), claim(A, 1, 100, 6));
        slot.bind(KEY, bound, &live);
        let asserted = slot.assert(KEY, route(bound, 7, 1), resumed.device, &live);
        assert_eq!(asserted, AssertResult::Stands { displaced: None });
        assert_eq!(slot.bind(KEY, late, &live), BindResult::Stale);
        slot.assert(KEY, route(bound, 7, 1), bound.device, &live);
        assert_eq!(
            slot.bind(KEY, late, &live),
            BindResult::Stale,
            "an assertion that was under way lowers nothing"
        );
        assert!(slot.unbind(KEY, route(bound, 7, 1)), "the route is the same");
    }

    #[test]
    fn an_old_stamp_of_the_standing_session_is_no_displacement_r6() {
        let (mut slot, live) = slot();
        let session = claim(A, 1, 100, 1);
        slot.bind(KEY, session, &live);
        slot.bind(KEY, session, &live);
        let asserted = slot.assert(KEY, route(session, 7, 1), session.device, &live);
        assert_eq!(asserted, AssertResult::Stands { displaced: None });
        assert_eq!(slot.lookup(KEY, &live), Some(route(session, 7, 2)));
    }

    #[test]
    fn routes_of_rooms_that_left_count_as_absent_and_are_swept() {
        let (mut slot, live) = slot();
        slot.bind(KEY, claim(A, 1, 100, 5), &live);
        let without_a = rooms(&[B]);
        assert_eq!(slot.lookup(KEY, &without_a), None);
        let restarted = rooms(&[Room { incarnation: 13, ..A }, B]);
        assert_eq!(slot.lookup(KEY, &restarted), None, "another incarnation is another room");
        slot.sweep(&without_a);
        assert_eq!(slot.len(), 0);
        let bound = slot.bind(KEY, claim(B, 1, 100, 4), &without_a);
        assert!(matches!(bound, BindResult::Bound { displaced: None, .. }), "nobody is left to be later");
    }

    #[test]
    fn a_slot_is_filled_when_every_room_is_done_or_gone_r2() {
        let mut slot = OwnedSlot::new(7, &rooms(&[A, B]));
        assert!(!slot.is_filled());
        slot.done(A);
        slot.done(A);
        assert!(!slot.is_filled());
        slot.wait_only_for(&rooms(&[A]));
        assert!(slot.is_filled());
        assert!(OwnedSlot::new(7, &Rooms::default()).is_filled(), "no room, nothing missing");
    }
}
