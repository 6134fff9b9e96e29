//! The keeper's state on disk: one redb file, in which every record of the state has its place.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use longline_pb::convert;
use longline_pb::keeper::{ConfigEntry, Node, View};
use prost::Message as _;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};

use crate::state::{Entry, Record, Restored};

const FILE: &str = "keeper.redb";

/// Single numbers, by name.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
/// Single values, by name.
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
/// Live nodes by number, as protobuf `Node`.
const NODES: TableDefinition<u32, &[u8]> = TableDefinition::new("nodes");
/// End of the last grant of ids, by node number.
const GRANTED: TableDefinition<u32, u64> = TableDefinition::new("granted");
/// The configuration by key, as protobuf `ConfigEntry`.
const ENTRIES: TableDefinition<&str, &[u8]> = TableDefinition::new("entries");

const NEXT_INCARNATION: &str = "next_incarnation";
const VIEW_NUMBER: &str = "view_number";
const REVISION: &str = "revision";
const CLUSTER: &str = "cluster";
/// As protobuf `View` of which only the slots are filled in.
const SLOTS: &str = "slots";

/// The open file. One process at a time can have it open.
pub(crate) struct Store {
    database: Database,
}

impl Store {
    /// Opens the file in this folder; makes both if they do not exist.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Store> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let file = folder.join(FILE);
        let database = Database::create(&file).with_context(|| format!("cannot open {}", file.display()))?;
        let store = Store { database };
        store.make_tables().with_context(|| format!("cannot write to {}", file.display()))?;
        Ok(store)
    }

    /// Reads everything.
    pub(crate) fn read(&self) -> anyhow::Result<Restored> {
        let read = self.database.begin_read()?;
        let numbers = read.open_table(NUMBERS)?;
        let number = |name| anyhow::Ok(numbers.get(name)?.map_or(0, |n| n.value()));
        let values = read.open_table(VALUES)?;
        let name = values.get(CLUSTER)?.map(|v| String::from_utf8(v.value().to_vec())).transpose()?;
        let slots = values.get(SLOTS)?.map(|v| View::decode(v.value())).transpose()?.unwrap_or_default();
        let mut restored = Restored {
            name,
            next_incarnation: number(NEXT_INCARNATION)?,
            view_number: number(VIEW_NUMBER)?,
            slots: longline_types::View::from(slots).slots().to_vec(),
            revision: number(REVISION)?,
            ..Restored::default()
        };
        for row in read.open_table(NODES)?.iter()? {
            let (number, node) = row?;
            let node = convert::node(Node::decode(node.value())?);
            restored.nodes.push(node.ok_or_else(|| anyhow!("node {} has an unknown role", number.value()))?);
        }
        for row in read.open_table(GRANTED)?.iter()? {
            let (number, until_ms) = row?;
            restored.granted.insert(number.value(), until_ms.value());
        }
        for row in read.open_table(ENTRIES)?.iter()? {
            restored.entries.push(entry(ConfigEntry::decode(row?.1.value())?));
        }
        Ok(restored)
    }

    /// Writes these records in one transaction; on return they are on disk.
    pub(crate) fn commit(&self, records: &[Record]) -> anyhow::Result<()> {
        let write = self.database.begin_write()?;
        for record in records {
            put(&write, record)?;
        }
        write.commit()?;
        Ok(())
    }

    fn make_tables(&self) -> anyhow::Result<()> {
        let write = self.database.begin_write()?;
        write.open_table(NUMBERS)?;
        write.open_table(VALUES)?;
        write.open_table(NODES)?;
        write.open_table(GRANTED)?;
        write.open_table(ENTRIES)?;
        write.commit()?;
        Ok(())
    }
}

