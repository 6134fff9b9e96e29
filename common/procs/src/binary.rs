//! Where the program to run is.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// How the program is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Quickly.
    Dev,
    /// To be quick.
    Release,
}

/// The program `longline`: that of the environment's `LONGLINE_BIN` if it is set, else as cargo builds it now.
pub fn binary(profile: Profile) -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("LONGLINE_BIN").map(PathBuf::from) {
        ensure!(path.is_file(), "LONGLINE_BIN names {}, where no program is", path.display());
        return Ok(path);
    }
    let arguments: &[&str] = match profile {
        Profile::Dev => &["build", "--package", "longline"],
        Profile::Release => &["build", "--package", "longline", "--release"],
    };
    built_by(arguments, "longline")?.context("cargo did not say where the program is")
}

/// Runs cargo with these arguments, and finds a program among what it has built.
pub fn built_by(arguments: &[impl AsRef<OsStr>], program: &str) -> anyhow::Result<Option<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).args(["--message-format", "json-render-diagnostics"]);
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output =
        command.current_dir(workspace).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo could not build the program `{program}`");
    Ok(executable(&String::from_utf8_lossy(&output.stdout), program))
}

/// Cargo tells of each thing it has built in a line of JSON; the program's own unit tests are another program of its name.
fn executable(messages: &str, program: &str) -> Option<PathBuf> {
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let found = messages.find(|m| {
        m["target"]["name"] == program && m["profile"]["test"] == false && m["executable"].is_string()
    })?;
    found["executable"].as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"longline"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"other"},"profile":{"test":false},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"longline"},"profile":{"test":true},"executable":"/t/tests"}
{"reason":"compiler-artifact","target":{"name":"longline"},"profile":{"test":false},"executable":"/t/longline"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "longline"), Some("/t/longline".into()));
        assert_eq!(executable(messages, "other"), Some("/t/other".into()));
        assert_eq!(executable("no json", "longline"), None);
    }
}
