//! mariadbd on a free port.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::{Process, Scratch, Surroundings, folders, free_port, require};

const PACKAGE: &str = "mariadb-server";
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

/// What a mariadbd is started with.
#[derive(Clone, Debug)]
pub struct MariaDbOptions {
    /// Environment and cores.
    pub surroundings: Surroundings,
    /// Memory for pages, in MiB.
    pub buffer_pool_mib: u32,
    /// Size of the redo log, in MiB.
    pub log_mib: u32,
}

impl Default for MariaDbOptions {
    /// Small: for tests.
    fn default() -> MariaDbOptions {
        MariaDbOptions { surroundings: Surroundings::default(), buffer_pool_mib: 64, log_mib: 16 }
    }
}

/// A mariadbd of its own: each commit is on disk before it is answered; `root` has all rights and no password.
#[derive(Debug)]
pub struct MariaDb {
    folder: PathBuf,
    options: MariaDbOptions,
    port: u16,
    process: Process,
    databases: AtomicU32,
}

impl MariaDb {
    /// Starts one with no database in it and waits until it answers.
    pub async fn start(scratch: &Scratch) -> anyhow::Result<MariaDb> {
        MariaDb::start_with(scratch, MariaDbOptions::default()).await
    }

    /// Starts one with these options and waits until it answers.
    pub async fn start_with(scratch: &Scratch, options: MariaDbOptions) -> anyhow::Result<MariaDb> {
        let folder = scratch.folder("mariadb")?;
        let data = folder.join("data");
        tokio::task::spawn_blocking(move || {
            folders::copy(&template()?, &data).context("cannot copy the empty database")
        })
        .await??;
        let mut tries = 0;
        loop {
            let port = free_port()?;
            match launch(&folder, port, &options).await {
                Ok(process) => {
                    let databases = AtomicU32::new(0);
                    return Ok(MariaDb { folder, options, port, process, databases });
                }
                // Somebody else took the port in between.
                Err(e) if tries < 5 && e.to_string().contains("Address already in use") => tries += 1,
                Err(e) => return Err(e),
            }
        }
    }

    /// One that all tests of this process share, for those that only need a database of their own: starting one takes half a
    /// second. It ends with the process.
    pub async fn shared() -> anyhow::Result<&'static MariaDb> {
        static SHARED: OnceCell<(MariaDb, Scratch)> = OnceCell::const_new();
        let start = async || {
            let scratch = Scratch::shared()?;
            anyhow::Ok((MariaDb::start(&scratch).await?, scratch))
        };
        SHARED.get_or_try_init(start).await.map(|(server, _)| server)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, to pause it or to look at what it printed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Creates an empty database and returns its URL.
    pub async fn create_database(&self) -> anyhow::Result<String> {
        let name = format!("longline_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await?;
        Ok(format!("mysql://root@127.0.0.1:{}/{name}", self.port))
    }

    /// Runs SQL (also several statements) as root, and returns what it printed: a line per row, columns apart by tabs.
    pub async fn execute(&self, sql: &str) -> anyhow::Result<String> {
        let client = require("mariadb", "mariadb-client")?;
        let output = tokio::process::Command::new(client)
            .args(["--no-defaults", "--batch", "--skip-column-names", "--user=root", "--execute", sql])
            .arg(format!("--socket={}", socket(&self.folder).display()))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(START, output).await.context("no answer from mariadbd")??;
        ensure!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ends it in order.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop(STOP).await.map(drop)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().context("cannot kill mariadbd")
    }

    /// Ends it if it runs (as [`MariaDb::kill`] does), starts it again on the same port, and waits until it answers.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.process = launch(&self.folder, self.port, &self.options).await?;
        Ok(())
    }
}

async fn launch(folder: &Path, port: u16, options: &MariaDbOptions) -> anyhow::Result<Process> {
    let program = require("mariadbd", PACKAGE)?;
    let log = folder.join("log");
    File::create(&log)?;
    let socket = socket(folder);
    match std::fs::remove_file(&socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    let mut arguments = settings(&folder.join("data"));
    arguments.extend([
        format!("--port={port}"),
        format!("--socket={}", socket.display()),
        format!("--pid-file={}", folder.join("pid").display()),
        "--bind-address=127.0.0.1".into(),
        "--innodb-flush-log-at-trx-commit=1".into(),
        format!("--innodb-buffer-pool-size={}M", options.buffer_pool_mib),
        format!("--innodb-log-file-size={}M", options.log_mib),
        "--performance-schema=OFF".into(),
        "--max-connections=200".into(),
    ]);
    let mut process = Process::start_with(&program, &arguments, &options.surroundings, &log)?;
    let end = Instant::now() + START;
    // Its own socket: on the port, another server might answer. It is opened after the port.
    while !greets(&socket) {
        if process.exited()?.is_some() || Instant::now() >= end {
            bail!("mariadbd did not start; it said:\n{}", process.last_words());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(process)
}

/// Settings that hold for making the data as well as for using it. The first has to be the first.
fn settings(data: &Path) -> Vec<String> {
    let mut settings = vec![
        "--no-defaults".into(),
        format!("--datadir={}", data.display()),
        "--skip-name-resolve".into(),
        "--skip-log-bin".into(),
        // Small, since it is copied for each one; a later setting enlarges it at the start.
        "--innodb-log-file-size=16M".into(),
    ];
    // The server refuses root unless told so.
    if rustix::process::geteuid().is_root() {
        settings.push("--user=root".into());
    }
    settings
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("mysql.sock")
}

/// The server speaks first once it takes connections: three bytes length, one number, then protocol 10.
fn greets(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let mut greeting = [0; 5];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && greeting[4] == 10
}

/// A data folder with nothing but the system tables: made once per version of the server (it takes seconds), then copied.
fn template() -> anyhow::Result<PathBuf> {
    let server = require("mariadbd", PACKAGE)?;
    let version = Command::new(server).arg("--version").output().context("cannot run mariadbd")?.stdout;
    let version: String = String::from_utf8_lossy(&version)
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .collect();
    let cache = folders::cache()?;
    let template = cache.join(&version);
    // Tests of several processes may come here at once; the lock ends with the file.
    let lock = File::create(cache.join("lock"))?;
    lock.lock().context("cannot lock the folder of empty databases")?;
    if !template.exists() {
        let unfinished = cache.join("unfinished");
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished)?;
        }
        install(&unfinished)?;
        std::fs::rename(&unfinished, &template)?;
    }
    Ok(template)
}

fn install(data: &Path) -> anyhow::Result<()> {
    let installer = require("mariadb-install-db", PACKAGE)?;
    let output = Command::new(installer)
        .args(settings(data))
        .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
        .output()
        .context("cannot run mariadb-install-db")?;
    ensure!(
        output.status.success(),
        "mariadb-install-db failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_committed_survives_a_kill() {
        let scratch = Scratch::new().unwrap();
        let mut server = MariaDb::start(&scratch).await.unwrap();
        let port = server.port();
        let url = server.create_database().await.unwrap();
        let other = server.create_database().await.unwrap();
        assert_ne!(url, other);
        let name = url.rsplit('/').next().unwrap();
        server
            .execute(&format!("CREATE TABLE {name}.t (a INT) ENGINE=InnoDB; INSERT INTO {name}.t VALUES (7)"))
            .await
            .unwrap();
        server.restart().await.unwrap();
        assert_eq!(server.port(), port);
        assert_eq!(server.execute(&format!("SELECT a FROM {name}.t")).await.unwrap().trim(), "7");
        server.stop().await.unwrap();
        assert!(server.execute("SELECT 1").await.is_err());
    }
}
