//! A scenario as a tree of keys and values, each with the place where it was given.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Fault, Place};

/// A value and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    List(Vec<Node>),
    Table(Table),
}

/// Keys and values in the order of their lines.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

/// A key, where it stands, and its value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Table {
    /// The tree of a whole file.
    pub(crate) fn parse(text: &str) -> Result<Table, Fault> {
        let line = |byte: usize| Place::Line(1 + text.bytes().take(byte).filter(|b| *b == b'\n').count());
        let root = DeTable::parse(text).map_err(|error| {
            let reason = error.message().lines().collect::<Vec<_>>().join(", ");
            Fault::new(line(error.span().map_or(0, |span| span.start)), reason)
        })?;
        table(root.into_inner(), &line)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key, which is an empty table if there was none.
    pub(crate) fn get_or_table(&mut self, key: &str, place: Place) -> &mut Node {
        let index = match self.entries.iter().position(|entry| entry.key == key) {
            Some(index) => index,
            None => {
                let node = Node { place, value: Value::Table(Table::default()) };
                self.entries.push(Entry { key: key.to_owned(), place, node });
                self.entries.len() - 1
            }
        };
        &mut self.entries[index].node
    }

    pub(crate) fn insert(&mut self, key: &str, node: Node) {
        self.remove(key);
        self.entries.push(Entry { key: key.to_owned(), place: node.place, node });
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.key != key);
    }
}

impl Node {
    /// What a set gives: a TOML value, or else the text itself.
    pub(crate) fn of_set(text: &str, place: Place) -> Node {
        let document = format!("v = {text}");
        let parsed = DeTable::parse(&document).ok().and_then(|t| table(t.into_inner(), &|_| place).ok());
        match parsed.map(|table| table.entries).as_deref() {
            Some([only]) => only.node.clone(),
            _ => Node { place, value: Value::Text(text.to_owned()) },
        }
    }

    /// As another part of the program wants it.
    pub(crate) fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::Text(text) => text.clone().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Flag(flag) => (*flag).into(),
            Value::List(list) => list.iter().map(Node::to_toml).collect::<Vec<_>>().into(),
            Value::Table(table) => toml::Value::Table(table.to_toml()),
        }
    }
}

impl Table {
    /// As another part of the program wants it.
    pub(crate) fn to_toml(&self) -> toml::Table {
        self.entries.iter().map(|entry| (entry.key.clone(), entry.node.to_toml())).collect()
    }
}

impl Value {
    /// What it is, for a complaint that it should be something else.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Text(text) => format!("{text:?}"),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a section".to_owned(),
        }
    }
}

fn table(from: DeTable<'_>, place: &dyn Fn(usize) -> Place) -> Result<Table, Fault> {
    let mut entries = Vec::with_capacity(from.len());
    for (key, value) in from {
        let at = place(key.span().start);
        let key = key.into_inner().into_owned();
        entries.push(Entry { key, place: at, node: node(value, place)? });
    }
    entries.sort_by_key(|entry| entry.place);
    Ok(Table { entries })
}

fn node(from: Spanned<DeValue<'_>>, place: &dyn Fn(usize) -> Place) -> Result<Node, Fault> {
    let at = place(from.span().start);
    let beyond = |number: &str| Fault::new(at, format!("{number} is beyond what can be read as a number"));
    let value = match from.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| beyond(number.as_str()))?,
        ),
        DeValue::Float(number) => Value::Float(number.as_str().parse().map_err(|_| beyond(number.as_str()))?),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(_) => return Err(Fault::new(at, "dates have no use in a scenario")),
        DeValue::Array(list) => {
            Value::List(list.into_iter().map(|item| node(item, place)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(inner) => Value::Table(table(inner, place)?),
    };
    Ok(Node { place: at, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_knows_its_line() {
        let tree =
            Table::parse("a = 1\n\n[s.t]\n# x\nlist = [\n  true,\n  0x1_0,\n]\n[[n]]\nk = 'é'\n").unwrap();
        let place = |table: &Table, key: &str| table.get(key).unwrap().place;
        assert_eq!(place(&tree, "a"), Place::Line(1));
        let Value::Table(s) = &tree.get("s").unwrap().node.value else { panic!("{tree:?}") };
        let Value::Table(t) = &s.get("t").unwrap().node.value else { panic!("{tree:?}") };
        let Value::List(list) = &t.get("list").unwrap().node.value else { panic!("{tree:?}") };
        assert_eq!((place(&tree, "s"), place(t, "list")), (Place::Line(3), Place::Line(5)));
        assert_eq!(list[1], Node { place: Place::Line(7), value: Value::Integer(16) });
        assert_eq!(place(&tree, "n"), Place::Line(9));
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        for (text, line) in
            [("a = 1\nb = \n", 2), ("a = 1\na = 2", 2), ("\n\nd = 2020-01-01", 3), ("[a\n", 1)]
        {
            assert_eq!(Table::parse(text).unwrap_err().place, Place::Line(line), "{text}");
        }
        assert!(Table::parse("a = 99999999999999999999").unwrap_err().reason.contains("beyond"));
    }

    #[test]
    fn a_set_is_toml_or_text() {
        let of = |text| Node::of_set(text, Place::Set(3)).value;
        assert_eq!(of("5"), Value::Integer(5));
        assert_eq!(of("cluster"), Value::Text("cluster".into()));
        assert_eq!(of("\"5\""), Value::Text("5".into()));
        assert_eq!(of("1\nw = 2"), Value::Text("1\nw = 2".into()));
        assert!(matches!(of("[{ a = 1 }]"), Value::List(_)));
    }
}
