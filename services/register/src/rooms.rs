use std::collections::HashMap;

use longline_types::{Role, View};

/// A room in one of its lives: numbers are used again, incarnations never.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Room {
    pub(crate) number: u32,
    pub(crate) incarnation: u64,
}

/// The rooms of a view, whatever their state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms(HashMap<u32, u64>);

impl Rooms {
    pub(crate) fn of(view: &View) -> Rooms {
        Rooms(view.live(Role::Room).map(|n| (n.number, n.incarnation)).collect())
    }

    /// Whether this room is in the view, in this life.
    pub(crate) fn contains(&self, room: Room) -> bool {
        self.0.get(&room.number) == Some(&room.incarnation)
    }

    /// Whether all of these rooms are in `later` too.
    pub(crate) fn all_in(&self, later: &Rooms) -> bool {
        self.iter().all(|room| later.contains(room))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Room> {
        self.0.iter().map(|(&number, &incarnation)| Room { number, incarnation })
    }
}
