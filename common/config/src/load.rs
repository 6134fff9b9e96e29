//! Reading one configuration: defaults, then the file, then the environment.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::ConfigError;
use crate::env::{Override, overrides, set};
use crate::error::complaint;

/// The configuration of a role: defaults, then the file if there is one, then this process's environment (see the crate's page).
pub fn load<T: Default + Serialize + DeserializeOwned>(
    path: Option<&Path>,
    role: &str,
) -> Result<T, ConfigError> {
    load_with(
        path,
        role,
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
    )
}

/// [`load`] with these variables in place of the process's environment.
pub fn load_with<T: Default + Serialize + DeserializeOwned>(
    path: Option<&Path>,
    role: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let default = Table::try_from(T::default()).map_err(|error| ConfigError::Defaults(error.to_string()))?;
    let mut given = path.map(read_file::<T>).transpose()?.unwrap_or_default();
    // One by one: what came before is known to be right, so a refusal is this variable's.
    for variable in overrides(variables, role) {
        given = apply::<T>(&default, given, &variable)?;
    }
    read(&completed(&default, given)).map_err(|error| ConfigError::Defaults(error.message().to_owned()))
}

/// What is given, and for the rest the role's defaults: a section that is given in part keeps the defaults that the role has
/// for it, which need not be those of the section's type. A section of several kinds keeps only those of its kind.
fn completed(default: &Table, given: Table) -> Table {
    let mut all = default.clone();
    for (key, value) in given {
        let value = match (all.get(&key), value) {
            (Some(Value::Table(default)), Value::Table(given)) if is_same_kind(default, &given) => {
                Value::Table(completed(default, given))
            }
            (_, value) => value,
        };
        all.insert(key, value);
    }
    all
}

fn is_same_kind(default: &Table, given: &Table) -> bool {
    given.get("kind").is_none_or(|kind| default.get("kind") == Some(kind))
}

/// The file as a table, after a check that all of it fits the type.
fn read_file<T: DeserializeOwned>(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
    let refuse = |error: toml::de::Error| {
        let (line, column) = position(&text, error.span().map_or(0, |s| s.start));
        let complaint = complaint(error.message(), str::to_owned);
        ConfigError::File { path: path.to_owned(), line, column, complaint }
    };
    toml::from_str::<T>(&text).map_err(refuse)?;
    toml::from_str(&text).map_err(refuse)
}

/// By way of text, as files are read: code for one way of reading each configuration is enough.
fn read<T: DeserializeOwned>(table: &Table) -> Result<T, toml::de::Error> {
    toml::from_str(&table.to_string())
}

/// What is given, with the variable's value in its place; as plain text if what TOML makes of it does not fit.
fn apply<T: DeserializeOwned>(
    default: &Table,
    given: Table,
    variable: &Override,
) -> Result<Table, ConfigError> {
    let mut first = None;
    for value in variable.values() {
        let mut table = given.clone();
        if !set(&mut table, &variable.path, value) {
            first.get_or_insert_with(|| "part of this path is a value, not a section".to_owned());
            continue;
        }
        match read::<T>(&completed(default, table.clone())) {
            Ok(_) => return Ok(table),
            Err(error) => {
                first.get_or_insert_with(|| complaint(error.message(), |key| variable.spell(key)));
            }
        }
    }
    Err(ConfigError::Variable { variable: variable.variable.clone(), complaint: first.unwrap_or_default() })
}

