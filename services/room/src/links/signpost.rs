//! Where sessions go that leave this room.

use std::fmt;
use std::sync::Arc;

use longline_member::Member;
use longline_placement::{Candidate, group, weight_by_load};
use longline_types::{Address, Device, Node, Role, View};

use super::tickets::Tickets;
use crate::link::{Guide, Way};

/// Names the rooms of the newest view that a dispatcher of this data centre would name, but for this room, and gives the ticket for
/// them.
pub(crate) struct Signpost {
    member: Member,
    idc: String,
    tickets: Arc<Tickets>,
}

impl Signpost {
    pub(crate) fn new(member: Member, idc: String, tickets: Arc<Tickets>) -> Signpost {
        Signpost { member, idc, tickets }
    }

    /// Whether another room takes sessions.
    pub(crate) fn leads_somewhere(&self) -> bool {
        let view = self.member.view().borrow().clone();
        others(&view, self.own()).next().is_some()
    }

    fn own(&self) -> u64 {
        self.member.current().incarnation
    }
}

impl Guide for Signpost {
    fn way(&self, device: Device, held: &[&Address]) -> Way {
        let view = self.member.view().borrow().clone();
        let endpoints =
            held.first().map_or_else(Vec::new, |user| rooms_for(user, &view, self.own(), &self.idc));
        Way { endpoints, ticket: self.tickets.issue(device, held) }
    }
}

impl fmt::Debug for Signpost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signpost").field("idc", &self.idc).finish_non_exhaustive()
    }
}

/// The rooms that take sessions, without the one of this incarnation.
fn others(view: &View, own: u64) -> impl Iterator<Item = &Node> {
    view.ready(Role::Room).filter(move |room| room.incarnation != own && !room.public.is_empty())
}

/// What a dispatcher of this data centre would say to a client that asks for the first time, and that no client complained about.
fn rooms_for(user: &Address, view: &View, own: u64, idc: &str) -> Vec<String> {
    let candidates = others(view, own).map(|room| Candidate {
        name: &room.public[0],
        endpoint: &room.public[0],
        local: room.idc == idc,
        weight: weight_by_load(room.load),
        failed: false,
    });
    group(candidates.collect(), user.key().low, 0).into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use longline_types::{Load, NodeState};

    use super::*;

    fn room(number: u32) -> Node {
        Node {
            number,
            incarnation: u64::from(number) * 10,
            role: Role::Room,
            name: format!("room-{number}"),
            idc: "east".into(),
            rpc: "127.0.0.1:1".into(),
            public: vec![format!("room-{number}:9000"), format!("room-{number}:443")],
            noise_key: String::new(),
            state: NodeState::Ready,
            load: Load::default(),
            registered_at_ms: 0,
            version: String::new(),
        }
    }

    fn alice() -> Address {
        Address::new(1, "alice").unwrap()
    }

    #[test]
    fn a_session_goes_where_its_user_would_be_sent_without_this_room() {
        let view = View::new(1, (1..=5).map(room), Vec::new());
        let all = rooms_for(&alice(), &view, 0, "east");
        let first: u64 =
            all[0].strip_prefix("room-").unwrap().strip_suffix(":9000").unwrap().parse().unwrap();
        let without = rooms_for(&alice(), &view, first * 10, "east");
        assert_eq!(without.len(), 3);
        assert_eq!(without[..2], all[1..], "the others keep their order");
    }

    #[test]
    fn rooms_that_drain_start_or_tell_no_address_are_not_named() {
        let mut rooms: Vec<Node> = (1..=5).map(room).collect();
        rooms[0].state = NodeState::Draining;
        rooms[1].state = NodeState::Starting;
        rooms[2].public.clear();
        rooms[3].role = Role::Saver;
        let view = View::new(1, rooms, Vec::new());
        assert_eq!(rooms_for(&alice(), &view, 0, "east"), ["room-5:9000"]);
        assert!(rooms_for(&alice(), &view, 50, "east").is_empty(), "it is the last");
    }
}
