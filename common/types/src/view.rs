use std::collections::HashMap;
use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{SLOTS, Slot, TimeMs};

/// What a process does in the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Configuration, leases, the view.
    Keeper,
    /// Routes of addresses.
    Register,
    /// Storage.
    Saver,
    /// Uplink, presence, kicks.
    Coordinator,
    /// The API for businesses.
    Center,
    /// Chooses rooms for clients.
    Dispatcher,
    /// Holds sessions.
    Room,
}

impl Role {
    /// Every role, in the order in which a cluster is best started.
    pub const ALL: [Role; 7] = [
        Role::Keeper,
        Role::Saver,
        Role::Register,
        Role::Coordinator,
        Role::Room,
        Role::Center,
        Role::Dispatcher,
    ];

    /// Its name in configuration, metrics and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::Keeper => "keeper",
            Role::Register => "register",
            Role::Saver => "saver",
            Role::Coordinator => "coordinator",
            Role::Center => "center",
            Role::Dispatcher => "dispatcher",
            Role::Room => "room",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a node may be given work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NodeState {
    /// Registered; not to be sent work yet.
    Starting,
    /// Takes work.
    Ready,
    /// Finishes what it has and gets nothing new.
    Draining,
}

/// What a node reports of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Sessions now (rooms).
    pub sessions: u64,
    /// Sessions it is meant to hold; 0 unknown.
    pub capacity: u64,
    /// CPU, thousandths of a core.
    pub cpu_permille: u32,
    /// Resident memory.
    pub resident_bytes: u64,
}

/// A live node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Below 1,024; unique among live nodes.
    pub number: u32,
    /// Unique for ever.
    pub incarnation: u64,
    /// What it does.
    pub role: Role,
    /// For people.
    pub name: String,
    /// Its data centre.
    pub idc: String,
    /// host:port of its gRPC.
    pub rpc: String,
    /// host:port for devices (rooms) or for HTTP (centers, dispatchers).
    pub public: Vec<String>,
    /// Rooms that speak Noise: their public key, in base64 as devices are told it; else empty.
    pub noise_key: String,
    /// Whether it takes work.
    pub state: NodeState,
    /// As last reported; it changes without a new view number.
    pub load: Load,
    /// When it joined.
    pub registered_at_ms: TimeMs,
    /// Of its program.
    pub version: String,
}

/// Who owns a slot, and since which view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotOwner {
    /// Number of the register.
    pub node: u32,
    /// View number at which it got the slot (R2).
    pub generation: u64,
}

/// The keeper's numbered list of live nodes and the slot owners that follow from it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// Rises with every change of nodes, states or owners; 0 before the first.
    pub number: u64,
    nodes: HashMap<u32, Node>,
    slots: Vec<SlotOwner>,
}

impl View {
    /// A view of these nodes. `slots` has [`SLOTS`] entries, or none while no register lives; any other count is taken as none.
    pub fn new(number: u64, nodes: impl IntoIterator<Item = Node>, slots: Vec<SlotOwner>) -> View {
        let slots = if slots.len() == SLOTS { slots } else { Vec::new() };
        View { number, nodes: nodes.into_iter().map(|n| (n.number, n)).collect(), slots }
    }

    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The node with this number.
    pub fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(&number)
    }

    /// The node, to change its load.
    pub fn node_mut(&mut self, number: u32) -> Option<&mut Node> {
        self.nodes.get_mut(&number)
    }

    /// Nodes of a role that take work.
    pub fn ready(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(move |n| n.role == role && n.state == NodeState::Ready)
    }

    /// Live nodes of a role, whatever their state.
    pub fn live(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(move |n| n.role == role)
    }

    /// Who owns the slot; nobody while no register lives.
    pub fn owner(&self, slot: Slot) -> Option<SlotOwner> {
        self.slots.get(slot.index()).copied()
    }

    /// The ready nodes of a role in this key's order of preference (rendezvous hashing): everybody who asks with the same key
    /// and view gets the same order, and a node that comes or goes moves only its own share of keys.
    pub fn ranked(&self, role: Role, key: u64) -> Vec<&Node> {
        let mut nodes: Vec<&Node> = self.ready(role).collect();
        nodes.sort_by_key(|n| (std::cmp::Reverse(rendezvous_weight(key, n.incarnation)), n.number));
        nodes
    }

    /// The first of [`View::ranked`].
    pub fn pick(&self, role: Role, key: u64) -> Option<&Node> {
        self.ready(role).max_by_key(|n| (rendezvous_weight(key, n.incarnation), std::cmp::Reverse(n.number)))
    }

    /// The slot table after `previous`, for the registers that live now: rendezvous hashing over them; a slot whose owner
    /// stays keeps its generation, every other gets `number` (R2).
    pub fn assign_slots(previous: &[SlotOwner], registers: &[(u32, u64)], number: u64) -> Vec<SlotOwner> {
        if registers.is_empty() {
            return Vec::new();
        }
        Slot::all()
            .map(|slot| {
                let owner = registers
                    .iter()
                    .max_by_key(|(n, incarnation)| (rendezvous_weight(slot.index() as u64, *incarnation), *n))
                    .map_or(0, |(n, _)| *n);
                match previous.get(slot.index()) {
                    Some(before) if before.node == owner => *before,
                    _ => SlotOwner { node: owner, generation: number },
                }
            })
            .collect()
    }

    /// The slot table: [`SLOTS`] entries or none.
    pub fn slots(&self) -> &[SlotOwner] {
        &self.slots
    }
}

fn rendezvous_weight(key: u64, incarnation: u64) -> u64 {
    xxh3_64_with_seed(&incarnation.to_le_bytes(), key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(slots: &[SlotOwner], node: u32) -> usize {
        slots.iter().filter(|s| s.node == node).count()
    }

    #[test]
    fn slots_are_shared_evenly_and_keep_their_owner() {
        let one = View::assign_slots(&[], &[(1, 10)], 1);
        assert_eq!(owned(&one, 1), SLOTS);
        let two = View::assign_slots(&one, &[(1, 10), (2, 20)], 2);
        assert!((1800..2300).contains(&owned(&two, 2)));
        for (before, after) in one.iter().zip(&two) {
            assert_eq!(after.generation, if after.node == before.node { 1 } else { 2 }, "R2");
        }
        let back = View::assign_slots(&two, &[(1, 10)], 3);
        assert!(back.iter().all(|s| s.node == 1 && (s.generation == 1 || s.generation == 3)));
        assert!(View::assign_slots(&two, &[], 4).is_empty());
    }

    #[test]
    fn a_restarted_register_is_a_new_owner_r2() {
        let before = View::assign_slots(&[], &[(1, 10)], 1);
        let after = View::assign_slots(&before, &[(2, 11)], 2);
        assert!(after.iter().all(|s| *s == SlotOwner { node: 2, generation: 2 }));
    }
}
