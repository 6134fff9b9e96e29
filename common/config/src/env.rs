//! Which variables of the environment are overrides, and what they set.

use toml::{Table, Value};

/// Variables with our prefix that are not configuration: options of the command-line tools and tests.
pub const TOOL_VARIABLES: &[&str] = &[
    "LONGLINE_ADMIN_KEY",
    "LONGLINE_API",
    "LONGLINE_BIN",
    "LONGLINE_CONFIG",
    "LONGLINE_DISPATCHER",
    "LONGLINE_KEEPER",
    "LONGLINE_KEEP_SCRATCH",
    "LONGLINE_KEY",
    "LONGLINE_ROOM",
    "LONGLINE_TOKEN",
];

const PREFIX: &str = "LONGLINE_";
const ROLES: [&str; 8] =
    ["keeper", "register", "saver", "coordinator", "center", "dispatcher", "room", "standalone"];

/// One variable: the key it names and its text.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Override {
    pub(crate) variable: String,
    pub(crate) path: Vec<String>,
    pub(crate) text: String,
}

impl Override {
    /// Its value as TOML, if it is that; as plain text.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value> {
        let typed = toml::from_str::<Table>(&format!("v = {}", self.text)).ok();
        let typed = typed.filter(|t| t.len() == 1).and_then(|mut t| t.remove("v"));
        typed.into_iter().chain([Value::String(self.text.clone())])
    }

    /// The variable's name if its last part were this key.
    pub(crate) fn spell(&self, key: &str) -> String {
        let last = self.path.last().map_or(0, String::len);
        format!("{}{}", &self.variable[..self.variable.len() - last], key.to_uppercase())
    }
}

/// The overrides for a role, sorted by name so that errors do not change from start to start; but a section's kind comes before
/// its other keys, which depend on it.
pub(crate) fn overrides(variables: impl Iterator<Item = (String, String)>, role: &str) -> Vec<Override> {
    let mut found: Vec<Override> = variables.filter_map(|(name, text)| read(name, text, role)).collect();
    let is_kind = |o: &Override| o.path.last().is_some_and(|key| key == "kind");
    found.sort_by(|a, b| (!is_kind(a), &a.variable).cmp(&(!is_kind(b), &b.variable)));
    found
}

/// Puts a value at a path; false if something on the way is not a table.
pub(crate) fn set(table: &mut Table, path: &[String], value: Value) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut at = table;
    for key in parents {
        match at.entry(key.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => at = inner,
            _ => return false,
        }
    }
    at.insert(last.clone(), value);
    true
}

fn read(variable: String, text: String, role: &str) -> Option<Override> {
    let rest = variable.strip_prefix(PREFIX)?;
    if TOOL_VARIABLES.contains(&variable.as_str()) || is_of_kubernetes(rest, &text) {
        return None;
    }
    let mut path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
    // In `standalone` the roles are sections, so there the first part stays; a role's own name is dropped.
    let names_a_role = path.len() > 1 && ROLES.contains(&path[0].as_str());
    let is_a_section = role == "standalone" && path[0] != role;
    if names_a_role && !is_a_section && path.remove(0) != role {
        return None;
    }
    Some(Override { variable, path, text })
}

/// Kubernetes gives each container variables like `LONGLINE_ROOM_PORT_9000_TCP=tcp://10.0.0.1:9000` for a service `longline-room`.
fn is_of_kubernetes(rest: &str, text: &str) -> bool {
    rest.contains("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.contains("_TCP_") // _PORT_9000_TCP_ADDR and the like
        || text.starts_with("tcp://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(variable: &str, text: &str, role: &str) -> Option<Override> {
        overrides([(variable.to_owned(), text.to_owned())].into_iter(), role).pop()
    }

    fn path(variable: &str, role: &str) -> Option<String> {
        one(variable, "1", role).map(|o| o.path.join("."))
    }

    #[test]
    fn a_variable_names_a_key() {
        assert_eq!(path("LONGLINE_NODE__LOG__LEVEL", "room").as_deref(), Some("node.log.level"));
        assert_eq!(path("LONGLINE_MAX_SESSIONS", "room").as_deref(), Some("max_sessions"));
        assert_eq!(path("LONGLINE_ROOM__NODE__RPC", "room").as_deref(), Some("node.rpc"));
        assert_eq!(path("LONGLINE_ROOM__NODE__RPC", "saver"), None);
        assert_eq!(path("LONGLINE_ROOM__NODE__RPC", "standalone").as_deref(), Some("room.node.rpc"));
        assert_eq!(path("LONGLINE_STANDALONE__HTTP", "standalone").as_deref(), Some("http"));
        assert_eq!(path("LONGLINE_STANDALONE__HTTP", "room"), None);
    }

    #[test]
    fn what_is_not_configuration_is_left_alone() {
        assert_eq!(path("HOME", "room"), None);
        assert_eq!(path("LONGLINE_KEY", "room"), None);
        assert_eq!(path("LONGLINE_ROOM_SERVICE_PORT_DEVICES", "room"), None);
        assert_eq!(path("LONGLINE_ROOM_PORT_9000_TCP_ADDR", "room"), None);
        assert_eq!(one("LONGLINE_ROOM_PORT", "tcp://10.0.0.1:9000", "room"), None);
    }

    #[test]
    fn a_value_is_toml_or_text() {
        let values = |text| one("LONGLINE_X", text, "room").unwrap().values().collect::<Vec<_>>();
        assert_eq!(values("8"), [Value::Integer(8), Value::String("8".into())]);
        assert_eq!(values("10.0.0.1:1"), [Value::String("10.0.0.1:1".into())]);
        assert_eq!(values("1\ny = 2"), [Value::String("1\ny = 2".into())]);
        assert!(matches!(&values("[\"a\", \"b\"]")[0], Value::Array(a) if a.len() == 2));
    }
}
