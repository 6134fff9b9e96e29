//! All slots as this register sees them: which it owns by its own view, and the operations on them. No I/O, no clock.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use longline_types::{AddressKey, Device, Route, Slot, View};

use crate::rooms::{Room, Rooms};
use crate::slot::{AssertResult, BindResult, Claim, OwnedSlot};

/// Which register this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Own {
    pub(crate) number: u32,
    pub(crate) incarnation: u64,
}

/// Why an operation was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The slot is another's.
    NotOwner,
    /// The caller knows a later view than this register.
    Behind,
    /// The room has left the view: it must come back under a new incarnation (R4).
    NotInView(Room),
}

/// What a lookup found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Route(Route),
    /// Not connected, if the lease is valid (R3).
    Nothing,
    /// Not known: the slot is refilling.
    Unknown,
}

/// Counts of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Census {
    pub(crate) entries: usize,
    pub(crate) owned: usize,
    pub(crate) refilling: usize,
}

/// The slots. Operations go on side by side, each under the lock of its slot; a view is adopted while none does, so every
/// operation sees one view.
pub(crate) struct Table {
    standing: RwLock<Standing>,
    slots: Box<[Mutex<Option<OwnedSlot>>]>,
}

/// The view that the table stands on.
#[derive(Default)]
struct Standing {
    own: Option<Own>,
    number: u64,
    rooms: Rooms,
}

impl Table {
    /// Owns nothing until it has adopted a view.
    pub(crate) fn new() -> Table {
        Table { standing: RwLock::default(), slots: Slot::all().map(|_| Mutex::new(None)).collect() }
    }

    /// Moves to this view: takes the slots that became this register's, forgets those that are not any more (R2). True if rooms
    /// have left, so that there is something to [`Table::sweep`].
    pub(crate) fn adopt(&self, view: &View, own: Own) -> bool {
        let standing = self.enter().standing;
        if standing.own == Some(own) && standing.number == view.number {
            // Only loads have changed.
            return false;
        }
        drop(standing);
        let rooms = Rooms::of(view);
        let live = view.node(own.number).is_some_and(|n| n.incarnation == own.incarnation);
        let mut standing = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        let same_register = standing.own == Some(own);
        let mut lost = Vec::new();
        for (index, slot) in Slot::all().zip(&self.slots) {
            let owner = view.owner(index).filter(|owner| live && owner.node == own.number);
            let mut slot = lock(slot);
            let stays = slot.as_ref().is_some_and(|slot| {
                same_register && owner.is_some_and(|owner| owner.generation == slot.generation())
            });
            if stays {
                slot.iter_mut().for_each(|slot| slot.wait_only_for(&rooms));
            } else {
                let taken = owner.map(|owner| OwnedSlot::new(owner.generation, &rooms));
                lost.extend(std::mem::replace(&mut *slot, taken));
            }
        }
        let rooms_left = !standing.rooms.all_in(&rooms);
        *standing = Standing { own: Some(own), number: view.number, rooms };
        drop(standing);
        // Their memory is given back here, where nobody waits.
        drop(lost);
        rooms_left
    }

    /// Looks at or works on the slots, under one view. Not to be held across anything that waits.
    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered { standing: self.standing.read().unwrap_or_else(PoisonError::into_inner), slots: &self.slots }
    }

    /// Drops the routes of rooms that have left, slot by slot. They count as absent before that already.
    pub(crate) fn sweep(&self) {
        for slot in &self.slots {
            let entered = self.enter();
            lock(slot).iter_mut().for_each(|slot| slot.sweep(&entered.standing.rooms));
        }
    }

    /// Counts all.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for slot in &self.slots {
            if let Some(slot) = &*lock(slot) {
                census.owned += 1;
                census.entries += slot.len();
                census.refilling += usize::from(!slot.is_filled());
            }
        }
        census
    }
}

/// The table under one view.
pub(crate) struct Entered<'a> {
    standing: RwLockReadGuard<'a, Standing>,
    slots: &'a [Mutex<Option<OwnedSlot>>],
}

