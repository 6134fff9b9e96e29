use std::collections::BTreeMap;

use longline_types::{
    Error, ErrorCode, IdGrant, Load, MessageId, Node, NodeState, Role, SlotOwner, TimeMs, View,
};

use super::entries::Entries;
use super::grants::{Grants, Terms};
use super::{Entry, Record, Restored};

/// What a node says of itself when it registers; checked already.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) idc: String,
    pub(crate) rpc: String,
    pub(crate) public: Vec<String>,
    pub(crate) noise_key: String,
    pub(crate) version: String,
    pub(crate) state: NodeState,
}

/// One registration: a number is used again, an incarnation never.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct NodeRef {
    pub(crate) number: u32,
    pub(crate) incarnation: u64,
}

/// The cluster's lasting state: its nodes, the view that follows from them, the grants of ids, the configuration.
#[derive(Debug)]
pub(crate) struct Cluster {
    name: String,
    next_incarnation: u64,
    view_number: u64,
    /// Without their loads.
    nodes: BTreeMap<u32, Node>,
    slots: Vec<SlotOwner>,
    grants: Grants,
    entries: Entries,
    terms: Terms,
}

impl Cluster {
    /// The cluster as it was recorded; a new one, of the name `new_name`, if nothing was.
    pub(crate) fn restore(
        restored: Restored,
        new_name: &str,
        terms: Terms,
        records: &mut Vec<Record>,
    ) -> Cluster {
        let name = restored.name.unwrap_or_else(|| {
            records.push(Record::Name(new_name.to_owned()));
            new_name.to_owned()
        });
        Cluster {
            name,
            next_incarnation: restored.next_incarnation.max(1),
            view_number: restored.view_number,
            nodes: restored.nodes.into_iter().map(|n| (n.number, n)).collect(),
            slots: restored.slots,
            grants: Grants::restore(restored.granted),
            entries: Entries::restore(restored.entries, restored.revision),
            terms,
        }
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The live nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Number of the current view.
    pub(crate) fn view_number(&self) -> u64 {
        self.view_number
    }

    /// The current view, without loads.
    pub(crate) fn view(&self) -> View {
        View::new(self.view_number, self.nodes.values().cloned(), self.slots.clone())
    }

    /// The node, if this registration is still the one that has the number.
    pub(crate) fn node(&self, node: NodeRef) -> Option<&Node> {
        self.nodes.get(&node.number).filter(|n| n.incarnation == node.incarnation)
    }

    /// The configuration.
    pub(crate) fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Adds a node under a free number and a new incarnation. The registration with `previous_incarnation` ends with it: it
    /// was of the same process (R4). [`ErrorCode::ResourceExhausted`] if no number is free.
    pub(crate) fn register(
        &mut self,
        about: About,
        previous_incarnation: u64,
        now_ms: TimeMs,
        records: &mut Vec<Record>,
    ) -> Result<(NodeRef, IdGrant), Error> {
        // Chosen before the previous registration ends, so never its number: an owner of slots under the same number would pass
        // for the one it was (R2).
        let number = self.free_number(now_ms)?;
        let first = self.grants.give(number, self.terms.first_grant_ms, now_ms, records);
        let grant = first.ok_or_else(|| Error::internal("a grant of no length was asked for"))?;
        let previous = self.nodes.values().find(|n| n.incarnation == previous_incarnation).map(|n| n.number);
        if let Some(previous) = previous {
            self.remove(previous, records);
        }
        let incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        records.push(Record::NextIncarnation(self.next_incarnation));
        let name = match about.name.is_empty() {
            true => format!("{}@{}", about.role, about.rpc),
            false => about.name,
        };
        self.put(
            Node {
                number,
                incarnation,
                role: about.role,
                name,
                idc: about.idc,
                rpc: about.rpc,
                public: about.public,
                noise_key: about.noise_key,
                state: about.state,
                load: Load::default(),
                registered_at_ms: now_ms,
                version: about.version,
            },
            records,
        );
        self.next_view(records);
        Ok((NodeRef { number, incarnation }, grant))
    }

    /// Changes a node's state. [`ErrorCode::NotFound`] if the registration has ended.
    pub(crate) fn set_state(
        &mut self,
        node: NodeRef,
        state: NodeState,
        records: &mut Vec<Record>,
    ) -> Result<(), Error> {
        let now = self.node(node).ok_or_else(|| ended(node))?;
        if now.state != state {
            self.put(Node { state, ..now.clone() }, records);
            self.next_view(records);
        }
        Ok(())
    }

    /// Continues a node's grant of ids (I1). None if it reaches far enough. [`ErrorCode::NotFound`] if the registration has
    /// ended.
    pub(crate) fn grant(
        &mut self,
        node: NodeRef,
        now_ms: TimeMs,
        records: &mut Vec<Record>,
    ) -> Result<Option<IdGrant>, Error> {
        self.node(node).ok_or_else(|| ended(node))?;
        Ok(self.grants.give(node.number, self.terms.grant_ms, now_ms, records))
    }

    /// Ends registrations, those that have not ended yet.
    pub(crate) fn end(&mut self, nodes: &[NodeRef], records: &mut Vec<Record>) {
        let live: Vec<u32> = nodes.iter().filter_map(|n| self.node(*n)).map(|n| n.number).collect();
        if live.is_empty() {
            return;
        }
        for number in live {
            self.remove(number, records);
        }
        self.next_view(records);
    }

    /// Changes the configuration; see [`Entries::write`].
    pub(crate) fn write(
        &mut self,
        key: &str,
        value: Option<Vec<u8>>,
        expected_revision: u64,
        records: &mut Vec<Record>,
    ) -> Result<Entry, Error> {
        self.entries.write(key, value, expected_revision, records)
    }

    /// The lowest number that no live node has and whose granted ids are all in the past.
    fn free_number(&self, now_ms: TimeMs) -> Result<u32, Error> {
        let free = |n: &u32| !self.nodes.contains_key(n) && self.grants.has_ended(*n, now_ms);
        (0..MessageId::NODES).find(free).ok_or_else(|| {
            let message = "all node numbers are taken, or their grants of ids have not ended yet";
            Error::new(ErrorCode::ResourceExhausted, message)
        })
    }

    fn put(&mut self, node: Node, records: &mut Vec<Record>) {
        records.push(Record::Node(Box::new(node.clone())));
        self.nodes.insert(node.number, node);
    }

    fn remove(&mut self, number: u32, records: &mut Vec<Record>) {
        self.nodes.remove(&number);
        records.push(Record::NodeGone(number));
    }

    fn next_view(&mut self, records: &mut Vec<Record>) {
        self.view_number += 1;
        records.push(Record::ViewNumber(self.view_number));
        let slots = View::assign_slots(&self.slots, &self.owners(), self.view_number);
        if slots != self.slots {
            records.push(Record::Slots(slots.clone()));
            self.slots = slots;
        }
    }

    /// The registers that share the slots: those that stay. Those that drain keep them only while there are no others.
    fn owners(&self) -> Vec<(u32, u64)> {
        let registers = || self.nodes.values().filter(|n| n.role == Role::Register);
        let named = |n: &Node| (n.number, n.incarnation);
        let staying: Vec<_> = registers().filter(|n| n.state != NodeState::Draining).map(named).collect();
        match staying.is_empty() {
            true => registers().map(named).collect(),
            false => staying,
        }
    }
}

fn ended(node: NodeRef) -> Error {
    Error::not_found(format!("the registration {} of node {} has ended", node.incarnation, node.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { first_grant_ms: 1_000, grant_ms: 10_000 };

    pub(crate) fn about(role: Role) -> About {
        About {
            role,
            name: String::new(),
            idc: "default".into(),
            rpc: "127.0.0.1:1".into(),
            public: Vec::new(),
            noise_key: String::new(),
            version: "1".into(),
            state: NodeState::Starting,
        }
    }

    fn cluster() -> Cluster {
        Cluster::restore(Restored::default(), "test", TERMS, &mut Vec::new())
    }

    fn add(cluster: &mut Cluster, role: Role, now_ms: TimeMs) -> NodeRef {
        cluster.register(about(role), 0, now_ms, &mut Vec::new()).unwrap().0
    }

    #[test]
    fn a_registered_node_is_in_the_next_view() {
        let mut cluster = cluster();
        let node = add(&mut cluster, Role::Room, 5);
        let view = cluster.view();
        assert_eq!(view.number, 1);
        assert_eq!(view.node(node.number).unwrap().name, "room@127.0.0.1:1");
        assert!(view.slots().is_empty(), "no register lives");
    }

    #[test]
    fn a_number_rests_until_its_grant_has_ended_i1() {
        let mut cluster = cluster();
        let first = add(&mut cluster, Role::Room, 0);
        cluster.end(&[first], &mut Vec::new());
        assert_eq!(add(&mut cluster, Role::Room, 999).number, 1);
        assert_eq!(add(&mut cluster, Role::Room, 1_000).number, first.number);
    }

    #[test]
    fn numbers_run_out_and_come_back_i1() {
        let mut cluster = cluster();
        let all: Vec<NodeRef> = (0..1024).map(|_| add(&mut cluster, Role::Room, 0)).collect();
        let refused = cluster.register(about(Role::Room), 0, 0, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ResourceExhausted);
        cluster.end(&all[7..8], &mut Vec::new());
        assert!(cluster.register(about(Role::Room), 0, 0, &mut Vec::new()).is_err(), "its grant runs");
        assert_eq!(add(&mut cluster, Role::Room, 1_000).number, 7);
    }

    #[test]
    fn grants_follow_each_other_without_overlap_i1() {
        let mut cluster = cluster();
        let (node, first) = cluster.register(about(Role::Center), 0, 100, &mut Vec::new()).unwrap();
        assert_eq!((first.from_ms, first.until_ms), (100, 1_100));
        let second = cluster.grant(node, 600, &mut Vec::new()).unwrap().unwrap();
        assert_eq!((second.from_ms, second.until_ms), (1_100, 10_600));
        assert_eq!(cluster.grant(node, 50, &mut Vec::new()).unwrap(), None, "the clock went back");
        let late = cluster.grant(node, 50_000, &mut Vec::new()).unwrap().unwrap();
        assert_eq!((late.from_ms, late.until_ms), (50_000, 60_000));
    }

    #[test]
    fn a_new_registration_of_a_process_ends_its_old_one_r4() {
        let mut cluster = cluster();
        let old = add(&mut cluster, Role::Register, 0);
        // So late that the old number would be free again.
        let (new, _) =
            cluster.register(about(Role::Register), old.incarnation, 5_000, &mut Vec::new()).unwrap();
        assert!(cluster.node(old).is_none() && cluster.node(new).is_some());
        assert_ne!(new.number, old.number);
        let view = cluster.view();
        assert!(view.slots().iter().all(|s| *s == SlotOwner { node: new.number, generation: 2 }), "R2");
        assert_eq!(
            cluster.set_state(old, NodeState::Ready, &mut Vec::new()).unwrap_err().code,
            ErrorCode::NotFound
        );
        assert_eq!(cluster.grant(old, 5_000, &mut Vec::new()).unwrap_err().code, ErrorCode::NotFound);
    }

    #[test]
    fn a_draining_register_owns_slots_only_while_alone() {
        let mut cluster = cluster();
        let a = add(&mut cluster, Role::Register, 0);
        let b = add(&mut cluster, Role::Register, 0);
        cluster.set_state(a, NodeState::Draining, &mut Vec::new()).unwrap();
        assert!(cluster.view().slots().iter().all(|s| s.node == b.number));
        cluster.end(&[b], &mut Vec::new());
        assert!(cluster.view().slots().iter().all(|s| s.node == a.number));
        cluster.end(&[a], &mut Vec::new());
        assert!(cluster.view().slots().is_empty());
    }

    #[test]
    fn what_changes_nothing_makes_no_view() {
        let mut cluster = cluster();
        let node = add(&mut cluster, Role::Room, 0);
        let mut records = Vec::new();
        cluster.set_state(node, NodeState::Starting, &mut records).unwrap();
        cluster.end(&[NodeRef { number: node.number, incarnation: 99 }], &mut records);
        assert!(records.is_empty());
        assert_eq!(cluster.view_number(), 1);
    }
}
