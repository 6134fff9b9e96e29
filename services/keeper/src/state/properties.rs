//! The cluster under random commands, restarts among them, against what must always hold.

use std::collections::{BTreeMap, HashMap, HashSet};

use longline_types::{IdGrant, NodeState, Role, View};
use proptest::prelude::*;

use super::{About, Cluster, NodeRef, Record, Restored, Terms};

const TERMS: Terms = Terms { first_grant_ms: 50, grant_ms: 400 };

#[derive(Clone, Debug)]
enum Step {
    Register {
        role: Role,
        replaces: Option<usize>,
    },
    State {
        node: usize,
        state: NodeState,
    },
    Grant {
        node: usize,
    },
    End {
        node: usize,
    },
    /// The clock moves, backwards too.
    Clock {
        by_ms: i64,
    },
    /// The keeper is killed and reads back what it has written.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let role = prop::sample::select(vec![Role::Register, Role::Register, Role::Room, Role::Center]);
    let state = prop::sample::select(vec![NodeState::Starting, NodeState::Ready, NodeState::Draining]);
    prop_oneof![
        4 => (role, prop::option::of(any::<usize>())).prop_map(|(role, replaces)| Step::Register { role, replaces }),
        2 => (any::<usize>(), state).prop_map(|(node, state)| Step::State { node, state }),
        3 => any::<usize>().prop_map(|node| Step::Grant { node }),
        2 => any::<usize>().prop_map(|node| Step::End { node }),
        3 => (-60i64..200).prop_map(|by_ms| Step::Clock { by_ms }),
        1 => Just(Step::Restart),
    ]
}

/// What disk and clients would have seen.
#[derive(Default)]
struct Seen {
    disk: Restored,
    registrations: Vec<NodeRef>,
    incarnations: HashSet<u64>,
    granted: HashMap<u32, Vec<IdGrant>>,
    view: View,
}

impl Seen {
    fn write(&mut self, records: Vec<Record>) {
        for record in records {
            match record {
                Record::Name(name) => self.disk.name = Some(name),
                Record::NextIncarnation(next) => self.disk.next_incarnation = next,
                Record::ViewNumber(number) => self.disk.view_number = number,
                Record::Slots(slots) => self.disk.slots = slots,
                Record::Node(node) => {
                    self.disk.nodes.retain(|n| n.number != node.number);
                    self.disk.nodes.push(*node);
                }
                Record::NodeGone(number) => self.disk.nodes.retain(|n| n.number != number),
                Record::Granted(number, until) => drop(self.disk.granted.insert(number, until)),
                Record::Revision(_) | Record::Entry(_) => {}
            }
        }
    }

    fn registered(&mut self, node: NodeRef) {
        assert!(self.incarnations.insert(node.incarnation), "an incarnation was given twice");
        self.registrations.push(node);
    }

    fn grant(&mut self, grant: IdGrant) {
        assert!(grant.from_ms < grant.until_ms);
        let earlier = self.granted.entry(grant.number).or_default();
        let apart = |e: &IdGrant| grant.from_ms >= e.until_ms || grant.until_ms <= e.from_ms;
        assert!(earlier.iter().all(apart), "I1: {grant:?} overlaps one of {earlier:?}");
        earlier.push(grant);
    }

    /// Checks the view that follows `self.view`.
    fn next_view(&mut self, view: View) {
        let same_nodes = nodes(&view) == nodes(&self.view);
        match view.number.checked_sub(self.view.number) {
            Some(0) => {
                assert!(same_nodes && view.slots() == self.view.slots(), "it changed under one number")
            }
            Some(_) => assert!(!same_nodes, "a number was spent on nothing"),
            None => panic!("the view's number went back"),
        }
        let registers = view.live(Role::Register).count();
        assert_eq!(view.slots().is_empty(), registers == 0);
        for (index, owner) in view.slots().iter().enumerate() {
            let node = view.node(owner.node).expect("an owner lives");
            assert_eq!(node.role, Role::Register);
            let before = self.view.slots().get(index);
            let stayed = before.is_some_and(|b| {
                b.node == owner.node
                    && self.view.node(b.node).is_some_and(|n| n.incarnation == node.incarnation)
            });
            let generation = if stayed { before.expect("it stayed").generation } else { view.number };
            assert_eq!(owner.generation, generation, "R2: slot {index}");
        }
        self.view = view;
    }
}

fn nodes(view: &View) -> BTreeMap<u32, (u64, NodeState)> {
    view.nodes().map(|n| (n.number, (n.incarnation, n.state))).collect()
}

fn about(role: Role) -> About {
    About {
        role,
        name: String::new(),
        idc: "default".into(),
        rpc: "127.0.0.1:1".into(),
        public: Vec::new(),
        noise_key: String::new(),
        version: String::new(),
        state: NodeState::Starting,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn identities_grants_and_views_keep_their_promises_i1_r2_r4(steps in prop::collection::vec(step(), 1..60)) {
        let mut seen = Seen::default();
        let mut records = Vec::new();
        let mut cluster = Cluster::restore(Restored::default(), "first", TERMS, &mut records);
        seen.write(records);
        let mut now_ms = 1_000_000u64;
        for step in steps {
            let pick = |index: usize| match seen.registrations.as_slice() {
                [] => NodeRef { number: 3, incarnation: 77 },
                some => some[index % some.len()],
            };
            let mut records = Vec::new();
            match step {
                Step::Register { role, replaces } => {
                    let previous = replaces.map(pick);
                    let previous_incarnation = previous.map_or(0, |p| p.incarnation);
                    let (node, grant) =
                        cluster.register(about(role), previous_incarnation, now_ms, &mut records).unwrap();
                    prop_assert!(previous.is_none_or(|p| cluster.node(p).is_none()), "R4");
                    prop_assert!(cluster.node(node).is_some());
                    seen.registered(node);
                    seen.grant(grant);
                }
                Step::State { node, state } => drop(cluster.set_state(pick(node), state, &mut records)),
                Step::Grant { node } => {
                    if let Ok(Some(grant)) = cluster.grant(pick(node), now_ms, &mut records) {
                        seen.grant(grant);
                    }
                }
                Step::End { node } => cluster.end(&[pick(node)], &mut records),
                Step::Clock { by_ms } => now_ms = now_ms.saturating_add_signed(by_ms),
                Step::Restart => {
                    cluster = Cluster::restore(seen.disk.clone(), "another", TERMS, &mut records);
                    prop_assert_eq!(cluster.name(), "first");
                }
            }
            seen.write(records);
            seen.next_view(cluster.view());
        }
    }
}
