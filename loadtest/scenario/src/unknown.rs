//! Keys that do not exist.

use longline_config::nearest;

use crate::error::{Fault, Place};
use crate::keys::KEYS;
use crate::sets::Set;
use crate::tree::{Node, Table, Value};

/// What is inside belongs to the servers, who check it themselves.
const FREE: &str = "servers.settings";
/// What people look for and why it is not there.
const REMARKS: [(&str, &str); 1] =
    [("verdict.lost", "verdict.lost is no key: it is always 0, a run that loses a message fails")];

/// Refuses the first key that no scenario has, also in a set that takes one away.
pub(crate) fn check(tree: &Table, sets: &[Set]) -> Result<(), Fault> {
    let is_free = |key: &str| key.strip_prefix(FREE).is_some_and(|rest| rest.starts_with('.'));
    let named = sets.iter().enumerate().filter(|(_, set)| !is_known(&set.key) && !is_free(&set.key));
    let mut unknown: Vec<_> = named.map(|(index, set)| (Place::Set(index), set.key.clone())).collect();
    collect(tree, "", &mut unknown);
    match unknown.into_iter().min_by_key(|(place, _)| *place) {
        Some((place, path)) => Err(Fault::new(place, complaint(&path, place, sets))),
        None => Ok(()),
    }
}

fn collect(table: &Table, within: &str, unknown: &mut Vec<(Place, String)>) {
    for entry in &table.entries {
        let path = if within.is_empty() { entry.key.clone() } else { format!("{within}.{}", entry.key) };
        if path == FREE {
            continue;
        }
        if !is_known(&path) {
            unknown.push((entry.place, path));
            continue;
        }
        descend(&entry.node, &path, unknown);
    }
}

fn descend(node: &Node, path: &str, unknown: &mut Vec<(Place, String)>) {
    match &node.value {
        Value::Table(inner) => collect(inner, path, unknown),
        Value::List(list) => list.iter().for_each(|item| descend(item, path, unknown)),
        _ => {}
    }
}

/// A key, or a section with keys.
fn is_known(path: &str) -> bool {
    let is_section = |name: &str| name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    KEYS.iter().any(|key| key.name == path || is_section(key.name))
}

fn complaint(path: &str, place: Place, sets: &[Set]) -> String {
    if let Some((_, remark)) = REMARKS.iter().find(|(key, _)| *key == path) {
        return (*remark).to_owned();
    }
    // A set names the whole key, so that it need not be repeated, and the nearest is one of all keys.
    if let Place::Set(index) = place
        && let Some(set) = sets.get(index)
        && set.key.starts_with(path)
    {
        let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        return match nearest(&set.key, &names) {
            Some(near) => format!("unknown key; did you mean {near}?"),
            None => "unknown key".to_owned(),
        };
    }
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    let siblings = siblings(section);
    match nearest(key, &siblings) {
        Some(near) if section.is_empty() => format!("unknown key {path}; did you mean {near}?"),
        Some(near) => format!("unknown key {path}; did you mean {section}.{near}?"),
        None => format!("unknown key {path}; known are {}", siblings.join(", ")),
    }
}

/// The keys and sections of a section.
fn siblings(section: &str) -> Vec<&'static str> {
    let inside = |name: &'static str| match section {
        "" => Some(name),
        section => name.strip_prefix(section)?.strip_prefix('.'),
    };
    let inside = KEYS.iter().filter_map(|key| inside(key.name));
    let mut names: Vec<&str> = inside.map(|rest| rest.split('.').next().unwrap_or(rest)).collect();
    names.dedup();
    names
}
