//! The standalone process, in a scratch folder and on free ports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use longline_load_scenario::Local;
use longline_testkit::{Process, Scratch, Surroundings};
use tokio::time::Instant;

use super::ended::{Ended, last_words};
use super::{Places, Started};
use crate::Watched;
use crate::metrics::Source;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);
/// Role and name of the process.
const NAME: &str = "standalone";
const FREE_PORT: &str = "127.0.0.1:0";
/// The end of what the process prints once it is ready.
const READY: &str = "Ctrl-C stops it";

#[derive(Debug)]
pub(super) struct Standalone {
    // It ends before its files go.
    process: Process,
    scratch: Scratch,
}

impl Standalone {
    /// Starts it, on these cores, and waits until it is ready.
    pub(super) async fn start(local: &Local, binary: &Path) -> anyhow::Result<(Standalone, Started)> {
        let scratch = Scratch::new()?;
        let surroundings = Surroundings { cores: local.cores.clone(), ..Surroundings::default() };
        let arguments = arguments(local, scratch.path())?;
        let process = Process::start_with(binary, &arguments, &surroundings, &log(&scratch))?;
        let mut standalone = Standalone { process, scratch };
        let banner = standalone.banner().await?;
        let started = standalone.started(&banner)?;
        Ok((standalone, started))
    }

    pub(super) fn watched(&self) -> Watched {
        Watched { role: NAME.to_owned(), name: NAME.to_owned(), pid: self.process.id() }
    }

    pub(super) fn ended(&mut self) -> anyhow::Result<Vec<Ended>> {
        let log = log(&self.scratch);
        let ended = self.process.exited()?.map(|how| Ended {
            name: NAME.to_owned(),
            how: how.to_string(),
            last_words: last_words(&log),
        });
        Ok(ended.into_iter().collect())
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.process.stop(STOP).await.context("cannot stop the standalone process").map(drop)
    }

    /// What it prints once it is ready.
    async fn banner(&mut self) -> anyhow::Result<String> {
        let end = Instant::now() + START;
        loop {
            let text = self.process.output();
            if text.contains(READY) {
                return Ok(text);
            }
            let ended = self.process.exited()?.is_some();
            ensure!(
                !ended && Instant::now() < end,
                "the standalone process did not become ready; it said:\n{text}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn started(&self, banner: &str) -> anyhow::Result<Started> {
        let admin_key = std::fs::read_to_string(data(self.scratch.path()).join("admin.key"));
        let admin_key = admin_key.context("the standalone process left no admin key")?.trim().to_owned();
        let places = Places {
            api: vec![field(banner, "API")?],
            dispatchers: vec![field(banner, "dispatcher")?],
            rooms: vec![field(banner, "room")?],
            injection: None,
            metrics: vec![(NAME.to_owned(), Source::Node(field(banner, "admin")?))],
        };
        Ok(Started { places, admin_key })
    }
}

/// The arguments of the program; the configuration is written where they say.
fn arguments(local: &Local, folder: &Path) -> anyhow::Result<Vec<String>> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let data = text(&data(folder));
    let config = folder.join("standalone.toml");
    let settings: toml::Table =
        local.settings.iter().map(|(role, table)| (role.clone(), table.clone().into())).collect();
    std::fs::write(&config, settings.to_string())?;
    let arguments =
        [NAME, "--config", &text(&config), "--data", &data, "--http", FREE_PORT, "--room", FREE_PORT];
    Ok(arguments.map(str::to_owned).into())
}

/// The second word of the line that begins with this name.
fn field(banner: &str, name: &str) -> anyhow::Result<String> {
    let behind = |line: &str| {
        line.trim_start().strip_prefix(name)?.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned)
    };
    banner
        .lines()
        .find_map(behind)
        .with_context(|| format!("the standalone process tells no {name}:\n{banner}"))
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn log(scratch: &Scratch) -> PathBuf {
    scratch.path().join("log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_the_banner() {
        let banner = "Longline 0.1.0 is ready, with its room in /x.\n\n  API         http://127.0.0.1:1  (HTTP)\n  \
            room        127.0.0.1:2\n  admin       http://127.0.0.1:3  (/metrics)\n  admin key   in /x/admin.key\n";
        for (name, value) in
            [("API", "http://127.0.0.1:1"), ("room", "127.0.0.1:2"), ("admin", "http://127.0.0.1:3")]
        {
            assert_eq!(field(banner, name).unwrap(), value);
        }
        assert!(field(banner, "dispatcher").unwrap_err().to_string().contains("tells no dispatcher"));
    }
}