/// Line and column, from 1, of a byte.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::{LogFormat, NodeConfig};

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        node: NodeConfig,
        window: u32,
        label: String,
        store: Store,
    }

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Store {
        File(File),
        Server(Server),
    }

    #[derive(Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        path: String,
        sync: bool,
    }

    #[derive(Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Server {
        address: String,
    }

    impl Default for Config {
        fn default() -> Config {
            let rpc = "127.0.0.1:7700".parse().unwrap();
            Config {
                node: NodeConfig { rpc, ..NodeConfig::default() },
                window: 0,
                label: String::new(),
                store: Store::File(File { path: "data".into(), sync: true }),
            }
        }
    }

    fn with(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Config, String> {
        let file = file.map(|text| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        });
        let path = file.as_ref().map(tempfile::NamedTempFile::path);
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load_with(path, "room", variables).map_err(|error| {
            let name = path.map_or("no file".to_owned(), |p| p.display().to_string());
            error.to_string().replace(&name, "room.toml")
        })
    }

    #[test]
    fn defaults_then_file_then_environment() {
        assert_eq!(with(None, &[]).unwrap(), Config::default());
        let file = "window = 7\nlabel = 'f'\n[node]\nidc = 'east'\n[node.log]\nformat = 'json'\n";
        let config =
            with(Some(file), &[("LONGLINE_WINDOW", "8"), ("LONGLINE_NODE__KEEPERS", "['k:1']")]).unwrap();
        assert_eq!((config.window, config.label.as_str()), (8, "f"));
        assert_eq!((config.node.idc.as_str(), config.node.log.format), ("east", LogFormat::Json));
        assert_eq!(config.node.keepers, ["k:1"]);
        assert_eq!(config.node.shutdown_s, 10);
    }

    #[test]
    fn a_section_given_in_part_keeps_the_defaults_of_its_role() {
        let config = with(Some("[node]\nidc = 'east'"), &[]).unwrap();
        assert_eq!((config.node.idc.as_str(), config.node.rpc.port()), ("east", 7700));
        let config = with(None, &[("LONGLINE_NODE__IDC", "east"), ("LONGLINE_STORE__PATH", "x")]).unwrap();
        assert_eq!((config.node.idc.as_str(), config.node.rpc.port()), ("east", 7700));
        assert_eq!(config.store, Store::File(File { path: "x".into(), sync: true }));
    }

    #[test]
    fn a_section_of_another_kind_has_nothing_of_the_default() {
        let server = Store::Server(Server { address: "a:1".into() });
        let file = "[store]\nkind = 'server'\naddress = 'a:1'";
        assert_eq!(with(Some(file), &[]).unwrap().store, server);
        let variables = [("LONGLINE_STORE__ADDRESS", "a:1"), ("LONGLINE_STORE__KIND", "server")];
        assert_eq!(with(None, &variables).unwrap().store, server, "the kind counts first");
    }

    #[test]
    fn text_needs_no_quotes_even_if_it_looks_like_a_number() {
        assert_eq!(with(None, &[("LONGLINE_LABEL", "42")]).unwrap().label, "42");
        assert_eq!(with(None, &[("LONGLINE_NODE__RPC", "0.0.0.0:1")]).unwrap().node.rpc.port(), 1);
    }

    #[test]
    fn a_wrong_key_in_the_file_is_refused_with_place_and_nearest_name() {
        let error = with(Some("window = 1\n\n[node]\n keeper = []\n"), &[]).unwrap_err();
        assert_eq!(error, "room.toml:4:2: unknown key `keeper`; did you mean `keepers`?");
        let error = with(Some("window = 'wide'\n"), &[]).unwrap_err();
        assert!(error.starts_with("room.toml:1:10: invalid type: string \"wide\""), "{error}");
        let error = with(Some("window = \n"), &[]).unwrap_err();
        assert!(error.starts_with("room.toml:1:"), "{error}");
    }

    #[test]
    fn a_wrong_variable_is_refused_with_its_name_and_the_nearest() {
        let error = with(Some("window = 1\n"), &[("LONGLINE_NODE__KEEPER", "[]")]).unwrap_err();
        assert_eq!(
            error,
            "environment variable LONGLINE_NODE__KEEPER: unknown key `LONGLINE_NODE__KEEPER`; did you mean `LONGLINE_NODE__KEEPERS`?"
        );
        let error = with(None, &[("LONGLINE_WINDOW", "wide")]).unwrap_err();
        assert!(error.starts_with("environment variable LONGLINE_WINDOW: invalid type"), "{error}");
        let error = with(Some("window = 1"), &[("LONGLINE_WINDOW__X", "1")]).unwrap_err();
        assert!(error.contains("LONGLINE_WINDOW__X: part of this path"), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error =
            load_with::<Config>(Some(Path::new("/nowhere/room.toml")), "room", [].into_iter()).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read the configuration /nowhere/room.toml: No such file"),
            "{error}"
        );
    }
}