impl Entered<'_> {
    /// Number of the view that this register stands on.
    pub(crate) fn view(&self) -> u64 {
        self.standing.number
    }

    /// Binds the address; see [`OwnedSlot::bind`]. `view` is the caller's.
    pub(crate) fn bind(&self, view: u64, key: AddressKey, claim: Claim) -> Result<BindResult, Refusal> {
        self.check_view(view)?;
        self.check_room(claim.room)?;
        self.with(key.slot(), |slot| Ok(slot.bind(key, claim, &self.standing.rooms)))
    }

    /// Removes exactly this route; see [`OwnedSlot::unbind`].
    pub(crate) fn unbind(&self, view: u64, key: AddressKey, route: Route) -> Result<bool, Refusal> {
        self.check_view(view)?;
        self.with(key.slot(), |slot| Ok(slot.unbind(key, route)))
    }

    /// Takes a route that a room holds; see [`OwnedSlot::assert`].
    pub(crate) fn assert(
        &self,
        view: u64,
        key: AddressKey,
        route: Route,
        device: Device,
    ) -> Result<AssertResult, Refusal> {
        self.check_view(view)?;
        self.check_room(Room { number: route.node, incarnation: route.incarnation })?;
        self.with(key.slot(), |slot| match route.stamp.generation > slot.generation() {
            true => Err(Refusal::Behind),
            false => Ok(slot.assert(key, route, device, &self.standing.rooms)),
        })
    }

    /// The room has sent all it has of the slot (R2).
    pub(crate) fn done(&self, view: u64, slot: Slot, generation: u64, room: Room) -> Result<(), Refusal> {
        self.check_view(view)?;
        self.check_room(room)?;
        self.with(slot, |slot| match generation.cmp(&slot.generation()) {
            std::cmp::Ordering::Greater => Err(Refusal::Behind),
            // Meant for the slot as it was before this register lost it and got it back.
            std::cmp::Ordering::Less => Err(Refusal::NotOwner),
            std::cmp::Ordering::Equal => {
                slot.done(room);
                Ok(())
            }
        })
    }

    /// Where the address is connected. A caller with a later view is told hits, which do no harm, but no misses.
    pub(crate) fn lookup(&self, view: u64, key: AddressKey) -> Result<Found, Refusal> {
        self.with(key.slot(), |slot| match slot.lookup(key, &self.standing.rooms) {
            Some(route) => Ok(Found::Route(route)),
            None if slot.is_filled() && view <= self.view() => Ok(Found::Nothing),
            None => Ok(Found::Unknown),
        })
    }

    fn check_view(&self, view: u64) -> Result<(), Refusal> {
        if view > self.view() { Err(Refusal::Behind) } else { Ok(()) }
    }

    fn check_room(&self, room: Room) -> Result<(), Refusal> {
        if self.standing.rooms.contains(room) { Ok(()) } else { Err(Refusal::NotInView(room)) }
    }

    fn with<R>(
        &self,
        slot: Slot,
        work: impl FnOnce(&mut OwnedSlot) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let place = self.slots.get(slot.index()).ok_or(Refusal::NotOwner)?;
        lock(place).as_mut().map_or(Err(Refusal::NotOwner), work)
    }
}

