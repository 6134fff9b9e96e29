//! Reading typed values out of the tree, with complaints that name the key and its place.

use std::fmt::Display;
use std::ops::RangeInclusive;

use longline_config::nearest;

use crate::error::{Fault, Place};
use crate::tree::{Node, Table, Value};

/// A table of the scenario, or one that is not there and therefore empty.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    path: String,
    place: Place,
    table: Option<&'a Table>,
}

/// A value that was given.
#[derive(Clone, Debug)]
pub(crate) struct Given<'a> {
    path: String,
    node: &'a Node,
}

impl<'a> Section<'a> {
    pub(crate) fn root(table: &'a Table) -> Section<'a> {
        Section { path: String::new(), place: Place::Line(1), table: Some(table) }
    }

    pub(crate) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault::new(self.place, reason)
    }

    /// The keys that are given, with their values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, Given<'a>)> {
        let entries = self.table.map_or(&[][..], |table| &table.entries);
        let path = self.path.clone();
        entries.iter().map(move |entry| {
            (entry.key.as_str(), Given { path: join(&path, &entry.key), node: &entry.node })
        })
    }

    /// A section inside, if it is given.
    pub(crate) fn section(&self, key: &str) -> Result<Option<Section<'a>>, Fault> {
        let Some(entry) = self.table.and_then(|table| table.get(key)) else { return Ok(None) };
        let path = join(&self.path, key);
        match &entry.node.value {
            Value::Table(table) => Ok(Some(Section { path, place: entry.place, table: Some(table) })),
            other => Err(Fault::new(entry.place, format!("{path} is a section, not {}", other.describe()))),
        }
    }

    /// A section inside; empty if it is not given.
    pub(crate) fn section_or_empty(&self, key: &str) -> Result<Section<'a>, Fault> {
        let empty = || Section { path: join(&self.path, key), place: self.place, table: None };
        Ok(self.section(key)?.unwrap_or_else(empty))
    }

    /// A section inside that has to be given.
    pub(crate) fn must_section(&self, key: &str) -> Result<Section<'a>, Fault> {
        let missing = || self.fault(format!("the section [{}] is missing", join(&self.path, key)));
        self.section(key)?.ok_or_else(missing)
    }

    /// The value of a key that has to be given.
    pub(crate) fn must<T>(
        &self,
        key: &str,
        read: impl FnOnce(Given<'a>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let missing = || self.fault(format!("{} is missing", join(&self.path, key)));
        self.maybe(key, read)?.ok_or_else(missing)
    }

    /// The value of a key, or its default.
    pub(crate) fn or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(Given<'a>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        Ok(self.maybe(key, read)?.unwrap_or(default))
    }

    /// The value of a key if it is given.
    pub(crate) fn maybe<T>(
        &self,
        key: &str,
        read: impl FnOnce(Given<'a>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let entry = self.table.and_then(|table| table.get(key));
        entry.map(|entry| read(Given { path: join(&self.path, key), node: &entry.node })).transpose()
    }

    /// Where a key of this section or of one inside was given: `storm.kind`. Where the section begins, if it was not.
    pub(crate) fn place_of(&self, path: &str) -> Place {
        let (mut place, mut table) = (self.place, self.table);
        for part in path.split('.') {
            let Some(entry) = table.and_then(|table| table.get(part)) else { break };
            place = entry.place;
            table = match &entry.node.value {
                Value::Table(inner) => Some(inner),
                _ => None,
            };
        }
        place
    }

    /// Refuses keys that mean nothing beside what else is given.
    pub(crate) fn refuse(&self, keys: &[&str], why: &str) -> Result<(), Fault> {
        let found = self.table.into_iter().flat_map(|table| &table.entries);
        match found.filter(|entry| keys.contains(&entry.key.as_str())).min_by_key(|entry| entry.place) {
            Some(entry) => Err(Fault::new(entry.place, format!("{} {why}", join(&self.path, &entry.key)))),
            None => Ok(()),
        }
    }
}

impl<'a> Given<'a> {
    pub(crate) fn place(&self) -> Place {
        self.node.place
    }

    pub(crate) fn fault(&self, reason: impl Display) -> Fault {
        Fault::new(self.node.place, format!("{} {reason}", self.path))
    }

    pub(crate) fn node(&self) -> &'a Node {
        self.node
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// A whole number within the range.
    pub(crate) fn whole<T>(&self, range: RangeInclusive<T>) -> Result<T, Fault>
    where
        T: Copy + PartialOrd + Display + TryFrom<i64>,
    {
        let Value::Integer(number) = self.node.value else { return Err(self.not("a whole number")) };
        let fits = T::try_from(number).ok().filter(|number| range.contains(number));
        fits.ok_or_else(|| self.beyond(&number, range.start(), range.end()))
    }

    /// A number within the range, with or without a fraction.
    pub(crate) fn number(&self, range: RangeInclusive<f64>) -> Result<f64, Fault> {
        let number = match self.node.value {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => return Err(self.not("a number")),
        };
        let fits = Some(number).filter(|number| range.contains(number));
        fits.ok_or_else(|| self.beyond(&number, range.start(), range.end()))
    }

    /// A number above 0 and up to a limit.
    pub(crate) fn positive(&self, limit: f64) -> Result<f64, Fault> {
        let number = self.number(0.0..=limit)?;
        if number > 0.0 { Ok(number) } else { Err(self.fault("is above 0")) }
    }

    pub(crate) fn flag(&self) -> Result<bool, Fault> {
        match self.node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(self.not("true or false")),
        }
    }

    /// A text that is not empty.
    pub(crate) fn text(&self) -> Result<&'a str, Fault> {
        match &self.node.value {
            Value::Text(text) if text.trim().is_empty() => Err(self.fault("is empty")),
            Value::Text(text) => Ok(text),
            _ => Err(self.not("a text in quotes")),
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, Fault> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let list = words.join(", ");
        let Value::Text(text) = &self.node.value else {
            return Err(self.not(&format!("one of {list}")));
        };
        let found = choices.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        found.ok_or_else(|| match nearest(text, &words) {
            Some(near) => self.fault(format!("is one of {list}, not {text:?}; did you mean {near:?}?")),
            None => self.fault(format!("is one of {list}, not {text:?}")),
        })
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Result<Vec<Given<'a>>, Fault> {
        let Value::List(list) = &self.node.value else { return Err(self.not("a list")) };
        Ok(list.iter().map(|node| Given { path: self.path.clone(), node }).collect())
    }

    /// The items of a list of sections.
    pub(crate) fn sections(&self) -> Result<Vec<Section<'a>>, Fault> {
        let section = |item: Given<'a>| match &item.node.value {
            Value::Table(table) => {
                Ok(Section { path: item.path.clone(), place: item.node.place, table: Some(table) })
            }
            _ => Err(item.not("a list of sections")),
        };
        self.list()?.into_iter().map(section).collect()
    }

    /// Two numbers, the first not above the second.
    pub(crate) fn range<T: PartialOrd>(
        &self,
        read: impl Fn(&Given<'a>) -> Result<T, Fault>,
    ) -> Result<(T, T), Fault> {
        match self.list()?.as_slice() {
            [low, high] => {
                let (low, high) = (read(low)?, read(high)?);
                if low <= high { Ok((low, high)) } else { Err(self.fault("begins above its end")) }
            }
            _ => Err(self.fault("is a list of two numbers: [shortest, longest]")),
        }
    }

    fn not(&self, wanted: &str) -> Fault {
        self.fault(format!("is {wanted}, not {}", self.node.value.describe()))
    }

    fn beyond(&self, number: &dyn Display, low: &dyn Display, high: &dyn Display) -> Fault {
        self.fault(format!("is between {low} and {high}, not {number}"))
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
