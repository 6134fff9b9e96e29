//! `--set key=value`: what is laid over the file before it is checked.

use crate::error::{Fault, Place};
use crate::tree::{Node, Table, Value};

/// The value that takes a key or a whole section away, so that its default holds.
const NONE: &str = "none";

/// One `--set`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Set {
    /// As it was given.
    pub(crate) text: String,
    /// The key it names: `devices.count`.
    pub(crate) key: String,
}

impl Set {
    pub(crate) fn new(text: &str) -> Set {
        let key = text.split_once('=').map_or(text, |(key, _)| key);
        Set { text: text.to_owned(), key: key.trim().to_owned() }
    }

    /// Puts its value into the tree; `index` is the set's own.
    pub(crate) fn apply(&self, tree: &mut Table, index: usize) -> Result<(), Fault> {
        let place = Place::Set(index);
        let fault = |reason: String| Fault::new(place, reason);
        let Some((_, value)) = self.text.split_once('=') else {
            return Err(fault("a set is key=value, as devices.count=5000".to_owned()));
        };
        let mut parts: Vec<&str> = self.key.split('.').map(str::trim).collect();
        let last = parts.pop().filter(|last| !last.is_empty() && parts.iter().all(|part| !part.is_empty()));
        let last = last.ok_or_else(|| fault("a part of the key is empty".to_owned()))?;
        let value = value.trim();
        let mut at = tree;
        for (i, part) in parts.iter().enumerate() {
            if value == NONE && at.get(part).is_none() {
                return Ok(());
            }
            at = match &mut at.get_or_table(part, place).value {
                Value::Table(inner) => inner,
                other => {
                    let whole = parts[..=i].join(".");
                    let what = other.describe();
                    return Err(fault(format!("{whole} is {what}, not a section: set it as a whole")));
                }
            };
        }
        match value {
            NONE => at.remove(last),
            value => at.insert(last, Node::of_set(value, place)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(file: &str, sets: &[&str]) -> Result<String, String> {
        let mut tree = Table::parse(file).unwrap();
        for (i, text) in sets.iter().enumerate() {
            Set::new(text).apply(&mut tree, i).map_err(|fault| fault.reason)?;
        }
        Ok(tree.to_toml().to_string().replace('\n', ";"))
    }

    #[test]
    fn a_set_replaces_adds_and_removes() {
        assert_eq!(
            after("[a]\nb = 1", &["a.b=2", "a.c=x", "d=true"]).unwrap(),
            "d = true;;[a];b = 2;c = \"x\";"
        );
        assert_eq!(after("[a]\nb = 1\n[c]\nd = 1", &["a.b=none", "c = none"]).unwrap(), "[a];");
        assert_eq!(after("x = 1", &["a.b=none"]).unwrap(), "x = 1;", "nothing is made to be emptied");
        assert_eq!(after("", &["a={ b = 1, c = [2] }", "a.b=3"]).unwrap(), "[a];b = 3;c = [2];");
    }

    #[test]
    fn what_is_no_set_is_refused() {
        assert!(after("", &["a.b"]).unwrap_err().contains("key=value"));
        assert!(after("", &["a..b=1"]).unwrap_err().contains("empty"));
        assert!(after("", &["=1"]).unwrap_err().contains("empty"));
        assert_eq!(after("a = 1", &["a.b=1"]).unwrap_err(), "a is 1, not a section: set it as a whole");
    }
}
