//! redis-server on a free port.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;

use crate::{Process, Scratch, Surroundings, free_port, require};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(20);

/// How a server is started.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `maxmemory-policy`. Default: `noeviction`, as the saver demands.
    pub maxmemory_policy: String,
    /// Further configuration, `--name value`.
    pub arguments: Vec<String>,
    /// What its process has from outside.
    pub surroundings: Surroundings,
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions {
            maxmemory_policy: "noeviction".into(),
            arguments: Vec::new(),
            surroundings: Surroundings::default(),
        }
    }
}

/// What a restarted server finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// All it had.
    WithData,
    /// Nothing.
    Emptied,
    /// All but the last bytes of its append-only file, as after a power failure.
    Truncated(u64),
}

/// A redis-server of its own: append-only file that has everything before it is answered, no snapshots, nothing evicted.
#[derive(Debug)]
pub struct RedisServer {
    folder: PathBuf,
    options: RedisOptions,
    port: u16,
    process: Process,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    pub async fn start(scratch: &Scratch) -> anyhow::Result<RedisServer> {
        RedisServer::start_with(scratch, RedisOptions::default()).await
    }

    /// Starts one with these options and waits until it answers.
    pub async fn start_with(scratch: &Scratch, options: RedisOptions) -> anyhow::Result<RedisServer> {
        let folder = scratch.folder("redis")?;
        let mut tries = 0;
        loop {
            let port = free_port()?;
            match launch(&folder, port, &options).await {
                Ok(process) => return Ok(RedisServer { folder, options, port, process }),
                // Somebody else took the port in between.
                Err(e) if tries < 5 && e.to_string().contains("Address already in use") => tries += 1,
                Err(e) => return Err(e),
            }
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process, to pause it or to look at what it printed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends one command, its parts given as words, and returns the raw reply (RESP).
    pub fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        ask(&self.folder, words).context("no answer from redis-server")
    }

    /// Ends it in order: nothing is lost.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop(STOP).await.map(drop)
    }

    /// Ends it as `kill -9` does. What it answered is in the file, as the operating system lives.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().context("cannot kill redis-server")
    }

    /// Ends it if it runs (as [`RedisServer::kill`] does), starts it again on the same port, and waits until it answers.
    pub async fn restart(&mut self, finds: Restart) -> anyhow::Result<()> {
        self.kill()?;
        match finds {
            Restart::WithData => {}
            Restart::Emptied => match std::fs::remove_dir_all(self.folder.join("appendonlydir")) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            },
            Restart::Truncated(bytes) => truncate(&self.append_file()?, bytes)?,
        }
        self.process = launch(&self.folder, self.port, &self.options).await?;
        Ok(())
    }

    /// Bytes in its append-only file now: what has been written since its last rewrite.
    pub fn append_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.append_file()?.metadata()?.len())
    }

    fn append_file(&self) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join("appendonlydir");
        let files = std::fs::read_dir(&folder)?.filter_map(|e| Some(e.ok()?.path()));
        // The base holds what was there at the last rewrite; later commands go to the newest increment.
        files
            .filter(|p| p.to_string_lossy().ends_with(".incr.aof"))
            .max()
            .context("redis-server has no append-only file")
    }
}

async fn launch(folder: &Path, port: u16, options: &RedisOptions) -> anyhow::Result<Process> {
    let program = require("redis-server", "redis-server")?;
    let log = folder.join("log");
    File::create(&log)?;
    let port = port.to_string();
    let (folder_text, socket) = (folder.to_string_lossy(), socket(folder));
    let socket = socket.to_string_lossy();
    let settings = [
        ("--port", port.as_str()),
        ("--bind", "127.0.0.1"),
        ("--dir", &folder_text),
        ("--unixsocket", &socket),
        ("--daemonize", "no"),
        ("--save", ""),
        ("--appendonly", "yes"),
        // With `everysec`, Redis holds its writes back while the disk is busy, and a kill loses what it has answered.
        ("--appendfsync", "no"),
        ("--maxmemory-policy", &options.maxmemory_policy),
    ];
    let mut arguments: Vec<String> = settings.iter().flat_map(|(n, v)| [(*n).into(), (*v).into()]).collect();
    arguments.extend(options.arguments.iter().cloned());
    let mut process = Process::start_with(&program, &arguments, &options.surroundings, &log)?;
    let end = Instant::now() + START;
    // Its own socket: on the port, another server might answer.
    while !ask(folder, &["PING"]).is_ok_and(|reply| reply.starts_with("+PONG")) {
        if process.exited()?.is_some() || Instant::now() >= end {
            bail!("redis-server did not start; it said:\n{}", process.last_words());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(process)
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("redis.sock")
}

/// One command on a connection of its own; reads until the reply ends or nothing more comes.
fn ask(folder: &Path, words: &[&str]) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket(folder))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words.iter() {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(request.as_bytes())?;
    stream.write_all(b"*1\r\n$4\r\nQUIT\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply.strip_suffix("+OK\r\n").unwrap_or(&reply).to_owned())
}

fn truncate(file: &Path, bytes: u64) -> anyhow::Result<()> {
    let file = File::options().write(true).open(file)?;
    let length = file.metadata()?.len();
    file.set_len(length.saturating_sub(bytes)).context("cannot shorten the append-only file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_id(server: &RedisServer) -> String {
        let info = server.command(&["INFO", "server"]).unwrap();
        info.lines().find_map(|l| l.strip_prefix("run_id:")).unwrap().to_owned()
    }

    #[tokio::test]
    async fn restarts_find_what_they_should() {
        let scratch = Scratch::new().unwrap();
        let mut server = RedisServer::start(&scratch).await.unwrap();
        let (port, first_run) = (server.port(), run_id(&server));
        server.command(&["SET", "a", "1"]).unwrap();
        let before = server.append_bytes().unwrap();
        server.command(&["SET", "b", "2"]).unwrap();
        let last = server.append_bytes().unwrap() - before;

        server.restart(Restart::WithData).await.unwrap();
        assert_eq!(server.port(), port);
        assert_ne!(run_id(&server), first_run);
        assert!(server.command(&["GET", "b"]).unwrap().contains('2'));

        server.restart(Restart::Truncated(last)).await.unwrap();
        assert!(server.command(&["GET", "a"]).unwrap().contains('1'));
        assert!(server.command(&["GET", "b"]).unwrap().contains("$-1"));

        server.restart(Restart::Emptied).await.unwrap();
        assert!(server.command(&["GET", "a"]).unwrap().contains("$-1"));
        server.stop().await.unwrap();
    }

    #[tokio::test]
    async fn many_start_at_once() {
        let scratch = Scratch::new().unwrap();
        let mut ports = Vec::new();
        let servers = tokio::join!(
            RedisServer::start(&scratch),
            RedisServer::start(&scratch),
            RedisServer::start(&scratch)
        );
        for server in [servers.0, servers.1, servers.2] {
            ports.push(server.unwrap().port());
        }
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 3);
    }
}