fn lock(slot: &Mutex<Option<OwnedSlot>>) -> MutexGuard<'_, Option<OwnedSlot>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use longline_types::{Load, Node, NodeState, Role, SLOTS, SessionId, SlotOwner};

    use super::*;

    const OWN: Own = Own { number: 1, incarnation: 10 };
    const ROOM: Room = Room { number: 5, incarnation: 50 };
    const KEY: AddressKey = AddressKey { high: 9 << 52, low: 1 };

    fn node(number: u32, incarnation: u64, role: Role) -> Node {
        Node {
            number,
            incarnation,
            role,
            name: String::new(),
            idc: String::new(),
            rpc: String::new(),
            public: Vec::new(),
            noise_key: String::new(),
            state: NodeState::Ready,
            load: Load::default(),
            registered_at_ms: 0,
            version: String::new(),
        }
    }

    /// A view in which this register has all slots, since `generation`, and there are these rooms.
    fn view(number: u64, own: Own, generation: u64, rooms: &[Room]) -> View {
        let rooms = rooms.iter().map(|r| node(r.number, r.incarnation, Role::Room));
        let register = node(own.number, own.incarnation, Role::Register);
        let slots = vec![SlotOwner { node: own.number, generation }; SLOTS];
        View::new(number, rooms.chain([register]), slots)
    }

    fn claim(session: u64) -> Claim {
        Claim { room: ROOM, session: SessionId(session), device: Device { hash: session, counter: 1 } }
    }

    /// A table with a route of KEY, filled.
    fn table() -> Table {
        let table = Table::new();
        table.adopt(&view(3, OWN, 3, &[]), OWN);
        table.adopt(&view(4, OWN, 3, &[ROOM]), OWN);
        table.enter().bind(4, KEY, claim(1)).unwrap();
        table
    }

    #[test]
    fn a_table_owns_nothing_before_its_first_view() {
        assert_eq!(Table::new().enter().lookup(0, KEY), Err(Refusal::NotOwner));
    }

    #[test]
    fn a_slot_that_stays_keeps_its_routes_and_stays_filled() {
        let table = table();
        table.adopt(&view(5, OWN, 3, &[ROOM, Room { number: 6, incarnation: 60 }]), OWN);
        assert!(matches!(table.enter().lookup(5, KEY), Ok(Found::Route(_))));
        let other = AddressKey { low: 2, ..KEY };
        assert_eq!(table.enter().lookup(5, other), Ok(Found::Nothing), "a new room has nothing to send");
    }

    #[test]
    fn a_slot_that_was_lost_and_won_back_unseen_is_forgotten_r2() {
        let table = table();
        table.adopt(&view(9, OWN, 8, &[ROOM]), OWN);
        assert_eq!(table.enter().lookup(9, KEY), Ok(Found::Unknown));
        assert_eq!(
            table.enter().done(9, KEY.slot(), 3, ROOM),
            Err(Refusal::NotOwner),
            "of the old generation"
        );
        table.enter().done(9, KEY.slot(), 8, ROOM).unwrap();
        assert_eq!(table.enter().lookup(9, KEY), Ok(Found::Nothing));
    }

    #[test]
    fn a_new_identity_forgets_all_r4() {
        let table = table();
        let reborn = Own { incarnation: 11, ..OWN };
        table.adopt(&view(5, reborn, 3, &[ROOM]), reborn);
        assert_eq!(table.enter().lookup(5, KEY), Ok(Found::Unknown));
        table.adopt(&view(6, OWN, 3, &[ROOM]), reborn);
        assert_eq!(
            table.enter().lookup(6, KEY),
            Err(Refusal::NotOwner),
            "the view names another incarnation"
        );
    }

    #[test]
    fn requests_from_a_later_view_or_a_lost_room_are_refused() {
        let table = table();
        let entered = table.enter();
        assert_eq!(entered.bind(5, KEY, claim(2)), Err(Refusal::Behind));
        let lost = Room { incarnation: 49, ..ROOM };
        assert_eq!(entered.bind(4, KEY, Claim { room: lost, ..claim(2) }), Err(Refusal::NotInView(lost)));
        assert_eq!(entered.done(4, KEY.slot(), 3, lost), Err(Refusal::NotInView(lost)));
        let Ok(Found::Route(route)) = entered.lookup(4, KEY) else { panic!("the route stands") };
        let later = Route { stamp: longline_types::Stamp { generation: 4, counter: 1 }, ..route };
        let device = Device { hash: 1, counter: 1 };
        assert_eq!(entered.assert(4, KEY, later, device), Err(Refusal::Behind), "a stamp of the future");
        assert!(matches!(entered.lookup(5, KEY), Ok(Found::Route(_))), "a hit does no harm");
        let other = AddressKey { low: 2, ..KEY };
        assert_eq!(entered.lookup(5, other), Ok(Found::Unknown), "a miss would");
    }

    #[test]
    fn rooms_that_left_are_swept_and_counted_out() {
        let table = table();
        assert_eq!(table.census(), Census { entries: 1, owned: SLOTS, refilling: 0 });
        assert!(!table.adopt(&view(5, OWN, 3, &[ROOM]), OWN), "nobody left");
        assert!(table.adopt(&view(6, OWN, 3, &[]), OWN), "one left");
        assert_eq!(table.enter().lookup(6, KEY), Ok(Found::Nothing));
        table.sweep();
        assert_eq!(table.census().entries, 0);
    }
}
