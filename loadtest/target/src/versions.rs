//! Which versions a run had to do with.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use longline_testkit::require;
use serde::{Deserialize, Serialize};

use crate::admin::Node;

const DEADLINE: Duration = Duration::from_secs(10);

/// Versions of the programs of the system.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Versions {
    /// Of our services; several, separated by commas, while a system is being updated. None if it cannot be told.
    pub longline: Option<String>,
    /// Of Redis, where it was started for the run.
    pub redis: Option<String>,
    /// Of MariaDB, where it was started for the run.
    pub mariadb: Option<String>,
}

impl Versions {
    /// Of this program alone.
    pub(crate) async fn standalone(program: &Path) -> anyhow::Result<Versions> {
        let longline = Some(told(program, "longline ").await?);
        Ok(Versions { longline, ..Versions::default() })
    }

    /// Of this program and of the installed stores.
    pub(crate) async fn cluster(program: &Path) -> anyhow::Result<Versions> {
        let redis = told(&require("redis-server", "redis-server")?, "v=").await?;
        let mariadb = told(&require("mariadbd", "mariadb-server")?, "Ver ").await?;
        let alone = Versions::standalone(program).await?;
        Ok(Versions { redis: Some(redis), mariadb: Some(mariadb), ..alone })
    }

    /// Of a running system, as its nodes report.
    pub(crate) fn reported(nodes: &[Node]) -> Versions {
        let versions: BTreeSet<&str> = nodes.iter().map(|node| node.version.as_str()).collect();
        let longline = versions.into_iter().collect::<Vec<_>>().join(", ");
        Versions { longline: Some(longline).filter(|text| !text.is_empty()), ..Versions::default() }
    }
}

/// The word behind this mark in what the program says to `--version`.
async fn told(program: &Path, mark: &str) -> anyhow::Result<String> {
    let output = tokio::process::Command::new(program).arg("--version").kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, output).await;
    let shown = program.display();
    let output = output.with_context(|| format!("{shown} --version does not end"))?;
    let output = output.with_context(|| format!("cannot run {shown}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{shown} --version failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let version = word_behind(&text, mark).with_context(|| format!("{shown} tells no version: {text}"))?;
    Ok(version.to_owned())
}

fn word_behind<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark)?.1.split_ascii_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_tell() {
        for (text, mark, version) in [
            ("longline 0.1.0\n", "longline ", "0.1.0"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64\n", "v=", "7.0.15"),
            (
                "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu\n",
                "Ver ",
                "10.11.19-MariaDB-0+deb12u1",
            ),
        ] {
            assert_eq!(word_behind(text, mark), Some(version));
        }
        assert_eq!(word_behind("something else", "Ver "), None);
    }

    #[tokio::test]
    async fn a_program_that_tells_nothing_is_named() {
        let error = told(Path::new("/bin/false"), "v=").await.unwrap_err().to_string();
        assert!(error.contains("/bin/false --version failed"), "{error}");
        let error = told(Path::new("/no/program"), "v=").await.unwrap_err().to_string();
        assert!(error.contains("cannot run /no/program"), "{error}");
    }
}
