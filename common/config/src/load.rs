//! Reading one configuration: defaults, then the file, then the environment.

use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Table;

use crate::ConfigError;
use crate::env::{Override, overrides, set};
use crate::error::complaint;

/// The configuration of a role: defaults, then the file if there is one, then this process's environment (see the crate's page).
pub fn load<T: DeserializeOwned>(path: Option<&Path>, role: &str) -> Result<T, ConfigError> {
    load_with(
        path,
        role,
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
    )
}

/// [`load`] with these variables in place of the process's environment.
pub fn load_with<T: DeserializeOwned>(
    path: Option<&Path>,
    role: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut table = path.map(read_file::<T>).transpose()?.unwrap_or_default();
    // One by one: what came before is known to be right, so a refusal is this variable's.
    for variable in overrides(variables, role) {
        table = apply::<T>(table, &variable)?;
    }
    T::deserialize(table).map_err(|error| ConfigError::Missing(error.message().to_owned()))
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

/// The table with the variable's value in its place; as plain text if what TOML makes of it does not fit.
fn apply<T: DeserializeOwned>(table: Table, variable: &Override) -> Result<Table, ConfigError> {
    let mut first = None;
    for value in variable.values() {
        let mut table = table.clone();
        if !set(&mut table, &variable.path, value) {
            first.get_or_insert_with(|| "part of this path is a value, not a section".to_owned());
            continue;
        }
        match T::deserialize(table.clone()) {
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

    #[derive(Debug, PartialEq, Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Config {
        node: NodeConfig,
        window: u32,
        label: String,
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
