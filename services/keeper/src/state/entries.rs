use std::collections::BTreeMap;

use longline_types::{Error, ErrorCode};

use super::Record;

/// Most configuration entries of a cluster; they are all in memory.
const MOST_ENTRIES: usize = 4096;

/// One configuration entry, or that it was deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Empty if deleted.
    pub(crate) value: Vec<u8>,
    /// Of the change that made it so; rises over all entries. 0: it has never existed.
    pub(crate) revision: u64,
    pub(crate) deleted: bool,
}

impl Entry {
    fn absent(key: &str) -> Entry {
        Entry { key: key.to_owned(), value: Vec::new(), revision: 0, deleted: false }
    }
}

/// The configuration: entries by key, changed by comparing revisions.
#[derive(Debug)]
pub(crate) struct Entries {
    entries: BTreeMap<String, Entry>,
    revision: u64,
}

impl Entries {
    pub(crate) fn restore(entries: Vec<Entry>, revision: u64) -> Entries {
        Entries { entries: entries.into_iter().map(|e| (e.key.clone(), e)).collect(), revision }
    }

    /// Revision of the latest change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The entry; revision 0 if there is none.
    pub(crate) fn read(&self, key: &str) -> Entry {
        self.entries.get(key).cloned().unwrap_or_else(|| Entry::absent(key))
    }

    /// All entries whose keys begin so, in order of the keys.
    pub(crate) fn list(&self, prefix: &str) -> Vec<Entry> {
        let from = self.entries.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, entry)| entry.clone()).collect()
    }

    /// Sets the entry, or deletes it if `value` is none. [`ErrorCode::Conflict`] unless it has the expected revision (0: there
    /// is none); [`ErrorCode::ResourceExhausted`] beyond [`MOST_ENTRIES`].
    pub(crate) fn write(
        &mut self,
        key: &str,
        value: Option<Vec<u8>>,
        expected_revision: u64,
        records: &mut Vec<Record>,
    ) -> Result<Entry, Error> {
        let now = self.read(key);
        if now.revision != expected_revision {
            let message = format!("`{key}` has revision {}, not {expected_revision}", now.revision);
            return Err(Error::new(ErrorCode::Conflict, message));
        }
        if value.is_none() && now.revision == 0 {
            return Ok(now);
        }
        if now.revision == 0 && self.entries.len() >= MOST_ENTRIES {
            let message = format!("there are {MOST_ENTRIES} entries already");
            return Err(Error::new(ErrorCode::ResourceExhausted, message));
        }
        self.revision += 1;
        let entry = Entry {
            key: key.to_owned(),
            deleted: value.is_none(),
            value: value.unwrap_or_default(),
            revision: self.revision,
        };
        match entry.deleted {
            true => self.entries.remove(key),
            false => self.entries.insert(key.to_owned(), entry.clone()),
        };
        records.extend([Record::Revision(self.revision), Record::Entry(entry.clone())]);
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_needs_the_revision_it_is_based_on() {
        let mut entries = Entries::restore(Vec::new(), 0);
        let mut records = Vec::new();
        let first = entries.write("a/x", Some(b"1".to_vec()), 0, &mut records).unwrap();
        assert_eq!(first.revision, 1);
        let refused = entries.write("a/x", Some(b"2".to_vec()), 0, &mut records).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Conflict);
        let second = entries.write("a/x", Some(b"2".to_vec()), 1, &mut records).unwrap();
        assert_eq!((second.revision, entries.read("a/x").value), (2, b"2".to_vec()));
        let gone = entries.write("a/x", None, 2, &mut records).unwrap();
        assert!(gone.deleted && gone.revision == 3 && entries.read("a/x").revision == 0);
        assert_eq!(entries.write("a/x", Some(b"3".to_vec()), 0, &mut records).unwrap().revision, 4);
    }

    #[test]
    fn deleting_nothing_changes_nothing() {
        let mut entries = Entries::restore(Vec::new(), 7);
        let mut records = Vec::new();
        assert_eq!(entries.write("a", None, 0, &mut records).unwrap().revision, 0);
        assert!(records.is_empty() && entries.revision() == 7);
    }

    #[test]
    fn a_prefix_lists_its_own_keys_only() {
        let mut entries = Entries::restore(Vec::new(), 0);
        for key in ["a", "a/1", "a/2", "b/1"] {
            entries.write(key, Some(Vec::new()), 0, &mut Vec::new()).unwrap();
        }
        let keys = |prefix| entries.list(prefix).into_iter().map(|e| e.key).collect::<Vec<_>>();
        assert_eq!(keys("a/"), ["a/1", "a/2"]);
        assert_eq!(keys("").len(), 4);
        assert!(keys("c").is_empty());
    }

    #[test]
    fn the_number_of_entries_is_bounded() {
        let mut entries = Entries::restore(Vec::new(), 0);
        for i in 0..MOST_ENTRIES {
            entries.write(&format!("k{i}"), Some(Vec::new()), 0, &mut Vec::new()).unwrap();
        }
        let refused = entries.write("one/more", Some(Vec::new()), 0, &mut Vec::new()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ResourceExhausted);
        let revision = entries.read("k0").revision;
        entries
            .write("k0", Some(vec![1]), revision, &mut Vec::new())
            .expect("a change of an old one is fine");
    }
}
