//! Registers and rooms without I/O under random steps: binds, late goodbyes, assertions, registers and rooms that come and go,
//! refills that run piece by piece. Each room behaves as R2 and R6 ask of it.

use std::collections::HashMap;

use longline_types::{
    AddressKey, Device, Load, Node, NodeState, Role, Route, SessionId, Slot, SlotOwner, View,
};
use proptest::prelude::*;

use crate::rooms::Room;
use crate::slot::{AssertResult, BindResult, Claim};
use crate::table::{Found, Own, Refusal, Table};

/// Few addresses, so that they are fought over; the first two share a slot.
const KEYS: [AddressKey; 4] = [
    AddressKey { high: 7 << 52, low: 1 },
    AddressKey { high: 7 << 52, low: 2 },
    AddressKey { high: 1000 << 52, low: 3 },
    AddressKey { high: 4095 << 52, low: 4 },
];
const DEVICES: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A device connects to a room and binds. `late`: with an earlier connection counter than its latest.
    Bind {
        room: usize,
        key: usize,
        device: u64,
        late: bool,
    },
    /// A session that has bound binds again: the outcome of the first try was unknown to its room.
    BindAgain {
        room: usize,
        key: usize,
    },
    /// A session ends and says goodbye.
    Unbind {
        room: usize,
        key: usize,
    },
    /// A goodbye of some route of the past arrives.
    LateUnbind {
        route: usize,
    },
    /// The slow round of a room (R6).
    Reassert {
        room: usize,
    },
    /// A room sends its part of one slot that has a new owner.
    Refill {
        room: usize,
    },
    /// A room hears of a displacement.
    HearDisplaced,
    RegisterJoins,
    /// A register comes and goes, and the others see only that it has gone.
    RegisterFlaps,
    RegisterLeaves {
        register: usize,
    },
    RoomJoins,
    RoomLeaves {
        room: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<usize>;
    prop_oneof![
        8 => (index(), 0..KEYS.len(), 0..DEVICES, prop::bool::weighted(0.2))
            .prop_map(|(room, key, device, late)| Step::Bind { room, key, device, late }),
        2 => (index(), 0..KEYS.len()).prop_map(|(room, key)| Step::BindAgain { room, key }),
        3 => (index(), 0..KEYS.len()).prop_map(|(room, key)| Step::Unbind { room, key }),
        3 => index().prop_map(|route| Step::LateUnbind { route }),
        2 => index().prop_map(|room| Step::Reassert { room }),
        8 => index().prop_map(|room| Step::Refill { room }),
        4 => Just(Step::HearDisplaced),
        1 => Just(Step::RegisterJoins),
        1 => Just(Step::RegisterFlaps),
        1 => index().prop_map(|register| Step::RegisterLeaves { register }),
        1 => Just(Step::RoomJoins),
        1 => index().prop_map(|room| Step::RoomLeaves { room }),
    ]
}

/// A session's bind, as its room holds it.
#[derive(Clone, Copy, Debug)]
struct Held {
    route: Route,
    device: Device,
}

struct FakeRoom {
    room: Room,
    held: HashMap<AddressKey, Vec<Held>>,
    /// Owner and generation that each slot of a key was last sent to.
    sent: HashMap<Slot, SlotOwner>,
}

