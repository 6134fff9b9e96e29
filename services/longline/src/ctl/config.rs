//! `longline ctl config`: the keeper's entries, changed by comparing revisions.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use longline_pb::keeper::keeper_client::KeeperClient;
use longline_pb::keeper::{ConfigEntry, ReadConfigRequest, WatchConfigRequest, WriteConfigRequest};
use longline_rpc::MAX_MESSAGE;
use longline_types::ErrorCode;
use tonic::Status;
use tonic::transport::Channel;

/// How long the keeper may take.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The keeper's gRPC, host:port
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "LONGLINE_KEEPER",
        default_value = "127.0.0.1:7700"
    )]
    keeper: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print what an entry says
    Get {
        /// Its name, such as room/admission
        key: String,
    },
    /// Print the names and revisions of the entries whose names begin so
    List {
        /// Beginning of their names [default: all]
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Make an entry say this; prints its new revision
    Set {
        /// Its name, such as room/admission
        key: String,
        /// What it is to say [default: read from --file, or from stdin]
        value: Option<String>,
        /// Read what it is to say from this file; - is stdin
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        file: Option<PathBuf>,
        /// Only if it has this revision (0: if it does not exist) [default: the one it has now]
        #[arg(long, value_name = "NUMBER")]
        revision: Option<u64>,
    },
    /// Delete an entry: what the processes' own files say takes effect again
    Delete {
        /// Its name, such as room/admission
        key: String,
        /// Only if it has this revision [default: the one it has now]
        #[arg(long, value_name = "NUMBER")]
        revision: Option<u64>,
    },
}

/// Reads or changes entries.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let keeper = Keeper::new(&args.keeper)?;
    match args.command {
        Command::Get { key } => {
            let entry = keeper.read(&key).await?;
            ensure!(entry.revision > 0, "there is no entry `{key}`");
            std::io::stdout().write_all(&entry.value)?;
        }
        Command::List { prefix } => {
            for entry in keeper.list(&prefix).await? {
                println!("{} {} ({} bytes)", entry.revision, entry.key, entry.value.len());
            }
        }
        Command::Set { key, value, file, revision } => {
            let value = match value {
                Some(value) => value.into_bytes(),
                None => read(file)?,
            };
            check(&key, &value)?;
            println!("{}", keeper.write(key, Some(value), revision).await?.revision);
        }
        Command::Delete { key, revision } => {
            let entry = keeper.write(key, None, revision).await?;
            ensure!(entry.revision > 0, "there is no entry `{}`", entry.key);
        }
    }
    Ok(())
}

fn read(file: Option<PathBuf>) -> anyhow::Result<Vec<u8>> {
    let mut value = Vec::new();
    match file.filter(|path| path.as_os_str() != "-") {
        Some(path) => {
            value = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        }
        None => {
            std::io::stdin().read_to_end(&mut value).context("cannot read stdin")?;
        }
    }
    Ok(value)
}

/// What a service would not take over is not set.
fn check(key: &str, value: &[u8]) -> anyhow::Result<()> {
    if key == longline_room::ADMISSION_KEY {
        let document = std::str::from_utf8(value).context("the document is no text (UTF-8)")?;
        longline_room::AdmissionConfig::default().with(document)?;
    }
    Ok(())
}

/// A keeper that is asked.
pub(super) struct Keeper {
    client: KeeperClient<Channel>,
    address: String,
}

impl Keeper {
    pub(super) fn new(address: &str) -> anyhow::Result<Keeper> {
        let endpoint = longline_rpc::endpoint(address)
            .with_context(|| format!("`{address}` is no host:port of a keeper"))?;
        let client = KeeperClient::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_MESSAGE);
        Ok(Keeper { client, address: address.to_owned() })
    }

    pub(super) fn client(&self) -> KeeperClient<Channel> {
        self.client.clone()
    }

    async fn read(&self, key: &str) -> anyhow::Result<ConfigEntry> {
        let mut client = self.client.clone();
        let request = ReadConfigRequest { key: key.to_owned() };
        Ok(self.answer(client.read_config(request)).await?.into_inner())
    }

    /// All entries whose keys begin so.
    pub(super) async fn list(&self, prefix: &str) -> anyhow::Result<Vec<ConfigEntry>> {
        let mut client = self.client.clone();
        let request = WatchConfigRequest { prefix: prefix.to_owned() };
        let mut events = self.answer(client.watch_config(request)).await?.into_inner();
        let mut entries = Vec::new();
        loop {
            let event = self.answer(events.message()).await?.context("the keeper ended its list early")?;
            entries.extend(event.entries);
            if !event.more {
                return Ok(entries);
            }
        }
    }

    /// Sets the entry, or deletes it, if it has the revision.
    pub(super) async fn write(
        &self,
        key: String,
        value: Option<Vec<u8>>,
        revision: Option<u64>,
    ) -> anyhow::Result<ConfigEntry> {
        let expected_revision = match revision {
            Some(revision) => revision,
            None => self.read(&key).await?.revision,
        };
        let delete = value.is_none();
        let request = WriteConfigRequest { key, value: value.unwrap_or_default(), expected_revision, delete };
        let mut client = self.client.clone();
        Ok(self.answer(client.write_config(request)).await?.into_inner())
    }

    /// Waits for an answer; says in words why there is none.
    pub(super) async fn answer<T>(
        &self,
        asking: impl Future<Output = Result<T, Status>>,
    ) -> anyhow::Result<T> {
        let answer = tokio::time::timeout(TIMEOUT, asking).await;
        let Ok(answer) = answer else { bail!("the keeper at {} does not answer", self.address) };
        match answer.map_err(longline_rpc::error) {
            Ok(answer) => Ok(answer),
            Err(error) if error.code == ErrorCode::Conflict => {
                bail!("somebody else has changed it meanwhile: {}", error.message)
            }
            Err(error) if error.code == ErrorCode::Unavailable => {
                bail!("cannot reach the keeper at {}: {}", self.address, error.message)
            }
            Err(error) => bail!("the keeper refuses: {}", error.message),
        }
    }
}
