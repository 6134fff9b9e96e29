use std::collections::BTreeMap;

use longline_types::{Node, SlotOwner, TimeMs};

use super::Entry;

/// A part of the state that has changed: to be on disk before the answer that it belongs to is given.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// The cluster's name, made once.
    Name(String),
    /// No registration has this incarnation or a later one yet.
    NextIncarnation(u64),
    /// The view's number.
    ViewNumber(u64),
    /// The slot table of the view.
    Slots(Vec<SlotOwner>),
    /// A node as it is now. Its load is not kept.
    Node(Box<Node>),
    /// The node with this number is gone.
    NodeGone(u32),
    /// Ids of this node number have been granted until then (I1).
    Granted(u32, TimeMs),
    /// Revision of the latest change of the configuration.
    Revision(u64),
    /// A configuration entry as it is now, deleted ones as such.
    Entry(Entry),
}

/// All records, as read back from disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restored {
    pub(crate) name: Option<String>,
    pub(crate) next_incarnation: u64,
    pub(crate) view_number: u64,
    pub(crate) slots: Vec<SlotOwner>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) granted: BTreeMap<u32, TimeMs>,
    pub(crate) revision: u64,
    pub(crate) entries: Vec<Entry>,
}