struct World {
    view: View,
    next_incarnation: u64,
    next_session: u64,
    registers: Vec<(Own, Table)>,
    rooms: Vec<FakeRoom>,
    counters: HashMap<u64, u64>,
    past: Vec<(AddressKey, Route)>,
    untold: Vec<(AddressKey, Route)>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            view: View::default(),
            next_incarnation: 1,
            next_session: 1,
            registers: Vec::new(),
            rooms: Vec::new(),
            counters: HashMap::new(),
            past: Vec::new(),
            untold: Vec::new(),
        };
        world.step(Step::RegisterJoins);
        world.step(Step::RoomJoins);
        world.step(Step::RoomJoins);
        world
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Bind { room, key, device, late } => self.bind(room, KEYS[key], device, late),
            Step::BindAgain { room, key } => self.bind_again(room, KEYS[key]),
            Step::Unbind { room, key } => self.unbind(room, KEYS[key]),
            Step::LateUnbind { route } => self.late_unbind(route),
            Step::Reassert { room } => {
                for key in KEYS {
                    self.assert_all(room, key);
                }
            }
            Step::Refill { room } => self.refill(room),
            Step::HearDisplaced => self.hear_displaced(),
            Step::RegisterJoins => {
                self.add_register();
                self.next_view();
            }
            Step::RegisterFlaps => {
                self.add_register();
                self.publish();
                self.registers.pop();
                self.next_view();
            }
            Step::RegisterLeaves { register } if self.registers.len() > 1 => {
                let index = register % self.registers.len();
                self.registers.swap_remove(index);
                self.next_view();
            }
            Step::RoomJoins if self.rooms.len() < 4 => {
                let room = self.joined();
                self.rooms.push(FakeRoom { room, held: HashMap::new(), sent: HashMap::new() });
                self.next_view();
            }
            Step::RoomLeaves { room } if self.rooms.len() > 1 => {
                let index = room % self.rooms.len();
                self.rooms.swap_remove(index);
                self.next_view();
            }
            Step::RegisterLeaves { .. } | Step::RoomJoins | Step::RoomLeaves { .. } => {}
        }
        self.check();
    }

    fn add_register(&mut self) {
        let Room { number, incarnation } = self.joined();
        self.registers.push((Own { number, incarnation }, Table::new()));
    }

    /// A number and an incarnation as the keeper gives them.
    fn joined(&mut self) -> Room {
        let incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        // Numbers come back, as they do in a cluster that lives for long.
        let taken = |n: u32| {
            self.rooms.iter().any(|r| r.room.number == n)
                || self.registers.iter().any(|(own, _)| own.number == n)
        };
        let number = (incarnation as u32 % 8..).find(|n| !taken(*n)).unwrap();
        Room { number, incarnation }
    }

    /// What the keeper publishes now, and all registers adopt. Rooms refill later, in steps.
    fn next_view(&mut self) {
        self.publish();
        for (own, table) in &self.registers {
            if table.adopt(&self.view, *own) {
                table.sweep();
            }
        }
    }

    fn publish(&mut self) {
        let number = self.view.number + 1;
        let owners: Vec<(u32, u64)> =
            self.registers.iter().map(|(own, _)| (own.number, own.incarnation)).collect();
        let slots = View::assign_slots(&self.without_gone(&owners), &owners, number);
        let registers =
            self.registers.iter().map(|(own, _)| node(own.number, own.incarnation, Role::Register));
        let rooms = self.rooms.iter().map(|r| node(r.room.number, r.room.incarnation, Role::Room));
        self.view = View::new(number, registers.chain(rooms), slots);
    }

    /// The slot table in which owners that are gone have no slots: their numbers may be another's by now.
    fn without_gone(&self, owners: &[(u32, u64)]) -> Vec<SlotOwner> {
        let live = |s: &SlotOwner| {
            self.view.node(s.node).is_some_and(|n| owners.contains(&(n.number, n.incarnation)))
        };
        let gone = SlotOwner { node: u32::MAX, generation: 0 };
        self.view.slots().iter().map(|s| if live(s) { *s } else { gone }).collect()
    }

    fn owner(&self, key: AddressKey) -> &Table {
        let number = self.view.owner(key.slot()).unwrap().node;
        &self.registers.iter().find(|(own, _)| own.number == number).unwrap().1
    }

    fn bind(&mut self, room: usize, key: AddressKey, device: u64, late: bool) {
        let index = room % self.rooms.len();
        // A room sends its part of a slot before it binds there (one ordered stream).
        self.refill_slot(index, key.slot());
        let latest = self.counters.entry(device).or_default();
        let counter = if late {
            latest.saturating_sub(1)
        } else {
            *latest += 1;
            *latest
        };
        let device = Device { hash: device, counter };
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.claim(index, key, session, device);
    }

    fn bind_again(&mut self, room: usize, key: AddressKey) {
        let index = room % self.rooms.len();
        self.refill_slot(index, key.slot());
        if let Some(held) = self.rooms[index].held.get_mut(&key).and_then(Vec::pop) {
            self.claim(index, key, held.route.session, held.device);
        }
    }

    fn claim(&mut self, index: usize, key: AddressKey, session: SessionId, device: Device) {
        let room = self.rooms[index].room;
        let before = self.standing(key);
        let later = before
            .is_some_and(|(_, d)| d.is_some_and(|d| d.hash == device.hash && d.counter > device.counter));
        let claim = Claim { room, session, device };
        let result = self.owner(key).enter().bind(self.view.number, key, claim).unwrap();
        match result {
            BindResult::Stale => assert!(later, "R1: there is no later connection of the device"),
            BindResult::Bound { stamp, displaced } => {
                assert!(!later, "R1: an earlier connection displaced {before:?}");
                assert!(before.is_none_or(|(route, _)| stamp > route.stamp), "R1");
                let route = Route { stamp, node: room.number, incarnation: room.incarnation, session };
                let other =
                    before.map(|(route, _)| route).filter(|r| (r.node, r.session) != (room.number, session));
                assert_eq!(displaced, other, "who stood there is told, but not the session itself");
                self.rooms[index].held.entry(key).or_default().push(Held { route, device });
                self.past.push((key, route));
                self.untold.extend(displaced.map(|route| (key, route)));
            }
        }
    }

    fn unbind(&mut self, room: usize, key: AddressKey) {
        let index = room % self.rooms.len();
        self.refill_slot(index, key.slot());
        let Some(held) = self.rooms[index].held.get_mut(&key).and_then(Vec::pop) else { return };
        self.say_goodbye(key, held.route);
    }

    fn late_unbind(&mut self, route: usize) {
        if self.past.is_empty() {
            return;
        }
        let (key, route) = self.past[route % self.past.len()];
        let held = self.rooms.iter().flat_map(|r| r.held.get(&key)).flatten().any(|h| h.route == route);
        // Goodbyes are said of what a room gave up.
        if !held {
            self.say_goodbye(key, route);
        }
    }

    fn say_goodbye(&mut self, key: AddressKey, route: Route) {
        let before = self.standing(key).map(|(route, _)| route);
        let removed = self.owner(key).enter().unbind(self.view.number, key, route).unwrap();
        let after = self.standing(key).map(|(route, _)| route);
        // The swept ones count as absent before they are removed.
        assert!(before != Some(route) || removed);
        assert_eq!(after, before.filter(|standing| *standing != route), "a goodbye erased another's route");
    }

    /// The room sends one slot that it has not sent to its owner of now.
    fn refill(&mut self, room: usize) {
        let index = room % self.rooms.len();
        let unsent = KEYS
            .iter()
            .map(|k| k.slot())
            .find(|slot| self.rooms[index].sent.get(slot).copied() != self.view.owner(*slot));
        if let Some(slot) = unsent {
            self.refill_slot(index, slot);
        }
    }

    fn refill_slot(&mut self, index: usize, slot: Slot) {
        let owner = self.view.owner(slot).unwrap();
        if self.rooms[index].sent.get(&slot) == Some(&owner) {
            return;
        }
        for key in KEYS.into_iter().filter(|key| key.slot() == slot) {
            self.assert_all(index, key);
        }
        let room = self.rooms[index].room;
        let table =
            self.registers.iter().find(|(own, _)| own.number == owner.node).map(|(_, table)| table).unwrap();
        table.enter().done(self.view.number, slot, owner.generation, room).unwrap();
        self.rooms[index].sent.insert(slot, owner);
    }

    fn assert_all(&mut self, room: usize, key: AddressKey) {
        let index = room % self.rooms.len();
        let held = self.rooms[index].held.get(&key).cloned().unwrap_or_default();
        for Held { route, device } in held {
            let before = self.standing(key);
            let result = self.owner(key).enter().assert(self.view.number, key, route, device).unwrap();
            match result {
                AssertResult::Displaced => {
                    let (standing, its_device) = before.expect("something stands there");
                    let later =
                        its_device.is_some_and(|d| d.hash == device.hash && d.counter > device.counter);
                    assert!(standing.stamp > route.stamp || later, "R1");
                    self.give_up(key, route);
                }
                AssertResult::Stands { displaced } => {
                    assert_eq!(self.standing(key).map(|(route, _)| route), Some(route));
                    self.untold.extend(displaced.map(|route| (key, route)));
                }
            }
        }
    }

    fn hear_displaced(&mut self) {
        if let Some((key, route)) = self.untold.pop() {
            self.give_up(key, route);
        }
    }

    fn give_up(&mut self, key: AddressKey, route: Route) {
        for room in &mut self.rooms {
            room.held.entry(key).or_default().retain(|held| held.route != route);
        }
    }

    /// What the owner would answer, and the device of it if a room still holds it.
    fn standing(&self, key: AddressKey) -> Option<(Route, Option<Device>)> {
        let Found::Route(route) = self.owner(key).enter().lookup(self.view.number, key).unwrap() else {
            return None;
        };
        Some((route, self.device(key, route)))
    }

    fn device(&self, key: AddressKey, route: Route) -> Option<Device> {
        let held = self.rooms.iter().flat_map(|r| r.held.get(&key)).flatten();
        held.filter(|h| h.route == route).map(|h| h.device).next()
    }

    fn sessions(&self, key: AddressKey) -> Vec<Held> {
        self.rooms.iter().flat_map(|r| r.held.get(&key)).flatten().copied().collect()
    }

    /// What holds after every step.
    fn check(&self) {
        for (own, table) in &self.registers {
            for key in KEYS {
                let owned = self.view.owner(key.slot()).unwrap().node == own.number;
                let found = table.enter().lookup(self.view.number, key);
                assert_eq!(found == Err(Refusal::NotOwner), !owned, "only the view's owner answers");
                let told = |held: &Held| !self.untold.contains(&(key, held.route));
                if found == Ok(Found::Nothing) {
                    let connected: Vec<Held> = self.sessions(key).into_iter().filter(told).collect();
                    assert!(connected.is_empty(), "R3: offline, but {connected:?} is connected");
                }
            }
        }
    }

    /// Everybody sends and hears everything: then each address has one session at most, and the register knows it.
    fn settle(&mut self) {
        for room in 0..self.rooms.len() {
            for key in KEYS {
                self.refill_slot(room, key.slot());
            }
        }
        while !self.untold.is_empty() {
            self.hear_displaced();
        }
        for room in 0..self.rooms.len() {
            self.step(Step::Reassert { room });
        }
        while !self.untold.is_empty() {
            self.hear_displaced();
        }
        for key in KEYS {
            let sessions = self.sessions(key);
            let found = self.owner(key).enter().lookup(self.view.number, key).unwrap();
            match sessions.as_slice() {
                [] => assert!(!matches!(found, Found::Unknown), "all slots are filled"),
                [one] => assert_eq!(found, Found::Route(one.route)),
                several => panic!("{several:?} all think they have {key:?}"),
            }
        }
    }
}

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn routes_keep_their_promises_r1_r2_r3_r5_r6(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
    }

    /// Whatever the order in which rooms send what they hold, the highest stamp stands.
    #[test]
    fn a_refill_ends_with_the_highest_stamp_r1(
        stamps in prop::collection::hash_set((1u64..4, 1u64..20), 1..8),
        order in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new();
        world.step(Step::RegisterJoins);
        let key = KEYS[0];
        let generation = world.view.owner(key.slot()).unwrap().generation;
        let mut routes: Vec<Route> = stamps
            .iter()
            .map(|(back, counter)| Route {
                stamp: longline_types::Stamp { generation: generation.saturating_sub(*back), counter: *counter },
                node: world.rooms[0].room.number,
                incarnation: world.rooms[0].room.incarnation,
                session: SessionId(back * 100 + counter),
            })
            .collect();
        let turn = order.index(routes.len());
        routes.rotate_left(turn);
        let table = world.owner(key).enter();
        for (device, route) in routes.iter().enumerate() {
            let device = Device { hash: device as u64, counter: 1 };
            table.assert(world.view.number, key, *route, device).unwrap();
        }
        let highest = routes.iter().max_by_key(|r| r.stamp).unwrap().stamp;
        let Found::Route(found) = table.lookup(world.view.number, key).unwrap() else { panic!("it is known") };
        prop_assert_eq!(found.stamp, highest);
    }
}