fn put(write: &WriteTransaction, record: &Record) -> anyhow::Result<()> {
    match record {
        Record::Name(name) => put_value(write, CLUSTER, name.as_bytes())?,
        Record::NextIncarnation(next) => put_number(write, NEXT_INCARNATION, *next)?,
        Record::ViewNumber(view) => put_number(write, VIEW_NUMBER, *view)?,
        Record::Revision(revision) => put_number(write, REVISION, *revision)?,
        Record::Slots(slots) => {
            let view = View {
                slot_owner: slots.iter().map(|s| s.node).collect(),
                slot_generation: slots.iter().map(|s| s.generation).collect(),
                ..View::default()
            };
            put_value(write, SLOTS, &view.encode_to_vec())?;
        }
        Record::Node(node) => {
            let bytes = Node::from(node.as_ref()).encode_to_vec();
            write.open_table(NODES)?.insert(node.number, bytes.as_slice())?;
        }
        Record::NodeGone(number) => {
            write.open_table(NODES)?.remove(number)?;
        }
        Record::Granted(number, until_ms) => {
            write.open_table(GRANTED)?.insert(number, until_ms)?;
        }
        Record::Entry(entry) if entry.deleted => {
            write.open_table(ENTRIES)?.remove(entry.key.as_str())?;
        }
        Record::Entry(entry) => {
            let bytes = config_entry(entry.clone()).encode_to_vec();
            write.open_table(ENTRIES)?.insert(entry.key.as_str(), bytes.as_slice())?;
        }
    }
    Ok(())
}

fn put_number(write: &WriteTransaction, name: &str, value: u64) -> anyhow::Result<()> {
    write.open_table(NUMBERS)?.insert(name, value)?;
    Ok(())
}

fn put_value(write: &WriteTransaction, name: &str, value: &[u8]) -> anyhow::Result<()> {
    write.open_table(VALUES)?.insert(name, value)?;
    Ok(())
}

/// The entry on the wire and on disk.
pub(crate) fn config_entry(entry: Entry) -> ConfigEntry {
    ConfigEntry { key: entry.key, value: entry.value, revision: entry.revision, deleted: entry.deleted }
}

fn entry(entry: ConfigEntry) -> Entry {
    Entry { key: entry.key, value: entry.value, revision: entry.revision, deleted: entry.deleted }
}

#[cfg(test)]
mod tests {
    use longline_types::{Load, NodeState, Role, SLOTS as COUNT, SlotOwner};

    use super::*;

    fn node(number: u32) -> longline_types::Node {
        longline_types::Node {
            number,
            incarnation: 40 + u64::from(number),
            role: Role::Register,
            name: "r".into(),
            idc: "east".into(),
            rpc: "127.0.0.1:9".into(),
            public: vec!["a:1".into()],
            noise_key: String::new(),
            state: NodeState::Ready,
            load: Load::default(),
            registered_at_ms: 17,
            version: "1".into(),
        }
    }

    fn written_entry(key: &str, revision: u64, deleted: bool) -> Entry {
        Entry { key: key.into(), value: b"v".to_vec(), revision, deleted }
    }

    #[test]
    fn everything_written_is_read_back_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let slots = vec![SlotOwner { node: 2, generation: 5 }; COUNT];
        {
            let store = Store::open(folder.path()).unwrap();
            let first = [
                Record::Name("c".into()),
                Record::Node(Box::new(node(1))),
                Record::Node(Box::new(node(2))),
                Record::Granted(1, 900),
                Record::Entry(written_entry("a", 1, false)),
                Record::Entry(written_entry("b", 2, false)),
            ];
            store.commit(&first).unwrap();
            let second = [
                Record::NextIncarnation(43),
                Record::ViewNumber(6),
                Record::Slots(slots.clone()),
                Record::NodeGone(1),
                Record::Granted(1, 1_900),
                Record::Revision(3),
                Record::Entry(written_entry("a", 3, true)),
            ];
            store.commit(&second).unwrap();
            assert!(Store::open(folder.path()).is_err(), "only one process has it open");
        }
        let restored = Store::open(folder.path()).unwrap().read().unwrap();
        assert_eq!(restored.name.as_deref(), Some("c"));
        assert_eq!((restored.next_incarnation, restored.view_number, restored.revision), (43, 6, 3));
        assert_eq!(restored.slots, slots);
        assert_eq!(restored.nodes, [node(2)]);
        assert_eq!(restored.granted.into_iter().collect::<Vec<_>>(), [(1, 1_900)]);
        assert_eq!(restored.entries, [written_entry("b", 2, false)]);
    }

    #[test]
    fn an_empty_folder_is_a_new_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let restored = Store::open(&folder.path().join("deep/er")).unwrap().read().unwrap();
        assert!(restored.name.is_none() && restored.nodes.is_empty() && restored.slots.is_empty());
    }
}
